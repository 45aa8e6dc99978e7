"""Reads a few blocks ahead, in a thread: parsing releases the interpreter, and so runs beside the checks of earlier blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from threading import Event, Semaphore
from typing import Final

from semrec.data.rejects import ReadStats, RowBlock

__all__ = ["RecordedStats", "read_ahead"]

_NUM_AHEAD: Final = 4  # so many are parsed while the rows of some blocks are spilled to the disk
_NUM_CALLS: Final = 4_096  # that are handed over at once, though no block is done: all rows of a file may be bad

_Call = Callable[[ReadStats], None]


def read_ahead(read: Callable[..., Iterator[RowBlock]], stats: ReadStats) -> Iterator[RowBlock]:
    """Yields the blocks of `read(stats=...)`; `stats` hears of rejected rows and notes in the order of reading."""
    room, has_ended = Semaphore(_NUM_AHEAD), Event()
    #: What was said, and the block behind it; None while there is none yet. No pair is behind the last.
    handed: SimpleQueue[tuple[list[_Call], RowBlock | None] | None] = SimpleQueue()

    def hand_over(calls: list[_Call], block: RowBlock | None = None) -> None:
        room.acquire()
        if has_ended.is_set():
            raise _EndedEarly
        handed.put((calls, block))

    def read_all() -> None:
        recorded = RecordedStats(hand_over)
        try:
            for block in read(stats=recorded):
                hand_over(recorded.taken(), block)
        finally:
            handed.put((recorded.taken(), None))
            handed.put(None)

    with ThreadPoolExecutor(1, "read-ahead") as thread:
        reading = thread.submit(read_all)
        try:
            while (pair := handed.get()) is not None:
                calls, block = pair
                for call in calls:
                    call(stats)
                if block is not None:
                    yield block
                room.release()
            reading.result()  # raises the error that ended it
        finally:
            has_ended.set()
            room.release()


class _EndedEarly(BaseException):
    """Ends the thread that reads, since nobody takes what it reads; no error, which a reader might explain."""


class RecordedStats:
    """Takes what a reader says of its rows, and hands it over to be said to `ReadStats`, which belongs to another thread."""

    def __init__(self, hand_over: Callable[[list[_Call]], None] = lambda calls: None) -> None:
        self.rejected: Counter[str] = Counter()
        self._calls: list[_Call] = []
        self._hand_over = hand_over

    def reject(self, file: str, line: int | None, reason: str, row: str, *, detail: str = "") -> None:
        self.rejected[reason] += 1
        self._say(lambda stats: stats.reject(file, line, reason, row, detail=detail))

    def count(self, num_rows: int) -> None:
        self._say(partial(ReadStats.count, num_rows=num_rows))

    def note(self, text: str) -> None:
        self._say(partial(ReadStats.note, text=text))

    def taken(self) -> list[_Call]:
        """Returns what was said and not handed over yet, in order."""
        calls, self._calls = self._calls, []
        return calls

    def _say(self, call: _Call) -> None:
        self._calls.append(call)
        if len(self._calls) >= _NUM_CALLS:
            self._hand_over(self.taken())
