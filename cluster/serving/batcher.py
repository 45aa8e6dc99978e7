"""Dynamic batching: one thread takes everything that waits as one piece of work.

There is no fixed delay. While the thread works, what arrives waits, and is the next batch; an idle thread starts at once. So
batches grow with the load and a lone request is not held up. A pass over the item matrix costs almost the same for one
query as for thirty. So after a batch the thread waits a little for those who were just answered to ask again, at most
a quarter of the time that the batch took, and only where several were waiting.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from cluster.serving.errors import OverloadedError

__all__ = ["Batcher", "one_by_one"]

Request = TypeVar("Request")
Result = TypeVar("Result")
_STOP: Final = object()
_WAIT_SHARE: Final = 0.25  # of a batch's time, for those just answered to ask again
_MAX_WAIT_S: Final = 0.005
_FEWEST_CALLERS: Final = 4  # below this, nobody is waited for


class Batcher(Generic[Request, Result]):
    """Gives requests to `work`, a function of up to `max_batch` requests that returns a result or an exception for each.

    `work` runs in one thread of this object. At most `max_waiting` requests wait; more are refused.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[list[Request]], Sequence[Result | BaseException]],
        *,
        max_batch: int,
        max_waiting: int,
    ) -> None:
        self._work, self._max_batch, self._max_waiting = work, max_batch, max_waiting
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._name = name
        self.num_batches = self.num_requests = self.num_waiting = 0

    async def do(self, request: Request) -> Result:
        """Returns the result of one request. Raises what `work` found for it, and OverloadedError when too many wait."""
        if self.num_waiting >= self._max_waiting:
            raise OverloadedError(
                "too many requests wait here", expected=f"at most {self._max_waiting:,}", remedy="Try again."
            )
        loop = asyncio.get_running_loop()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, args=(loop,), name=self._name, daemon=True)
            self._thread.start()
        done: asyncio.Future[Result] = loop.create_future()
        self.num_waiting += 1
        self._queue.put((request, done))
        try:
            return await done
        finally:
            self.num_waiting -= 1

    def close(self) -> None:
        """Ends the thread after what waits."""
        self._queue.put(_STOP)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        wait_s, num_callers = 0.0, 0
        while True:
            waiting = self._take(wait_s, num_callers)
            if not waiting:
                return
            # A caller that gave up has cancelled its future: nothing is computed for nobody.
            wanted = [(request, done) for request, done in waiting if not done.cancelled()]
            if not wanted:
                continue
            started_s, results = time.perf_counter(), self._results([request for request, _ in wanted])
            wait_s = min(_WAIT_SHARE * (time.perf_counter() - started_s), _MAX_WAIT_S)
            num_callers = len(wanted) + self._queue.qsize()
            self.num_batches += 1
            self.num_requests += len(wanted)
            try:
                loop.call_soon_threadsafe(_settle, [done for _, done in wanted], results)
            except RuntimeError:  # the loop has ended
                return

    def _results(self, requests: list[Request]) -> Sequence[Result | BaseException]:
        try:
            return self._work(requests)
        except BaseException as error:  # the thread must outlive whatever the work does
            return [error] * len(requests)

    def _take(self, wait_s: float, num_callers: int) -> list[Any]:
        """Takes what waits, at least one and at most a batch; empty at the end. Fewer than `num_callers` wait for more."""
        waiting = [self._queue.get()]
        deadline_s = time.perf_counter() + wait_s
        while len(waiting) < self._max_batch:
            left_s = (
                deadline_s - time.perf_counter()
                if len(waiting) < num_callers and num_callers >= _FEWEST_CALLERS
                else 0.0
            )
            try:
                waiting.append(self._queue.get(left_s > 0, max(left_s, 0.0)))
            except queue.Empty:
                break
        if _STOP in waiting:
            self._queue.put(_STOP)
            waiting = waiting[: waiting.index(_STOP)]
        return waiting


def one_by_one(name: str, *, max_waiting: int) -> Batcher[Callable[[], Any], Any]:
    """Returns a Batcher that makes calls, each by itself: a request is what is called, without arguments."""
    return Batcher(name, _call_each, max_batch=1, max_waiting=max_waiting)


def _call_each(jobs: Sequence[Callable[[], Any]]) -> list[Any]:
    return [job() for job in jobs]


def _settle(futures: list[asyncio.Future[Any]], results: Sequence[Any]) -> None:
    for done, result in zip(futures, results, strict=True):
        if done.done():
            continue
        if isinstance(result, BaseException):
            done.set_exception(result)
        else:
            done.set_result(result)
