"""The one executor: numbered parts over groups of Ray actors, bounded in-flight work, retry.

A group is one actor, or S actors that hold the shards of one replica. Every group has at most two parts at hand: one at
work, one waiting. When an actor, its worker process or its node dies, the group's parts go back to the queue, the other
groups go on, and the group takes work again once Ray has restarted its actors elsewhere.

What may go away by itself is tried again with growing pauses. An error that says so (`transient`) is one of the node: the
group pauses, and the others take its parts. An untyped one is one of the part: the part pauses.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from cluster.actors import make_actor
from semrec.errors import NoWorkersError, SemrecError
from semrec.workers import PartWorker
from semrec.workspace.ledger import PartRecord
from semrec.workspace.retries import backoff_s

__all__ = ["NO_WORKER_S", "WorkerSpec", "run_on_actors"]

_PARTS_PER_GROUP = 2
_MAX_LOSSES = 8  # times that a part may be lost with its worker
_MAX_FAILURES = 4  # times that a part, or the start of a group, may raise something untyped
NO_WORKER_S = 300.0
_NO_PART_S = 600.0  # how long transient errors are waited out on all workers, without a committed part
_RECHECK_S = 1.0


@dataclass(frozen=True)
class WorkerSpec:
    """How to make the workers of a stage: `worker(**arguments)`, in an actor with these resources.

    With `shards`, a group has one actor per entry, which adds that entry to the arguments; its workers answer `score_shard`
    and the first one merges with `commit_part`.
    """

    worker: Callable[..., PartWorker]
    arguments: dict[str, Any]
    num_cpus: float = 1
    num_gpus: float = 0
    shards: tuple[dict[str, Any], ...] = ()


@dataclass(eq=False)
class _Group:
    actors: list[Any]
    placement: PlacementGroup | None
    starting: list[Any] = field(default_factory=list)  # refs of `ready`, empty once the group works
    at_hand: dict[Any, int] = field(default_factory=dict)  # ref -> part
    retry_at: float = 0.0
    num_failures: int = 0  # of its start or its parts, since one of its parts was last committed

    @property
    def is_ready(self) -> bool:
        return not self.starting and not self.retry_at

    def start(self) -> None:
        self.retry_at = 0.0
        self.starting = [actor.ready.remote() for actor in self.actors]

    def submit(self, part: int) -> None:
        if len(self.actors) == 1:
            ref = self.actors[0].call.remote("run_part", part)
        else:
            found = [actor.call.remote("score_shard", part) for actor in self.actors]
            ref = self.actors[0].call.remote("commit_part", part, *found)
        self.at_hand[ref] = part


def run_on_actors(
    spec: WorkerSpec,
    parts: Sequence[int],
    *,
    num_groups: int,
    on_done: Callable[[PartRecord], None],
    on_retry: Callable[[int, str], None] = lambda part, reason: None,
    ready_within_s: float = NO_WORKER_S,
) -> float:
    """Does `parts` on `num_groups` groups of actors; returns when all are committed, with the seconds until work began.

    A typed error of a worker ends the run at once, for the same inputs would raise it again; a transient one does when all
    workers have met such for ten minutes without a committed part. Raises NoWorkersError when no group becomes ready
    within `ready_within_s`, a part is lost with its worker more than eight times, or fails four times untyped.
    """
    groups = [_make_group(spec) for _ in range(max(1, min(num_groups, len(parts))))]
    try:
        return _Dispatch(groups, deque(parts), on_done, on_retry, ready_within_s).run()
    finally:
        for group in groups:
            _end_group(group)


class _Dispatch:
    """The state of one call of the executor."""

    def __init__(
        self, groups: list[_Group], queue: deque[int], on_done: Any, on_retry: Any, ready_within_s: float
    ) -> None:
        self._groups, self._queue, self._on_done, self._on_retry = groups, queue, on_done, on_retry
        self._ready_within_s = ready_within_s
        self._losses: Counter[int] = Counter()
        self._failures: Counter[int] = Counter()
        self._pauses: Counter[int] = Counter()
        self._not_before: dict[int, float] = {}  # part -> when it may be tried again
        self._last_ready = time.monotonic()
        self._stuck_since: float | None = None  # the first transient error after the last committed part
        self._last_error: BaseException | None = None

    def run(self) -> float:
        started_s, startup_s = time.monotonic(), None
        for group in self._groups:
            group.start()
        while self._queue or any(group.at_hand for group in self._groups):
            self._restart_groups()
            self._hand_out()
            if startup_s is None and any(group.at_hand for group in self._groups):
                startup_s = time.monotonic() - started_s
            self._await_one()
        return startup_s or 0.0

    def _restart_groups(self) -> None:
        now = time.monotonic()
        for group in self._groups:
            if group.retry_at and now >= group.retry_at:
                group.start()
        if any(group.is_ready for group in self._groups):
            self._last_ready = now
        elif now - self._last_ready > self._ready_within_s:
            raise NoWorkersError(
                f"no worker became ready in {self._ready_within_s:.0f} s (free: {ray.available_resources()}, "
                f"last error: {self._last_error})",
                expected="at least one group of workers",
                remedy="Add nodes, or ask for less per worker; what is committed stays.",
            )

    def _hand_out(self) -> None:
        for depth in range(_PARTS_PER_GROUP):  # everybody gets a first part before anybody gets a second
            for group in self._groups:
                if group.is_ready and len(group.at_hand) <= depth and (part := self._next_part()) is not None:
                    group.submit(part)

    def _next_part(self) -> int | None:
        """Takes the first part that may be tried now out of the queue."""
        now = time.monotonic()
        part = next((part for part in self._queue if self._not_before.get(part, 0.0) <= now), None)
        if part is not None:
            self._queue.remove(part)
        return part

    def _await_one(self) -> None:
        waiting = [ref for group in self._groups for ref in (*group.starting, *group.at_hand)]
        if not waiting:
            time.sleep(_RECHECK_S)
            return
        done, _ = ray.wait(waiting, num_returns=1, timeout=_RECHECK_S)
        for ref in done:
            group = next(g for g in self._groups if ref in g.starting or ref in g.at_hand)
            self._settle(group, ref)

    def _settle(self, group: _Group, ref: Any) -> None:
        part = group.at_hand.pop(ref, None)
        if part is None:
            group.starting.remove(ref)
        try:
            result = ray.get(ref)
        except RayError as error:
            self._fail(group, part, error.cause if isinstance(error, RayTaskError) else error)
            return
        if part is not None:
            group.num_failures, self._stuck_since = 0, None
            self._on_done(result)

    def _fail(self, group: _Group, part: int | None, cause: BaseException) -> None:
        self._last_error = cause
        if isinstance(cause, SemrecError):
            if not cause.transient:
                raise cause from None
            self._wait_out(group, part, cause)
        elif isinstance(cause, RayError):
            self._lose_group(group, part, cause)
        elif part is None:
            self._fail_start(group, cause)
        else:
            self._fail_part(part, cause)

    def _wait_out(self, group: _Group, part: int | None, cause: SemrecError) -> None:
        """Pauses the group and the part after a transient error, unless all workers have met such for too long."""
        now = time.monotonic()
        self._stuck_since = self._stuck_since or now
        self._pause_group(group)
        working = [other for other in self._groups if other.is_ready or other.num_failures]
        if now - self._stuck_since > _NO_PART_S and all(other.num_failures for other in working):
            raise cause from None
        if part is not None:
            self._retry_later(part, type(cause).__name__)

    def _pause_group(self, group: _Group) -> None:
        """Gives no more parts to a group for a while; one that its actors are at comes back by itself."""
        group.starting.clear()
        group.retry_at = time.monotonic() + backoff_s(group.num_failures)
        group.num_failures += 1

    def _lose_group(self, group: _Group, part: int | None, cause: BaseException) -> None:
        lost = [*([part] if part is not None else []), *group.at_hand.values()]
        group.at_hand.clear()
        group.starting.clear()
        group.retry_at = time.monotonic() + _RECHECK_S
        for one in lost:
            self._losses[one] += 1
            if self._losses[one] > _MAX_LOSSES:
                raise NoWorkersError(
                    f"part {one} was lost with its worker {self._losses[one]} times, last: {cause}",
                    expected="a worker that lives through it",
                    remedy="Look for an out-of-memory kill in the workers' logs; use more buckets or larger nodes.",
                )
            self._retry(one, type(cause).__name__)

    def _fail_start(self, group: _Group, cause: BaseException) -> None:
        if group.num_failures + 1 >= _MAX_FAILURES:
            raise NoWorkersError(
                f"a worker could not start: {cause!r}", expected="a worker", remedy="Mend the cause and submit again."
            ) from cause
        self._pause_group(group)

    def _fail_part(self, part: int, cause: BaseException) -> None:
        self._failures[part] += 1
        if self._failures[part] >= _MAX_FAILURES:
            raise NoWorkersError(
                f"part {part} failed {self._failures[part]} times, last with {cause!r}",
                expected="a part that can be done",
                remedy="Mend the cause and submit again: what is committed stays.",
            ) from cause
        self._retry_later(part, type(cause).__name__)

    def _retry_later(self, part: int, reason: str) -> None:
        self._not_before[part] = time.monotonic() + backoff_s(self._pauses[part])
        self._pauses[part] += 1
        self._retry(part, reason)

    def _retry(self, part: int, reason: str) -> None:
        self._queue.appendleft(part)
        self._on_retry(part, reason)


def _make_group(spec: WorkerSpec) -> _Group:
    resources = {"num_cpus": spec.num_cpus, "num_gpus": spec.num_gpus, "max_restarts": -1}
    if not spec.shards:
        options = {**resources, "scheduling_strategy": "SPREAD"}
        return _Group([make_actor(options, spec.worker, spec.arguments)], None)
    bundle = {"CPU": spec.num_cpus, **({"GPU": spec.num_gpus} if spec.num_gpus else {})}
    placement = placement_group([bundle] * len(spec.shards), strategy="PACK")
    actors = []
    for index, shard in enumerate(spec.shards):
        place = PlacementGroupSchedulingStrategy(placement, placement_group_bundle_index=index)
        options = {**resources, "scheduling_strategy": place}
        actors.append(make_actor(options, spec.worker, {**spec.arguments, **shard}))
    return _Group(actors, placement)


def _end_group(group: _Group) -> None:
    for actor in group.actors:
        ray.kill(actor, no_restart=True)
    if group.placement:
        remove_placement_group(group.placement)
