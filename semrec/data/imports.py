"""Imports any table, and rows that are in memory already."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, Final, Literal, TypeVar

import numpy as np
import pyarrow as pa

from semrec.data.ahead import read_ahead
from semrec.data.catalogue import known_items
from semrec.data.columns import ColumnMap
from semrec.data.delimited import check_columns, read_delimited
from semrec.data.dialects import DialectOptions, settle_dialect
from semrec.data.events import EventRules, events_of
from semrec.data.interactions import ImportedFiles, WeightRule
from semrec.data.jsonl import read_jsonl
from semrec.data.kinds import INTERACTIONS, ITEMS, KINDS, USERS, ImportJob, Kind
from semrec.data.lists import read_lists
from semrec.data.online import log_ends
from semrec.data.parquet import read_parquet, table_block
from semrec.data.rdf import read_ntriples, read_turtle
from semrec.data.rejects import Progress, ReadStats, RowBlock, RowStats
from semrec.data.report import ImportReport, report_of
from semrec.data.rows import ItemRow, UserRow, item_tables, user_tables
from semrec.data.sources import Source, find_sources
from semrec.data.staging import check_not_empty, is_append, one_import_of, scratch_folder
from semrec.data.times import TimeReader
from semrec.errors import InputError
from semrec.workspace.folder import Workspace
from semrec.workspace.log import LogPositions
from semrec.workspace.quarantine import DEFAULT_MAX_SHARE
from semrec.workspace.storage import Storage

__all__ = [
    "READERS",
    "check_found",
    "import_interactions",
    "import_items",
    "import_table",
    "import_users",
    "is_empty",
    "run_import",
    "source_blocks",
]

Mode = Literal["replace", "append"]
T = TypeVar("T")
_MEMORY: Final = "(rows in memory)"


def import_table(
    workspace: Workspace,
    source: str | Path | Sequence[str | Path],
    *,
    fmt: Literal["csv", "parquet", "jsonl", "lists", "ntriples", "turtle"],
    kind: Literal["items", "users", "interactions", "relations", "ontology"],
    columns: ColumnMap,
    mode: Mode = "replace",
    max_rejected: float = DEFAULT_MAX_SHARE,
    allow_empty: bool = False,
    allow_repeated: bool = False,
    repeats: Literal["sum", "latest"] = "sum",
    neutral_value: float = 0.0,
    dialect: DialectOptions | None = None,
    time_format: str = "auto",
    now_s: int | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Imports one kind of rows from files, folders, globs, archives or pipes; any fsspec URL, compressed or not.

    mode "replace" puts the source in the place of what was there; "append" adds to it: items, users and triples by id, the
    new row winning, interactions as a union. Interactions need a catalogue, and an event of an item outside it is rejected;
    replacing the catalogue later may leave events of items that are gone, which later stages skip.

    The import is newer than every change made online that was acknowledged before it began, and older than the later ones.
    "replace" therefore also replaces those changes, or events, whether or not a run has taken them in; with "append" a row
    wins over them and the others stay.

    Every accepted event, of whatever value, marks its item as seen. Events that are equal in all columns are as many events;
    `columns.event_id` says which are one. An append takes an event with a time that is stored already for the same one, and
    adds those without a time. How events become a weight, `repeats` and `neutral_value`, is stored too: see `WeightRule`.

    `dialect` is that of text files. `time_format` says what times are, see `times.TimeReader`. `now_s` (UTC seconds, default
    now) is what a timestamp may exceed by a day at most.

    `dry_run` reads and checks all rows, writes nothing, and reports what would be rejected but for duplicate ids.

    A source without a row is refused with EmptyResultError where it would replace rows, unless `allow_empty`, and a file that
    was imported before or comes twice, by its SHA-256, with InputError where its events would add up, unless
    `allow_repeated`. Bad rows go
    to quarantine/import/ with file, line and reason (see REASONS). Raises TooManyRejectedError when more
    than the share `max_rejected` of the rows were rejected, InputError for an impossible argument or source,
    MissingArtefactError for interactions without a catalogue, RunBusyError while another import of this kind runs; nothing
    of the import is then live.
    """
    imported = _choice("kind", kind, KINDS)
    read = _choice("fmt", fmt, READERS)
    rule = WeightRule(repeats, neutral_value)
    imported.check(columns)
    options = dialect or DialectOptions()
    TimeReader(time_format)  # raises before anything is read

    def tables(job: ImportJob) -> Generator[pa.Table]:
        wanted = imported.columns(columns)
        sources = find_sources(source, fmt, scratch=job.scratch / "pipes", note=job.stats.note)
        keys: set[str] = set()
        ids, encoded = imported.id_columns(columns), imported.repeating_columns(columns)
        read_file = partial(read, ids=ids, encoded=encoded, options=options, keys=keys)
        with closing(source_blocks(sources, wanted, read_file, job, keys, is_alone=len(sources) == 1)) as blocks:
            yield from imported.tables(blocks, columns, job)
        check_found(sources, wanted, keys)

    return run_import(
        workspace, imported, tables, mode=mode, rule=rule, now_s=now_s, time_format=time_format, dry_run=dry_run,
        max_rejected=max_rejected, allow_empty=allow_empty, allow_repeated=allow_repeated, progress=progress,
        is_timed=columns.timestamp is not None,
    )  # fmt: skip


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
    return run_import(
        workspace, ITEMS, lambda job: item_tables(_counted(rows, job.stats), stats=job.stats),
        mode=mode, max_rejected=max_rejected, allow_empty=allow_empty, progress=progress,
    )  # fmt: skip


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
    return run_import(
        workspace, USERS, lambda job: user_tables(_counted(rows, job.stats), stats=job.stats),
        mode=mode, max_rejected=max_rejected, allow_empty=allow_empty, progress=progress,
    )  # fmt: skip


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

    def tables(job: ImportJob) -> Generator[pa.Table]:
        rules = EventRules(known_items(job.workspace.storage), job.now_s)
        for batch in batches:
            first = job.stats.num_read + 1
            job.stats.count(batch.num_rows)
            block = table_block(batch, _MEMORY, np.arange(first, first + batch.num_rows))
            yield events_of(block, _columns_of(batch), rules, stats=job.stats)

    return run_import(
        workspace, INTERACTIONS, tables, mode=mode, rule=WeightRule(repeats, neutral_value), now_s=now_s,
        max_rejected=max_rejected, allow_empty=allow_empty, progress=progress,
    )  # fmt: skip


