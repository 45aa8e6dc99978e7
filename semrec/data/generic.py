"""Imports any table, and rows that are in memory already."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa

from semrec.data.catalogue import known_items, stage_items
from semrec.data.columns import ColumnMap
from semrec.data.convert import item_rows, user_rows
from semrec.data.delimited import Dialect, read_delimited
from semrec.data.events import EventColumns, EventRules, events_of
from semrec.data.interactions import WeightRule, stage_interactions
from semrec.data.jsonl import read_jsonl
from semrec.data.online import log_ends
from semrec.data.parquet import read_parquet, table_block
from semrec.data.rejects import Progress, ReadStats, RowBlock
from semrec.data.report import ImportReport, report_of
from semrec.data.rows import ItemRow, UserRow, item_tables, user_tables
from semrec.data.sources import Source, find_sources
from semrec.data.staging import Staged, check_not_empty, is_append, scratch_folder
from semrec.data.users import stage_users
from semrec.errors import InputError
from semrec.workspace.folder import Workspace
from semrec.workspace.quarantine import DEFAULT_MAX_SHARE

__all__ = ["import_interactions", "import_items", "import_table", "import_users"]

Mode = Literal["replace", "append"]
_MEMORY: Final = "(rows in memory)"


def import_table(
    workspace: Workspace,
    source: str | Path | Sequence[str | Path],
    *,
    fmt: Literal["csv", "parquet", "jsonl"],
    kind: Literal["items", "users", "interactions"],
    columns: ColumnMap,
    mode: Mode = "replace",
    max_rejected: float = DEFAULT_MAX_SHARE,
    allow_empty: bool = False,
    repeats: Literal["sum", "latest"] = "sum",
    neutral_value: float = 0.0,
    delimiter: str = ",",
    now_s: int | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Imports one kind of rows from a file, a folder of files or a list of files; any fsspec URL, gzip included.

    mode "replace" puts the source in the place of what was there; "append" adds to it: items and users by id, the new
    row winning, interactions as a union. Interactions need a catalogue, and an event of an item outside it is rejected;
    replacing the catalogue later may leave events of items that are gone, which later stages skip.

    The import is newer than every change made online that was acknowledged before it began, and older than the later ones.
    "replace" therefore also replaces those changes, or events, whether or not a run has taken them in; with "append" a row
    wins over them and the others stay.

    Every accepted event, of whatever value, marks its item as seen. All of them are kept but exact repeats; how they
    become a weight is stored beside them: `repeats` says whether the values of several events of one user and item add
    up or the newest counts, and the weight is max(value - neutral_value, 0). `delimiter` is for CSV. `now_s` (UTC
    seconds, default now) is what a timestamp may exceed by a day at most.

    A source without a row is refused with EmptyResultError where it would replace rows, unless `allow_empty`. Bad rows go
    to quarantine/import/ with file, line and reason (see REASONS). Raises TooManyRejectedError when more
    than the share `max_rejected` of the rows were rejected, InputError for an impossible argument or source,
    MissingArtefactError for interactions without a catalogue; nothing of the import is then live.
    """
    append, ends = is_append(mode), log_ends(workspace.storage)
    _check_choice("fmt", fmt, ("csv", "parquet", "jsonl"))
    _check_choice("kind", kind, ("items", "users", "interactions"))
    rule = WeightRule(repeats, neutral_value)
    if kind == "items" and columns.title is None and not columns.text:
        raise InputError("a column map without title and text", expected="one of them", remedy="Name a column.")
    sources, dialect = find_sources(source, fmt), Dialect(delimiter)
    known = known_items(workspace.storage) if kind == "interactions" else None
    stats = ReadStats(workspace.storage, kind, max_rejected=max_rejected, progress=progress)
    blocks = _blocks(sources, fmt, columns.names(kind), ids=columns.ids(kind), dialect=dialect, stats=stats)
    tables: Iterator[pa.Table]
    with scratch_folder() as scratch, stats.flushed_at_end():
        if known is not None:
            rules = EventRules(known, _now(now_s))
            tables = (events_of(block, columns.events, rules, stats=stats) for block in blocks)
            folded = None if append else ends.events
            staged = stage_interactions(
                workspace, tables, rule, append=append, stats=stats, scratch=scratch, folded=folded
            )
        elif kind == "items":
            tables = item_tables(item_rows(blocks, columns, is_text=fmt == "csv", stats=stats), stats=stats)
            staged = stage_items(workspace, tables, append=append, until=ends.items, stats=stats, scratch=scratch)
        else:
            tables = user_tables(user_rows(blocks, columns, is_text=fmt == "csv", stats=stats), stats=stats)
            staged = stage_users(workspace, tables, append=append, stats=stats, scratch=scratch)
    return _published(workspace, staged, stats, allow_empty)


