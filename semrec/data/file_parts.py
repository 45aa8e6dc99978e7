"""Imports many files part by part: each is read and checked by whichever worker is free, and all become live at once.

A part is one file. Its accepted and its rejected rows are stored below `imports/<run>/`, with a record in the ledger, so a
second try of the same import reads only the files that are missing. The rows are then written as by `import_table`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from semrec.contracts import QUARANTINE_SCHEMA, part_name
from semrec.data.ahead import RecordedStats
from semrec.data.catalogue import known_items
from semrec.data.columns import ColumnMap
from semrec.data.dialects import DialectOptions
from semrec.data.imports import READERS, check_found, is_empty, run_import, source_blocks
from semrec.data.interactions import WeightRule
from semrec.data.kinds import KINDS, ImportJob, Kind
from semrec.data.known import HasItems
from semrec.data.online import log_ends
from semrec.data.rejects import ReadStats
from semrec.data.report import ImportReport
from semrec.data.sources import Source, find_sources
from semrec.data.staging import scratch_folder
from semrec.data.times import TimeReader
from semrec.errors import InputError
from semrec.workspace.digests import fingerprint
from semrec.workspace.folder import Workspace
from semrec.workspace.ledger import Ledger, PartRecord, Plan, PlannedPart, build_info
from semrec.workspace.log import LogPositions
from semrec.workspace.manifests import CatalogueManifest
from semrec.workspace.quarantine import DEFAULT_MAX_SHARE
from semrec.workspace.records import TableFile
from semrec.workspace.storage import Storage
from semrec.workspace.tables import read_table, write_table

__all__ = ["FileImport", "ReadFileWorker", "finish_file_import", "plan_file_import"]

_TOLD: Final = b"semrec.import"  # the key of the schema's metadata for what a worker tells of its file


@dataclass(frozen=True)
class FileImport:
    """The inputs that the parts of one import share. `ends`: the last online changes that are older than it; `notes`: on
    sources.
    """

    kind: str
    fmt: str
    columns: ColumnMap
    options: DialectOptions
    time_format: str
    now_s: int
    sources: tuple[Source, ...]
    ends: LogPositions
    plan: Plan = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        return f"imports/{self.plan.run_id}"


def plan_file_import(
    workspace: Workspace,
    source: str | Path | Sequence[str | Path],
    *,
    fmt: str,
    kind: str,
    columns: ColumnMap,
    dialect: DialectOptions | None = None,
    time_format: str = "auto",
    now_s: int | None = None,
) -> FileImport:
    """Plans an import whose parts are the files of `source`, which every worker can read. Arguments as of `import_table`.

    A part's fingerprint covers the state of its file and all that its rows depend on, but for `now_s`. Raises InputError as
    `import_table` does, and for a pipe.
    """
    table_kind, options, ends = KINDS[kind], dialect or DialectOptions(), log_ends(workspace.storage)
    table_kind.check(columns)
    notes: list[str] = []
    sources = tuple(find_sources(source, fmt, scratch=None, note=notes.append))
    time_column = table_kind.time_column(columns)
    if time_column is not None and time_format == "auto":
        time_format = _settled_time_format(sources, fmt, table_kind.columns(columns), time_column, options)
    items = [CatalogueManifest.read(workspace.storage).fingerprint, ends.items] if table_kind.needs_items else []
    shared = {
        "kind": kind, "fmt": fmt, "columns": asdict(columns), "dialect": asdict(options), "time_format": time_format,
        "items": items,
    }  # fmt: skip
    settings = json.loads(json.dumps(shared))  # as the ledger reads them again
    parts = [
        PlannedPart(part, fingerprint([settings, file.name, sorted(file.partition.items()), file.identity()]), 1)
        for part, file in enumerate(sources)
    ]
    now_s = int(time.time()) if now_s is None else now_s
    plan = Plan("import", settings, tuple(parts))
    return FileImport(kind, fmt, columns, options, time_format, now_s, sources, ends, plan, tuple(notes))


class ReadFileWorker:
    """Reads and checks files."""

    def __init__(self, workspace: Workspace, job: FileImport) -> None:
        self._workspace, self._storage, self._job = workspace, workspace.storage, job
        self._kind: Kind = KINDS[job.kind]
        self._known: HasItems | None = known_items(self._storage) if self._kind.needs_items else None

    def run_part(self, part: int) -> PartRecord:
        """Stores and commits the rows of one file. All of them are in memory, encoded: about half the size of the text."""
        job, source, keys = self._job, self._job.sources[part], set[str]()
        with scratch_folder() as scratch:
            rejected_storage = Storage(str(scratch / "rejected"))
            stats = ReadStats(rejected_storage, job.kind, max_rejected=1.0)
            times = TimeReader(job.time_format)
            import_job = ImportJob(
                self._workspace, stats, scratch, append=False, ends=job.ends, now_s=job.now_s, rule=WeightRule(),
                time_format=job.time_format, known=self._known, times=times,
            )  # fmt: skip
            names, ids = self._kind.columns(job.columns), self._kind.id_columns(job.columns)
            encoded = self._kind.repeating_columns(job.columns)
            read = partial(READERS[job.fmt], ids=ids, encoded=encoded, options=job.options, keys=keys)
            blocks = source_blocks([source], names, read, import_job, keys, is_alone=len(job.sources) == 1)
            tables = list(self._kind.tables(blocks, job.columns, import_job))
            stats.flush()
            rejected = _quarantined(rejected_storage)
        rows = pa.concat_tables(tables or [self._kind.schema.empty_table()]).unify_dictionaries()
        told = {
            "num_read": stats.num_read, "notes": stats.notes, "keys": sorted(keys), "unit": times.unit,
            "digest": source.digest() if self._kind.stored_files else "",
            "rejected": self._write("rejected", part, rejected).to_json(),
        }  # fmt: skip
        file = self._write("rows", part, rows.replace_schema_metadata({_TOLD: json.dumps(told)}))
        counts = {"read": stats.num_read, "rejected": rejected.num_rows}
        record = PartRecord(part, job.plan.parts[part].fingerprint, file, counts, build_info())
        Ledger(self._storage, job.folder).commit(record)
        return record

    def _write(self, name: str, part: int, table: pa.Table) -> TableFile:
        stem = f"{self._job.folder}/{name}/{part_name(part)}"
        return write_table(self._storage, stem, table, digest_in_name=False)


def finish_file_import(
    workspace: Workspace,
    job: FileImport,
    *,
    mode: Any = "replace",
    repeats: Any = "sum",
    neutral_value: float = 0.0,
    max_rejected: float = DEFAULT_MAX_SHARE,
    allow_empty: bool = False,
    allow_repeated: bool = False,
) -> ImportReport:
    """Makes the rows of all files live, and removes what the workers stored. Arguments and errors as of `import_table`.

    Raises IncompleteRunError while files are missing, and InputError when they disagree on what digits mean as times.
    """
    storage, kind = workspace.storage, KINDS[job.kind]
    records = Ledger(storage, job.folder).finished_records(job.plan)

    def tables(import_job: ImportJob) -> Generator[pa.Table]:
        stats, files, keys, units = import_job.stats, import_job.files, set[str](), dict[str, str]()
        for note in job.notes:
            stats.note(note)
        for source, record in zip(job.sources, records, strict=True):
            rows = read_table(storage, record.table)
            told = json.loads(rows.schema.metadata[_TOLD])
            if files is not None:
                files.check(source.name, told["digest"])
            stats.count(told["num_read"])
            for row in read_table(storage, TableFile.model_validate(told["rejected"])).to_pylist():
                reason, _, detail = row["reason"].partition(": ")
                stats.reject(row["file"], row["line"], reason, row["row"], detail=detail)
            for note in told["notes"]:
                stats.note(note)
            if files is not None and told["num_read"]:
                files.add(source.name, told["digest"])
            keys.update(told["keys"])
            if told["unit"]:
                units.setdefault(told["unit"], source.name)
            yield rows.replace_schema_metadata(None)
        check_found(job.sources, kind.columns(job.columns), keys)
        if len(units) > 1:
            raise InputError(
                f"digits of {job.columns.timestamp} in several units: {units}",
                expected="one for the whole column",
                remedy="Say it with --time-format, or import the files apart.",
            )

    report = run_import(
        workspace, kind, tables, mode=mode, rule=WeightRule(repeats, neutral_value), now_s=job.now_s,
        time_format=job.time_format, max_rejected=max_rejected, allow_empty=allow_empty, allow_repeated=allow_repeated,
        progress=None, is_timed=job.columns.timestamp is not None, ends=job.ends,
    )  # fmt: skip
    for folder in ("rows", "rejected", "ledger"):
        for name in storage.list_sizes(f"{job.folder}/{folder}"):
            storage.delete(f"{job.folder}/{folder}/{name}")
    storage.delete(f"{job.folder}/plan.json")
    return report


def _settled_time_format(
    sources: Sequence[Source], fmt: str, columns: Sequence[str], time_column: str, options: DialectOptions
) -> str:
    """Returns the unit of digits in the first block, which settles it in one process, too; "auto" where it has none."""
    source = next((source for source in sources if not is_empty(source)), None)
    if source is None or time_column in source.partition:
        return "auto"
    stored = [name for name in columns if name not in source.partition]
    blocks = READERS[fmt](source, stored, ids=[], encoded=[], options=options, stats=RecordedStats(), keys=set())
    times = TimeReader("auto")
    if block := next(blocks, None):
        times.seconds(block.columns[time_column])
    return times.unit or "auto"


def _quarantined(storage: Storage) -> pa.Table:
    """Returns the rows that were rejected, in order."""
    folder = "quarantine/import"
    files = [storage.read_bytes(f"{folder}/{name}") for name in storage.list_sizes(folder)]
    tables = [pq.read_table(pa.BufferReader(data)) for data in files]
    return pa.concat_tables([QUARANTINE_SCHEMA.empty_table(), *tables])
