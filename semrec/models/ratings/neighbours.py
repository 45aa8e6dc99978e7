"""k nearest neighbours: users rate an item as those do who rated other items alike (or items are rated as similar ones are).

    r(u, i) = base(u, i) + sum of sim(u, v) (r(v, i) - base(v, i)) / sum of sim(u, v)

over the k users v who rated i with the largest sim(u, v) = 1 / (1 + mean squared difference of what both rated). The models
differ in `base`: nothing, the mean of the user's ratings, or the biases of user and item.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from semrec.compiled import compiled
from semrec.errors import InputError
from semrec.models.ratings.base import RatingModel
from semrec.models.sparse import SparseRows

__all__ = ["BaselineNeighboursModel", "BasicNeighboursModel", "CentredNeighboursModel"]


class BasicNeighboursModel(RatingModel):
    """Neighbours' ratings as they are; nothing is trained.

    Settings: `num_neighbours` k; `by`: whether neighbours are "user" or "item".
    """

    #: Whether a pair whose item no neighbour rated gets its base. The mean of all ratings is better than a base of nothing.
    falls_back_to_base: ClassVar[bool] = False
    defaults: ClassVar[Mapping[str, Any]] = {"num_neighbours": 40, "by": "user"}

    def _fit(self, ratings: SparseRows) -> None:
        if self.settings["by"] not in ("user", "item") or self.settings["num_neighbours"] < 1:
            raise InputError(
                f"by {self.settings['by']!r} and {self.settings['num_neighbours']} neighbours",
                expected="by user or item, and at least 1 neighbour",
                remedy="Change these settings.",
            )
        by_user, by_item = ratings, ratings.transposed()
        self._rows, self._columns = (by_user, by_item) if self.settings["by"] == "user" else (by_item, by_user)
        self._row_bases_R, self._column_bases_C = self._bases()

    def _bases(self) -> tuple[np.ndarray, np.ndarray]:
        """The two summands of base, by row and column: float64 [R], float64 [C]."""
        return np.zeros(self._rows.num_rows), np.zeros(self._rows.num_columns)

    def _estimate(self, users_N: np.ndarray, items_N: np.ndarray) -> np.ndarray:
        rows_N, columns_N = (users_N, items_N) if self.settings["by"] == "user" else (items_N, users_N)
        bases_N = self._row_bases_R[rows_N] + self._column_bases_C[columns_N]
        corrections_N = np.full(len(rows_N), np.nan)
        _neighbours(
            self._rows.offsets, self._rows.columns, self._rows.values,
            self._columns.offsets, self._columns.columns, self._columns.values,
            rows_N, columns_N, np.argsort(rows_N, kind="stable"), self.settings["num_neighbours"],
            self._row_bases_R, self._column_bases_C, corrections_N,
        )  # fmt: skip
        if self.falls_back_to_base:
            corrections_N[np.isnan(corrections_N)] = 0
        return bases_N + corrections_N


class CentredNeighboursModel(BasicNeighboursModel):
    """Neighbours' ratings less the neighbour's mean, on top of the own mean."""

    falls_back_to_base = True

    def _bases(self) -> tuple[np.ndarray, np.ndarray]:
        rows = self._rows
        sums_R = np.bincount(np.repeat(np.arange(rows.num_rows), rows.lengths), rows.values, rows.num_rows)
        means_R = np.where(rows.lengths > 0, sums_R / np.maximum(rows.lengths, 1), self._mean)
        return means_R, np.zeros(rows.num_columns)


class BaselineNeighboursModel(BasicNeighboursModel):
    """Neighbours' ratings less the biases of user and item, which are fitted by alternating ridge regression.

    Koren 2010, "Factor in the neighbors", sections 2.1 and 2.2. Further settings: `user_ridge` and `item_ridge`, how many
    ratings of the mean a bias begins with; `num_epochs` of the biases.
    """

    defaults: ClassVar[Mapping[str, Any]] = {
        **BasicNeighboursModel.defaults, "user_ridge": 15.0, "item_ridge": 10.0, "num_epochs": 10,
    }  # fmt: skip
    falls_back_to_base = True

    def _bases(self) -> tuple[np.ndarray, np.ndarray]:
        by_user, by_item = (self._rows, self._columns) if self.settings["by"] == "user" else (self._columns, self._rows)
        user_bias_U, item_bias_I = np.zeros(by_user.num_rows), np.zeros(by_item.num_rows)
        for _ in range(self.settings["num_epochs"]):
            for matrix, bias_R, bias_C, ridge in (
                (by_item, item_bias_I, user_bias_U, self.settings["item_ridge"]),
                (by_user, user_bias_U, item_bias_I, self.settings["user_ridge"]),
            ):
                row = np.repeat(np.arange(matrix.num_rows), matrix.lengths)
                left = matrix.values - self._mean - bias_C[matrix.columns]
                bias_R[:] = np.bincount(row, left, matrix.num_rows) / (ridge + matrix.lengths)
        biases = (user_bias_U, item_bias_I) if self.settings["by"] == "user" else (item_bias_I, user_bias_U)
        return biases[0] + self._mean, biases[1]


@compiled
def _neighbours(  # type: ignore[no-untyped-def]
    row_offsets, row_columns, row_values, column_offsets, column_rows, column_values, rows_N, columns_N, order_N, k,
    row_bases_R, column_bases_C, corrections_N,
):  # fmt: skip
    """Fills `corrections_N`: the neighbours' part of the formula, where a similar row has a value in the column.

    Pairs come by row, whose similarities with all others are computed once and kept for its pairs only: no square matrix.
    Of equally similar neighbours the first count.
    """
    num_rows = len(row_offsets) - 1
    sums_R2, similar_R = np.empty((num_rows, 2)), np.empty(num_rows)
    nearest_K, entries_K = np.empty(k), np.empty(k, np.int64)  # similarities, descending, and where their ratings stand
    previous = -1
    for n in order_N:
        r, c = rows_N[n], columns_N[n]
        if r != previous:
            sums_R2[:] = 0  # of squared differences, and how many they are
            for a in range(row_offsets[r], row_offsets[r + 1]):
                column, value = row_columns[a], np.float64(row_values[a])
                for b in range(column_offsets[column], column_offsets[column + 1]):
                    difference = value - column_values[b]
                    sums_R2[column_rows[b], 0] += difference * difference
                    sums_R2[column_rows[b], 1] += 1
            for other in range(num_rows):
                squares, count = sums_R2[other]
                similar_R[other] = count / (squares + count) if count > 0 else 0.0
            previous = r
        num_nearest = 0
        for b in range(column_offsets[c], column_offsets[c + 1]):
            similarity = similar_R[column_rows[b]]
            is_near = num_nearest < k or similarity > nearest_K[k - 1]
            if not is_near or similarity <= 0 or column_rows[b] == r:
                continue
            place = min(num_nearest, k - 1)
            while place > 0 and nearest_K[place - 1] < similarity:
                nearest_K[place], entries_K[place] = nearest_K[place - 1], entries_K[place - 1]
                place -= 1
            nearest_K[place], entries_K[place] = similarity, b
            num_nearest = min(num_nearest + 1, k)
        weighted, weights = 0.0, 0.0
        for place in range(num_nearest):
            b = entries_K[place]
            weighted += nearest_K[place] * (column_values[b] - row_bases_R[column_rows[b]] - column_bases_C[c])
            weights += nearest_K[place]
        if num_nearest > 0:
            corrections_N[n] = weighted / weights
