"""Filters: the conditions on items that a request adds to the user's own eligibility."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from semrec.errors import InputError
from semrec.graph.inference import Subclasses, including_subclasses

__all__ = ["NO_FILTERS", "Filters", "Range", "as_number", "is_inside", "wanted_values"]

#: Lowest and highest number, both included; None: no end there.
Range = tuple[float | None, float | None]


@dataclass(frozen=True)
class Filters:
    """Conditions on an item's attributes, all of which must hold; an empty one lets every item through.

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

    @cached_property
    def num_bytes(self) -> int:
        """About what they take in memory, as a key of a cache."""
        texts = [*self.exclude, *(value for values in self.any_of.values() for value in values)]
        return 200 + sum(map(len, texts)) + 60 * len(texts)

    @property
    def attributes(self) -> list[str]:
        """The attributes that something is asked of, each once, in the order of the request."""
        return list(dict.fromkeys([*self.any_of, *self.ranges]))

    def including(self, subclasses: Subclasses) -> Filters:
        """The same filters where each value that is asked for stands for all values below it, too."""
        if not any(name in subclasses for name in self.any_of):
            return self
        any_of = {
            name: frozenset(including_subclasses(sorted(values), subclasses.get(name, {})))
            for name, values in self.any_of.items()
        }
        return Filters(any_of, self.ranges, self.exclude)

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


def wanted_values(conditions: Iterable[str]) -> dict[str, frozenset[str]]:
    """`Filters.any_of` of conditions `attribute:value`. Raises InputError for one that is none."""
    any_of: dict[str, frozenset[str]] = {}
    for condition in conditions:
        name, colon, value = condition.partition(":")
        if not name or not colon:
            raise InputError(f"condition {condition!r}", expected="attribute:value", remedy="Name both.")
        any_of[name] = any_of.get(name, frozenset()) | {value}
    return any_of


def as_number(value: str) -> float | None:
    """The finite number that a value spells, or None."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def is_inside(numbers_V: np.ndarray, between: Range) -> np.ndarray:
    """Which numbers lie in a range: bool [V]. NaN lies in none."""
    lowest, highest = between
    inside_V = ~np.isnan(numbers_V)
    if lowest is not None:
        inside_V &= numbers_V >= lowest
    if highest is not None:
        inside_V &= numbers_V <= highest
    return inside_V


def _inside(value: str, between: Range) -> bool:
    number, (lowest, highest) = as_number(value), between
    return number is not None and (lowest is None or number >= lowest) and (highest is None or number <= highest)
