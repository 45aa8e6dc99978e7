"""A worker node that is asked to stop: the preStop hook against a real Ray."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.actors import Assignment, make_actor
from cluster.local_ray import start_ray
from infra.drain import Raylet, busy_workers, drain, find_raylets

_PART_S = 5.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    cluster = start_ray(lambda: Cluster(initialize_head=True, head_node_args={"num_cpus": 0}))
    ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def _node(cluster: Cluster) -> Raylet:
    """A new node of one CPU."""
    node_id = cluster.add_node(num_cpus=1).node_id
    return next(raylet for raylet in find_raylets() if raylet.node_id == node_id)


def _actor(raylet: Raylet, soft: bool = False) -> tuple[Any, str]:
    """One of the project's actors, and the id of its node."""
    place = NodeAffinitySchedulingStrategy(raylet.node_id, soft=soft)
    actor = make_actor({"num_cpus": 1, "scheduling_strategy": place})
    loaded = actor.load.remote(Assignment("any", (ray.put((dict, {})),)))
    return actor, ray.get(loaded, timeout=180)["node"]


@dataclass(frozen=True)
class _Drained:
    """What was seen while a node with a part at work was drained."""

    raylet: Raylet
    busy: list[str]
    idle: bool
    took_s: float
    is_part_done: bool


@pytest.fixture(scope="module")
def drained(cluster: Cluster) -> _Drained:
    raylet = _node(cluster)
    actor, _ = _actor(raylet)
    part = actor.run_function.remote(time.sleep, (_PART_S,), {})
    time.sleep(0.5)
    busy, started_s = busy_workers(raylet), time.monotonic()
    idle = drain(raylet, 60.0)
    took_s = time.monotonic() - started_s
    return _Drained(raylet, busy, idle, took_s, ray.wait([part], timeout=0)[0] == [part])


@pytest.fixture(scope="module")
def other(cluster: Cluster, drained: _Drained) -> Raylet:
    return _node(cluster)


def test_it_waits_for_the_part_at_work_and_no_longer(drained: _Drained) -> None:
    assert drained.busy == ["ray::PartActor.run_function"]
    assert drained.idle
    assert drained.is_part_done
    assert _PART_S - 1.0 < drained.took_s < 55.0  # the deadline is 60


def test_nothing_new_starts_on_a_drained_node_and_the_deadline_ends_a_wait(drained: _Drained, other: Raylet) -> None:
    actor, node = _actor(drained.raylet, soft=True)
    assert node == other.node_id
    actor.run_function.remote(time.sleep, (120.0,), {})
    started_s = time.monotonic()
    assert not drain(other, 6.0)
    assert 5.5 < time.monotonic() - started_s < 60.0
    ray.kill(actor)


def test_a_lost_gcs_does_not_hold_the_pod(capsys: pytest.CaptureFixture[str]) -> None:
    gone = Raylet(pid=os.getpid(), node_id="00" * 28, gcs_address="127.0.0.1:1")
    started_s = time.monotonic()
    drain(gone, 12.0)
    assert time.monotonic() - started_s < 60.0
    assert "Ray did not take the notice" in capsys.readouterr().err


def test_without_ray_the_hook_ends_at_once() -> None:
    hidden = "import infra.drain as d; d.find_raylets = list; import sys; sys.argv = ['drain']; d.main()"
    done = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, timeout=180)
    assert (done.returncode, done.stdout) == (0, "")
