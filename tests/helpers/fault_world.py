"""Runs that are disturbed on purpose: drivers to kill, whom to kill and when, and what must not have changed."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
from ray.cluster_utils import Cluster

from cluster.compute import Compute
from cluster.stages.score import ScoreResult, score_users
from helpers.local_processes import wait_until
from semrec.progress import NoProgress
from semrec.release.reader import Release
from semrec.runs.plan import plan_run, run_folder
from semrec.runs.verify import verify_run
from semrec.settings import ScoreSettings
from semrec.workspace.folder import Workspace
from semrec.workspace.ledger import Ledger

__all__ = [
    "DRIVER",
    "EMBED_DRIVER",
    "NUM_PARTS",
    "WAIT_S",
    "K",
    "actor_pids",
    "assert_undisturbed",
    "copied",
    "ledger_of",
    "num_committed",
    "score",
    "start_driver",
    "when_committed",
]

NUM_PARTS = 24
K = 10
WAIT_S = 180


def copied(prepared: Path, target: Path) -> Workspace:
    subprocess.run(["cp", "-r", str(prepared), str(target / "w")], check=True)
    return Workspace.open(str(target / "w"))


def score(
    workspace: Workspace, compute: Compute, engine: str = "reference", num_shards: int | None = None
) -> ScoreResult:
    settings = ScoreSettings(k=K)
    return score_users(
        workspace, settings, compute=compute, progress=NoProgress(), engine=engine, num_shards=num_shards
    )


def ledger_of(workspace: Workspace) -> Ledger:
    release = next(iter(workspace.storage.list_folders("releases")))
    plan = plan_run(Release(workspace.storage, release), ScoreSettings(k=K))
    return Ledger(workspace.storage, run_folder(plan.run_id))


def num_committed(workspace: Workspace) -> int:
    return len(workspace.storage.list_sizes(f"{ledger_of(workspace).folder}/ledger"))


def when_committed(workspace: Workspace, count: int, action: Callable[[], None]) -> threading.Thread:
    """Does `action` in a thread once `count` parts are committed."""

    def watch() -> None:
        wait_until(lambda: num_committed(workspace) >= count, WAIT_S)
        action()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def actor_pids(cluster: Cluster) -> list[int]:
    """Worker processes of this cluster that hold a PartActor, the one that did least first: it may still be starting."""
    raylets = [info.process.pid for node in cluster.list_all_nodes() for info in node.all_processes["raylet"]]
    found = []
    for child in [child for pid in raylets for child in psutil.Process(pid).children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):  # zombies are dead, too
            if "PartActor" in " ".join(child.cmdline()):
                found.append((sum(child.cpu_times()[:2]), child.pid))
    return [pid for _, pid in sorted(found)]


def assert_undisturbed(workspace: Workspace, result: ScoreResult, undisturbed: ScoreResult) -> None:
    """The same run, the same bytes, every user exactly once."""
    assert result.run_id == undisturbed.run_id
    assert result.manifest.content_digest == undisturbed.manifest.content_digest
    found = verify_run(workspace.storage, result.run_id, num_sampled=2)
    assert found.problems == []
    assert found.num_users == 1_500


DRIVER = """
import sys
from cluster.compute import ComputeOptions, open_compute
from cluster.stages.score import score_users
from semrec.progress import NoProgress
from semrec.settings import ScoreSettings
from semrec.workspace.folder import Workspace

workspace, address = sys.argv[1:]
with open_compute(ComputeOptions(in_process=not address, address=address or None)) as compute:
    settings = ScoreSettings(k=10)
    score_users(Workspace.open(workspace), settings, compute=compute, progress=NoProgress(), engine="reference")
"""


EMBED_DRIVER = """
import sys
from cluster.compute import ComputeOptions, open_compute
from cluster.stages.embed import embed_catalogue
from semrec.encoders.settings import EmbedSettings
from semrec.progress import NoProgress
from semrec.workspace.folder import Workspace

with open_compute(ComputeOptions(address=sys.argv[2])) as compute:
    embed_catalogue(Workspace.open(sys.argv[1]), EmbedSettings(), compute=compute, progress=NoProgress())
"""


def start_driver(workspace: Workspace, address: str, script: str = DRIVER) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", script, workspace.uri, address]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
