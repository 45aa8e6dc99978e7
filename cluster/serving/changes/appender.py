"""What a service needs of who makes changes durable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from semrec.workspace.log import Batch, BatchToken

__all__ = ["Appender"]


class Appender(Protocol):
    """Makes changes durable and known to all replicas, on return also in the answers: `OverlayClient`, or a test's own."""

    async def append(self, log: str, rows: Sequence[Any], token: BatchToken | None = None) -> Batch:
        """Appends rows to a log by its name in `LogPositions`: ItemChange, Event or RelationChange, as checked."""

    async def known(self, log: str, token: BatchToken) -> Batch | None:
        """Returns the batch that was stored under a token in a log."""
