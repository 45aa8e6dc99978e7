"""What the executor tries again, where and when, on a real Ray with workers that fail as they are told."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import ray

from cluster import executor
from cluster.executor import run_on_pool
from cluster.local_ray import start_ray
from cluster.pool import WorkerPool, WorkerSpec
from semrec.errors import (
    DeviceError,
    InputError,
    NoWorkersError,
    SemrecError,
    StoreUnavailableError,
    WorkspaceWriteError,
)
from semrec.workspace.retries import backoff_s

PARTS = range(6)
_FASTER = 4  # times as fast as users meet them, the executor's pauses pass here
LEAST_S = [0.5 / _FASTER, 1 / _FASTER, 2 / _FASTER]


def typed(kind: type[SemrecError]) -> SemrecError:
    return kind("got", expected="expected", remedy="remedy")


FULL_DISK, NO_DEVICE, DOWN, WRONG, UNTYPED = (
    typed(WorkspaceWriteError),
    typed(DeviceError),
    typed(StoreUnavailableError),
    typed(InputError),
    OSError(5),
)


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    """A pool on a Ray with room for two workers, which get this module by value."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    options = {"num_cpus": 2, "object_store_memory": 80 * 1024**2, "include_dashboard": False, "log_to_driver": False}
    start_ray(lambda: ray.init("local", **options))
    yield WorkerPool()
    ray.shutdown()


class Worker:
    """Fails try number n of a part with `errors[part][n]`, and of its own start with `start_errors[n]`.

    The one that first creates the file `broken` fails with `of_one_node` whatever it is given, as on a node whose disk is full.
    """

    def __init__(
        self,
        folder: str,
        errors: dict[int, list[Exception]],
        start_errors: tuple[Exception, ...] = (),
        of_one_node: Exception | None = None,
    ) -> None:
        self.folder, self.errors = Path(folder), errors
        self.note("start", start_errors)
        self.broken = of_one_node if of_one_node and self.is_first() else None

    def run_part(self, part: int) -> int:
        if self.broken:
            raise self.broken
        self.note(f"part-{part}", self.errors.get(part, ()))
        return part

    def note(self, what: str, errors: object) -> None:
        with (self.folder / what).open("a+") as file:
            file.write(f"{time.time()}\n")
            file.seek(0)
            count = len(file.readlines())
        if count <= len(errors):  # type: ignore[arg-type]
            raise errors[count - 1]  # type: ignore[index]

    def is_first(self) -> bool:
        try:
            (self.folder / "broken").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


class Run:
    """One call of the executor, and what it said."""

    def __init__(self, pool: WorkerPool, folder: Path, num_groups: int = 2) -> None:
        self.pool, self.folder, self.num_groups = pool, folder, num_groups
        self.done: list[int] = []
        self.retried: list[tuple[int, str]] = []

    def start(self, errors: dict[int, list[Exception]] | None = None, **arguments: object) -> Run:
        return self.start_spec(WorkerSpec(Worker, {"folder": str(self.folder), "errors": errors or {}, **arguments}))

    def start_spec(self, spec: WorkerSpec) -> Run:
        run_on_pool(
            self.pool,
            spec,
            PARTS,
            num_groups=self.num_groups,
            on_done=self.done.append,  # type: ignore[arg-type]
            on_retry=lambda part, reason: self.retried.append((part, reason)),
        )
        return self

    def pauses_s(self, what: str) -> list[float]:
        """Seconds between the tries of a part, or of starts."""
        times = [float(line) for line in (self.folder / what).read_text().split()]
        return [later - earlier for earlier, later in pairwise(times)]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "backoff_s", lambda attempt: backoff_s(attempt) / _FASTER)


@pytest.fixture
def run(pool: WorkerPool, tmp_path: Path) -> Run:
    return Run(pool, tmp_path)


@pytest.mark.parametrize(("error", "name"), [(DOWN, "StoreUnavailableError"), (UNTYPED, "OSError")])
def test_a_part_is_tried_again_after_growing_pauses(run: Run, error: Exception, name: str) -> None:
    run.start({1: [error] * 3})
    assert sorted(run.done) == list(PARTS)
    assert run.retried == [(1, name)] * 3
    assert all(pause >= least for pause, least in zip(run.pauses_s("part-1"), LEAST_S, strict=True))


def test_the_others_go_on_while_a_part_pauses(run: Run) -> None:
    run.start({0: [UNTYPED] * 3})
    assert run.done[-1] == 0


@pytest.mark.parametrize("error", [FULL_DISK, NO_DEVICE], ids=["full disk", "device of no use"])
def test_a_node_that_cannot_do_it_leaves_its_parts_to_others(run: Run, error: SemrecError) -> None:
    run.start(of_one_node=error)
    assert sorted(run.done) == list(PARTS)
    assert {reason for _, reason in run.retried} == {type(error).__name__}


def test_an_error_that_every_node_has_ends_the_run_at_once(run: Run) -> None:
    with pytest.raises(DeviceError):
        run.start({part: [NO_DEVICE] * 99 for part in PARTS})
    assert run.done == []
    assert len(run.retried) <= 3  # at most two parts at hand of the first that fails, one of the other


def test_a_typed_error_that_would_come_again_ends_the_run_at_once(run: Run) -> None:
    with pytest.raises(InputError):
        run.start({1: [WRONG]})
    assert run.retried == []


def test_an_untyped_error_that_stays_ends_the_run(run: Run) -> None:
    with pytest.raises(NoWorkersError, match=r"part 1 failed 4 times, last with OSError\(5\)"):
        run.start({1: [UNTYPED] * 9})
    assert sorted(run.done) == [0, 2, 3, 4, 5]


def test_a_transient_error_that_stays_is_raised_in_the_end(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "_NO_PART_S", 1.0)
    with pytest.raises(WorkspaceWriteError):
        run.start({1: [FULL_DISK] * 99})
    assert sorted(run.done) == [0, 2, 3, 4, 5]
    assert len(run.retried) >= 2


def test_a_worker_that_cannot_start_yet_is_started_again(pool: WorkerPool, tmp_path: Path) -> None:
    run = Run(pool, tmp_path, num_groups=1).start(start_errors=(DOWN, UNTYPED))
    assert sorted(run.done) == list(PARTS)
    assert all(pause >= least for pause, least in zip(run.pauses_s("start"), LEAST_S[:2], strict=True))


def test_a_worker_that_never_starts_ends_the_run(pool: WorkerPool, tmp_path: Path) -> None:
    with pytest.raises(NoWorkersError, match=r"a worker could not start: OSError\(5\)"):
        Run(pool, tmp_path, num_groups=1).start(start_errors=(UNTYPED,) * 9)


def test_no_worker_in_time_is_said_with_the_last_error(pool: WorkerPool, tmp_path: Path) -> None:
    spec = WorkerSpec(Worker, {"folder": str(tmp_path), "errors": {}, "start_errors": (DOWN,) * 99})
    for within_s in (2, 8, 32, 128):  # until a worker had the time to fail, which takes longer on a busy machine
        with pytest.raises(NoWorkersError, match=rf"no worker became ready in {within_s} s .*last error: ") as raised:
            run_on_pool(pool, spec, [0], num_groups=1, on_done=print, ready_within_s=float(within_s))
        if "last error: None" not in str(raised.value):
            break
    assert "last error: got; expected expected" in str(raised.value)
