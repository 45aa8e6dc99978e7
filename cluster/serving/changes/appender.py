"""What a service needs of who makes changes durable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from semrec.changes.events import Event
from semrec.changes.overlay import ItemChange
from semrec.changes.relations import RelationChange
from semrec.workspace.log import Batch, BatchToken

__all__ = ["Appender"]


class Appender(Protocol):
    """Makes changes durable and known to all replicas, on return also in the answers: `OverlayClient`, or a test's own."""

    async def append_items(self, changes: Sequence[ItemChange], token: BatchToken | None = None) -> Batch:
        """Appends item changes."""

    async def append_events(self, events: Sequence[Event], token: BatchToken | None = None) -> Batch:
        """Appends events."""

    async def append_relations(self, changes: Sequence[RelationChange], token: BatchToken | None = None) -> Batch:
        """Appends changes of relations."""

    async def known(self, log: str, token: BatchToken) -> Batch | None:
        """Returns the batch that was stored under a token in a log: "items", "events" or "relations"."""
