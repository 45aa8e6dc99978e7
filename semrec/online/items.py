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

from semrec.release.attributes import FlatAttributes

__all__ = ["ItemFacts", "ItemTable", "fragment", "items_titled"]


@dataclass(frozen=True)
class ItemFacts:
    """What is known of an item beside its vector."""

    item_id: str
    title: str
    attributes: dict[str, list[str]]


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
