"""Compile attributes of items and users into bitsets, whose clauses the engines test inside the scoring.

The rule: a user who states values of an attribute may see the items that state one of them, and no other item; an item
that states none of the attribute meets no such user. A user who states none asks for nothing. It holds for every attribute
named, whether or not anybody has it.

A clause compares one attribute of items and users. Bit 0 is set on every item; bit v + 1 stands for value v. A user who
states values has those bits; a user who states none has bit 0 alone. A pair passes a clause when `item_words & user_words`
is not zero in any of the clause's words. So a clause without values shuts out whoever states some.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from semrec.errors import InputError

__all__ = ["MAX_VALUES", "Clause", "Layout", "eligible_items", "set_bits"]

MAX_VALUES = 256
_BITS = 64


@dataclass(frozen=True)
class Clause:
    """One attribute and its values: value v owns bit v + 1."""

    attribute: str
    values: tuple[str, ...]

    @property
    def num_words(self) -> int:
        return (len(self.values) + 1 + _BITS - 1) // _BITS

    def item_words(self, attributes: Sequence[dict[str, list[str]]]) -> np.ndarray:
        """Bitsets of items: uint64 [len(attributes), num_words]."""
        words = self._words(attributes)
        words[:, 0] |= np.uint64(1)
        return words

    def user_words(self, attributes: Sequence[dict[str, list[str]]]) -> np.ndarray:
        """Bitsets of users: uint64 [len(attributes), num_words]. Values that no item has are allowed and match nothing."""
        words = self._words(attributes)
        states_nothing = [not attrs.get(self.attribute) for attrs in attributes]
        words[np.flatnonzero(states_nothing), 0] |= np.uint64(1)
        return words

    def _words(self, attributes: Sequence[dict[str, list[str]]]) -> np.ndarray:
        bit_of = {value: v + 1 for v, value in enumerate(self.values)}
        words = np.zeros((len(attributes), self.num_words), np.uint64)
        for row, attrs in enumerate(attributes):
            for value in attrs.get(self.attribute) or ():
                if bit := bit_of.get(value):
                    words[row, bit // _BITS] |= np.uint64(1 << (bit % _BITS))
        return words


@dataclass(frozen=True)
class Layout:
    """The clauses of a release, side by side in W words."""

    clauses: tuple[Clause, ...] = ()

    @classmethod
    def of_items(cls, names: Sequence[str], attributes: Sequence[dict[str, list[str]]]) -> Layout:
        """One clause for each of `names`, with the values that the items state. Raises InputError as `of_values` does."""
        return cls.of_values({name: _values_of(name, attributes) for name in names})

    @classmethod
    def of_values(cls, values: Mapping[str, Sequence[str]]) -> Layout:
        """One clause for each attribute, with its distinct values, ascending; an attribute without any is not left out.

        Raises InputError for an attribute with more than 256 values.
        """
        clauses = [Clause(name, tuple(of_name)) for name, of_name in values.items()]
        for clause in clauses:
            if len(clause.values) > MAX_VALUES:
                raise InputError(
                    f"attribute {clause.attribute!r} has {len(clause.values):,} values",
                    expected=f"at most {MAX_VALUES} for eligibility",
                    remedy="Filter on a coarser attribute.",
                )
        return cls(tuple(clauses))

    def extended(self, attributes: Sequence[dict[str, list[str]]]) -> Layout:
        """This layout with the values that more items state, each behind those of its clause, whose bits stay."""
        clauses = []
        for clause in self.clauses:
            known = set(clause.values)
            added = [value for value in _values_of(clause.attribute, attributes) if value not in known]
            clauses.append(Clause(clause.attribute, (*clause.values, *added)))
        return Layout(tuple(clauses))

    def extended_words(self, words_W: np.ndarray, stated: Mapping[str, Sequence[str]], base: Layout) -> np.ndarray:
        """The bits of a user in this layout: those that `base`, of which it is an extension, gave, and the added values.

        `words_W` uint64 [W of base]; `stated` are the values of the user's attributes. Returns uint64 [W].
        """
        columns, start = [], 0
        for clause, old in zip(self.clauses, base.clauses, strict=True):
            column = np.zeros(clause.num_words, np.uint64)
            column[: old.num_words] = words_W[start : start + old.num_words]
            wanted = set(stated.get(clause.attribute) or ())
            for bit, value in enumerate(clause.values[len(old.values) :], start=len(old.values) + 1):
                if value in wanted:
                    column[bit // _BITS] |= np.uint64(1 << (bit % _BITS))
            columns.append(column)
            start += old.num_words
        return np.concatenate(columns) if columns else words_W

    @property
    def clause_starts(self) -> tuple[int, ...]:
        starts, position = [], 0
        for clause in self.clauses:
            starts.append(position)
            position += clause.num_words
        return tuple(starts)

    def item_words(self, attributes: Sequence[dict[str, list[str]]]) -> np.ndarray:
        """uint64 [I, W]"""
        return self._beside([clause.item_words(attributes) for clause in self.clauses], len(attributes))

    def words_of(self, codes: Sequence[tuple[np.ndarray, np.ndarray]], num_items: int) -> np.ndarray:
        """`item_words` of items whose values are known by number, uint64 [I, W].

        For each clause the items that state a value of it, int64 [N], and the place of that value in the clause, int64 [N].
        """
        words_IW = self.item_words([{}]).repeat(num_items, axis=0)
        for start, (rows_N, values_N) in zip(self.clause_starts, codes, strict=True):
            set_bits(words_IW, rows_N, values_N, start)
        return words_IW

    def user_words(self, attributes: Sequence[dict[str, list[str]]]) -> np.ndarray:
        """uint64 [U, W]"""
        return self._beside([clause.user_words(attributes) for clause in self.clauses], len(attributes))

    @staticmethod
    def _beside(columns: list[np.ndarray], num_rows: int) -> np.ndarray:
        return np.concatenate(columns, axis=1) if columns else np.zeros((num_rows, 0), np.uint64)

    def to_json(self) -> list[dict[str, Any]]:
        return [{"attribute": clause.attribute, "values": list(clause.values)} for clause in self.clauses]

    @classmethod
    def from_json(cls, value: list[dict[str, Any]]) -> Layout:
        return cls(tuple(Clause(clause["attribute"], tuple(clause["values"])) for clause in value))


def _values_of(name: str, attributes: Sequence[dict[str, list[str]]]) -> list[str]:
    """The distinct values that items state of an attribute, ascending."""
    return sorted({value for attrs in attributes for value in attrs.get(name) or ()})


def set_bits(words_IW: np.ndarray, rows_N: np.ndarray, values_N: np.ndarray, start: int) -> None:
    """Sets the bit of value `values_N[n]` of the clause at word `start` on item `rows_N[n]`."""
    bits_N = values_N + 1
    masks_N = np.left_shift(np.uint64(1), (bits_N % _BITS).astype(np.uint64))
    np.bitwise_or.at(words_IW, (rows_N, start + bits_N // _BITS), masks_N)


def eligible_items(words_IW: np.ndarray, words_W: np.ndarray, clause_ranges: Sequence[tuple[int, int]]) -> np.ndarray:
    """Which items pass every clause for one user, `words_W`, or for the user beside each, uint64 [I, W]: bool [I]."""
    is_eligible = np.ones(len(words_IW), bool)
    for start, stop in clause_ranges:
        is_eligible &= ((words_IW[:, start:stop] & words_W[..., start:stop]) != 0).any(axis=1)
    return is_eligible
