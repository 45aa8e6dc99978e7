"""What an answer is made from: one release and one state of the overlay, taken together at a request's start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from semrec.changes.events import Event, RecentEvents
from semrec.changes.log import Folded
from semrec.changes.overlay import OverlayView
from semrec.online.answers import Question, Ranked
from semrec.online.release import ServedRelease

__all__ = ["Ranker", "Snapshot"]

Ranker = Callable[[Sequence[Question], OverlayView], list[Ranked]]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A release as an overlay changed it. Never altered: a release switch or a change of the overlay makes another.

    `rank` is the release's own, or that of the shards which hold it together.
    """

    served: ServedRelease
    overlay: OverlayView
    recent_events: RecentEvents | None
    folded: Folded
    rank: Ranker

    def recent(self, user_id: str) -> Sequence[Event]:
        """The events of a user that the release does not know."""
        return self.recent_events.of(user_id, self.folded.events) if self.recent_events else ()

    @cached_property
    def as_released(self) -> Snapshot:
        """The same without overlay and events: what batch scoring saw."""
        return Snapshot(self.served, OverlayView.empty(), None, self.folded, self.rank)

    @cached_property
    def stamp(self) -> bytes:
        """`"release":"..","overlay":0`, which every answer carries."""
        return b'"release":"%b","overlay":%d' % (self.served.release_id.encode(), self.overlay.sequence)
