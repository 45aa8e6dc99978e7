"""The head node dies in the middle of a run; a new one finds the cluster's state in Redis, and the run goes on."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from cluster.compute import InProcess
from cluster.stages.release import build_release
from cluster.stages.score import score_users
from helpers.local_processes import accepts, free_port, kill_family, wait_until
from semrec.bench.generated import generated_events, write_catalogue
from semrec.data import import_interactions
from semrec.progress import NoProgress
from semrec.runs.plan import find_runs, run_folder
from semrec.runs.verify import verify_run
from semrec.settings import ReleaseSettings, ScoreSettings
from semrec.workspace.folder import Workspace
from semrec.workspace.manifests import RunManifest

HEAD, WORKERS = "127.0.0.2", "127.0.0.3"  # two hosts of one machine: a new head takes the address of the old one
NUM_PARTS, NUM_USERS, K = 24, 2_400, 10
WAIT_S = 180

DRIVER = """
import sys
import ray
from cluster.compute import ComputeOptions, open_compute
from cluster.stages.score import score_users
from semrec.progress import NoProgress
from semrec.settings import ScoreSettings
from semrec.workspace.folder import Workspace

workspace, address, node = sys.argv[1:]
ray.init(address=address, _node_ip_address=node)
with open_compute(ComputeOptions(num_workers=2)) as compute:
    settings = ScoreSettings(k=10)
    score_users(Workspace.open(workspace), settings, compute=compute, progress=NoProgress(), engine="reference")
"""


def test_a_run_survives_the_head(tmp_path: Path) -> None:
    """`kill -9` of every process of the head: the driver and the workers of the other node wait and go on."""
    undisturbed, workspace = prepared(tmp_path / "undisturbed"), prepared(tmp_path / "w")
    expected = score_users(
        undisturbed, ScoreSettings(k=K), compute=InProcess(), progress=NoProgress(), engine="cpu"
    ).manifest.content_digest
    with started_redis() as redis, closing(Hosts(redis)) as hosts:
        first = hosts.start_head()
        hosts.start_workers()
        driver = hosts.start("driver", [sys.executable, "-c", DRIVER, workspace.uri, hosts.gcs, WORKERS])
        wait_until(lambda: num_committed(workspace) >= 3, WAIT_S, report=hosts.logs)
        kill_family(first)
        assert not accepts(hosts.gcs)
        assert num_committed(workspace) < NUM_PARTS  # it was in the middle
        hosts.start_head()
        assert driver.wait(WAIT_S) == 0, hosts.logs()
    (run,) = find_runs(workspace.storage)
    assert RunManifest.read(workspace.storage, run).content_digest == expected
    found = verify_run(workspace.storage, run, num_sampled=2)
    assert (found.problems, found.num_users) == ([], NUM_USERS)


def prepared(folder: Path) -> Workspace:
    """A workspace whose release takes the reference engine some seconds to score."""
    workspace = Workspace.create(str(folder), num_buckets=NUM_PARTS)
    item_ids = [f"item-{n:05d}" for n in range(6_000)]
    vectors = np.random.default_rng(5).standard_normal((len(item_ids), 32)).astype(np.float32)
    write_catalogue(workspace, item_ids, vectors)
    import_interactions(workspace, generated_events(item_ids, NUM_USERS, events_per_user=4, seed=1))
    build_release(workspace, ReleaseSettings(), embedding=None, compute=InProcess(), progress=NoProgress())
    return workspace


def num_committed(workspace: Workspace) -> int:
    return sum(len(workspace.storage.list_sizes(f"{run_folder(run)}/ledger")) for run in find_runs(workspace.storage))


@dataclass
class Hosts:
    """The processes of a cluster whose head keeps its state in Redis. Everything on loopback addresses."""

    redis: str
    gcs: str = field(default_factory=lambda: f"{HEAD}:{free_port(HEAD)}")
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp")))
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_head(self) -> subprocess.Popen[bytes]:
        """A head of its own temporary folder, as on a new machine, with the address of any head before it."""
        port, client = self.gcs.partition(":")[2], str(free_port(HEAD))
        name = f"h{len(self.processes)}"
        head = self.start_node(
            name, HEAD, "--head", "--port", port, "--ray-client-server-port", client, "--num-cpus", "0"
        )
        wait_until(lambda: accepts(self.gcs), WAIT_S, report=self.logs)
        return head

    def start_workers(self) -> subprocess.Popen[bytes]:
        return self.start_node("w", WORKERS, "--address", self.gcs, "--num-cpus", "2")

    def start_node(self, name: str, address: str, *options: str) -> subprocess.Popen[bytes]:
        common = ["--block", "--disable-usage-stats", "--node-ip-address", address, "--num-gpus", "0"]
        memory = ["--object-store-memory", str(80 * 1024**2)]
        # Every node has a folder of its own, as it would have on a machine of its own.
        folder = ["--temp-dir", str(self.folder / name), "--include-dashboard", "false"]
        head = folder if "--head" in options else folder[:2]
        return self.start(
            name, [sys.executable, "-m", "ray.scripts.scripts", "start", *options, *common, *memory, *head]
        )

    def start(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                command,
                env=self.environment(),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        ours = {
            "RAY_AUTH_MODE": "disabled",
            "RAY_REDIS_ADDRESS": self.redis,
            "RAY_gcs_rpc_server_reconnect_timeout_s": str(WAIT_S),  # how long nodes and drivers wait for a head
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        }
        return {**kept, **ours}

    def logs(self) -> str:
        return "\n".join(f"== {path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.folder.glob("*.log")))

    def close(self) -> None:
        for process in reversed(self.processes):
            kill_family(process)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def closing(hosts: Hosts) -> Iterator[Hosts]:
    try:
        yield hosts
    finally:
        hosts.close()


@contextlib.contextmanager
def started_redis() -> Iterator[str]:
    """A redis-server on a free loopback port, in memory only: host:port."""
    program = shutil.which("redis-server")
    if not program:
        pytest.skip("NOT TESTED: no redis-server on PATH (Debian: apt-get install redis-server)")
    port = free_port()
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: accepts(f"127.0.0.1:{port}"), WAIT_S)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)
