"""Non-negative matrix factorisation of the ratings that there are: r(u, i) = p_u . q_i with no entry below 0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from semrec.compiled import compiled
from semrec.errors import InputError, TrainingError
from semrec.models.ratings.base import RatingModel
from semrec.models.sparse import SparseRows

__all__ = ["NmfModel"]


class NmfModel(RatingModel):
    """NMF by multiplicative updates, which keep factors positive (Luo et al. 2014, "An efficient non-negative matrix-
    factorization-based approach to collaborative filtering", eq. 8): all users, then all items in turn.

    Settings: `dimension`; `num_epochs`; `regularization` per rating; `seed`. Ratings must not be negative.
    """

    defaults: ClassVar[Mapping[str, Any]] = {"dimension": 16, "num_epochs": 50, "regularization": 0.12, "seed": 0}

    def _fit(self, ratings: SparseRows) -> None:
        if ratings.values.min() < 0:
            raise InputError("a negative rating", expected="ratings of 0 and more", remedy="Add a constant to all.")
        random, dimension = np.random.default_rng(self.settings["seed"]), self.settings["dimension"]
        self._users_UD = random.random((ratings.num_rows, dimension), np.float32)
        self._items_ID = random.random((ratings.num_columns, dimension), np.float32)
        by_item, regularization = ratings.transposed(), np.float32(self.settings["regularization"])
        for _ in range(self.settings["num_epochs"]):
            for matrix, rows_RD, fixed_CD in (
                (ratings, self._users_UD, self._items_ID),
                (by_item, self._items_ID, self._users_UD),
            ):
                _update_rows(matrix.offsets, matrix.columns, matrix.values, rows_RD, fixed_CD, regularization)
        if not (np.isfinite(self._users_UD).all() and np.isfinite(self._items_ID).all()):
            raise TrainingError("factors that are not finite", expected="finite ones", remedy="Check the ratings.")
        self._is_known_U, self._is_known_I = ratings.lengths > 0, by_item.lengths > 0

    def _estimate(self, users_N: np.ndarray, items_N: np.ndarray) -> np.ndarray:
        estimates_N = np.einsum("nd,nd->n", self._users_UD[users_N], self._items_ID[items_N], dtype=np.float64)
        return np.where(self._is_known_U[users_N] & self._is_known_I[items_N], estimates_N, np.nan)


@compiled
def _update_rows(offsets, columns, values, rows_RD, fixed_CD, regularization):  # type: ignore[no-untyped-def]
    """Multiplies each entry of each row by sum(r q) / (sum(r_estimated q) + n * regularization * p)."""
    dimension = rows_RD.shape[1]
    wanted_D, given_D = np.empty(dimension, np.float32), np.empty(dimension, np.float32)
    for r in range(len(offsets) - 1):
        row_D = rows_RD[r]
        wanted_D[:] = 0
        given_D[:] = regularization * np.float32(offsets[r + 1] - offsets[r]) * row_D + np.float32(1e-12)
        for n in range(offsets[r], offsets[r + 1]):
            fixed_D, value = fixed_CD[columns[n]], values[n]
            estimate = np.float32(0)
            for d in range(dimension):
                estimate += row_D[d] * fixed_D[d]
            for d in range(dimension):
                wanted_D[d] += value * fixed_D[d]
                given_D[d] += estimate * fixed_D[d]
        for d in range(dimension):
            row_D[d] *= wanted_D[d] / given_D[d]
