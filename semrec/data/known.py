"""Holds the set of item ids of a catalogue, in about 20 bytes an item."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["ChangedItems", "HasItems", "KnownItems"]

_MAX_RECENT: Final = 65_536


class HasItems(Protocol):
    """Knows which item ids exist."""

    def contains(self, ids: pa.Array) -> np.ndarray:
        """Returns which of `ids` (text, no nulls) exist: bool [len(ids)]."""


class KnownItems:
    """The item ids that exist, in one Arrow array, ordered by a 64-bit hash that finds them.

    A Python set would need about 100 bytes an item, and Arrow's own look-up hashes the whole catalogue again per call.
    """

    def __init__(self, ids: Iterable[pa.Array]) -> None:
        # Most rows name the popular items, whose hashes need not be computed again for each block.
        self._recent = pa.array([], pa.large_string())
        arrays = [array.cast(pa.large_string()) for array in ids]
        joined = pa.concat_arrays(arrays) if arrays else pa.array([], pa.large_string())
        hashes = np.concatenate([np.zeros(0, np.uint64), *(_hashes(array) for array in arrays)])
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._ids = hashes[order], joined.take(pa.array(order))

    def __len__(self) -> int:
        return len(self._hashes)

    def contains(self, ids: pa.Array) -> np.ndarray:
        """Returns which of `ids` (text, no nulls) exist: bool [len(ids)]. Each distinct id is looked up once."""
        encoded = ids.dictionary_encode()
        distinct = encoded.dictionary.cast(pa.large_string())
        is_known = pc.is_in(distinct, value_set=self._recent).to_numpy(zero_copy_only=False).copy()
        others = np.flatnonzero(~is_known)
        is_known[others] = self._contains_distinct(distinct.take(pa.array(others)))
        newly_known = distinct.take(pa.array(others[is_known[others]]))
        recent = pa.concat_arrays([self._recent, newly_known])
        self._recent = recent if len(recent) <= _MAX_RECENT else newly_known
        return is_known[encoded.indices.to_numpy(zero_copy_only=False)]

    def _contains_distinct(self, ids: pa.Array) -> np.ndarray:
        hashes = _hashes(ids)
        is_known = np.zeros(len(ids), dtype=bool)
        at = np.searchsorted(self._hashes, hashes)
        # Ids that share a hash stand next to each other; one step is enough but for a collision.
        open_ = np.flatnonzero(self._is_at(at, hashes))
        while len(open_):
            same = pc.equal(self._ids.take(pa.array(at[open_])), ids.take(pa.array(open_)))
            is_known[open_] = same.to_numpy(zero_copy_only=False)
            open_ = open_[~is_known[open_]]
            at[open_] += 1
            open_ = open_[self._is_at(at[open_], hashes[open_])]
        return is_known

    def _is_at(self, at: np.ndarray, hashes: np.ndarray) -> np.ndarray:
        inside = at < len(self._hashes)
        result = np.zeros(len(at), dtype=bool)
        result[inside] = self._hashes[at[inside]] == hashes[inside]
        return result


class ChangedItems:
    """Items after changes: `exists` says of each changed id whether it is an item now."""

    def __init__(self, items: HasItems, exists: Mapping[str, bool]) -> None:
        self._items, self._exists = items, exists

    def contains(self, ids: pa.Array) -> np.ndarray:
        """Returns which of `ids` (text, no nulls) exist: bool [len(ids)]. Each distinct id is looked up once."""
        encoded = ids.dictionary_encode()
        before = self._items.contains(encoded.dictionary).tolist()
        distinct = encoded.dictionary.to_pylist()
        now = [self._exists.get(item_id, there) for item_id, there in zip(distinct, before, strict=True)]
        return np.array(now, dtype=bool)[encoded.indices.to_numpy(zero_copy_only=False)]


def _hashes(ids: pa.Array) -> np.ndarray:
    digests = b"".join(_digest(text) for text in ids.to_pylist())
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
