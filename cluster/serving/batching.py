"""Dynamic batching: one thread takes everything that waits as one piece of work.

There is no fixed delay. While the thread works, what arrives waits, and is the next batch; an idle thread starts at once. So
batches grow with the load and a lone request is not held up. A pass over the item matrix costs almost the same for one
question as for thirty. So after a batch the thread waits a little for those who were just answered to ask again, at most
a quarter of the time that the batch took, and only where several were waiting.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from cluster.serving.http.problems import ProblemError

__all__ = ["Batcher"]

Ask = TypeVar("Ask")
Got = TypeVar("Got")
_STOP: Final = object()
_PATIENCE: Final = 0.25
_MAX_PATIENCE_S: Final = 0.005
_CROWD: Final = 4


class Batcher(Generic[Ask, Got]):
    """Gives asks to `work`, a function of up to `max_batch` asks that returns a result or an exception for each.

    `work` runs in one thread of this object. At most `max_waiting` asks wait; more are refused with a 503.
    """

    def __init__(
        self, name: str, work: Callable[[list[Ask]], Sequence[Got | BaseException]], *, max_batch: int, max_waiting: int
    ) -> None:
        self._work, self._max_batch, self._max_waiting = work, max_batch, max_waiting
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._name = name
        self.num_batches = self.num_asks = self.num_waiting = 0

    async def do(self, ask: Ask) -> Got:
        """The result of one ask. Raises what `work` found for it, or ProblemError 503 when too many wait."""
        if self.num_waiting >= self._max_waiting:
            raise ProblemError(503, "too many requests wait here", remedy="Try again.", headers={"Retry-After": "1"})
        loop = asyncio.get_running_loop()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, args=(loop,), name=self._name, daemon=True)
            self._thread.start()
        done: asyncio.Future[Got] = loop.create_future()
        self.num_waiting += 1
        self._queue.put((ask, done))
        try:
            return await done
        finally:
            self.num_waiting -= 1

    def close(self) -> None:
        """Ends the thread after what waits."""
        self._queue.put(_STOP)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        patience_s, crowd = 0.0, 0
        while True:
            taken = self._take(patience_s, crowd)
            if not taken:
                return
            # A caller that gave up has cancelled its future: nothing is computed for nobody.
            wanted = [(ask, done) for ask, done in taken if not done.cancelled()]
            if not wanted:
                continue
            started_s, results = time.perf_counter(), self._results([ask for ask, _ in wanted])
            patience_s = min(_PATIENCE * (time.perf_counter() - started_s), _MAX_PATIENCE_S)
            crowd = len(wanted) + self._queue.qsize()
            self.num_batches += 1
            self.num_asks += len(wanted)
            try:
                loop.call_soon_threadsafe(_settle, [done for _, done in wanted], results)
            except RuntimeError:  # the loop has ended
                return

    def _results(self, asks: list[Ask]) -> Sequence[Got | BaseException]:
        try:
            return self._work(asks)
        except BaseException as error:  # the thread must outlive whatever the work does
            return [error] * len(asks)

    def _take(self, patience_s: float, crowd: int) -> list[Any]:
        """What waits, at least one and at most a batch; empty at the end. Fewer than `crowd` are given `patience_s`."""
        taken = [self._queue.get()]
        deadline_s = time.perf_counter() + patience_s
        while len(taken) < self._max_batch:
            left_s = deadline_s - time.perf_counter() if len(taken) < crowd and crowd >= _CROWD else 0.0
            try:
                taken.append(self._queue.get(left_s > 0, max(left_s, 0.0)))
            except queue.Empty:
                break
        if _STOP in taken:
            self._queue.put(_STOP)
            taken = taken[: taken.index(_STOP)]
        return taken


def _settle(futures: list[asyncio.Future[Any]], results: Sequence[Any]) -> None:
    for done, result in zip(futures, results, strict=True):
        if done.done():
            continue
        if isinstance(result, BaseException):
            done.set_exception(result)
        else:
            done.set_result(result)
