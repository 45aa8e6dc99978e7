"""Keeps what changed after the releases, items, events and relations: read from their segments and kept up to date."""

from __future__ import annotations

import threading
from dataclasses import astuple, dataclass, field

from semrec.changes.events import Event, RecentEvents, events_in
from semrec.changes.overlay import OVERLAY_SCHEMA, ItemChange, OverlayView, changes_of
from semrec.changes.relations import NO_RELATIONS, RelationChange, relation_changes_of
from semrec.contracts import INTERACTIONS_SCHEMA, RELATION_CHANGES_SCHEMA
from semrec.data.online import EVENTS_FOLDER, OVERLAY_FOLDER, RELATION_CHANGES_FOLDER
from semrec.data.staging import applied_sequence
from semrec.workspace.log import LogPositions, SegmentLog
from semrec.workspace.manifests import CatalogueManifest, InteractionsManifest, RelationsManifest
from semrec.workspace.storage import Storage

__all__ = ["OverlayState", "Update", "event_log", "item_log", "relation_log"]


@dataclass(frozen=True)
class Update:
    """The rows of each log in order of sequence. `reread` says that there is more than this, in the segments."""

    items: list[ItemChange] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    reread: bool = False
    relations: list[RelationChange] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.items or self.events or self.relations or self.reread)


def item_log(storage: Storage) -> SegmentLog:
    """Returns the workspace's log of item changes."""
    floor = applied_sequence(CatalogueManifest.read_if_there(storage))
    return SegmentLog(storage, OVERLAY_FOLDER, OVERLAY_SCHEMA, floor=floor)


def event_log(storage: Storage) -> SegmentLog:
    """Returns the workspace's log of events."""
    floor = applied_sequence(InteractionsManifest.read_if_there(storage))
    return SegmentLog(storage, EVENTS_FOLDER, INTERACTIONS_SCHEMA, floor=floor)


def relation_log(storage: Storage) -> SegmentLog:
    """Returns the workspace's log of changes of relations."""
    floor = applied_sequence(RelationsManifest.read_if_there(storage))
    return SegmentLog(storage, RELATION_CHANGES_FOLDER, RELATION_CHANGES_SCHEMA, floor=floor)


class OverlayState:
    """Everything that a release with `applied` lacks, for as many releases as are in use.

    Threads take turns in changing it; `view` and `recent` may be read at any time without waiting. A change that was applied
    before, or comes again, changes nothing.
    """

    def __init__(self, storage: Storage, applied: LogPositions) -> None:
        self._items, self._events, self._relations = item_log(storage), event_log(storage), relation_log(storage)
        self._changing = threading.RLock()
        self._since = applied  # what is not held here
        self._view = OverlayView.empty(applied.items).with_relations(NO_RELATIONS.after(applied.relations))
        self._cached: dict[tuple[int, int], tuple[OverlayView, OverlayView]] = {}
        self.recent = RecentEvents()
        self.recent.sequence = applied.events
        self.catch_up()

    @property
    def last_applied(self) -> LogPositions:
        """The last sequence applied of each log."""
        return LogPositions(self._view.sequence, self.recent.sequence, self._view.relations.sequence)

    def view(self, applied: LogPositions) -> OverlayView:
        """Returns the changes since a release with `applied`; the same object until something changes.

        A release that holds less than `load_since` was told of is answered for as far back as that.
        """
        whole, key = self._view, (applied.items, applied.relations)
        cached = self._cached.get(key)
        if cached is None or cached[0] is not whole:
            cached = (whole, _after(whole, applied))
            self._cached[key] = cached
        return cached[1]

    def apply(self, update: Update) -> None:
        """Takes in what the actor sent, which must begin no later than after `last_applied`."""
        with self._changing:
            if update.items:
                self._view = self._view.with_changes(update.items)
            if update.relations:
                self._view = self._view.with_relations(self._view.relations.with_changes(update.relations))
            self.recent.add(update.events)

    def catch_up(self) -> None:
        """Reads what the segments hold beyond `last_applied`. Raises CorruptArtefactError when one is missing or damaged."""
        with self._changing:
            self._read(self.last_applied)

    def load_since(self, applied: LogPositions) -> None:
        """Makes sure that everything after `applied` is here: an older release may go live again."""
        with self._changing:
            earlier = LogPositions(*map(min, astuple(applied), astuple(self._since)))
            if earlier != self._since:
                self._read(applied)
                self._since = earlier

    def drop_through(self, applied: LogPositions) -> None:
        """Forgets the changes that every release in use holds."""
        with self._changing:
            self._view = _after(self._view, applied)
            self._since = LogPositions(*map(max, astuple(applied), astuple(self._since)))
            self._cached.clear()
            self.recent.drop_through(applied.events)

    def _read(self, after: LogPositions) -> None:
        # Events first: the items that they name were acknowledged before them, and are then in what is read next.
        events = [e for s in self._events.read(after.events) for e in events_in(s.first, s.table)]
        items = [c for s in self._items.read(after.items) for c in changes_of(s.first, s.table)]
        relations = [c for s in self._relations.read(after.relations) for c in relation_changes_of(s.first, s.table)]
        self.apply(
            Update(
                [change for change in items if change.sequence > after.items],
                [event for event in events if event.sequence > after.events],
                relations=[change for change in relations if change.sequence > after.relations],
            )
        )


def _after(view: OverlayView, applied: LogPositions) -> OverlayView:
    later, relations = view.after(applied.items), view.relations.after(applied.relations)
    return later if relations is view.relations else later.with_relations(relations)
