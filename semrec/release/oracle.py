"""Checks lists against what users and items state, by plain sets: the bits that scoring tests are not looked at.

A fault of the bits, of their layout or of an engine shows here, because nothing of them is shared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.errors import MissingArtefactError
from semrec.release.reader import Release, UserPart
from semrec.scoring.types import Queries

__all__ = ["ListChecker", "may_see"]

_ROWS_AT_ONCE = 65_536  # as Python objects

Values = tuple[frozenset[str], ...]  # of one user or item, for each attribute that eligibility goes by


def may_see(stated: Mapping[str, Iterable[str]], item: Mapping[str, Iterable[str]], names: Iterable[str]) -> bool:
    """Returns whether a user who states `stated` may see an item with attributes `item`: the rule of `semrec.contracts`."""
    return all(not stated.get(name) or set(stated[name]) & set(item.get(name) or ()) for name in names)


class ListChecker:
    """Counts the items of a release that stand in a list of a user who may not see them, or has seen them."""

    def __init__(self, release: Release) -> None:
        self._release_id = release.release_id
        self._names: tuple[str, ...] = release.manifest.settings.eligibility
        self._kind_I, self._item_kinds = _kinds(release.attributes(), self._names)
        self._verdicts: dict[tuple[Values, Values], bool] = {}

    def num_excluded(self, users: UserPart, owners_P: np.ndarray, rows_P: np.ndarray) -> int:
        """Counts, of P places in lists, those that show an item which their user has seen or may not see.

        Place p is user `owners_P[p]` of the part and matrix row `rows_P[p]`, int64 [P]. Raises MissingArtefactError for a
        release that does not say what its users state.
        """
        excluded_P = _is_seen(users.queries, owners_P, rows_P, len(self._kind_I))
        if self._names:
            if users.stated is None:
                raise MissingArtefactError(
                    f"release {self._release_id} does not say what its users state",
                    expected="a release of contract 2 or later, whose lists can be checked",
                    remedy="Run `semrec release`, then `semrec score`.",
                )
            kind_U, user_kinds = _kinds(users.stated, self._names)
            # There are many places and few combinations of values, so each pair of combinations is compared once.
            pairs_P = kind_U[owners_P] * len(self._item_kinds) + self._kind_I[rows_P]
            pairs, pair_P = np.unique(pairs_P, return_inverse=True)
            user_of, item_of = np.divmod(pairs, max(len(self._item_kinds), 1))
            hidden = [
                not self._may_see(user_kinds[user], self._item_kinds[item])
                for user, item in zip(user_of.tolist(), item_of.tolist(), strict=True)
            ]
            excluded_P |= np.array(hidden, bool)[pair_P.reshape(-1)]
        return int(excluded_P.sum())

    def _may_see(self, stated: Values, item: Values) -> bool:
        verdict = self._verdicts.get((stated, item))
        if verdict is None:
            user_values, item_values = (dict(zip(self._names, values, strict=True)) for values in (stated, item))
            verdict = self._verdicts[stated, item] = may_see(user_values, item_values, self._names)
        return verdict


def _kinds(column: pa.Array | pa.ChunkedArray, names: Sequence[str]) -> tuple[np.ndarray, list[Values]]:
    """Returns the place of each row of ATTRIBUTES_TYPE (int64 [N]) among the distinct combinations of values, and these."""
    number_of: dict[Values, int] = {}
    kinds = np.zeros(len(column), np.int64)
    for start in range(0, len(column) if names else 0, _ROWS_AT_ONCE):
        rows = column.slice(start, _ROWS_AT_ONCE)
        columns = [pc.map_lookup(rows, pa.scalar(name), "first").to_pylist() for name in names]
        kinds[start : start + len(rows)] = [
            number_of.setdefault(tuple(frozenset(values or ()) for values in row), len(number_of))
            for row in zip(*columns, strict=True)
        ]
    return kinds, list(number_of) or [()]


def _is_seen(queries: Queries, owners_P: np.ndarray, rows_P: np.ndarray, num_items: int) -> np.ndarray:
    """Returns whether the user of each place has seen its item: bool [P]."""
    # A user and an item as one number, so that all pairs are looked up at once.
    seen_owners = np.repeat(np.arange(queries.num_queries), np.diff(queries.seen_offsets))
    return np.isin(owners_P * num_items + rows_P, seen_owners * num_items + queries.seen_rows)
