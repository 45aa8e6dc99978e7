"""Holds the items of a release as answers show them: ids, rows, and JSON made once when the release is opened."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["FlatAttributes", "ItemFacts", "ItemTable", "fragment", "items_titled"]


@dataclass(frozen=True)
class ItemFacts:
    """What is known of an item beside its vector."""

    item_id: str
    title: str
    attributes: dict[str, list[str]]


class FlatAttributes:
    """A column of ATTRIBUTES_TYPE, turned into one entry per item and attribute, and one value list over all entries.

    `name_E` int32 places in `names`; `row_E` int64 items; entry e owns `values[edges_E1[e] : edges_E1[e + 1]]`.
    """

    def __init__(self, column: pa.ChunkedArray) -> None:
        maps = pa.concat_arrays([chunk for chunk in column.chunks if len(chunk)] or [pa.array([], column.type)])
        self.num_items = len(maps)
        starts = np.asarray(maps.offsets)
        counts = np.where(maps.is_valid().to_numpy(zero_copy_only=False), np.diff(starts), 0)
        entries = np.repeat(starts[:-1] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts) + np.arange(
            counts.sum()
        )
        entries = entries.astype(np.int64)
        names = maps.keys.take(pa.array(entries)).dictionary_encode()
        lists = maps.items.take(pa.array(entries))
        self.names: list[str] = names.dictionary.to_pylist()
        self.name_E = names.indices.to_numpy(zero_copy_only=False)
        self.row_E = np.repeat(np.arange(self.num_items), counts)
        lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
        self.edges_E1 = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.values = lists.flatten()

    def values_of(self, name: str) -> list[str]:
        """The distinct values of an attribute, ascending."""
        _, values = self._of(name)
        return sorted(pc.drop_null(values.unique()).to_pylist())

    def codes_of(self, name: str, values: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """The items that have a value of an attribute, and the place of that value in `values`: int64 [N] both."""
        rows, stated = self._of(name)
        codes = pc.index_in(stated, value_set=pa.array(values, stated.type))
        known = codes.is_valid().to_numpy(zero_copy_only=False)
        return rows[known], codes.drop_null().to_numpy(zero_copy_only=False).astype(np.int64)

    def dicts(self) -> list[dict[str, list[str]]]:
        """The attributes of each item."""
        names = np.array(self.names, object)[self.name_E].tolist() if self.names else []
        values, edges = self.values.to_pylist(), self.edges_E1.tolist()
        attributes: list[dict[str, list[str]]] = [{} for _ in range(self.num_items)]
        for entry, row in enumerate(self.row_E.tolist()):
            attributes[row][names[entry]] = values[edges[entry] : edges[entry + 1]]
        return attributes

    def _of(self, name: str) -> tuple[np.ndarray, pa.Array]:
        """Item and value of every value of an attribute."""
        if name not in self.names:
            return np.zeros(0, np.int64), self.values.slice(0, 0)
        has_name_E = self.name_E == self.names.index(name)
        lengths_E = np.diff(self.edges_E1)
        values = self.values.filter(pa.array(np.repeat(has_name_E, lengths_E)))
        return np.repeat(self.row_E[has_name_E], lengths_E[has_name_E]), values


class ItemTable:
    """All items of a release in matrix order: `ids`, `row_of` (id -> matrix row), and each item's JSON without its score."""

    def __init__(self, items: pa.Table, flat: FlatAttributes) -> None:
        self.ids: list[str] = items.column("item_id").to_pylist()
        self.row_of = {item_id: row for row, item_id in enumerate(self.ids)}
        titles = items.column("title").to_pylist()
        fragments = [fragment(*facts) for facts in zip(self.ids, titles, flat.dicts(), strict=True)]
        edges = np.cumsum([0, *map(len, fragments)])
        # One buffer instead of a million small objects; a memoryview gives plain numbers quickly.
        self._json, self._edges = b"".join(fragments), edges.astype(np.int64).data

    def __len__(self) -> int:
        return len(self.ids)

    def fragment(self, row: int) -> bytes:
        """`fragment` of a row."""
        return self._json[self._edges[row] : self._edges[row + 1]]

    def facts(self, row: int) -> ItemFacts:
        """Id, title and attributes of a row."""
        body: dict[str, Any] = orjson.loads(self.fragment(row) + b"}")
        return ItemFacts(body["item_id"], body["title"], body["attributes"])

    def contains(self, ids: pa.Array) -> np.ndarray:
        """bool [len(ids)]: which ids the release has."""
        return np.array([item_id in self.row_of for item_id in ids.to_pylist()], bool)

    def place_of(self, item_id: str) -> int:
        """The row that an id has, or would have: how many rows' ids come before it."""
        row = self.row_of.get(item_id)
        return bisect_left(self.ids, item_id) if row is None else row

    def rows_of(self, item_ids: Sequence[str]) -> np.ndarray:
        """The rows of those ids that the release has, ascending and distinct: int64."""
        rows = {row for row in map(self.row_of.get, item_ids) if row is not None}
        return np.array(sorted(rows), np.int64)


def fragment(item_id: str, title: str, attributes: dict[str, list[str]]) -> bytes:
    """The JSON object of an item, left open for its score."""
    return orjson.dumps({"item_id": item_id, "title": title, "attributes": attributes})[:-1]


def items_titled(items: pa.Table, words: str, limit: int = 10) -> list[str]:
    """Ids of items whose title contains `words`, whatever the case, ascending."""
    matches = pc.match_substring(items.column("title"), words, ignore_case=True)
    item_ids: list[str] = items.column("item_id").filter(matches).slice(0, limit).to_pylist()
    return item_ids
