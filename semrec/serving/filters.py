"""What a request asks of items beside the user's own eligibility, compiled to the engine's bitsets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from semrec.errors import InputError
from semrec.scoring.eligibility import MAX_VALUES, Clause, Layout
from semrec.serving.items import FlatAttributes

__all__ = ["NO_FILTERS", "FilterLayout", "Filters", "Range"]

#: Lowest and highest number, both included; None: no end there.
Range = tuple[float | None, float | None]
_BITS = 64


@dataclass(frozen=True)
class Filters:
    """What is asked of items; the empty one asks for nothing. All that is asked must hold.

    `any_of`: for each attribute, one of the item's values must be among these. `ranges`: for each attribute whose values are
    numbers, one of the item's values must lie in it. An attribute in both needs one value for which both hold. `exclude`:
    ids that are left out; unknown ones are ignored. Equal filters are one key of a cache.
    """

    any_of: Mapping[str, frozenset[str]] = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.any_of or self.ranges or self.exclude)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((frozenset(self.any_of.items()), frozenset(self.ranges.items()), self.exclude))

    @property
    def attributes(self) -> list[str]:
        """The attributes that something is asked of, each once, in the order of the request."""
        return list(dict.fromkeys([*self.any_of, *self.ranges]))

    def admits(self, attribute: str, value: str) -> bool:
        """Whether `value` is one that the filters ask of `attribute`."""
        wanted, between = self.any_of.get(attribute), self.ranges.get(attribute)
        return (wanted is None or value in wanted) and (between is None or _inside(value, between))

    def failed(self, item: Mapping[str, list[str]]) -> str | None:
        """The first attribute by which an item with these attributes is left out, or None when it passes."""
        for attribute in self.attributes:
            if not any(self.admits(attribute, value) for value in item.get(attribute) or ()):
                return attribute
        return None


NO_FILTERS = Filters()


class FilterLayout:
    """The clauses that filters are compiled to: one for every attribute of the catalogue with at most 256 values.

    They stand beside the release's own clauses, in words of their own. `attributes` says what can be filtered by: attribute
    -> its values, ascending.
    """

    def __init__(self, values: Mapping[str, list[str]], unfilterable: Iterable[str] = ()) -> None:
        self.attributes = {name: values[name] for name in sorted(values)}
        self.layout = Layout(tuple(Clause(name, tuple(chosen)) for name, chosen in self.attributes.items()))
        self._unfilterable = frozenset(unfilterable)
        self._starts = dict(zip(self.attributes, self.layout.clause_starts, strict=True))
        self.num_words = sum(clause.num_words for clause in self.layout.clauses)
        self.plain = self._plain()

    @classmethod
    def of(cls, flat: FlatAttributes) -> FilterLayout:
        """The layout of a catalogue's attributes."""
        values = {name: flat.values_of(name) for name in flat.names}
        few = {name: found for name, found in values.items() if 0 < len(found) <= MAX_VALUES}
        return cls(few, values.keys() - few.keys())

    def item_words(self, flat: FlatAttributes) -> np.ndarray:
        """Bitsets of the items that `flat` has the attributes of: uint64 [I, W], as `Layout.item_words` makes them."""
        words = np.zeros((flat.num_items, self.num_words), np.uint64)
        for name, start in self._starts.items():
            words[:, start] |= np.uint64(1)
            rows, codes = flat.codes_of(name, self.attributes[name])
            bits = codes + 1
            np.bitwise_or.at(
                words, (rows, start + bits // _BITS), np.left_shift(np.uint64(1), (bits % _BITS).astype(np.uint64))
            )
        return words

    def words(self, filters: Filters) -> np.ndarray:
        """The bits of `filters`: uint64 [W]. An attribute of which nothing is asked has bit 0 alone, which all items have.

        A value that no item has matches nothing. Raises InputError for an attribute that cannot be filtered by.
        """
        words = self.plain.copy()
        for name in filters.attributes:
            values = self._values(name)
            if name in filters.ranges and not any(_number(value) is not None for value in values):
                raise InputError(
                    f"a range of {name!r}, whose values are not numbers (the first is {values[0]!r})",
                    expected="an attribute with numbers",
                    remedy=f"Ask for values of {name!r} instead.",
                )
            start = self._starts[name]
            words[start] = 0
            for place in (place for place, value in enumerate(values, start=1) if filters.admits(name, value)):
                words[start + place // _BITS] |= np.uint64(1 << (place % _BITS))
        return words

    def _values(self, name: str) -> list[str]:
        if name in self.attributes:
            return self.attributes[name]
        known = name in self._unfilterable
        raise InputError(
            f"attribute {name!r} has more than {MAX_VALUES} values" if known else f"no item has an attribute {name!r}",
            expected=f"one of {', '.join(self.attributes) or 'none: the catalogue has no attribute to filter by'}",
            remedy="Filter by one of these.",
        )

    def _plain(self) -> np.ndarray:
        plain = np.zeros(self.num_words, np.uint64)
        plain[list(self._starts.values())] = 1
        plain.flags.writeable = False
        return plain


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _inside(value: str, between: Range) -> bool:
    number, (lowest, highest) = _number(value), between
    return number is not None and (lowest is None or number >= lowest) and (highest is None or number <= highest)
