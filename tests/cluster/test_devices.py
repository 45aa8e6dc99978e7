"""Who decides between GPU and CPU: the option, on a real Ray whose GPUs are numbers (no CUDA call is made).

What the autoscaler would rent is read where it reads it, from the cluster's state; here nodes come and go by hand.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import torch
from ray._raylet import GcsClient
from ray.autoscaler.v2.sdk import get_cluster_resource_state
from ray.cluster_utils import Cluster

import cluster.compute
from cluster.actors import make_actor
from cluster.compute import ComputeOptions, Devices, InProcess, RayCluster
from cluster.local_ray import start_ray
from cluster.stages.embed import embed_catalogue
from cluster.stages.release import build_release
from cluster.stages.score import score_users
from semrec.encoders.settings import EmbedSettings
from semrec.errors import DeviceError, InputError
from semrec.progress import NoProgress
from semrec.runs.plan import run_folder
from semrec.runs.worker import ScoreWorker
from semrec.settings import ReleaseSettings, ScoreSettings
from semrec.workspace.folder import Workspace

_MEMORY = 24_000_000_000
_GPU = Devices("cuda", 1, _MEMORY, 1)


@pytest.fixture(scope="module")
def head() -> Iterator[Cluster]:
    """A head with one CPU and no GPU."""
    cluster = start_ray(lambda: Cluster(initialize_head=True, head_node_args={"num_cpus": 1}))
    ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def nodes(head: Cluster) -> Iterator[Cluster]:
    """The head alone; nodes that a test adds go with it."""
    yield head
    for node in list(head.worker_nodes):
        head.remove_node(node)


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Stands in for the one CUDA call; the file is there as soon as a task has held a GPU."""
    file = tmp_path / "looked"
    monkeypatch.setattr(cluster.compute, "_gpu_memory_bytes", _Looked(str(file)))
    return file


class _Looked:
    """Pickled with its class, because workers cannot import this module."""

    def __init__(self, file: str) -> None:
        self.file = file

    def __call__(self) -> int:
        with open(self.file, "w") as out:  # noqa: PTH123 - nothing of this module is there
            out.write("a GPU was held")
        return 24_000_000_000


@pytest.fixture(scope="module", autouse=True)
def _by_value() -> Iterator[None]:
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def _devices(device: str, wait_s: float = 60.0, **options: Any) -> Devices:
    with RayCluster(ComputeOptions(device=device, device_wait_s=wait_s, **options)) as compute:
        return compute.devices()


def _demand() -> list[dict[str, float]]:
    """What the cluster was asked for and does not have: what its autoscaler brings nodes for."""
    state = get_cluster_resource_state(GcsClient(address=ray.get_runtime_context().gcs_address))
    return [dict(one.request.resources_bundle) for one in state.pending_resource_requests]


def _await_demand(wanted: list[dict[str, float]]) -> None:
    ends_s = time.monotonic() + 30
    while _demand() != wanted:
        assert time.monotonic() < ends_s, _demand()
        time.sleep(0.2)


def _takes_s(function: Callable[[], Any]) -> float:
    started_s = time.monotonic()
    function()
    return time.monotonic() - started_s


def test_a_gpu_that_comes_later_is_waited_for(nodes: Cluster, looked: Path) -> None:
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(_devices, "cuda")
        _await_demand([{"CPU": 1.0, "GPU": 1.0}])
        assert not waiting.done() and not looked.exists()
        nodes.add_node(num_cpus=1, num_gpus=1)
        assert waiting.result(60) == _GPU
        _await_demand([])
    assert _devices("auto") == _devices("cuda") == _GPU
    assert _devices("cuda", num_workers=8).count == 8  # the rest comes while the first ones work


