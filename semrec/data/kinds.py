"""Defines the kinds of tables that can be imported, as data: the columns of each, what becomes of its rows, who writes them.

One more kind is one more `Kind` in KINDS; nothing else asks which kind it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from semrec.contracts import INTERACTIONS_SCHEMA, RELATIONS_SCHEMA
from semrec.data.catalogue import known_items, stage_items
from semrec.data.columns import ColumnMap
from semrec.data.convert import item_rows, user_rows
from semrec.data.events import EventRules, events_of
from semrec.data.interactions import ImportedFiles, WeightRule, stage_interactions
from semrec.data.known import HasItems
from semrec.data.rejects import ReadStats, RowBlock
from semrec.data.relations import relations_of, stage_ontology, stage_relations
from semrec.data.rows import ITEM_ROWS_SCHEMA, USER_ROWS_SCHEMA, item_tables, user_tables
from semrec.data.staging import Staged, stored_manifest
from semrec.data.times import TIME_UNITS, TimeReader
from semrec.data.users import stage_users
from semrec.errors import InputError
from semrec.workspace.folder import Workspace
from semrec.workspace.log import LogPositions
from semrec.workspace.manifests import InteractionsManifest
from semrec.workspace.storage import Storage

__all__ = ["INTERACTIONS", "ITEMS", "KINDS", "ONTOLOGY", "RELATIONS", "USERS", "ImportJob", "Kind"]


@dataclass(frozen=True)
class ImportJob:
    """The inputs that the steps of one import share.

    `ends`: the last online changes that are older than this import. `now_s`: UTC seconds; later times than a day after it
    are impossible. `rule`: how the events of one user and item become a weight. `time_format`: of `times.TimeReader`.
    `files`: those that were read so far, of a kind whose rows add up; None for the others. `known`: the items that events may
    name; None for those of the workspace. `times`: what reads their times, where whoever imports asks for its unit later.
    """

    workspace: Workspace
    stats: ReadStats
    scratch: Path
    append: bool
    ends: LogPositions
    now_s: int
    rule: WeightRule
    time_format: str = "s"
    files: ImportedFiles | None = None
    known: HasItems | None = None
    times: TimeReader | None = None


@dataclass(frozen=True)
class Kind:
    """One kind of table.

    `id_fields` and `fields` name the fields of ColumnMap whose source columns it reads; the first hold ids. `schema` is that
    of the rows that `write` takes. `check` raises InputError for columns that cannot make such a row. `tables` turns source
    rows into rows of `schema` and rejects the others; `write` puts them into parts that are not live yet. `stored_files`
    gives the digests of the files that a workspace's rows of this kind come from, where rows that come twice count twice.
    `needs_items`: rows name items of the catalogue, and are rejected where they name another.
    """

    name: str
    id_fields: tuple[str, ...]
    fields: tuple[str, ...]
    schema: pa.Schema
    check: Callable[[ColumnMap], None]
    tables: Callable[[Iterable[RowBlock], ColumnMap, ImportJob], Iterator[pa.Table]]
    write: Callable[[Iterable[pa.Table], ImportJob], Staged]
    stored_files: Callable[[Storage], Sequence[str]] | None = None
    needs_items: bool = False

    def columns(self, columns: ColumnMap) -> list[str]:
        """Returns the source columns that an import of this kind reads, each once."""
        return columns.names(*self.id_fields, *self.fields)

    def time_column(self, columns: ColumnMap) -> str | None:
        """Returns the source column of times, of a kind that reads times and where one is mapped."""
        return columns.timestamp if "timestamp" in self.fields else None

    def id_columns(self, columns: ColumnMap) -> list[str]:
        """Returns the source columns that hold ids."""
        return columns.names(*self.id_fields)

    def repeating_columns(self, columns: ColumnMap) -> list[str]:
        """Returns the source columns in which the same text stands often: each distinct one is looked at once."""
        return columns.names(*self.id_fields, "value", "weight")


def _check_items(columns: ColumnMap) -> None:
    if columns.title is None and not columns.text:
        raise InputError(
            "items without a title and without a text",
            expected="one of them at least",
            remedy="Name the column of the title, or those of the text: --title, --text (title=, text=).",
        )


def _items(blocks: Iterable[RowBlock], columns: ColumnMap, job: ImportJob) -> Iterator[pa.Table]:
    return item_tables(item_rows(blocks, columns, stats=job.stats), stats=job.stats)


def _write_items(tables: Iterable[pa.Table], job: ImportJob) -> Staged:
    return stage_items(
        job.workspace, tables, append=job.append, until=job.ends.items, stats=job.stats, scratch=job.scratch
    )


def _users(blocks: Iterable[RowBlock], columns: ColumnMap, job: ImportJob) -> Iterator[pa.Table]:
    return user_tables(user_rows(blocks, columns, stats=job.stats), stats=job.stats)


def _write_users(tables: Iterable[pa.Table], job: ImportJob) -> Staged:
    return stage_users(job.workspace, tables, append=job.append, stats=job.stats, scratch=job.scratch)


def _events(blocks: Iterable[RowBlock], columns: ColumnMap, job: ImportJob) -> Iterator[pa.Table]:
    known = job.known or known_items(job.workspace.storage)
    rules = EventRules(known, job.now_s, times=job.times or TimeReader(job.time_format))
    for block in blocks:
        yield events_of(block, columns, rules, stats=job.stats)
    unit = rules.times.unit
    if columns.timestamp is not None and unit not in (None, "s"):
        job.stats.note(f"{columns.timestamp}: digits were read as {TIME_UNITS[unit]}")


def _write_events(tables: Iterable[pa.Table], job: ImportJob) -> Staged:
    applied = None if job.append else job.ends.events
    return stage_interactions(
        job.workspace,
        tables,
        job.rule,
        append=job.append,
        stats=job.stats,
        scratch=job.scratch,
        applied=applied,
        files=() if job.files is None else job.files.new,
    )


def _files_of_events(storage: Storage) -> Sequence[str]:
    manifest = stored_manifest(storage, InteractionsManifest)
    return manifest.files if manifest else ()


def _relations(blocks: Iterable[RowBlock], columns: ColumnMap, job: ImportJob) -> Iterator[pa.Table]:
    return (relations_of(block, columns, stats=job.stats) for block in blocks)


def _write_relations(tables: Iterable[pa.Table], job: ImportJob) -> Staged:
    return stage_relations(
        job.workspace, tables, append=job.append, until=job.ends.relations, stats=job.stats, scratch=job.scratch
    )


def _axioms(blocks: Iterable[RowBlock], columns: ColumnMap, job: ImportJob) -> Iterator[pa.Table]:
    return (relations_of(block, columns, stats=job.stats, is_ontology=True) for block in blocks)


def _write_ontology(tables: Iterable[pa.Table], job: ImportJob) -> Staged:
    return stage_ontology(job.workspace, tables, append=job.append, stats=job.stats, scratch=job.scratch)


def _check_nothing(columns: ColumnMap) -> None:
    """Accepts any columns: ids have a default, and all else is optional."""


ITEMS: Final = Kind(
    "items",
    ("item_id",),
    ("title", "text", "attributes", "content"),
    ITEM_ROWS_SCHEMA,
    _check_items,
    _items,
    _write_items,
)
USERS: Final = Kind("users", ("user_id",), ("attributes",), USER_ROWS_SCHEMA, _check_nothing, _users, _write_users)
INTERACTIONS: Final = Kind(
    "interactions",
    ("user_id", "item_id"),
    ("value", "timestamp", "event_id"),
    INTERACTIONS_SCHEMA,
    _check_nothing,
    _events,
    _write_events,
    _files_of_events,
    needs_items=True,
)
RELATIONS: Final = Kind(
    "relations",
    ("subject", "predicate", "object"),
    ("weight",),
    RELATIONS_SCHEMA,
    _check_nothing,
    _relations,
    _write_relations,
)
ONTOLOGY: Final = Kind(
    "ontology",
    ("subject", "predicate", "object"),
    (),
    RELATIONS_SCHEMA,
    _check_nothing,
    _axioms,
    _write_ontology,
)
KINDS: Final = {kind.name: kind for kind in (ITEMS, USERS, INTERACTIONS, RELATIONS, ONTOLOGY)}
