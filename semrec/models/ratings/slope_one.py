"""Slope One: a user's rating of an item is that of another item plus how much higher others who rated both rate the first.

Lemire, Maclachlan 2005, "Slope One predictors for online rating-based collaborative filtering".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from semrec.compiled import compiled
from semrec.models.ratings.base import RatingModel
from semrec.models.sparse import SparseRows

__all__ = ["SlopeOneModel"]


class SlopeOneModel(RatingModel):
    """Slope One; nothing is trained. With dev(i, j) the mean difference of two items' ratings and c(i, j) how many rated both:

    `weighted`: the mean of r(u, j) + dev(i, j) over the items j that u rated, weighted by c(i, j) (section 3.3 of the
    paper); else the mean of u's ratings plus the mean of the dev(i, j) (section 3.2).
    """

    defaults: ClassVar[Mapping[str, Any]] = {"weighted": True}

    def _fit(self, ratings: SparseRows) -> None:
        self._by_user, self._by_item = ratings, ratings.transposed()

    def _estimate(self, users_N: np.ndarray, items_N: np.ndarray) -> np.ndarray:
        estimates_N = np.full(len(users_N), np.nan)
        _slope_one(
            self._by_user.offsets, self._by_user.columns, self._by_user.values,
            self._by_item.offsets, self._by_item.columns, self._by_item.values,
            users_N, items_N, np.argsort(items_N, kind="stable"), self.settings["weighted"], estimates_N,
        )  # fmt: skip
        return estimates_N


@compiled
def _slope_one(  # type: ignore[no-untyped-def]
    user_offsets, user_items, user_values, item_offsets, item_users, item_values, users_N, items_N, order_N, weighted,
    estimates_N,
):  # fmt: skip
    """Fills `estimates_N` where there is an item rated by the user and, together with the pair's item, by somebody.

    Pairs come by item, for which the differences from all others are summed once: a row of the matrix dev, which lies in
    the processor's cache, where the whole matrix of a large catalogue would not lie in memory.
    """
    sums_I2 = np.zeros((len(item_offsets) - 1, 2))  # of differences, and how many they are
    previous = -1
    for n in order_N:
        u, i = users_N[n], items_N[n]
        if i != previous:
            sums_I2[:] = 0
            for a in range(item_offsets[i], item_offsets[i + 1]):
                v, value = item_users[a], np.float64(item_values[a])
                for b in range(user_offsets[v], user_offsets[v + 1]):
                    j = user_items[b]
                    sums_I2[j, 0] += value - user_values[b]
                    sums_I2[j, 1] += 1
            sums_I2[i] = 0
            previous = i
        total, weights, user_sum = 0.0, 0.0, 0.0
        for b in range(user_offsets[u], user_offsets[u + 1]):
            difference, count = sums_I2[user_items[b]]
            user_sum += user_values[b]
            if count > 0:
                total += difference + count * user_values[b] if weighted else difference / count
                weights += count if weighted else 1
        if weights > 0:
            estimates_N[n] = total / weights
            if not weighted:
                estimates_N[n] += user_sum / (user_offsets[u + 1] - user_offsets[u])
