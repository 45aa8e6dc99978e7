"""Reads a few blocks ahead, in a thread: parsing releases the interpreter, and so runs beside the checks of earlier blocks."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from semrec.data.rejects import ReadStats, RowBlock

__all__ = ["RecordedStats", "read_ahead"]

_NUM_AHEAD: Final = 4  # so many are parsed while the rows of some blocks are spilled to the disk


def read_ahead(read: Callable[..., Iterator[RowBlock]], stats: ReadStats) -> Iterator[RowBlock]:
    """Yields the blocks of `read(stats=...)`; `stats` hears of rejected rows and notes in the order of reading."""
    recorded = RecordedStats()
    blocks = read(stats=recorded)

    def step() -> tuple[RowBlock | Exception | None, list[Callable[[ReadStats], None]]]:
        """The next block, or the error that ended reading, or None behind the last; and what was said until then."""
        block: RowBlock | Exception | None
        try:
            block = next(blocks, None)
        except Exception as error:  # raised again once what came before it has been said
            block = error
        return block, recorded.taken()

    with ThreadPoolExecutor(1, "read-ahead") as thread:
        upcoming = deque(thread.submit(step) for _ in range(_NUM_AHEAD))
        try:
            while True:
                block, said = upcoming.popleft().result()
                for call in said:
                    call(stats)
                if isinstance(block, Exception):
                    raise block
                if block is None:
                    return
                upcoming.append(thread.submit(step))
                yield block
        finally:
            thread.shutdown(cancel_futures=True)


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

    def taken(self) -> list[Callable[[ReadStats], None]]:
        """Hands out all that was said since the last time, in order."""
        calls, self._calls = self._calls, []
        return calls