def run_import(
    workspace: Workspace,
    kind: Kind,
    tables: Callable[[ImportJob], Generator[pa.Table]],
    *,
    mode: Mode,
    max_rejected: float,
    allow_empty: bool,
    progress: Progress | None,
    rule: WeightRule | None = None,
    now_s: int | None = None,
    time_format: str = "s",
    dry_run: bool = False,
    allow_repeated: bool = False,
    is_timed: bool = False,
    ends: LogPositions | None = None,
) -> ImportReport:
    """Writes the rows of `tables(job)`, which counts and rejects as it goes, and makes them live.

    `ends`: the last changes made online that are older than these rows; by default those of now.
    """
    append, ends = is_append(mode), ends or log_ends(workspace.storage)
    now_s = int(time.time()) if now_s is None else now_s
    with ExitStack() as stack:
        scratch = stack.enter_context(scratch_folder())
        # A dry run leaves the quarantine of the last import alone.
        storage = Storage(str(scratch / "dry-run")) if dry_run else workspace.storage
        check_alone = stack.enter_context(one_import_of(storage, [kind.name]))
        stats = ReadStats(storage, kind.name, max_rejected=max_rejected, progress=progress)
        files = None
        if kind.stored_files is not None:
            before = kind.stored_files(workspace.storage) if append else ()
            # An append takes events with a time that are stored already for the same ones.
            is_sum = rule is None or rule.repeats == "sum"
            files = ImportedFiles(frozenset(before), is_sum and not is_timed, is_sum, allow_repeated, stats.note)
        job = ImportJob(workspace, stats, scratch, append, ends, now_s, rule or WeightRule(), time_format, files)
        if dry_run:
            for _ in tables(job):
                pass
            return replace(report_of([], [stats]), is_dry_run=True, quarantine=())
        try:
            with closing(tables(job)) as rows:  # an early end ends the threads that read, too
                staged = kind.write(rows, job)
        finally:
            stats.flush()  # after an error, too, so that it can be traced
        check_not_empty(workspace.storage, [staged], allow_empty=allow_empty)
        check_alone()
        staged.publish(workspace.storage)
    return report_of([staged], [stats])


