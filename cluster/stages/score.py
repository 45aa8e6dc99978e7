"""Scores all users of a release on a cluster or in this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from cluster.compute import Compute
from cluster.pool import WorkerSpec
from cluster.stages.parts import PartsReport, ProgressSink, do_parts
from semrec.contracts import part_name
from semrec.errors import InputError, PlanChangedError
from semrec.metrics import Metrics
from semrec.planning import predicted_s, read_calibration
from semrec.progress import Progress
from semrec.release.reader import Release, newest_release
from semrec.runs.plan import find_runs, plan_run, reuse_parts, run_folder, run_inputs
from semrec.runs.verify import read_verification
from semrec.runs.worker import ScoreWorker
from semrec.scoring.approximate import check_approximate
from semrec.scoring.engine import check_engine
from semrec.scoring.formats import COMPRESSED_FORMATS
from semrec.settings import ScoreSettings
from semrec.topology import Topology, choose_topology, shard_ranges
from semrec.workspace.folder import Workspace
from semrec.workspace.lease import Lease
from semrec.workspace.ledger import Ledger, PartRecord, Plan
from semrec.workspace.manifests import RunManifest
from semrec.workspace.storage import Storage

__all__ = ["ScoreResult", "score_users"]


@dataclass(frozen=True)
class ScoreResult:
    """The run's id and manifest, the topology of the matrix, and the parts that this submission did."""

    run_id: str
    manifest: RunManifest
    topology: Topology
    parts: PartsReport
    predicted_s: (
        float | None
    )  # of computing its parts, without the start of workers; None without a fitting calibration


def score_users(
    workspace: Workspace,
    settings: ScoreSettings,
    *,
    compute: Compute,
    progress: Progress,
    release_id: str | None = None,
    engine: str | None = None,
    num_shards: int | None = None,
    resume: str | None = None,
) -> ScoreResult:
    """Scores every user of the release (None: the newest), redoing only parts that are not committed or that `verify`
    found bad. `resume` names a run that must be the one this submission continues: PlanChangedError says what differs.
    Approximate lists are made by the cpu engine; InputError is raised for one that makes none.
    """
    storage = workspace.storage
    release = Release(storage, release_id or newest_release(storage))
    plan = plan_run(release, settings)
    if resume and resume != plan.run_id:
        _refuse(storage, plan, resume)
    rule = run_inputs(plan).approximate
    if rule:
        engine = engine or "cpu"
        check_approximate(rule.coarse, engine)
    folder = run_folder(plan.run_id)
    devices = compute.devices(num_shards or 1, kind=_device_of(engine))
    engine = engine or devices.kind
    topology = choose_topology(release.matrix_bytes, devices.count, devices.memory_bytes, forced_shards=num_shards)
    progress.note(str(topology))
    coarse = "" if engine == "reference" else f", coarse format {release.coarse(engine)}"
    approximate = f", approximate lists of {rule.over_fetch} K rows that codes put first" if rule else ""
    progress.note(f"engine {engine}{coarse}{approximate}")
    spec = _worker_spec(storage, folder, plan, release, topology, engine, devices.cpus)
    ledger = Ledger(storage, folder)
    with Lease(storage, folder) as lease:
        if lease.taken_over_from:
            progress.note(f"took over from {lease.taken_over_from}")
        verified = read_verification(storage, plan.run_id)
        report = do_parts(
            "score",
            ledger,
            plan,
            spec,
            compute,
            ProgressSink(progress, "users", lambda record: record.counts["users"], _export_part),
            num_groups=topology.num_replicas,
            redo=frozenset(verified.bad_parts) if verified else frozenset(),
            reuse=lambda pending: reuse_parts(
                ledger,
                plan,
                pending,
                _other_runs(storage, plan.run_id),
                lambda p: f"{folder}/parts/{part_name(p)}.parquet",
            ),
            check_inputs=lambda: compute.run(release.check),
        )
        if verified and verified.bad_parts:
            storage.delete(f"{folder}/verified.json")
        manifest = ledger.finish(plan, RunManifest, {"run": plan.run_id, **plan.settings})
    predicted = _predicted_s(release, engine, settings.k, topology, devices.cpus, report)
    if predicted is not None:
        actual_s = report.seconds - report.startup_s
        progress.note(
            f"predicted {predicted:.1f} s of scoring, took {actual_s:.1f} s ({actual_s / predicted - 1:+.0%})"
        )
    return ScoreResult(plan.run_id, manifest, topology, report, predicted)


def _predicted_s(
    release: Release, engine: str, k: int, topology: Topology, cpus: int, report: PartsReport
) -> float | None:
    calibration = read_calibration(release.storage, engine)
    num_users = report.computed_counts.get("users", 0)
    if calibration is None or not num_users or release.coarse(engine) in COMPRESSED_FORMATS:
        return None  # a calibration is of a format that is chosen for speed
    return predicted_s(
        calibration, num_items=release.num_items, num_users=num_users, dimension=release.dimension, k=k,
        topology=topology, num_threads=cpus,
    )  # fmt: skip


def _other_runs(storage: Storage, run_id: str) -> list[Ledger]:
    return [Ledger(storage, run_folder(run)) for run in find_runs(storage) if run != run_id]


def _refuse(storage: Storage, plan: Plan, resume: str) -> NoReturn:
    """Says how `plan` differs from that of the run to be resumed."""
    ledger = Ledger(storage, run_folder(resume))
    ledger.plan()  # raises when there is no such run, which `open` would begin
    ledger.open(plan)  # raises, naming the difference
    raise PlanChangedError(f"run {plan.run_id}", expected=f"run {resume}", remedy="Submit with that run's settings.")


def _device_of(engine: str | None) -> str | None:
    """Returns the kind of device that an engine needs. Raises InputError for an unknown engine."""
    if engine is None:
        return None
    return "cuda" if check_engine(engine) == "cuda" else "cpu"


def _worker_spec(
    storage: Storage, folder: str, plan: Plan, release: Release, topology: Topology, engine: str, cpus: int
) -> WorkerSpec:
    ranges = shard_ranges(release.num_items, topology.num_shards)
    if topology.num_shards > len(ranges):
        raise InputError(
            f"{topology.num_shards} shards of {release.num_items} items",
            expected="no more shards than items",
            remedy="Force fewer shards.",
        )
    arguments = {"storage": storage, "ledger_folder": folder, "plan": plan, "engine": engine, "num_threads": cpus}
    shards = tuple({"start": a, "stop": b} for a, b in ranges) if topology.num_shards > 1 else ()
    return WorkerSpec(ScoreWorker, arguments, num_cpus=cpus, num_gpus=1 if engine == "cuda" else 0, shards=shards)


def _export_part(record: PartRecord, metrics: Metrics) -> None:
    users = record.counts["users"]
    metrics.add("semrec_users_scored_total", users)
    metrics.add("semrec_users_short_total", record.counts["short"])
    metrics.add("semrec_exhaustive_rows_total", record.counts["exhaustive"])
    if users:
        metrics.observe("semrec_candidates_per_row", record.counts["candidates"] / users)
