"""Limit how often a key may ask, and how many bytes of requests are held at once; each replica counts for itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from cluster.serving.errors import OverloadedError

__all__ = ["BodyStore", "RateLimiter"]

_BURST_S: Final = 1.0  # a bucket holds what a second allows


class RateLimiter:
    """Token buckets. Used by the event loop of one process alone, so a key's rate holds per replica."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait_s(self, name: str, rate_per_s: float) -> float:
        """0 when the request may pass; otherwise after how many seconds the next one may."""
        now = self._clock()
        room = max(1.0, rate_per_s * _BURST_S)
        tokens, then = self._buckets.get(name, (room, now))
        tokens = min(room, tokens + (now - then) * rate_per_s)
        passes = tokens >= 1.0
        self._buckets[name] = (tokens - 1.0 if passes else tokens, now)
        return 0.0 if passes else (1.0 - tokens) / rate_per_s


class BodyStore:
    """Counts the bytes of all bodies that are held. Used by the event loop of one process alone."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self.held_bytes = max_bytes, 0

    def take(self, num_bytes: int) -> None:
        """Makes room for bytes that have come. Raises OverloadedError, at once, where there is none."""
        if self.held_bytes + num_bytes > self._max_bytes:
            raise OverloadedError(
                "too many large requests",
                expected=f"at most {self._max_bytes:,} bytes of requests at once",
                remedy="Try again.",
            )
        self.held_bytes += num_bytes

    def give_back(self, num_bytes: int) -> None:
        """Frees the room of bytes that are no longer held."""
        self.held_bytes -= num_bytes
