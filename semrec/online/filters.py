"""Filters: the conditions on items that a request adds to the user's own eligibility."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from semrec.errors import InputError
from semrec.graph.inference import Subclasses, including_subclasses

__all__ = ["NO_FILTERS", "Filters", "Range", "as_number", "each_alone", "is_inside", "wanted_values"]

#: Lowest and highest number, both included; None: no end there.
Range = tuple[float | None, float | None]


@dataclass(frozen=True)
class Filters:
    """Conditions on an item's attributes, all of which must hold; an empty one lets every item through.

    `any_of`: for each attribute, one of the item's values must be among these. `ranges`: for each attribute whose values are
    numbers, one of the item's values must lie in it. An attribute in both needs one value for which both hold. `all_of`: for
    each attribute sets of values, of each of which the item must have one. `exclude`: ids that are left out; unknown ones are
    ignored. Equal filters are one key of a cache.
    """

    any_of: Mapping[str, frozenset[str]] = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()
    all_of: Mapping[str, frozenset[frozenset[str]]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.any_of or self.ranges or self.exclude or self.all_of)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        each = (frozenset(asked.items()) for asked in (self.any_of, self.ranges, self.all_of))
        return hash((*each, self.exclude))

    @cached_property
    def num_bytes(self) -> int:
        """About what they take in memory, as a key of a cache."""
        texts = [*self.exclude, *(value for asked in self.wanted.values() for values in asked for value in values)]
        return 200 + sum(map(len, texts)) + 60 * len(texts)

    @property
    def attributes(self) -> list[str]:
        """The attributes that something is asked of, each once, in the order of the request."""
        return list(dict.fromkeys([*self.any_of, *self.ranges, *self.all_of]))

    @property
    def wanted(self) -> dict[str, list[frozenset[str]]]:
        """For each attribute that values are asked of, the sets of which an item must have one value each."""
        names = dict.fromkeys([*self.any_of, *self.all_of])
        return {
            name: [*([self.any_of[name]] if name in self.any_of else []), *self.all_of.get(name, ())] for name in names
        }

    def including(self, subclasses: Subclasses) -> Filters:
        """The same filters where each value that is asked for stands for all values below it, too."""
        if not any(name in subclasses for name in (*self.any_of, *self.all_of)):
            return self

        def widened(name: str, values: frozenset[str]) -> frozenset[str]:
            return frozenset(including_subclasses(sorted(values), subclasses.get(name, {})))

        any_of = {name: widened(name, values) for name, values in self.any_of.items()}
        all_of = {name: frozenset(widened(name, values) for values in asked) for name, asked in self.all_of.items()}
        return Filters(any_of, self.ranges, self.exclude, all_of)

    def failed(self, item: Mapping[str, list[str]]) -> str | None:
        """The first attribute by which an item with these attributes is left out, or None when it passes."""
        return next((name for name in self.attributes if not self._passes(name, item.get(name) or [])), None)

    def _passes(self, attribute: str, values: Sequence[str]) -> bool:
        wanted, between = self.any_of.get(attribute), self.ranges.get(attribute)
        has_one = (wanted is None and between is None) or any(
            (wanted is None or value in wanted) and (between is None or _inside(value, between)) for value in values
        )
        return has_one and not any(asked.isdisjoint(values) for asked in self.all_of.get(attribute, ()))


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


def each_alone(any_of: Mapping[str, Iterable[str]]) -> dict[str, frozenset[frozenset[str]]]:
    """`Filters.all_of` that asks for every value that `any_of` would be content with one of."""
    return {name: frozenset(frozenset([value]) for value in values) for name, values in any_of.items()}


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
