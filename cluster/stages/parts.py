"""What the stages that work in parts have in common: lease, ledger, reuse, executor, progress, metrics."""

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

__all__ = ["PartsReport", "Watch", "do_parts"]


@dataclass(frozen=True)
class PartsReport:
    """What one submission did with the parts of a plan."""

    planned: int
    standing: int  # committed before this submission
    reused: int  # copied from earlier runs
    computed: int
    retried: int
    computed_counts: dict[str, int]
    startup_s: float  # until the first part was handed to a worker
    seconds: float

    def __str__(self) -> str:
        bits = [f"{self.computed} of {self.planned} parts computed"]
        bits += [f"{self.standing} stood"] * bool(self.standing) + [f"{self.reused} reused"] * bool(self.reused)
        bits += [f"{self.retried} retried"] * bool(self.retried)
        return ", ".join(bits)


@dataclass(frozen=True)
class Watch:
    """Who is told: the progress listener, and how many units (users, texts) a committed part is worth."""

    progress: Progress
    unit: str
    units: Callable[[PartRecord], int]
    on_part: Callable[[PartRecord, Metrics], None] = lambda record, metrics: None


def do_parts(
    stage: str,
    ledger: Ledger,
    plan: Plan,
    spec: WorkerSpec,
    compute: Compute,
    watch: Watch,
    *,
    num_groups: int,
    again: frozenset[int] = frozenset(),
    reuse: Callable[[list[int]], list[PartRecord]] = lambda pending: [],
    check_inputs: Callable[[], object] = lambda: None,
) -> PartsReport:
    """Does every part of `plan` that is not committed, or that is named in `again`. The caller holds the lease.

    `reuse` commits pending parts that earlier runs hold; `check_inputs` raises when what all parts read is damaged, and is
    asked only when there is something to do.
    """
    started_s, metrics = time.monotonic(), compute.metrics
    ledger.open(plan)
    pending, _ = ledger.pending(plan)
    reused = reuse(pending) if pending else []
    taken = {record.part for record in reused}
    todo = sorted((set(pending) - taken) | set(again))
    if todo:
        check_inputs()
    metrics.add("semrec_parts_planned_total", len(plan.parts), stage=stage)
    metrics.add("semrec_parts_reused_total", len(plan.parts) - len(todo), stage=stage)
    num_rows = {part.part: part.num_rows for part in plan.parts}
    watch.progress.start(stage, sum(num_rows[part] for part in todo), watch.unit)
    metrics.set("semrec_parts_open", len(todo), stage=stage)
    done: list[dict[str, int]] = []
    retries: Counter[int] = Counter()

    def on_done(record: PartRecord) -> None:
        done.append(record.counts)
        metrics.add("semrec_parts_committed_total", stage=stage)
        metrics.set("semrec_parts_open", len(todo) - len(done), stage=stage)
        watch.on_part(record, metrics)
        watch.progress.advance(watch.units(record))

    def on_retry(part: int, reason: str) -> None:
        retries[part] += 1
        metrics.add("semrec_parts_retried_total", stage=stage)
        watch.progress.note(f"part {part} goes to a worker again ({reason})")

    startup_s = compute.run_parts(spec, todo, num_groups, on_done, on_retry) if todo else 0.0
    seconds = time.monotonic() - started_s
    metrics.observe("semrec_stage_seconds", seconds, stage=stage)
    report = PartsReport(
        planned=len(plan.parts),
        standing=len(plan.parts) - len(reused) - len(todo),
        reused=len(reused),
        computed=len(todo),
        retried=retries.total(),
        computed_counts=sum_counts(done),
        startup_s=startup_s,
        seconds=seconds,
    )
    watch.progress.finish(str(report))
    return report
