"""Verifies a run away from the driver, and exports how healthy it is beside the one that is live."""

from __future__ import annotations

import time

from cluster.compute import Compute
from semrec.metrics import Metrics
from semrec.progress import Progress
from semrec.runs.health import RunHealth, measure_health, read_health
from semrec.runs.live import Live, read_live
from semrec.runs.plan import newest_run
from semrec.runs.recall import measure_recall
from semrec.runs.verify import Verification, verify_run
from semrec.settings import VerifySettings
from semrec.workspace.folder import Workspace
from semrec.workspace.quarantine import quarantine_shares
from semrec.workspace.recall import RecallManifest

__all__ = ["export_live", "verify"]

_DEFAULTS = VerifySettings()


def verify(
    workspace: Workspace,
    run_id: str | None,
    *,
    compute: Compute,
    progress: Progress,
    num_sampled: int = _DEFAULTS.num_sampled_users,
) -> Verification:
    """Verifies a run (None: the one finished last) and, when it is good, measures its health and recall; see `semrec.runs`."""
    started_s, storage, metrics = time.monotonic(), workspace.storage, compute.metrics
    recall: RecallManifest | None = None
    run_id = run_id or newest_run(storage)
    progress.start("verify", 0, "parts")
    verification: Verification = compute.run(verify_run, storage, run_id, num_sampled=num_sampled)
    if verification.ok:
        _export_health(compute.run(measure_health, storage, run_id), "verified", metrics)
        if live := read_live(storage):
            export_live(live, metrics)
            if health := read_health(storage, live.run):
                _export_health(health, "live", metrics)
        recall = compute.run(measure_recall, storage, run_id)
    for kind, share in quarantine_shares(storage).items():
        metrics.set("semrec_quarantine_share", share, kind=kind)
    metrics.observe("semrec_stage_seconds", time.monotonic() - started_s, stage="verify")
    if verification.ok:
        users = f"{verification.num_users:,} users once each, {verification.num_rescored} rescored"
        progress.finish(f"{verification.num_parts} parts, {users}" + (f", {recall}" if recall else ""))
    else:
        progress.finish(f"{len(verification.problems)} bad parts")
    return verification


def export_live(live: Live, metrics: Metrics) -> None:
    """Exports when the live pair went live."""
    metrics.set("semrec_live_published_timestamp_seconds", live.published_at_s)


def _export_health(health: RunHealth, which: str, metrics: Metrics) -> None:
    """Exports the numbers of a run; `which` is verified or live."""
    metrics.set("semrec_run_users", health.num_users, which=which)
    metrics.set("semrec_run_excluded_items", health.num_excluded, which=which)
    for name, share in health.shares().items():
        metrics.set(f"semrec_run_{name}_share", share, which=which)
