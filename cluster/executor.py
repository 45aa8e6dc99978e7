"""Executes numbered parts over the groups of a pool of Ray actors, bounded in-flight work, retry.

Every group has at most two parts at hand: one at work, one waiting. When an actor, its worker process or its node dies, the
group's parts go back to the queue, the other groups go on, and the group takes work again once Ray has restarted its actors
elsewhere.

What may go away by itself is tried again with growing pauses. An error that says so (`transient`), or that it is one of the
node (`of_node`): the group pauses, and the others take its parts. An untyped one is one of the part: the part pauses.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from cluster.pool import WorkerGroup, WorkerPool, WorkerSpec
from semrec.errors import NoWorkersError, SemrecError
from semrec.workspace.ledger import PartRecord
from semrec.workspace.retries import backoff_s

__all__ = ["NO_WORKER_S", "run_on_pool"]

_PARTS_PER_GROUP = 2
_MAX_LOSSES = 8  # times that a part may be lost with its worker
_MAX_FAILURES = 4  # times that a part, or the start of a group, may raise something untyped
NO_WORKER_S = 300.0
_NO_PART_S = 600.0  # how long transient errors are waited out on all workers, without a committed part
_RECHECK_S = 1.0


def run_on_pool(
    pool: WorkerPool,
    spec: WorkerSpec,
    parts: Sequence[int],
    *,
    num_groups: int,
    on_done: Callable[[PartRecord], None],
    on_retry: Callable[[int, str], None] = lambda part, reason: None,
    ready_within_s: float = NO_WORKER_S,
) -> float:
    """Does `parts` on `num_groups` groups of the pool; returns when all are committed, with the seconds until work began.

    The groups and their workers stay in the pool for the next plan; after an error they are ended, with what they are at.
    A typed error of a worker ends the plan at once, for the same inputs would raise it again; one of a node does when no group
    is left that has not met one, a transient one when all workers have met such for ten minutes without a committed part.
    Raises NoWorkersError when no group becomes ready
    within `ready_within_s`, a part is lost with its worker more than eight times, or fails four times untyped.
    """
    groups = pool.groups(spec.shape, max(1, min(num_groups, len(parts))))
    try:
        for group in groups:
            group.begin(pool.assign(spec))
        return _Dispatch(groups, deque(parts), on_done, on_retry, ready_within_s).run()
    except BaseException:
        for group in groups:
            pool.end(group)
        raise


class _Dispatch:
    """The state of one call of the executor."""

    def __init__(
        self, groups: list[WorkerGroup], queue: deque[int], on_done: Any, on_retry: Any, ready_within_s: float
    ) -> None:
        self._groups, self._queue, self._on_done, self._on_retry = groups, queue, on_done, on_retry
        self._ready_within_s = ready_within_s
        self._losses: Counter[int] = Counter()
        self._failures: Counter[int] = Counter()
        self._pauses: Counter[int] = Counter()
        self._not_before: dict[int, float] = {}  # part -> when it may be tried again
        self._last_ready = time.monotonic()
        self._stuck_since: float | None = None  # the first error of a node after the last committed part
        self._last_error: BaseException | None = None

    def run(self) -> float:
        started_s, startup_s = time.monotonic(), None
        while self._queue or any(group.at_hand for group in self._groups):
            self._restart_groups()
            self._hand_out()
            if startup_s is None and any(group.at_hand for group in self._groups):
                startup_s = time.monotonic() - started_s
            self._await_answer()
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

    def _await_answer(self) -> None:
        waiting = [ref for group in self._groups for ref in (*group.starting, *group.at_hand)]
        if not waiting:
            time.sleep(_RECHECK_S)
            return
        done, _ = ray.wait(waiting, num_returns=1, timeout=_RECHECK_S)
        for ref in done:
            group = next(group for group in self._groups if ref in group.starting or ref in group.at_hand)
            self._settle(group, ref)

    def _settle(self, group: WorkerGroup, ref: Any) -> None:
        part = group.at_hand.pop(ref, None)
        if part is None:
            group.starting.remove(ref)
        try:
            result = ray.get(ref)
        except RayError as error:
            self._fail(group, part, error.cause if isinstance(error, RayTaskError) else error)
            return
        group.is_up = True
        if part is not None:
            group.num_failures, self._stuck_since = 0, None
            group.is_unfit = False
            self._on_done(result)

    def _fail(self, group: WorkerGroup, part: int | None, cause: BaseException) -> None:
        self._last_error = cause
        if isinstance(cause, SemrecError):
            if not (cause.transient or cause.of_node):
                raise cause from None
            group.is_unfit |= not cause.transient
            self._wait_out(group, part, cause)
        elif isinstance(cause, RayError):
            self._lose_group(group, part, cause)
        elif part is None:
            self._fail_start(group, cause)
        else:
            self._fail_part(part, cause)

    def _wait_out(self, group: WorkerGroup, part: int | None, cause: SemrecError) -> None:
        """Pauses the group and the part, unless all workers have met errors of their nodes for too long, or such as stay."""
        now = time.monotonic()
        self._stuck_since = self._stuck_since or now
        self._pause_group(group)
        working = [other for other in self._groups if other.is_ready or other.num_failures]
        is_too_long = now - self._stuck_since > _NO_PART_S and all(other.num_failures for other in working)
        if is_too_long or all(other.is_unfit for other in self._groups):
            raise cause from None
        if part is not None:
            self._retry_later(part, type(cause).__name__)

    def _pause_group(self, group: WorkerGroup) -> None:
        """Gives no more parts to a group for a while; one that its actors are at comes back by itself."""
        group.starting.clear()
        group.retry_at = time.monotonic() + backoff_s(group.num_failures)
        group.num_failures += 1

    def _lose_group(self, group: WorkerGroup, part: int | None, cause: BaseException) -> None:
        lost = [*([part] if part is not None else []), *group.at_hand.values()]
        group.at_hand.clear()
        group.starting.clear()
        group.is_up = False
        group.retry_at = time.monotonic() + _RECHECK_S
        for lost_part in lost:
            self._losses[lost_part] += 1
            if self._losses[lost_part] > _MAX_LOSSES:
                raise NoWorkersError(
                    f"part {lost_part} was lost with its worker {self._losses[lost_part]} times, last: {cause}",
                    expected="a worker that lives through it",
                    remedy="Look for an out-of-memory kill in the workers' logs; use more buckets or larger nodes.",
                )
            self._retry(lost_part, type(cause).__name__)

    def _fail_start(self, group: WorkerGroup, cause: BaseException) -> None:
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
