"""What a pool keeps from plan to plan, and what it lets go, on a real Ray with room for two actors."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import GetTimeoutError, RayTaskError

from cluster.executor import run_on_pool
from cluster.local_ray import start_ray
from cluster.pool import GroupShape, WorkerPool, WorkerSpec
from semrec.errors import InputError

PARTS = range(8)
ONE_CPU = GroupShape(1)


@pytest.fixture(scope="module", autouse=True)
def two_cpus() -> Iterator[None]:
    """A Ray of two CPUs, whose workers get this module by value."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    options = {"num_cpus": 2, "object_store_memory": 80 * 1024**2, "include_dashboard": False, "log_to_driver": False}
    start_ray(lambda: ray.init("local", **options))
    yield
    ray.shutdown()


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool()
    yield pool
    pool.close()


class Worker:
    """Answers each part with (name of the worker, number of this instance in its process, process); raises for part 99."""

    def __init__(self, name: str, shard: int = 0) -> None:
        sys.num_workers_made = getattr(sys, "num_workers_made", 0) + 1  # type: ignore[attr-defined]
        self.name, self.shard, self.number = name, shard, sys.num_workers_made  # type: ignore[attr-defined]

    def run_part(self, part: int) -> Any:
        if part == 99:
            raise InputError("part 99", expected="another", remedy="none")
        return (self.name, self.number, os.getpid())

    def score_shard(self, part: int) -> int:
        return self.shard

    def commit_part(self, part: int, *shards: int) -> Any:
        return shards


def results(pool: WorkerPool, spec: WorkerSpec, num_groups: int = 2, parts: Any = PARTS) -> set[Any]:
    """What the workers answered to the parts of a plan."""
    answers: list[Any] = []
    run_on_pool(pool, spec, parts, num_groups=num_groups, on_done=answers.append)
    assert len(answers) == len(parts)
    return set(answers)


def pids(answers: set[Any]) -> set[int]:
    return {pid for _, _, pid in answers}


def spec(name: str, **options: Any) -> WorkerSpec:
    return WorkerSpec(Worker, {"name": name}, **options)


def test_plans_share_actors_and_each_gets_its_own_worker(pool: WorkerPool) -> None:
    answers = [results(pool, spec(name)) for name in ("embed", "release", "score")]
    assert [{name for name, _, _ in answer} for answer in answers] == [{"embed"}, {"release"}, {"score"}]
    assert pool.num_actors_started == 2
    assert len(pids(answers[0] | answers[1] | answers[2])) <= 2


def test_a_plan_with_the_same_spec_keeps_its_workers(pool: WorkerPool) -> None:
    repeated = spec("iteration")
    for _ in range(20):
        assert {number for _, number, _ in results(pool, repeated, num_groups=1)} == {1}
    assert {number for _, number, _ in results(pool, spec("iteration"), num_groups=1)} == {2}
    assert pool.num_actors_started == 1


def test_groups_of_another_shape_make_room(pool: WorkerPool) -> None:
    assert {name for name, _, _ in results(pool, spec("small"))} == {"small"}
    needs_all = spec("large", num_cpus=2)
    assert {name for name, _, _ in results(pool, needs_all, num_groups=1)} == {"large"}
    shards = ({"shard": 10}, {"shard": 20})
    assert results(pool, spec("sharded", shards=shards), num_groups=1) == {(10, 20)}
    assert {name for name, _, _ in results(pool, spec("small"))} == {"small"}
    assert pool.num_actors_started == 2 + 1 + 2 + 2


def test_after_an_error_nothing_of_the_plan_is_left(pool: WorkerPool) -> None:
    with pytest.raises(InputError):
        results(pool, spec("failing"), parts=[0, 1, 2, 3, 99, 4, 5])
    assert {name for name, _, _ in results(pool, spec("next"))} == {"next"}
    assert pool.num_actors_started == 4


def test_an_actor_that_died_between_two_plans_is_back_for_the_next(pool: WorkerPool) -> None:
    repeated = spec("again")
    (before,) = pids(results(pool, repeated, num_groups=1))
    os.kill(before, signal.SIGKILL)
    (after,) = pids(results(pool, repeated, num_groups=1))
    assert after != before
    assert pool.num_actors_started == 1  # Ray restarted it, and it fetched its worker itself


def test_a_function_runs_on_an_idle_actor_and_has_its_memory(pool: WorkerPool) -> None:
    repeated = spec("before a function")
    (pid,) = pids(results(pool, repeated, num_groups=1))
    assert pool.run(os.getpid, (), {}, shape=ONE_CPU) == pid
    assert {number for _, number, _ in results(pool, repeated, num_groups=1)} == {2}
    assert pool.run(sorted, ([1, 3, 2],), {"reverse": True}, shape=GroupShape(2)) == [3, 2, 1]
    assert pool.num_actors_started == 1


def test_a_function_whose_actor_dies_is_called_again(pool: WorkerPool, tmp_path: Path) -> None:
    assert pool.run(_die_at_first, (str(tmp_path / "died"),), {}, shape=ONE_CPU) == "alive"
    assert pool.num_actors_started == 2


def _die_at_first(marker: str) -> str:
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def test_what_a_function_raises_arrives_typed_and_costs_no_actor(pool: WorkerPool) -> None:
    for _ in range(2):
        with pytest.raises(RayTaskError) as raised:
            pool.run(_refuse, (), {}, shape=ONE_CPU)
        assert isinstance(raised.value.cause, InputError)
    assert pool.num_actors_started == 1


def _refuse() -> None:
    raise InputError("got", expected="expected", remedy="remedy")


@pytest.mark.parametrize("call", [WorkerPool.close, lambda pool: None], ids=["closed", "timed out"])
def test_no_request_for_resources_stays(pool: WorkerPool, call: Callable[[WorkerPool], None]) -> None:
    with pytest.raises(GetTimeoutError):
        pool.run(os.getpid, (), {}, shape=GroupShape(1, num_gpus=1), is_exact=True, timeout_s=1.0)
    call(pool)
    assert len(pids(results(pool, spec("after"), num_groups=1))) == 1
    assert pool.num_actors_started == 2
