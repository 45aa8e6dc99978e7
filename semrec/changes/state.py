"""What came after the releases: item changes and events, read from their segments and kept up to date."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from semrec.changes.events import Event, RecentEvents, events_in
from semrec.changes.log import Folded, SegmentLog
from semrec.changes.overlay import OVERLAY_SCHEMA, ItemChange, OverlayView, changes_of
from semrec.contracts import INTERACTIONS_SCHEMA
from semrec.data.online import EVENTS_FOLDER, OVERLAY_FOLDER
from semrec.data.staging import applied_sequence
from semrec.workspace.manifests import CatalogueManifest, InteractionsManifest
from semrec.workspace.storage import Storage

__all__ = ["OverlayState", "Update", "event_log", "item_log"]


@dataclass(frozen=True)
class Update:
    """Item changes and events in order of sequence. `reread` says that there is more than this, in the segments."""

    items: list[ItemChange] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    reread: bool = False

    def __bool__(self) -> bool:
        return bool(self.items or self.events or self.reread)


def item_log(storage: Storage) -> SegmentLog:
    """The workspace's log of item changes."""
    floor = applied_sequence(CatalogueManifest.read_if_there(storage))
    return SegmentLog(storage, OVERLAY_FOLDER, OVERLAY_SCHEMA, floor=floor)


def event_log(storage: Storage) -> SegmentLog:
    """The workspace's log of events."""
    floor = applied_sequence(InteractionsManifest.read_if_there(storage))
    return SegmentLog(storage, EVENTS_FOLDER, INTERACTIONS_SCHEMA, floor=floor)


class OverlayState:
    """Everything that a release with `folded` lacks, for as many releases as are in use.

    Threads take turns in changing it; `view` and `recent` may be read at any time without waiting. A change that was applied
    before, or comes again, changes nothing.
    """

    def __init__(self, storage: Storage, folded: Folded) -> None:
        self._items, self._events = item_log(storage), event_log(storage)
        self._changing = threading.RLock()
        self._since = folded  # what is not held here
        self._view = OverlayView.empty(folded.items)
        self._cached: dict[int, tuple[OverlayView, OverlayView]] = {}
        self.recent = RecentEvents()
        self.recent.sequence = folded.events
        self.catch_up()

    @property
    def heads(self) -> tuple[int, int]:
        """The last sequence applied, of item changes and of events."""
        return self._view.sequence, self.recent.sequence

    def view(self, folded: Folded) -> OverlayView:
        """What changed since a release with `folded`; the same object until something changes.

        A release that holds less than `reach` was told of is answered for as far back as that.
        """
        whole = self._view
        cached = self._cached.get(folded.items)
        if cached is None or cached[0] is not whole:
            cached = (whole, whole.after(folded.items))
            self._cached[folded.items] = cached
        return cached[1]

    def apply(self, update: Update) -> None:
        """Takes in what the actor sent, which must begin no later than after `heads`."""
        with self._changing:
            if update.items:
                self._view = self._view.with_changes(update.items)
            self.recent.add(update.events)

    def catch_up(self) -> None:
        """Reads what the segments hold beyond `heads`. Raises CorruptArtefactError when one is missing or damaged."""
        with self._changing:
            self._read(Folded(*self.heads))

    def reach(self, folded: Folded) -> None:
        """Makes sure that everything after `folded` is here: an older release may go live again."""
        with self._changing:
            if folded.items < self._since.items or folded.events < self._since.events:
                self._read(folded)
                self._since = Folded(min(folded.items, self._since.items), min(folded.events, self._since.events))

    def forget(self, folded: Folded) -> None:
        """Lets go of what every release in use holds."""
        with self._changing:
            self._view = self._view.after(folded.items)
            self._since = Folded(max(folded.items, self._since.items), max(folded.events, self._since.events))
            self._cached.clear()
            self.recent.forget(folded.events)

    def _read(self, after: Folded) -> None:
        # Events first: the items that they name were acknowledged before them, and are then in what is read next.
        events = [e for s in self._events.read(after.events) for e in events_in(s.first, s.table)]
        items = [c for s in self._items.read(after.items) for c in changes_of(s.first, s.table)]
        self.apply(
            Update([c for c in items if c.sequence > after.items], [e for e in events if e.sequence > after.events])
        )
