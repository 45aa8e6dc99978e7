"""A discrete-event simulation of a service: replicas that answer in batches, behind proxies that know the dead a moment late.

It knows what was measured of one replica (`ServiceTimes`) and what the batcher and HAProxy do, and nothing of the network or
of other load on the machines. `tests/semrec/test_serving_plan.py` holds it against a measured soak.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

__all__ = ["Fault", "ServiceTimes", "Simulated", "simulate_serving"]

_MAX_BATCH: Final = 256  # cluster/serving/service.py
_WAIT_SHARE: Final = 0.25  # of a batch's time, for those just answered to ask again: cluster/serving/batcher.py
_FEWEST_CALLERS: Final = 4
_RESEND_S: Final = 0.05  # until a client asks again, and
_GIVE_UP_S: Final = 15.0  # until it no longer does: semrec/bench/load.py
#: Until HAProxy takes a replica that refuses for dead: Ray checks again after 250 ms, and twice. Until then the replica has the
#: fewest open requests, so each request goes there.
NOTICE_S: Final = 0.25


@dataclass(frozen=True)
class ServiceTimes:
    """Seconds of a replica for a batch of b answers: `fixed_s + per_answer_s * b`."""

    fixed_s: float
    per_answer_s: float

    def batch_s(self, num_answers: int) -> float:
        return self.fixed_s + self.per_answer_s * num_answers


@dataclass(frozen=True)
class Fault:
    """From `at_s` on, for `lasts_s`, these replicas are gone; no replicas: the proxy, so that nobody is answered."""

    at_s: float
    lasts_s: float
    replicas: tuple[int, ...] = ()


@dataclass(frozen=True)
class Simulated:
    """What clients saw; times count from when a request was due."""

    num_requests: int
    num_failed: int  # nobody took them in 15 seconds
    num_resent: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass
class _Replica:
    waiting: deque[tuple[float, int]] = field(default_factory=deque)
    batch: list[tuple[float, int]] = field(default_factory=list)
    num_callers: int = 0  # that a pause waits for; 0: there is no pause
    is_alive: bool = True
    is_known_dead: bool = False

    @property
    def num_open(self) -> int:
        return len(self.waiting) + len(self.batch)


def simulate_serving(
    times: ServiceTimes,
    *,
    num_replicas: int,
    rate_per_s: float,
    seconds: float,
    faults: Sequence[Fault] = (),
    num_connections: int | None = None,
    seed: int = 0,
) -> Simulated:
    """Runs `rate_per_s` requests a second against `num_replicas` for `seconds` of simulated time.

    With `num_connections` requests are due evenly and take turns on the connections, as `semrec.bench.load.steady` sends them:
    one waits for the answer before it. Without, each comes by itself, at a moment of a Poisson process.
    """
    clock = _Service(times, num_replicas)
    rng = np.random.default_rng(seed)
    num_requests = round(rate_per_s * seconds)
    if num_connections is None:
        due_s = np.sort(rng.uniform(0, seconds, num_requests)).tolist()
        for number, moment_s in enumerate(due_s):
            clock.at(moment_s, clock.ask, (moment_s, number))
    else:
        due_s = (np.arange(num_requests) / rate_per_s).tolist()
        stride = min(num_connections, num_requests)
        for number in range(stride):
            clock.at(due_s[number], clock.ask, (due_s[number], number))

        def ask_next(number: int, now_s: float) -> None:
            if (following := number + stride) < num_requests:
                clock.at(max(now_s, due_s[following]), clock.ask, (due_s[following], following))

        clock.on_done = ask_next
    for fault in faults:
        clock.at(fault.at_s, clock.begin, fault)
        clock.at(fault.at_s + fault.lasts_s, clock.end, fault)
    clock.run()
    p50, p95, p99 = np.percentile(np.array(clock.took_s or [np.inf]) * 1e3, [50, 95, 99]).tolist()
    return Simulated(num_requests, clock.num_failed, clock.num_resent, p50, p95, p99)


class _Service:
    """The replicas, what is due, and what was seen."""

    def __init__(self, times: ServiceTimes, num_replicas: int) -> None:
        self.replicas = [_Replica() for _ in range(num_replicas)]
        self.took_s: list[float] = []
        self.num_failed = self.num_resent = 0
        self.on_done: Callable[[int, float], None] = lambda number, now_s: None
        self._times, self._has_proxy, self._now_s = times, True, 0.0
        self._events: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._order = itertools.count()  # of events of one moment

    def at(self, moment_s: float, action: Callable[[Any], None], subject: Any) -> None:
        heapq.heappush(self._events, (moment_s, next(self._order), action, subject))

    def run(self) -> None:
        while self._events:
            self._now_s, _, action, subject = heapq.heappop(self._events)
            action(subject)

    def ask(self, request: tuple[float, int]) -> None:
        """Gives a request to the replica with the fewest open ones, as HAProxy's leastconn does, dead or not."""
        known = [replica for replica in self.replicas if not replica.is_known_dead] if self._has_proxy else []
        chosen = min(known, key=lambda replica: replica.num_open, default=None)
        if chosen is None or not chosen.is_alive:
            self._resend(request)
            return
        chosen.waiting.append(request)
        if not chosen.batch and len(chosen.waiting) >= chosen.num_callers:
            self._work(chosen)

    def begin(self, fault: Fault) -> None:
        if not fault.replicas:
            self._has_proxy = False
        for number in fault.replicas:
            replica = self.replicas[number]
            lost, replica.is_alive = [*replica.batch, *replica.waiting], False
            replica.batch, replica.waiting = [], deque()
            self.at(self._now_s + NOTICE_S, lambda dead: setattr(dead, "is_known_dead", True), replica)
            for request in lost:
                self._resend(request)

    def end(self, fault: Fault) -> None:
        if not fault.replicas:
            self._has_proxy = True
        for number in fault.replicas:
            self.replicas[number] = _Replica()

    def _resend(self, request: tuple[float, int]) -> None:
        due_s, number = request
        if self._now_s - due_s > _GIVE_UP_S:
            self.num_failed += 1
            self.on_done(number, self._now_s)
            return
        self.num_resent += 1
        self.at(self._now_s + _RESEND_S, self.ask, request)

    def _work(self, replica: _Replica) -> None:
        """Takes what waits as one batch."""
        replica.batch = [replica.waiting.popleft() for _ in range(min(_MAX_BATCH, len(replica.waiting)))]
        replica.num_callers = 0
        self.at(self._now_s + self._times.batch_s(len(replica.batch)), self._answer, replica)

    def _answer(self, replica: _Replica) -> None:
        answered, replica.batch = replica.batch, []
        for due_s, request in answered:  # none where the replica has died meanwhile
            self.took_s.append(self._now_s - due_s)
            self.on_done(request, self._now_s)
        if not replica.waiting:
            return
        replica.num_callers = len(answered) + len(replica.waiting)
        if replica.num_callers < _FEWEST_CALLERS:
            self._work(replica)
        else:
            self.at(self._now_s + _WAIT_SHARE * self._times.batch_s(len(answered)), self._go_on, replica)

    def _go_on(self, replica: _Replica) -> None:
        if replica.waiting and not replica.batch:
            self._work(replica)