def source_blocks(
    sources: Sequence[Source],
    wanted: list[str],
    read: Callable[..., Iterator[RowBlock]],
    job: ImportJob,
    keys: set[str],
    *,
    is_alone: bool,
) -> Generator[RowBlock]:
    """Reads the rows of all sources, with the columns that their folders give; `keys` is filled by a format without header.

    `is_alone`: an empty source is an error, as there is not even a header. A source is read a second time beside, for its
    digest, where that is wanted; an early end stops that, too.
    """
    stats, files, ended = job.stats, job.files, Event()
    with ThreadPoolExecutor(1, "digest") as thread, ExitStack() as at_end:
        at_end.callback(ended.set)
        for source in sources:
            if not is_alone and is_empty(source):
                stats.note(f"{source.name} is empty")
                continue
            digest = thread.submit(source.digest, ended.is_set).result if files is not None else str
            if files is not None and files.before:
                files.check(source.name, digest())
            before = stats.num_read
            constants = {name: source.partition[name] for name in wanted if name in source.partition}
            columns = [name for name in wanted if name not in constants]
            for block in read_ahead(partial(read, source, columns), stats):
                filled = {name: pa.array([value] * block.num_rows, pa.string()) for name, value in constants.items()}
                yield replace(block, columns={**block.columns, **filled}) if filled else block
            if stats.num_read == before:
                stats.note(f"{source.name} has no rows")
            elif files is not None:
                files.add(source.name, digest())


def check_found(sources: Sequence[Source], wanted: Sequence[str], keys: set[str]) -> None:
    """Raises InputError for a wanted column that is neither among the `keys` of any object nor given by a folder."""
    if keys:
        given = {name for source in sources for name in source.partition}
        check_columns(wanted, sorted(keys | given), ", ".join(source.name for source in sources[:3]))


def is_empty(source: Source) -> bool:
    """Returns whether a source has no byte, once decompressed."""
    with source.open() as file:
        return not file.read(1)


def _read_csv(
    source: Source, wanted: list[str], *, encoded: Sequence[str], options: DialectOptions, stats: RowStats
) -> Iterator[RowBlock]:
    dialect = settle_dialect(source, wanted, options, stats.note)
    yield from read_delimited(source, wanted, stats=stats, dialect=dialect, encoded=encoded)
    if options.encoding is None and stats.rejected.get("bad UTF-8"):
        stats.note(
            "rows that are not UTF-8 were rejected: --encoding cp1252 or latin-1 reads a file in another encoding"
        )


def _with(read: Callable[..., Iterator[RowBlock]], *names: str) -> Callable[..., Iterator[RowBlock]]:
    """Returns a reader that is given those of the further arguments that it needs."""
    return lambda source, wanted, **more: read(source, wanted, **{name: more[name] for name in ("stats", *names)})


#: Format -> reads the rows of a source, of the columns named, in blocks; takes the arguments of all readers by name.
READERS: Final[Mapping[str, Callable[..., Iterator[RowBlock]]]] = {
    "csv": _with(_read_csv, "encoded", "options"),
    "jsonl": _with(read_jsonl, "keys"),
    "parquet": _with(read_parquet, "ids"),
    "lists": _with(read_lists),
    "ntriples": _with(read_ntriples),
    "turtle": _with(read_turtle),
}


def _columns_of(batch: pa.RecordBatch | pa.Table) -> ColumnMap:
    there = batch.schema.names
    missing = [name for name in ("user_id", "item_id") if name not in there]
    if missing:
        raise InputError(
            f"a batch without {missing[0]}", expected=f"user_id and item_id among {there}", remedy="Rename the columns."
        )
    value, timestamp = (name if name in there else None for name in ("value", "timestamp"))
    return ColumnMap(value=value, timestamp=timestamp)


def _counted(rows: Iterable[Any], stats: ReadStats) -> Iterator[Any]:
    step = 8_192
    num_rows = 0
    for num_rows, row in enumerate(rows, start=1):
        if num_rows % step == 0:
            stats.count(step)
        yield row
    stats.count(num_rows % step)


def _choice(name: str, value: str, choices: Mapping[str, T]) -> T:
    if value not in choices:
        raise InputError(f"{name} = {value!r}", expected=f"one of {', '.join(choices)}", remedy="Choose one of them.")
    return choices[value]
