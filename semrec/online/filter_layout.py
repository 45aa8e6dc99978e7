"""Filters compiled to the engine's bitsets: one clause for every attribute of the catalogue, however many values it has.

An attribute with at most 256 values has a bit for each. One with more has its values in 255 groups of neighbours, with a
bit for each group: the groups that hold a value asked for let through every item that passes, and a few that do not, which
are left out by their rows. So an item has 257 bits at most for an attribute, and a filter is exact all the same. A clause
asks for one bit of several: where an item must have each of several values, the bits ask for the rarest of them, and rows
leave out the items that have not the others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.errors import InputError
from semrec.graph.inference import Subclasses
from semrec.online.filters import Filters, as_number, is_inside
from semrec.release.attributes import FlatAttributes
from semrec.scoring.eligibility import MAX_VALUES, set_bits

__all__ = ["CompiledFilters", "FilterLayout"]

_BITS: Final = 64
_NUM_GROUPS: Final = 255
_NO_ROWS: Final = np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class CompiledFilters:
    """Filters over the items of a release: bits uint64 [W], and rows int64 that pass the bits and must be left out.

    `key_bytes` is what the filters themselves take in a cache.
    """

    words_W: np.ndarray
    rows: np.ndarray
    key_bytes: int = 0

    @property
    def num_bytes(self) -> int:
        """Bytes in memory, as an entry of a cache."""
        return self.words_W.nbytes + self.rows.nbytes + self.key_bytes


class FilterLayout:
    """The clauses that filters are compiled to, in words of their own beside the release's clauses.

    `attributes` has the values of each attribute with at most 256, ascending, for who offers a choice, and those above them
    in the hierarchy `subclasses`: a filter by a value asks for all values below it, too. `plain` uint64 [W] are the bits that
    ask for nothing. `facets`: attributes that can have no other values than these.
    """

    def __init__(
        self,
        flat: FlatAttributes,
        subclasses: Subclasses | None = None,
        facets: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._subclasses, self._facets = subclasses or {}, facets or {}
        self._columns: dict[str, _Column] = {}
        self.attributes: dict[str, list[str]] = {}
        self.num_words = 0
        for name in sorted(flat.names):
            if values := flat.values_of(name):
                self._columns[name] = _Column(name, values, flat, self.num_words)
                self.num_words += self._columns[name].num_words
                if len(values) <= MAX_VALUES:
                    hierarchy = self._subclasses.get(name, {}).items()
                    above = (value for value, below in hierarchy if not set(below).isdisjoint(values))
                    self.attributes[name] = sorted({*values, *above})
        # Without any attribute one bit is left, so that a filter by what only the overlay has can shut every item out.
        self.num_words = self.num_words or 1
        self.clause_starts = tuple(column.start for column in self._columns.values()) or (0,)
        self.plain = np.zeros(self.num_words, np.uint64)
        self.plain[list(self.clause_starts)] = 1
        self.plain.flags.writeable = False

    def item_words(self, flat: FlatAttributes) -> np.ndarray:
        """Bitsets of all items, of which `flat` has the attributes: uint64 [I, W]."""
        words_IW = np.tile(self.plain, (flat.num_items, 1))
        for column in self._columns.values():
            column.set_bits(words_IW, flat)
        return words_IW

    def check(self, filters: Filters, added: Mapping[str, Collection[str]]) -> None:
        """Raises InputError for filters that no item can be held against.

        `added` are the attributes and values of items that the overlay has. Refused: an attribute that nobody has, a value
        that a facet has not, and a range of an attribute without a number among its values.
        """
        for name, values in self._facets.items():
            if unknown := sorted(frozenset().union(*filters.wanted.get(name, ())).difference(values)):
                raise InputError(
                    f"{name} {unknown[0]!r}", expected=f"one of {', '.join(values)}", remedy="Filter by one of these."
                )
        for name in filters.attributes:
            column, more = self._columns.get(name), self._facets.get(name) or added.get(name, ())
            if column is None and not more:
                known = ", ".join(sorted({*self._columns, *self._facets, *added}))
                raise InputError(
                    f"no item has an attribute {name!r}",
                    expected=f"one of {known or 'none: the catalogue has no attribute to filter by'}",
                    remedy="Filter by one of these.",
                )
            has_numbers = column is not None and column.has_numbers
            if name in filters.ranges and not has_numbers and all(as_number(value) is None for value in more):
                first = column.first_value if column is not None else min(more)
                raise InputError(
                    f"a range of {name!r}, whose values are not numbers (the first is {first!r})",
                    expected="an attribute with numbers",
                    remedy=f"Ask for values of {name!r} instead.",
                )

    def compile(self, filters: Filters, words_IW: np.ndarray, first_row: int = 0) -> CompiledFilters:
        """The bits of `filters`, and the rows that they leave out besides, of items first_row : first_row + I, whose bits are
        `words_IW` uint64.

        An attribute of which nothing is asked has bit 0 alone, which all items have. A value that no item has matches
        nothing; nor does an attribute.
        """
        filters = filters.including(self._subclasses)
        words_W, is_left_out_I = self.plain.copy(), np.zeros(len(words_IW), bool)
        for name in filters.attributes:
            column = self._columns.get(name)
            if column is None:
                return CompiledFilters(np.zeros_like(self.plain), _NO_ROWS)
            column.compile(filters, words_W, is_left_out_I, words_IW, first_row)
        return CompiledFilters(words_W, np.flatnonzero(is_left_out_I) + first_row)


class _Column:
    """The values of one attribute and the bits that they have; N pairs of an item and a value that it states."""

    def __init__(self, name: str, values: list[str], flat: FlatAttributes, start: int) -> None:
        self._name, self.start, self.first_value, self._num_items = name, start, values[0], flat.num_items
        numbers = [as_number(value) for value in values]
        self.has_numbers = any(number is not None for number in numbers)
        self._numbers_V = np.array([np.nan if number is None else number for number in numbers])
        self._values = pa.array(values, pa.string())
        self._pairs: tuple[np.ndarray, np.ndarray] | None = None
        self._group_V = np.arange(len(values))
        if len(values) > MAX_VALUES:
            rows_N, codes_N = flat.codes_of(name, values)
            self._pairs = rows_N.astype(np.int32), codes_N.astype(np.int32)
            self._group_V = self._neighbours(np.bincount(codes_N, minlength=len(values)))
        self.num_words = (int(self._group_V.max()) + 2 + _BITS - 1) // _BITS

    def _neighbours(self, num_items_V: np.ndarray) -> np.ndarray:
        """The group of each value, int64 [V]: neighbours by number, then by text, with about as many items in each group."""
        order = np.lexsort((np.arange(len(num_items_V)), self._numbers_V))  # NaN sorts last
        counts = num_items_V[order]
        before = np.cumsum(counts) - counts
        group_V = np.empty(len(order), np.int64)
        group_V[order] = before * _NUM_GROUPS // counts.sum()
        return group_V

    def set_bits(self, words_IW: np.ndarray, flat: FlatAttributes) -> None:
        """Sets the bit of every value that an item states."""
        rows_N, codes_N = self._pairs or flat.codes_of(self._name, self._values.to_pylist())
        set_bits(words_IW, rows_N, self._group_V[codes_N], self.start)

    def compile(
        self,
        filters: Filters,
        words_W: np.ndarray,
        is_left_out_I: np.ndarray,
        words_IW: np.ndarray,
        first_row: int,
    ) -> None:
        """Sets the bits of the groups that are asked for in the place of bit 0, and marks the items, bool [I], that these let
        through wrongly. A few passes over the items, without sorting any.
        """
        conditions = self._conditions(filters)
        narrowest_V, passes_I = conditions[0], np.ones_like(is_left_out_I)
        is_exact = self._pairs is None and len(conditions) == 1
        if not is_exact:
            fewest = len(passes_I) + 1
            for admitted_V in conditions:
                has_one_I = self._has_one(admitted_V, words_IW, first_row)
                passes_I &= has_one_I
                if (num := int(has_one_I.sum())) < fewest:
                    narrowest_V, fewest = admitted_V, num
        asked = np.unique(self._group_V[narrowest_V])
        words_W[self.start] = 0
        words, bits = self._places(asked)
        np.bitwise_or.at(words_W, words, bits)
        if not is_exact:
            is_let_through_I = self._has_one(np.isin(self._group_V, asked), words_IW, first_row)
            is_left_out_I |= is_let_through_I & ~passes_I

    def _conditions(self, filters: Filters) -> list[np.ndarray]:
        """The values, bool [V] each, of which an item must have one for each condition."""
        wanted, between = filters.any_of.get(self._name), filters.ranges.get(self._name)
        conditions = [self._among(values) for values in filters.all_of.get(self._name, ())]
        if wanted is not None or between is not None:
            admitted_V = np.ones(len(self._values), bool) if wanted is None else self._among(wanted)
            conditions.append(admitted_V if between is None else admitted_V & is_inside(self._numbers_V, between))
        return conditions

    def _among(self, values: Collection[str]) -> np.ndarray:
        chosen = pa.array(sorted(values), pa.string())
        return np.asarray(pc.is_in(self._values, value_set=chosen).to_numpy(zero_copy_only=False))

    def _has_one(self, admitted_V: np.ndarray, words_IW: np.ndarray, first_row: int) -> np.ndarray:
        """Which items have one of the admitted values: bool [I]."""
        if self._pairs is None:  # each value has a bit of its own
            admitted_W = np.zeros(words_IW.shape[1], np.uint64)
            words, bits = self._places(np.flatnonzero(admitted_V))
            np.bitwise_or.at(admitted_W, words, bits)
            own = slice(self.start, self.start + self.num_words)
            return np.asarray((words_IW[:, own] & admitted_W[own]).any(axis=1))
        rows_N, codes_N = self._pairs
        has_one_I = np.zeros(self._num_items, bool)
        has_one_I[rows_N[admitted_V[codes_N]]] = True
        return has_one_I[first_row : first_row + len(words_IW)]

    def _places(self, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The word and the bit in it that stand for each group: int64 and uint64."""
        places = groups + 1
        return self.start + places // _BITS, np.left_shift(np.uint64(1), (places % _BITS).astype(np.uint64))
