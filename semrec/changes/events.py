"""Checks interactions as they arrive, and keeps them, as segments and per user, until a release holds them.

A segment of events is an ordinary Parquet file of INTERACTIONS_SCHEMA, which an import reads. Events that are equal in
user, item, value and second are one event, here as in an import; an event that arrives late takes its place by time.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from semrec.changes.overlay import OverlayView
from semrec.contracts import INTERACTIONS_SCHEMA
from semrec.data.columns import ColumnMap
from semrec.data.events import EventRules, events_of
from semrec.data.known import HasItems
from semrec.data.rejects import RejectedRow, RejectedRows, RowBlock
from semrec.limits import MAX_EVENT_VALUE

__all__ = [
    "CheckedEvents",
    "Event",
    "LiveItems",
    "RecentEvents",
    "check_events",
    "event_table",
    "events_in",
]

_FEW_EVENTS: Final = 64  # of one user in one batch: more of them are merged with a copy of what is known
_COLUMNS: Final = ColumnMap(value="value", timestamp="timestamp")


@dataclass(frozen=True, slots=True)
class Event:
    """One interaction. `value` is a float32; `timestamp` s since 1970 UTC; `sequence` from 1, 0 while not acknowledged."""

    user_id: str
    item_id: str
    value: float
    timestamp: int
    sequence: int = 0


@dataclass(frozen=True)
class CheckedEvents:
    """The good events, in their order, and the others with their place among all (from 0) and the reason."""

    accepted: list[Event]
    refused: list[RejectedRow]


class LiveItems:
    """The items that exist now: those of a release, as an overlay changed them."""

    def __init__(self, release_items: HasItems, view: OverlayView) -> None:
        self._release_items, self._changes = release_items, view.changes

    def contains(self, ids: pa.Array) -> np.ndarray:
        exists = self._release_items.contains(ids)
        if not self._changes:
            return exists
        changed = (self._changes.get(item_id) for item_id in ids.to_pylist())
        return np.array([there if c is None else not c.deleted for c, there in zip(changed, exists, strict=True)], bool)


def check_events(
    events: Sequence[Mapping[str, Any]],
    items: HasItems,
    *,
    now_s: int | None = None,
    max_value: float = MAX_EVENT_VALUE,
) -> CheckedEvents:
    """Checks which of `events` are interactions: mappings with user_id, item_id, value (1.0) and timestamp (now).

    The rules and reasons are those of an import (`semrec.data.REASONS`): a timestamp more than a day ahead is an
    "impossible time", an item outside `items` an "unknown item". `now_s` is in UTC seconds. Never raises for an event.
    """
    now_s = int(time.time()) if now_s is None else now_s
    rejected = RejectedRows()
    readable = [position for position, event in enumerate(events) if _is_readable(event, position, rejected)]
    rows = [events[position] for position in readable]
    block = RowBlock(
        "(events)",
        {
            "user_id": [row.get("user_id") for row in rows],
            "item_id": [row.get("item_id") for row in rows],
            "value": [1.0 if row.get("value") is None else row["value"] for row in rows],
            "timestamp": [now_s if row.get("timestamp") is None else row["timestamp"] for row in rows],
        },
        len(rows),
        np.array(readable, dtype=np.int64),
        lambda row: "",
    )
    good = events_of(block, _COLUMNS, EventRules(items, now_s, max_value), stats=rejected)
    accepted = [replace(event, sequence=0) for event in events_in(0, good)]
    return CheckedEvents(accepted, sorted(rejected.rows, key=lambda row: row.row))


def event_table(events: Sequence[Event]) -> pa.Table:
    """Returns events as a table of INTERACTIONS_SCHEMA, in the order of `events`."""
    columns = [[getattr(event, name) for event in events] for name in INTERACTIONS_SCHEMA.names]
    arrays = [pa.array(column, kind.type) for column, kind in zip(columns, INTERACTIONS_SCHEMA, strict=True)]
    return pa.table(arrays, schema=INTERACTIONS_SCHEMA)


def events_in(first: int, table: pa.Table) -> list[Event]:
    """Returns the events of the segment that begins at sequence `first`."""
    columns = [table.column(name).to_pylist() for name in INTERACTIONS_SCHEMA.names]
    rows = enumerate(zip(*columns, strict=True), start=first)
    return [Event(user, item, value, second, sequence) for sequence, (user, item, value, second) in rows]


class RecentEvents:
    """Events by user, of which some release may not know yet.

    One thread adds; any number read at the same time, and each reads a user's events as they were before or after one of
    them was added. Memory grows with what was acknowledged since the oldest release in use:
    `drop_through` what all of them hold.
    """

    def __init__(self) -> None:
        self._by_user: dict[str, list[Event]] = {}  # in order of _key
        self.sequence = 0

    def __len__(self) -> int:
        return sum(len(events) for events in list(self._by_user.values()))

    @property
    def num_users(self) -> int:
        return len(self._by_user)

    def add(self, events: Iterable[Event]) -> None:
        """Adds acknowledged events, in any order; one that repeats a known event of its user changes nothing.

        An event costs about log n comparisons where its user has n, however they arrive.
        """
        by_user: dict[str, list[Event]] = {}
        for event in events:
            self.sequence = max(self.sequence, event.sequence)
            by_user.setdefault(event.user_id, []).append(event)
        for user_id, new in by_user.items():
            stored = self._by_user.setdefault(user_id, [])
            if len(new) <= _FEW_EVENTS:
                for event in new:
                    _insert(stored, event)
            else:
                self._by_user[user_id] = _merged(stored, new)

    def of(self, user_id: str, applied: int = 0) -> tuple[Event, ...]:
        """Returns a user's events after sequence `applied`, by (timestamp, item_id, value), each once."""
        events = tuple(self._by_user.get(user_id, ()))  # a copy at one stroke: the list may grow meanwhile
        return tuple(event for event in events if event.sequence > applied)

    def drop_through(self, applied: int) -> None:
        """Drops the events up to sequence `applied`."""
        for user_id, events in list(self._by_user.items()):
            later = [event for event in events if event.sequence > applied]
            if later:
                self._by_user[user_id] = later
            else:
                del self._by_user[user_id]


