"""A cache of bounded size that several threads may use.

It is ours because cachetools would need as many lines around it: its caches leave locking to the caller and refuse a value
that is larger than the limit. Here it is kept alone, since answers need the part of a bucket whatever its size.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Lru"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lru(Generic[K, V]):
    """Keeps what was used last, as long as the sizes add up to at most `limit`; `size` gives one value's size.

    One value larger than the limit is kept alone. `num_bytes` is the present sum, in the unit of `size`.
    """

    def __init__(self, limit: int, size: Callable[[V], int]) -> None:
        self._limit, self._size = limit, size
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()
        self.num_bytes = 0

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value of `key`, made when it is not kept. Threads that miss together each make it; one is kept."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found[0]
        value = make()
        size = self._size(value)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = (value, size)
                self.num_bytes += size
                while self.num_bytes > self._limit and len(self._kept) > 1:
                    _, (_, dropped) = self._kept.popitem(last=False)
                    self.num_bytes -= dropped
        return value

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._kept.clear()
            self.num_bytes = 0
