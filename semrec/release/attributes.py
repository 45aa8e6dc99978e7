"""Converts attributes of items and users to dictionaries, and to flat arrays of one entry per item and attribute."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["FlatAttributes", "attribute_dicts", "attribute_names"]


def attribute_dicts(column: pa.ChunkedArray) -> list[dict[str, list[str]]]:
    """Returns a column of ATTRIBUTES_TYPE as dictionaries; null becomes {}."""
    return [dict(row or ()) for row in column.to_pylist()]


def attribute_names(column: pa.ChunkedArray) -> set[str]:
    """Returns the names of all attributes in a column of ATTRIBUTES_TYPE that have a value somewhere."""
    names: set[str] = set()
    for chunk in column.chunks:
        maps = chunk.drop_null()  # what a null entry covers is not part of the column
        has_value = pc.greater(pc.list_value_length(maps.items), 0)
        names |= set(maps.keys.filter(pc.fill_null(has_value, False)).unique().to_pylist())
    return names


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

    def put(self, name: str, column: pa.ChunkedArray) -> None:
        """Sets an attribute of all items: list<string>, none of them null, in the place of what they state of it."""
        lists = pa.concat_arrays([chunk for chunk in column.chunks if len(chunk)] or [pa.array([], column.type)])
        lengths_E, number = np.diff(self.edges_E1), len(self.names)
        if name in self.names:
            number = self.names.index(name)
            stays_E = self.name_E != number
            self.values = self.values.filter(pa.array(np.repeat(stays_E, lengths_E)))
            self.name_E, self.row_E, lengths_E = self.name_E[stays_E], self.row_E[stays_E], lengths_E[stays_E]
        else:
            self.names.append(name)
        lengths_E = np.append(lengths_E, lists.value_lengths().to_numpy())
        self.name_E = np.append(self.name_E, np.full(self.num_items, number, self.name_E.dtype))
        self.row_E = np.append(self.row_E, np.arange(self.num_items))
        self.edges_E1 = np.concatenate([[0], np.cumsum(lengths_E)]).astype(np.int64)
        self.values = pa.concat_arrays([self.values, lists.flatten()])

    def of(self, name: str) -> tuple[np.ndarray, pa.Array]:
        """Returns the item and value of every value of an attribute."""
        if name not in self.names:
            return np.zeros(0, np.int64), self.values.slice(0, 0)
        has_name_E = self.name_E == self.names.index(name)
        lengths_E = np.diff(self.edges_E1)
        values = self.values.filter(pa.array(np.repeat(has_name_E, lengths_E)))
        return np.repeat(self.row_E[has_name_E], lengths_E[has_name_E]), values

    def values_of(self, name: str) -> list[str]:
        """Returns the distinct values of an attribute, ascending."""
        _, values = self.of(name)
        return sorted(pc.drop_null(values.unique()).to_pylist())

    def codes_of(self, name: str, values: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Returns the items that have a value of an attribute, and the place of that value in `values`: int64 [N] both."""
        rows, stated = self.of(name)
        codes = pc.index_in(stated, value_set=pa.array(values, stated.type))
        known = codes.is_valid().to_numpy(zero_copy_only=False)
        return rows[known], codes.drop_null().to_numpy(zero_copy_only=False).astype(np.int64)

    def dicts(self) -> list[dict[str, list[str]]]:
        """Returns the attributes of each item."""
        names = np.array(self.names, object)[self.name_E].tolist() if self.names else []
        values, edges = self.values.to_pylist(), self.edges_E1.tolist()
        attributes: list[dict[str, list[str]]] = [{} for _ in range(self.num_items)]
        for entry, row in enumerate(self.row_E.tolist()):
            attributes[row][names[entry]] = values[edges[entry] : edges[entry + 1]]
        return attributes