def _key(event: Event) -> tuple[int, str, float]:
    return (event.timestamp, event.item_id, event.value)


def _insert(stored: list[Event], event: Event) -> None:
    """Puts an event in its place among its user's, which moves those behind it, or lets it stand for an equal one."""
    key = _key(event)
    place = bisect_left(stored, key, key=_key)
    if place == len(stored) or _key(stored[place]) != key:
        stored.insert(place, event)
    elif event.sequence < stored[place].sequence:  # a release that holds the first of two equal events lacks nothing
        stored[place] = event


def _merged(stored: list[Event], new: list[Event]) -> list[Event]:
    """Merges many events into a new list, ordered as `_insert` orders: one copy instead of a move for each."""
    merged: list[Event] = []
    start = 0
    for event in sorted(new, key=_key):
        key = _key(event)
        place = bisect_left(stored, key, start, key=_key)
        stop = place + (place < len(stored) and _key(stored[place]) == key)
        merged += stored[start:stop]
        start = stop
        if not merged or _key(merged[-1]) != key:
            merged.append(event)
        elif event.sequence < merged[-1].sequence:
            merged[-1] = event
    return merged + stored[start:]


def _is_readable(event: Any, place: int, rejected: RejectedRows) -> bool:
    """Returns whether an event is a mapping whose texts can be written as UTF-8: JSON can spell a lone surrogate."""
    if not isinstance(event, Mapping):
        rejected.rows.append(RejectedRow(place, "not a JSON object", repr(event)[:80]))
        return False
    for name in INTERACTIONS_SCHEMA.names:
        value = event.get(name)
        if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
            rejected.rows.append(RejectedRow(place, "bad UTF-8", f"{name} = {value[:80]!r}"))
            return False
    return True
