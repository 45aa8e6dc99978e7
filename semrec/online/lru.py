"""A cache of bounded size that several threads may use.

It is ours because cachetools would need as many lines around it: its caches leave locking to the caller and refuse a value
that is larger than the limit. Here it is kept alone, since answers need the part of a bucket whatever its size.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
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
        self._in_progress: dict[K, Future[V]] = {}
        self._lock = threading.Lock()
        self.num_bytes = 0

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value of `key`, made when it is not kept.

        Of threads that miss together one makes it and the others wait: a large part is decoded once. An error of `make`
        reaches all of them, and the next call tries again. `make` may not ask this cache for the same key.
        """
        with self._lock:
            entry = self._kept.get(key)
            if entry is not None:
                self._kept.move_to_end(key)
                return entry[0]
            pending = self._in_progress.get(key)
            if pending is None:
                result = self._in_progress[key] = Future()
        if pending is not None:
            return pending.result()
        try:
            value = make()
            self._keep(key, value)
            result.set_result(value)
            return value
        except BaseException as error:
            result.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._in_progress[key]

    def __contains__(self, key: K) -> bool:
        return self.kept(key) is not None

    def kept(self, key: K) -> V | None:
        """The value of `key` if it is kept; None otherwise. That counts as no use."""
        with self._lock:
            entry = self._kept.get(key)
            return None if entry is None else entry[0]

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._kept.clear()
            self.num_bytes = 0

    def _keep(self, key: K, value: V) -> None:
        size = self._size(value)
        with self._lock:
            self._kept[key] = (value, size)
            self.num_bytes += size
            while self.num_bytes > self._limit and len(self._kept) > 1:
                _, (_, dropped) = self._kept.popitem(last=False)
                self.num_bytes -= dropped
