"""The overlay actor: it orders what changes in a workspace (items, events, relations), makes it durable and tells the replicas.

One for each workspace on a Ray cluster, named and detached, so that it outlives drivers and is restarted with its node.
It keeps no state that the segments do not hold: a new one reads where the logs end and goes on. Should two ever run, on
two clusters perhaps, the segments' exclusive creates keep one order, and each hears of the other's within two seconds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import pyarrow as pa
import ray

from semrec.changes.events import event_table, events_in
from semrec.changes.group_commit import GroupCommit
from semrec.changes.overlay import change_table, changes_of
from semrec.changes.relations import relation_change_table, relation_changes_of
from semrec.changes.state import Update, event_log, item_log, relation_log
from semrec.workspace.digests import sha256_hex
from semrec.workspace.log import Batch, BatchToken, LogPositions, Segment, SegmentLog
from semrec.workspace.storage import Storage

__all__ = ["NAMESPACE", "OverlayActor", "actor_name", "overlay_actor"]

_log = logging.getLogger(__name__)

NAMESPACE: Final = "semrec"
_MAX_BUFFERED_ROWS: Final = 20_000  # rows that a subscriber may lag behind before it is sent to the segments
_PER_UPDATE: Final = 5_000
_POLL_LOG_S: Final = 2.0  # between looks at what another actor may have written
_ALIVE_S: Final = 2.0  # a subscriber that asked within this time is waited for
_FORGOTTEN_S: Final = 60.0
_NOTIFY_S: Final = 0.5  # but never longer than this


@dataclass
class _Subscriber:
    """What one replica said last: it holds everything up to `applied`."""

    applied: LogPositions = field(default_factory=LogPositions)
    polling: int = 0
    heard_s: float = 0.0
    late: bool = False  # let somebody wait in vain, and has not asked since
    has_left: bool = False

    def is_behind(self, log: str, sequence: int) -> bool:
        alive = self.polling > 0 or time.monotonic() - self.heard_s < _ALIVE_S
        return alive and not self.late and getattr(self.applied, log) < sequence


@dataclass
class _RecentRows:
    """The last rows of one log, without a gap, for those who follow it; `start` is the sequence before the first."""

    start: int
    rows: deque[Any] = field(default_factory=deque)

    def extend(self, rows: list[Any]) -> None:
        if rows and rows[0].sequence != self.start + len(self.rows) + 1:  # some could not be taken over
            self.rows.clear()
            self.start = rows[0].sequence - 1
        self.rows.extend(rows)
        while len(self.rows) > _MAX_BUFFERED_ROWS:
            self.start = self.rows.popleft().sequence

    def after(self, sequence: int) -> list[Any]:
        """At most _PER_UPDATE rows after `sequence`, which is not before `start`."""
        first = sequence - self.start
        return [self.rows[n] for n in range(first, min(first + _PER_UPDATE, len(self.rows)))]


@dataclass(frozen=True)
class _LogKind:
    """How the rows of one log are found, written and read."""

    open: Callable[[Storage], SegmentLog]
    table: Callable[[list[Any]], pa.Table]
    rows: Callable[[int, pa.Table], list[Any]]


#: By the names of LogPositions and Update.
_LOGS: Final = {
    "items": _LogKind(item_log, change_table, changes_of),
    "events": _LogKind(event_log, event_table, events_in),
    "relations": _LogKind(relation_log, relation_change_table, relation_changes_of),
}


class _FollowedLog:
    """One opened log, and its last rows for those who follow it."""

    def __init__(self, kind: _LogKind, log: SegmentLog, announce: Callable[[], None]) -> None:
        self._kind, self._announce = kind, announce
        self.commit, self.recent = GroupCommit(log, self._on_segments), _RecentRows(log.last_sequence)

    async def append(self, rows: list[Any], token: BatchToken | None) -> Batch:
        return await self.commit.append(self._kind.table(rows), token)

    def _on_segments(self, segments: list[Segment]) -> None:
        self.recent.extend([row for segment in segments for row in self._kind.rows(segment.first, segment.table)])
        if segments:
            self._announce()


class OverlayActor:
    """See the module. `append` acknowledges what is durable and told to every replica that listens, within 0.5 s.

    Logs are named as the fields of `LogPositions`.
    """

    def __init__(self, workspace_uri: str) -> None:
        self._storage = Storage(workspace_uri)
        self._opening, self._logs = asyncio.Lock(), dict[str, _FollowedLog]()
        self._subscribers: dict[str, _Subscriber] = {}
        self._news = asyncio.Event()  # replaced whenever it is set: everybody who waits on one hears of it once
        self._polled = asyncio.Event()

    async def append(self, log: str, rows: list[Any], token: BatchToken | None = None) -> Batch:
        """Makes rows durable, in their order, as one batch: ItemChange, Event (checked by the caller) or RelationChange.

        `token` is the caller's name for this batch.
        """
        await self._open()
        batch = await self._logs[log].append(rows, token)
        await self._notify_replicas(log, batch.last)
        return batch

    async def known(self, log: str, token: BatchToken) -> Batch | None:
        """The batch that is stored under a token, if it is remembered."""
        await self._open()
        return self._logs[log].commit.known(token)

    async def poll(self, subscriber: str, applied: LogPositions, timeout_s: float) -> Update:
        """What came after the sequences `applied`, as soon as there is something; empty after `timeout_s`.

        By asking the subscriber says that it has applied everything up to there.
        """
        await self._open()
        state = self._subscribers.setdefault(subscriber, _Subscriber())
        state.applied, state.late = applied, False
        state.polling += 1
        self._polled = _set(self._polled)
        try:
            deadline = time.monotonic() + timeout_s
            while not (update := self._update(applied)):
                news, left_s = self._news, deadline - time.monotonic()
                if state.has_left or left_s <= 0 or not await _is_set(news, left_s):
                    break
            return update
        finally:
            state.polling -= 1
            state.heard_s = time.monotonic()

    async def leave(self, subscriber: str) -> None:
        """Forgets a subscriber that will not ask again; what it asked last is answered."""
        self._subscribers.pop(subscriber, _Subscriber()).has_left = True
        self._news, self._polled = _set(self._news), _set(self._polled)

    async def describe(self) -> dict[str, Any]:
        """Where it lives, the last sequences, and how many subscribers it knows."""
        await self._open()
        return {
            "pid": os.getpid(),
            "node": ray.get_runtime_context().get_node_id(),
            **{name: log.commit.last_sequence for name, log in self._logs.items()},
            "subscribers": len(self._subscribers),
        }

    async def _open(self) -> None:
        """Finds the ends of the logs, at the first call, so that an error of the store arrives typed and is not final."""
        async with self._opening:
            if self._logs:
                return
            opened = await asyncio.to_thread(_opened_logs, self._storage)
            self._logs = {name: _FollowedLog(_LOGS[name], log, self._announce) for name, log in opened.items()}
            self._looking = asyncio.create_task(self._keep_looking())

    def _update(self, applied: LogPositions) -> Update:
        reached = asdict(applied)
        if any(reached[name] < log.recent.start for name, log in self._logs.items()):
            return Update(reread=True)
        rows: dict[str, Any] = {name: log.recent.after(reached[name]) for name, log in self._logs.items()}
        return Update(**rows)

    async def _notify_replicas(self, log: str, sequence: int) -> None:
        """Waits until no living subscriber is behind, for 0.5 s at most; who is too slow is not waited for again."""
        deadline = time.monotonic() + _NOTIFY_S
        while behind := [s for s in self._subscribers.values() if s.is_behind(log, sequence)]:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                for subscriber in behind:
                    subscriber.late = True
                return
            await _is_set(self._polled, left_s)

    def _announce(self) -> None:
        self._news = _set(self._news)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(_POLL_LOG_S)
            try:
                for log in self._logs.values():
                    await log.commit.catch_up()
            except Exception as error:  # whatever the store says, the next look may fare better
                _log.warning("cannot look for segments of others: %s", error)
            gone_s = time.monotonic() - _FORGOTTEN_S
            known = self._subscribers.items()
            self._subscribers = {name: s for name, s in known if s.polling or s.heard_s > gone_s}


def _opened_logs(storage: Storage) -> dict[str, SegmentLog]:
    logs = {name: kind.open(storage) for name, kind in _LOGS.items()}
    for log in logs.values():
        log.open()
    return logs


def _set(event: asyncio.Event) -> asyncio.Event:
    """Wakes everybody who waits on `event`; returns the one for the next time."""
    event.set()
    return asyncio.Event()


async def _is_set(event: asyncio.Event, timeout_s: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return False
    return True


def actor_name(workspace_uri: str) -> str:
    """The name of a workspace's actor in the namespace `semrec`."""
    return f"overlay-{sha256_hex(_absolute(workspace_uri).encode())[:16]}"


def overlay_actor(workspace_uri: str) -> Any:
    """A handle of the workspace's actor, which is made if there is none. Ray must be connected."""
    options = {
        "name": actor_name(workspace_uri),
        "namespace": NAMESPACE,
        "get_if_exists": True,
        "lifetime": "detached",
        "num_cpus": 0,
        "max_restarts": -1,
        "max_concurrency": 10_000,
    }
    return ray.remote(OverlayActor).options(**options).remote(_absolute(workspace_uri))


def _absolute(workspace_uri: str) -> str:
    """One spelling of each workspace; a relative folder means another in every process."""
    storage = Storage(workspace_uri)
    return storage.full_path("") if storage.is_local else storage.uri
