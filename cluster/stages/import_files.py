"""Imports many files on a cluster or in this process, a part each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.compute import Compute
from cluster.pool import WorkerSpec
from cluster.stages.parts import ProgressSink, do_parts
from semrec.data import ColumnMap, DialectOptions, ImportReport
from semrec.data.file_parts import ReadFileWorker, finish_file_import, plan_file_import
from semrec.progress import Progress
from semrec.workspace.folder import Workspace
from semrec.workspace.lease import Lease
from semrec.workspace.ledger import Ledger

__all__ = ["import_files"]


def import_files(
    workspace: Workspace,
    source: str | Path | Sequence[str | Path],
    *,
    fmt: str,
    kind: str,
    columns: ColumnMap,
    compute: Compute,
    progress: Progress,
    dialect: DialectOptions | None = None,
    time_format: str = "auto",
    now_s: int | None = None,
    **rules: Any,
) -> ImportReport:
    """Imports as `semrec.data.import_table` does, to the same bytes: workers read the files, which all of them must reach.

    Submitted again after a kill it reads only the files that are missing. `rules` are those of `finish_file_import`.
    """
    job = plan_file_import(
        workspace, source, fmt=fmt, kind=kind, columns=columns, dialect=dialect, time_format=time_format, now_s=now_s
    )
    with Lease(workspace.storage, job.folder):
        devices = compute.devices(kind="cpu")
        spec = WorkerSpec(ReadFileWorker, {"workspace": workspace, "job": job}, num_cpus=devices.cpus)
        sink = ProgressSink(progress, "files", lambda record: 1)
        ledger = Ledger(workspace.storage, job.folder)
        do_parts("import", ledger, job.plan, spec, compute, sink, num_groups=devices.count)
        return finish_file_import(workspace, job, **rules)
