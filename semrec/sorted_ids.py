"""Looks up ids by binary search in arrays in ascending order."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.compiled import compiled
from semrec.errors import CorruptArtefactError

__all__ = ["SortedIds", "offsets_and_data"]


class SortedIds:
    """N distinct ids in ascending order of their UTF-8 bytes; id n is `data[offsets[n] : offsets[n + 1]]`.

    `offsets` int64 [N + 1] and `data` uint8 may be memory-mapped. Looking M ids up takes M log (N / M) steps, builds nothing,
    and a hash table of N ids takes N steps for each part of the users. Raises CorruptArtefactError for arrays that do not
    belong together.
    """

    def __init__(self, offsets: np.ndarray, data: np.ndarray) -> None:
        if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(data):
            raise CorruptArtefactError(
                f"{len(offsets)} offsets of ids for {len(data)} bytes",
                expected="offsets that begin at 0 and end with the bytes",
                remedy="Remove the release's folder and build it again.",
            )
        self.offsets, self.data = offsets, data

    @classmethod
    def of(cls, ids: pa.Array | pa.ChunkedArray) -> SortedIds:
        """Returns the ids of an Arrow column that is ascending and distinct, without nulls."""
        return cls(*offsets_and_data(ids))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def rows_of(self, ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """Returns the row of each id (text, no nulls), -1 of one that is not here: int64 [len(ids)]."""
        return np.maximum(self._places_of(ids), -1)

    def rows_before(self, ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """Returns how many ids here come before each of some ids (text, no nulls): int64 [len(ids)]."""
        places = self._places_of(ids)
        return np.where(places < 0, -1 - places, places)

    def _places_of(self, ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """Returns the row of each id, or, of one that is not here, -1 less the rows before it."""
        encoded = _joined(ids).dictionary_encode()  # each distinct id is looked up once
        order = pc.sort_indices(encoded.dictionary)
        rows = np.empty(len(order), np.int64)
        rows[order.to_numpy()] = _find(self.offsets, self.data, *offsets_and_data(encoded.dictionary.take(order)))
        return rows[encoded.indices.to_numpy(zero_copy_only=False)]

    def take(self, rows: np.ndarray) -> pa.Array:
        """Returns the ids of some rows, int64: a string array."""
        return self.array().take(pa.array(rows)).cast(pa.string())

    def array(self) -> pa.LargeStringArray:
        """Returns all ids, without a copy."""
        return pa.LargeStringArray.from_buffers(len(self), pa.py_buffer(self.offsets), pa.py_buffer(self.data))


def _joined(ids: pa.Array | pa.ChunkedArray) -> pa.LargeStringArray:
    """Joins a column of texts into one array, which may have more than 2 GB of them."""
    chunks = ids.chunks if isinstance(ids, pa.ChunkedArray) else [ids]
    plain = (chunk.dictionary_decode() if pa.types.is_dictionary(chunk.type) else chunk for chunk in chunks)
    return pa.concat_arrays([chunk.cast(pa.large_string()) for chunk in plain] or [pa.array([], pa.large_string())])


def offsets_and_data(ids: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the offsets, int64 from 0, and the bytes of a column of texts."""
    joined = _joined(ids)
    if not len(joined):
        return np.zeros(1, np.int64), np.zeros(0, np.uint8)
    _, offset_buffer, data_buffer = joined.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[joined.offset : joined.offset + len(joined) + 1]
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer else np.zeros(0, np.uint8)
    return offsets - offsets[0], data[offsets[0] : offsets[-1]]


@compiled
def _find(offsets, data, wanted_offsets, wanted_data):  # type: ignore[no-untyped-def]
    """Finds the place of each wanted id, ascending and distinct, among the sorted ids: int64 [M]. One that is not there gets
    -1 less the number of ids before it.

    From the place of the one before steps double until they pass the wanted id (Bentley, Yao 1976), so that neighbours are
    looked for in memory that was just read.
    """
    num_ids, low = len(offsets) - 1, 0
    rows = np.empty(len(wanted_offsets) - 1, np.int64)
    for m in range(len(rows)):
        wanted = wanted_data[wanted_offsets[m] : wanted_offsets[m + 1]]
        high, step = low, 1
        while high < num_ids and _compare(data[offsets[high] : offsets[high + 1]], wanted) < 0:
            low, high, step = high + 1, high + step, 2 * step
        high = min(high, num_ids)
        while low < high:  # the first id that is not before the wanted one
            middle = (low + high) // 2
            if _compare(data[offsets[middle] : offsets[middle + 1]], wanted) < 0:
                low = middle + 1
            else:
                high = middle
        is_there = low < num_ids and _compare(data[offsets[low] : offsets[low + 1]], wanted) == 0
        rows[m] = low if is_there else -1 - low
    return rows


@compiled
def _compare(first, second):  # type: ignore[no-untyped-def]
    """Returns negative, zero or positive as `first` stands before, with or behind `second`: by bytes, a prefix first."""
    for n in range(min(len(first), len(second))):
        if first[n] != second[n]:
            return 1 if first[n] > second[n] else -1
    return len(first) - len(second)
