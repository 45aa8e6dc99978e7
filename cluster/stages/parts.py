"""Runs the parts of a stage: reads its ledger, reuses earlier parts, calls the executor, reports progress and metrics."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from cluster.compute import Compute
from cluster.pool import WorkerSpec
from semrec.metrics import Metrics
from semrec.progress import Progress
from semrec.workspace.ledger import Ledger, PartRecord, Plan, sum_counts

__all__ = ["PartsReport", "ProgressSink", "do_parts"]


@dataclass(frozen=True)
class PartsReport:
    """The counts of parts that one submission of a plan did, reused and found done."""

    planned: int
    committed: int  # before this submission
    reused: int  # copied from earlier runs
    computed: int
    retried: int
    computed_counts: dict[str, int]
    startup_s: float  # until the first part was handed to a worker
    seconds: float

    def __str__(self) -> str:
        phrases = [f"{self.computed} of {self.planned} parts computed"]
        if self.committed:
            phrases.append(f"{self.committed} committed before")
        if self.reused:
            phrases.append(f"{self.reused} reused")
        if self.retried:
            phrases.append(f"{self.retried} retried")
        return ", ".join(phrases)


@dataclass(frozen=True)
class ProgressSink:
    """The receivers of a stage's progress: a listener, how many units a committed part is worth, and the part's metrics."""

    progress: Progress
    unit: str  # users, items, events
    units: Callable[[PartRecord], int]
    export_part: Callable[[PartRecord, Metrics], None] = lambda record, metrics: None


def do_parts(
    stage: str,
    ledger: Ledger,
    plan: Plan,
    spec: WorkerSpec,
    compute: Compute,
    sink: ProgressSink,
    *,
    num_groups: int,
    redo: frozenset[int] = frozenset(),
    reuse: Callable[[list[int]], list[PartRecord]] = lambda pending: [],
    check_inputs: Callable[[], object] = lambda: None,
) -> PartsReport:
    """Does every part of `plan` that is not committed, or that is named in `redo`. The caller holds the lease.

    `reuse` commits pending parts that earlier runs hold; `check_inputs` raises when what all parts read is damaged, and is
    asked only when there is something to do. Raises what the executor raises.
    """
    started_s, metrics = time.monotonic(), compute.metrics
    ledger.open(plan)
    pending, _ = ledger.pending(plan)
    reused = {record.part for record in reuse(pending)} if pending else set()
    todo = sorted((set(pending) - reused) | redo)
    if todo:
        check_inputs()
    metrics.add("semrec_parts_planned_total", len(plan.parts), stage=stage)
    metrics.add("semrec_parts_reused_total", len(plan.parts) - len(todo), stage=stage)
    num_rows = {part.part: part.num_rows for part in plan.parts}
    sink.progress.start(stage, sum(num_rows[part] for part in todo), sink.unit)
    metrics.set("semrec_parts_open", len(todo), stage=stage)
    counts_by_part: list[dict[str, int]] = []
    num_retries: Counter[int] = Counter()

    def on_done(record: PartRecord) -> None:
        counts_by_part.append(record.counts)
        metrics.add("semrec_parts_committed_total", stage=stage)
        metrics.set("semrec_parts_open", len(todo) - len(counts_by_part), stage=stage)
        sink.export_part(record, metrics)
        sink.progress.advance(sink.units(record))

    def on_retry(part: int, reason: str) -> None:
        num_retries[part] += 1
        metrics.add("semrec_parts_retried_total", stage=stage)
        sink.progress.note(f"part {part} goes to a worker again ({reason})")

    startup_s = compute.run_parts(spec, todo, num_groups, on_done, on_retry) if todo else 0.0
    seconds = time.monotonic() - started_s
    metrics.observe("semrec_stage_seconds", seconds, stage=stage)
    report = PartsReport(
        planned=len(plan.parts),
        committed=len(plan.parts) - len(reused) - len(todo),
        reused=len(reused),
        computed=len(todo),
        retried=num_retries.total(),
        computed_counts=sum_counts(counts_by_part),
        startup_s=startup_s,
        seconds=seconds,
    )
    sink.progress.finish(str(report))
    return report