def test_after_the_time_the_error_says_what_to_do_and_nothing_is_asked_for_any_more(
    nodes: Cluster, looked: Path
) -> None:
    with pytest.raises(DeviceError) as caught:
        _devices("cuda", wait_s=2)
    assert caught.value.got.startswith("no free GPU in 2 s (on Ray: 1 node, 1 CPUs, 0 GPUs")
    assert caught.value.expected == "a node with a free GPU"
    assert "--device-wait" in caught.value.remedy and "--device cpu" in caught.value.remedy
    _await_demand([])
    nodes.add_node(num_cpus=1, num_gpus=1)
    time.sleep(2)
    assert not looked.exists()
    assert ray.available_resources()["GPU"] == 1


def test_without_the_option_nothing_waits(nodes: Cluster, looked: Path) -> None:
    assert _takes_s(lambda: _devices("auto")) < 1
    assert _devices("auto").kind == "cpu"
    with pytest.raises(DeviceError, match="Use --device cuda on a cluster that scales"):
        RayCluster(ComputeOptions()).devices(kind="cuda")  # an engine that was named
    with pytest.raises(DeviceError, match="no GPU"):
        RayCluster(ComputeOptions(device="cuda"), is_own=True).devices()  # to its own Ray nobody adds a node
    assert not looked.exists()


def test_cpu_takes_no_gpu_where_there_are_some(nodes: Cluster, looked: Path) -> None:
    nodes.add_node(num_cpus=1, num_gpus=2)
    found = _devices("cpu")
    assert (found.kind, found.count, found.cpus) == ("cpu", 2, 1)
    assert RayCluster(ComputeOptions(device="cuda")).devices(kind="cpu") == found  # work that uses none
    assert not looked.exists()
    with pytest.raises(InputError, match="device cpu"):
        RayCluster(ComputeOptions(device="cpu")).devices(kind="cuda")


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_gpus_that_others_hold_are_waited_for_no_longer(nodes: Cluster, looked: Path, device: str) -> None:
    nodes.add_node(num_cpus=1, num_gpus=1)
    holder = make_actor({"num_gpus": 1})
    ray.get(holder.run_function.remote(dict, (), {}), timeout=180)
    with pytest.raises(DeviceError, match=r"1 GPUs, 0 of the GPUs free"):
        _devices(device, wait_s=2)


def test_a_node_whose_gpu_torch_cannot_use_is_named(nodes: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.compute, "_gpu_memory_bytes", _Broken())
    nodes.add_node(num_cpus=1, num_gpus=1)
    with pytest.raises(DeviceError, match="torch cannot use: no driver"):
        _devices("auto")


def test_a_driver_that_torch_refuses_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse() -> tuple[int, int]:
        raise RuntimeError("too old (found version 12080)")

    monkeypatch.setattr(torch.cuda, "mem_get_info", refuse)
    monkeypatch.setattr(cluster.compute, "_DRIVER", tmp_path / "version")
    with pytest.raises(RuntimeError, match=r"12080\); no driver of NVIDIA"):
        cluster.compute._gpu_memory_bytes()
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86\nGCC version: any\n")
    with pytest.raises(RuntimeError, match=r"12080\); NVRM version: .* 570\.86$"):
        cluster.compute._gpu_memory_bytes()


class _Broken:
    def __call__(self) -> int:
        raise RuntimeError("no driver")


def test_in_one_process_there_is_no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert InProcess().devices().kind == InProcess("cpu").devices().kind == "cpu"
    with pytest.raises(DeviceError, match="sees no GPU"):
        InProcess("cuda").devices()
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(cluster.compute, "_gpu_memory_bytes", lambda: _MEMORY)
    assert InProcess().devices(2).kind == InProcess("cuda").devices(2).kind == "cuda"
    assert InProcess("cpu").devices().kind == InProcess("cuda").devices(kind="cpu").kind == "cpu"


@pytest.mark.parametrize("options", [{"device": "gpu"}, {"device_wait_s": 0.0}])
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="auto, cpu, cuda"):
        ComputeOptions(**options)


