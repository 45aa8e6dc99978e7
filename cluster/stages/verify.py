"""Verifying a run away from the driver."""

from __future__ import annotations

import time

from cluster.compute import Compute
from semrec.progress import Progress
from semrec.runs import Verification, newest_run, verify_run
from semrec.workspace import Workspace

__all__ = ["verify"]


def verify(
    workspace: Workspace, run_id: str | None, *, compute: Compute, progress: Progress, num_sampled: int = 8
) -> Verification:
    """Verifies a run (None: the one finished last); see `semrec.runs.verify_run`."""
    started_s = time.monotonic()
    run_id = run_id or newest_run(workspace.storage)
    progress.start("verify", 0, "parts")
    found: Verification = compute.run(verify_run, workspace.storage, run_id, num_sampled=num_sampled)
    compute.metrics.observe("semrec_stage_seconds", time.monotonic() - started_s, stage="verify")
    checked = f"{found.num_parts} parts, {found.num_users:,} users once each, {found.num_rescored} rescored"
    progress.finish(checked if found.ok else f"{len(found.problems)} bad parts")
    return found
