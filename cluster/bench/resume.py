"""Measures whole runs: users per second with memory, and what a resubmission costs after a kill."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass

from cluster.compute import Compute
from cluster.stages.release import build_release
from cluster.stages.score import ScoreResult, score_users
from semrec.bench.generated import generated_events
from semrec.data import import_interactions
from semrec.errors import IncompleteRunError
from semrec.progress import Progress
from semrec.release.reader import Release
from semrec.runs.plan import plan_run, run_folder
from semrec.settings import ReleaseSettings, ScoreSettings
from semrec.workspace.folder import Workspace
from semrec.workspace.ledger import Ledger
from semrec.workspace.manifests import CatalogueManifest
from semrec.workspace.storage import Storage
from semrec.workspace.tables import read_parts

__all__ = ["ResumeBench", "RunBench", "bench_resume", "bench_run", "release_of_generated_users"]

_POLL_S = 0.2


@dataclass(frozen=True)
class RunBench:
    """One undisturbed run. `users_per_s` leaves the start of the workers out."""

    run: str
    num_users: int
    num_items: int
    k: int
    users_per_s: float
    startup_s: float
    seconds: float
    peak_memory_bytes: int  # of the largest worker process
    content_digest: str


@dataclass(frozen=True)
class ResumeBench:
    """A run whose driver was killed, then submitted again; seconds without the start of the workers."""

    full: RunBench
    killed_at_share: float  # of parts committed when the driver was gone
    parts_repeated: int  # computed by the second submission
    resumed_s: float
    share_of_full: float  # resumed_s / the full run's seconds
    same_digest: bool


def release_of_generated_users(
    workspace: Workspace, num_users: int, *, compute: Compute, progress: Progress, seed: int = 11
) -> str:
    """Replaces the interactions by those of generated users, 10 events each, and builds the release; returns its id."""
    remedy = "Import a catalogue."
    catalogue = CatalogueManifest.read(workspace.storage, remedy=remedy)
    item_ids = sorted(read_parts(workspace.storage, catalogue.parts, ["item_id"]).column("item_id").to_pylist())
    import_interactions(workspace, generated_events(item_ids, num_users, events_per_user=10, seed=seed))
    return build_release(workspace, ReleaseSettings(), embedding=None, compute=compute, progress=progress).release_id


def bench_run(workspace: Workspace, release_id: str, k: int, *, compute: Compute, progress: Progress) -> RunBench:
    """Scores the release from nothing and measures it."""
    compute.close()  # start and peak memory shall be those of this run
    forget_run(workspace.storage, release_id, k)
    result = score_users(workspace, ScoreSettings(k=k), compute=compute, progress=progress, release_id=release_id)
    return _measured(workspace.storage, result)


def bench_resume(
    workspace: Workspace, release_id: str, k: int, *, kill_at: float, compute: Compute, progress: Progress
) -> ResumeBench:
    """Scores from nothing; forgets it; scores in another process, kills that at `kill_at`, and submits again."""
    full = bench_run(workspace, release_id, k, compute=compute, progress=progress)
    compute.close()  # the other process may work on the same cluster
    forget_run(workspace.storage, release_id, k)
    release = Release(workspace.storage, release_id)
    ledger = Ledger(workspace.storage, run_folder(plan_run(release, ScoreSettings(k=k)).run_id))
    num_parts = len(release.manifest.users)
    _kill_driver(workspace, release_id, k, ledger, round(kill_at * num_parts))
    result = score_users(workspace, ScoreSettings(k=k), compute=compute, progress=progress, release_id=release_id)
    parts = result.parts
    resumed_s = parts.seconds - parts.startup_s
    return ResumeBench(
        full,
        parts.committed / num_parts,
        parts.computed,
        resumed_s,
        resumed_s / (full.seconds - full.startup_s),
        result.manifest.content_digest == full.content_digest,
    )


def forget_run(storage: Storage, release_id: str, k: int) -> None:
    """Removes the run of this release and K, so that it starts from nothing."""
    folder = run_folder(plan_run(Release(storage, release_id), ScoreSettings(k=k)).run_id)
    for inner in ("ledger", "parts"):
        for name in storage.list_sizes(f"{folder}/{inner}"):
            storage.delete(f"{folder}/{inner}/{name}")
    for name in storage.list_sizes(folder):
        storage.delete(f"{folder}/{name}")


def _kill_driver(workspace: Workspace, release_id: str, k: int, ledger: Ledger, num_parts: int) -> None:
    command = [sys.executable, "-m", "jobs.score_users", "--workspace", workspace.uri, "--k", str(k)]
    driver = subprocess.Popen([*command, "--release", release_id], stdout=subprocess.DEVNULL)
    while len(workspace.storage.list_sizes(f"{ledger.folder}/ledger")) < num_parts:
        if driver.poll() is not None:
            raise IncompleteRunError(
                f"the driver ended with {driver.returncode} before it could be killed",
                expected="a run long enough to be killed",
                remedy="Use more users.",
            )
        time.sleep(_POLL_S)
    driver.kill()
    driver.wait()


def _measured(storage: Storage, result: ScoreResult) -> RunBench:
    records = Ledger(storage, run_folder(result.run_id)).records().values()
    num_users, parts = result.manifest.num_rows, result.parts
    return RunBench(
        result.run_id,
        num_users,
        Release(storage, result.manifest.release).num_items,
        result.manifest.k,
        num_users / (parts.seconds - parts.startup_s),
        parts.startup_s,
        parts.seconds,
        max(record.made_by["peak_memory_bytes"] for record in records),
        result.manifest.content_digest,
    )
