"""Fetches files that callers name by URI: a few at a time, and from one host one after the other.

A host that does not answer takes one of the slots for as long as a fetch may last, whoever asks for it and however often.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from cluster.serving.errors import OverloadedError
from semrec.online.process import ReceivedFile, fetched

__all__ = ["Fetcher"]

_SLOTS: Final = 8  # files that are being fetched, or are held until they are embedded
_MAX_WAITING: Final = 64


class Fetcher:
    """Fetches files of up to `max_bytes` within `timeout_s`, the time that they wait for their turn included."""

    def __init__(self, *, max_bytes: int, timeout_s: float) -> None:
        self._max_bytes, self._timeout_s = max_bytes, timeout_s
        self._threads = ThreadPoolExecutor(_SLOTS, "semrec-fetches")
        self._slots = asyncio.Semaphore(_SLOTS)
        # Of each host that is asked for, as long as somebody holds or awaits it.
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._num_waiting = 0

    @asynccontextmanager
    async def file(self, uri: str) -> AsyncIterator[ReceivedFile]:
        """The file at a URI, which takes a slot until the block ends, and until its thread has ended.

        Raises InputError where it is not had, OverloadedError where too many wait or its turn does not come in time.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + self._timeout_s
        host = _host_of(uri)
        turn = self._turns.setdefault(host, asyncio.Semaphore(1))
        await self._acquire(turn, deadline_s, f"files of {host[:200]!r}")
        try:
            await self._acquire(self._slots, deadline_s, "files")
        except BaseException:
            turn.release()
            raise
        left_s = max(deadline_s - loop.time(), 0.0)
        job = loop.run_in_executor(self._threads, self._fetched, uri, left_s)
        job.add_done_callback(lambda _: turn.release())
        try:
            # A thread cannot be ended: its turn and its slot are not free before it ends.
            yield await asyncio.shield(job)
        finally:
            if job.done():
                self._slots.release()
            else:
                job.add_done_callback(lambda _: self._slots.release())

    def close(self) -> None:
        """Ends the threads after what they are doing."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _fetched(self, uri: str, timeout_s: float) -> ReceivedFile:
        return fetched(uri, max_bytes=self._max_bytes, timeout_s=timeout_s)

    async def _acquire(self, semaphore: asyncio.Semaphore, deadline_s: float, what: str) -> None:
        if self._num_waiting >= _MAX_WAITING:
            raise OverloadedError(f"too many {what} wait", expected=f"at most {_MAX_WAITING}", remedy="Try again.")
        self._num_waiting += 1
        try:
            async with asyncio.timeout_at(deadline_s):
                await semaphore.acquire()
        except TimeoutError:
            raise OverloadedError(
                f"too many {what} before this one", expected=f"a turn within {self._timeout_s:g} s", remedy="Try again."
            ) from None
        finally:
            self._num_waiting -= 1


def _host_of(uri: str) -> str:
    try:
        return urlsplit(uri).hostname or ""
    except ValueError:
        return ""  # `fetched` says what is wrong with it
