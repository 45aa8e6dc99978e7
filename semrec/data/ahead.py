"""Reads one block ahead, in a thread: parsing releases the interpreter, and so runs beside the checks of the block before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from semrec.data.rejects import ReadStats, RowBlock

__all__ = ["RecordedStats", "read_ahead"]


def read_ahead(read: Callable[..., Iterator[RowBlock]], stats: ReadStats) -> Iterator[RowBlock]:
    """Yields the blocks of `read(stats=...)`; `stats` hears of rejected rows and notes in the order of reading."""
    recorded = RecordedStats()
    blocks = read(stats=recorded)
    with ThreadPoolExecutor(1, "read-ahead") as thread:
        upcoming = thread.submit(next, blocks, None)
        while True:
            try:
                block = upcoming.result()
            finally:
                recorded.replay(stats)
            if block is None:
                return
            upcoming = thread.submit(next, blocks, None)
            yield block


class RecordedStats:
    """Keeps what a reader says of its rows until it can be said to `ReadStats`, which belongs to another thread."""

    def __init__(self) -> None:
        self.rejected: Counter[str] = Counter()
        self._calls: list[Callable[[ReadStats], None]] = []

    def reject(self, file: str, line: int | None, reason: str, row: str, *, detail: str = "") -> None:
        self.rejected[reason] += 1
        self._calls.append(lambda stats: stats.reject(file, line, reason, row, detail=detail))

    def count(self, num_rows: int) -> None:
        self._calls.append(partial(ReadStats.count, num_rows=num_rows))

    def note(self, text: str) -> None:
        self._calls.append(partial(ReadStats.note, text=text))

    def replay(self, stats: ReadStats) -> None:
        """Says all of it, in order, while the reader rests."""
        for call in self._calls:
            call(stats)
        self._calls = []