def test_only_stages_that_use_a_gpu_ask_for_one(world: Any) -> None:
    """With --device cuda on a machine without: the release is built, scoring and embedding refuse."""
    workspace, compute, silent = world.workspace, InProcess("cuda"), NoProgress()
    build_release(workspace, ReleaseSettings(), embedding=None, compute=compute, progress=silent)
    with pytest.raises(DeviceError):
        score_users(workspace, ScoreSettings(k=3), compute=compute, progress=silent)
    with pytest.raises(DeviceError):
        embed_catalogue(workspace, EmbedSettings(), compute=compute, progress=silent)
    assert score_users(workspace, ScoreSettings(k=3), engine="cpu", compute=compute, progress=silent).run_id


class _NotedWorker(ScoreWorker):
    """Scores by the reference and notes which GPU it was given, for which rows and for which parts."""

    notes = ""
    num_workers = 2

    def __init__(self, *arguments: Any, engine: str, start: int = 0, stop: int | None = None, **options: Any) -> None:
        assert engine == "cuda"
        super().__init__(*arguments, engine="reference", start=start, stop=stop, **options)
        self._file = Path(self.notes) / os.environ["CUDA_VISIBLE_DEVICES"]
        self._file.write_text(f"{start} {stop}\n")

    def run_part(self, part: int) -> Any:
        self._note(part)
        ends_s = time.monotonic() + 300
        while len(self._started()) < self.num_workers and time.monotonic() < ends_s:
            time.sleep(0.05)  # else the first may do all of so few parts
        return super().run_part(part)

    def _started(self) -> list[Path]:
        return [file for file in Path(self.notes).iterdir() if len(file.read_text().splitlines()) > 1]

    def score_shard(self, part: int) -> Any:
        self._note(part)
        return super().score_shard(part)

    def _note(self, part: int) -> None:
        with self._file.open("a") as out:
            out.write(f"{part}\n")


@pytest.mark.parametrize("num_shards", [1, 2])
def test_each_worker_has_a_gpu_of_its_own_and_the_lists_are_those_of_one_process(
    nodes: Cluster, world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_shards: int
) -> None:
    """Two GPUs share the users, or the items, whose lists are merged."""
    notes = tmp_path / "notes"
    notes.mkdir()
    monkeypatch.setattr(_NotedWorker, "notes", str(notes))
    monkeypatch.setattr("cluster.stages.score.ScoreWorker", _NotedWorker)
    monkeypatch.setattr(RayCluster, "_ask_for_gpu", lambda _: _MEMORY)
    nodes.add_node(num_cpus=2, num_gpus=2)
    with RayCluster(ComputeOptions(device="cuda")) as compute:
        scored = score_users(
            world.workspace, ScoreSettings(k=3), compute=compute, progress=NoProgress(), num_shards=num_shards
        )
    by_gpu = {file.name: file.read_text().splitlines() for file in notes.iterdir()}
    assert set(by_gpu) == {"0", "1"}
    rows, parts = zip(*((lines[0], sorted(lines[1:])) for lines in by_gpu.values()), strict=True)
    if num_shards == 2:
        assert set(rows) == {"0 35", "35 70"}
        assert parts == (["0", "1", "2", "3"],) * 2
    else:
        assert set(rows) == {"0 None"}
        assert sorted(parts[0] + parts[1]) == ["0", "1", "2", "3"]
        assert all(parts)
    shorter = {user: (items[:3], scores[:3]) for user, (items, scores) in _lists(world.workspace, world.run_id).items()}
    assert _lists(world.workspace, scored.run_id) == shorter


def _lists(workspace: Workspace, run_id: str) -> dict[str, tuple[list[str], list[float]]]:
    """Each user's items and scores in a run."""
    files = sorted((Path(workspace.storage.uri) / run_folder(run_id) / "parts").glob("*.parquet"))
    rows = pa.concat_tables(pq.read_table(file) for file in files).to_pylist()
    return {row["user_id"]: (row["item_ids"], row["scores"]) for row in rows}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "semrec/online"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    from helpers.serving_world import make_world

    return make_world(tmp_path)
