"""Commits batches in groups: callers that come while a segment is being written share the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from semrec.errors import InputError
from semrec.workspace.log import Batch, BatchToken, Segment, SegmentLog

__all__ = ["GroupCommit"]

_MAX_TOKEN_CHARS: Final = 300  # the 200 that a caller has, and the id of its API key
_MAX_ROWS: Final = 10_000  # of one segment, unless one batch alone has more


@dataclass(frozen=True, eq=False)
class _Waiting:
    table: pa.Table
    token: BatchToken | None
    done: asyncio.Future[Batch]


class GroupCommit:
    """Appends batches of rows to a log for many callers of one event loop, one write at a time, in order of arrival.

    `on_segments` is called in the loop with every segment that the log got, also from other processes, in order, before
    the callers hear of it.
    """

    def __init__(self, log: SegmentLog, on_segments: Callable[[list[Segment]], None]) -> None:
        self._log, self._on_segments = log, on_segments
        self._waiting: list[_Waiting] = []
        self._by_token: dict[str, asyncio.Future[Batch]] = {}
        self._writer: asyncio.Task[None] | None = None
        self._in_order = asyncio.Lock()  # what the log got first is announced first

    @property
    def last_sequence(self) -> int:
        """The last sequence that is known to be stored."""
        return self._log.last_sequence

    async def append(self, table: pa.Table, token: BatchToken | None = None) -> Batch:
        """Returns when the rows are durable. A token that was given before gets its first batch, marked as repeated.

        Raises InputError for a batch without rows, a token of more than 300 characters, and one that was given for
        something else (by its digest); and what the storage raises: the same token may then be given again.
        """
        if not table.num_rows:
            raise InputError("an empty batch", expected="one row at least", remedy="Send nothing instead.")
        if token and len(token.name) > _MAX_TOKEN_CHARS:
            raise InputError(
                f"a token of {len(token.name):,} characters",
                expected=f"at most {_MAX_TOKEN_CHARS}",
                remedy="Use a UUID.",
            )
        if token and (stored := self.known(token)):
            return stored
        if token and token.name in self._by_token:
            return (await asyncio.shield(self._by_token[token.name])).again(token)
        done: asyncio.Future[Batch] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(table, token, done))
        if token:
            self._by_token[token.name] = done
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())
        batch = await asyncio.shield(done)  # a caller that goes away does not take back what others wait for
        return batch.again(token) if token and batch.repeated else batch  # another process had the token

    def known(self, token: BatchToken) -> Batch | None:
        """Returns the batch that is stored under a token, if remembered. Raises InputError when it was for another request."""
        batch = self._log.batch_of(token.name)
        return batch.again(token) if batch else None

    async def catch_up(self) -> None:
        """Looks for what other processes appended."""
        async with self._in_order:
            self._on_segments(await asyncio.to_thread(self._log.catch_up))

    async def _write_all(self) -> None:
        while self._waiting:
            group = self._next_group()
            try:
                async with self._in_order:
                    appended = await asyncio.to_thread(
                        self._log.append, [(caller.table, caller.token) for caller in group]
                    )
                    self._on_segments(appended.segments)
                for caller, batch in zip(group, appended.batches, strict=True):
                    caller.done.set_result(batch)
            except Exception as error:  # whatever it is, it belongs to those who wait
                for caller in group:
                    caller.done.set_exception(error)
                    caller.done.exception()  # marks it as seen, should the caller have gone away
            for caller in group:
                self._by_token.pop(caller.token.name if caller.token else "", None)
        self._writer = None

    def _next_group(self) -> list[_Waiting]:
        size, count = 0, 0
        for caller in self._waiting:
            if count and size + caller.table.num_rows > _MAX_ROWS:
                break
            size, count = size + caller.table.num_rows, count + 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        return group
