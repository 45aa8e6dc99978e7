"""Holds the items of a release as answers show them: ids, rows, and JSON made once when the release is opened."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from semrec.release.attributes import FlatAttributes
from semrec.release.reader import Release

__all__ = ["ItemFacts", "ItemTable", "fragment"]


@dataclass(frozen=True)
class ItemFacts:
    """What is known of an item beside its vector."""

    item_id: str
    title: str
    attributes: dict[str, list[str]]


class ItemTable:
    """All items of a release in matrix order: `ids`, `row_of` (id -> matrix row), and each item's JSON without its score.

    The JSON is made by `prepare`, or when it is first asked for: who only ranks reads no titles.
    """

    def __init__(self, release: Release) -> None:
        self._release = release
        self.ids: list[str] = release.ids.array().to_pylist()
        self.row_of = {item_id: row for row, item_id in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def prepare(self) -> None:
        """Makes what `fragment` gives."""
        _ = self._fragments

    def fragment(self, row: int) -> bytes:
        """`fragment` of a row."""
        fragments, edges = self._fragments
        return fragments[edges[row] : edges[row + 1]]

    @cached_property
    def fragment_bytes(self) -> tuple[np.ndarray, np.ndarray]:
        """All fragments end to end, uint8, and where each begins and the last ends, int64 [I + 1]."""
        fragments, edges = self._fragments
        return np.frombuffer(fragments, np.uint8), np.frombuffer(edges, np.int64)

    @cached_property
    def _fragments(self) -> tuple[bytes, memoryview]:
        """The fragments end to end, and where each begins: one buffer instead of a million small objects."""
        items = self._release.items
        columns = items.column("title").to_pylist(), FlatAttributes(items.column("attributes")).dicts()
        fragments = [fragment(*facts) for facts in zip(self.ids, *columns, strict=True)]
        edges = np.cumsum([0, *map(len, fragments)])
        return b"".join(fragments), edges.astype(np.int64).data  # a memoryview gives plain numbers quickly

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