def import_items(
    workspace: Workspace,
    rows: Iterable[ItemRow],
    *,
    mode: Mode = "replace",
    max_rejected: float = DEFAULT_MAX_SHARE,
    allow_empty: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Imports items that are already rows; otherwise as `import_table`."""
    append, until = is_append(mode), log_ends(workspace.storage).items
    stats = ReadStats(workspace.storage, "items", max_rejected=max_rejected, progress=progress)
    stage = partial(stage_items, until=until)
    return _import_rows(workspace, rows, item_tables, stage, append=append, stats=stats, allow_empty=allow_empty)


def import_users(
    workspace: Workspace,
    rows: Iterable[UserRow],
    *,
    mode: Mode = "replace",
    max_rejected: float = DEFAULT_MAX_SHARE,
    allow_empty: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Imports users that are already rows; otherwise as `import_table`."""
    append = is_append(mode)
    stats = ReadStats(workspace.storage, "users", max_rejected=max_rejected, progress=progress)
    return _import_rows(workspace, rows, user_tables, stage_users, append=append, stats=stats, allow_empty=allow_empty)


def import_interactions(
    workspace: Workspace,
    batches: Iterable[pa.RecordBatch | pa.Table],
    *,
    mode: Mode = "replace",
    max_rejected: float = DEFAULT_MAX_SHARE,
    allow_empty: bool = False,
    repeats: Literal["sum", "latest"] = "sum",
    neutral_value: float = 0.0,
    now_s: int | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Imports Arrow batches with columns user_id and item_id, and value and timestamp if there are any; otherwise as
    `import_table`. Rejected rows have no line; their excerpt gives the row number over all batches, from 1.
    """
    append, rule = is_append(mode), WeightRule(repeats, neutral_value)
    folded = None if append else log_ends(workspace.storage).events
    rules = EventRules(known_items(workspace.storage), _now(now_s))
    stats = ReadStats(workspace.storage, "interactions", max_rejected=max_rejected, progress=progress)

    def tables() -> Iterator[pa.Table]:
        for batch in batches:
            first = stats.num_read + 1
            stats.count(batch.num_rows)
            block = table_block(batch, _MEMORY, np.arange(first, first + batch.num_rows))
            yield events_of(block, _columns_of(batch), rules, stats=stats)

    with scratch_folder() as scratch, stats.flushed_at_end():
        staged = stage_interactions(
            workspace, tables(), rule, append=append, stats=stats, scratch=scratch, folded=folded
        )
    return _published(workspace, staged, stats, allow_empty)


def _blocks(
    sources: Sequence[Source], fmt: str, names: list[str], *, ids: list[str], dialect: Dialect, stats: ReadStats
) -> Iterator[RowBlock]:
    for source in sources:
        if fmt == "csv":
            yield from read_delimited(source, names, stats=stats, dialect=dialect)
        elif fmt == "jsonl":
            yield from read_jsonl(source, names, stats=stats)
        else:
            yield from read_parquet(source, names, ids=ids, stats=stats)


def _import_rows(
    workspace: Workspace,
    rows: Iterable[Any],
    to_tables: Callable[..., Iterator[pa.Table]],
    stage: Callable[..., Staged],
    *,
    append: bool,
    stats: ReadStats,
    allow_empty: bool,
) -> ImportReport:
    with scratch_folder() as scratch, stats.flushed_at_end():
        tables = to_tables(_counted(rows, stats), stats=stats)
        staged = stage(workspace, tables, append=append, stats=stats, scratch=scratch)
    return _published(workspace, staged, stats, allow_empty)


def _columns_of(batch: pa.RecordBatch | pa.Table) -> EventColumns:
    there = batch.schema.names
    missing = [name for name in ("user_id", "item_id") if name not in there]
    if missing:
        raise InputError(
            f"a batch without {missing[0]}", expected=f"user_id and item_id among {there}", remedy="Rename the columns."
        )
    optional = [name if name in there else None for name in ("value", "timestamp")]
    return EventColumns("user_id", "item_id", *optional)


def _counted(rows: Iterable[Any], stats: ReadStats) -> Iterator[Any]:
    step = 8_192
    num_rows = 0
    for num_rows, row in enumerate(rows, start=1):
        if num_rows % step == 0:
            stats.count(step)
        yield row
    stats.count(num_rows % step)


def _published(workspace: Workspace, staged: Staged, stats: ReadStats, allow_empty: bool) -> ImportReport:
    check_not_empty(workspace.storage, [staged], allow_empty=allow_empty)
    staged.publish(workspace.storage)
    return report_of([staged], [stats])


def _now(now_s: int | None) -> int:
    return int(time.time()) if now_s is None else now_s


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise InputError(f"{name} = {value!r}", expected=f"one of {', '.join(choices)}", remedy="Choose one of them.")
