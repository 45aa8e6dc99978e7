"""How often a key may ask: one token bucket per key, in each replica for itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

__all__ = ["RateLimiter"]

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
