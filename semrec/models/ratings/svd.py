"""Biased matrix factorisation (SVD) and SVD++ by stochastic gradient descent, one user's ratings after the other.

    r(u, i) = mean + b_u + b_i + q_i . (p_u + |N(u)|^-1/2 * sum of y_j over the items N(u) that u rated)

(Koren 2008, "Factorization meets the neighborhood", eq. 15; SVD is without the y).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np

from semrec.compiled import compiled
from semrec.errors import TrainingError
from semrec.models.ratings.base import RatingModel
from semrec.models.sparse import SparseRows, multiply_rows

__all__ = ["SvdModel", "SvdPlusPlusModel"]

_LANES: Final = 8


class SvdModel(RatingModel):
    """Biases and factors of users and items.

    Settings: `dimension`; `num_epochs`; `learning_rate` of the first epoch and its `decay` by each further one;
    `regularization` and `bias_regularization`, of factors and biases, each divided by the number of ratings of the user
    or item to the power of `frequency_exponent`; `initial_std` of the factors; `seed`.
    """

    defaults: ClassVar[Mapping[str, Any]] = {
        "dimension": 48, "num_epochs": 25, "learning_rate": 0.03, "decay": 0.93, "regularization": 0.9,
        "bias_regularization": 0.3, "frequency_exponent": 0.5, "initial_std": 0.07, "seed": 0,
    }  # fmt: skip
    #: Whether the items that a user rated say something, whatever the rating.
    uses_implicit: ClassVar[bool] = False

    def _fit(self, ratings: SparseRows) -> None:
        settings = self.settings
        random = np.random.default_rng(settings["seed"])
        num_items = ratings.num_columns
        users_UD = self._initial(random, ratings.lengths)
        self._items_ID = self._initial(random, ratings.column_counts)
        implicit_ID = self._initial(random, ratings.column_counts * self.uses_implicit)
        self._user_bias_U, self._item_bias_I = np.zeros(ratings.num_rows), np.zeros(num_items)
        frequency_U, frequency_I = (
            np.maximum(counts, 1.0) ** -settings["frequency_exponent"]
            for counts in (ratings.lengths, ratings.column_counts)
        )
        variance = float(((ratings.values - self._mean) ** 2).mean(dtype=np.float64))
        # Twice what the mean misses, and what the factors to begin with may add to it: |p|^2 |q|^2.
        highest_loss = 2 * variance + (settings["dimension"] * settings["initial_std"] ** 2) ** 2
        for epoch in range(settings["num_epochs"]):
            loss = _train_epoch(
                ratings.offsets, ratings.columns, ratings.values, self._mean, self._user_bias_U, self._item_bias_I,
                users_UD, self._items_ID, implicit_ID, self.uses_implicit,
                np.float32(settings["learning_rate"] * settings["decay"] ** epoch),
                (settings["regularization"] * frequency_U).astype(np.float32),
                (settings["regularization"] * frequency_I).astype(np.float32),
                settings["bias_regularization"] * frequency_U, settings["bias_regularization"] * frequency_I,
            ) / len(ratings.values)  # fmt: skip
            if not loss <= highest_loss:
                raise TrainingError(
                    f"a mean squared error of {loss:.4g} in epoch {epoch + 1}",
                    expected=f"one that falls from the ratings' variance, {variance:.4g}",
                    remedy="Lower learning_rate.",
                )
        if self.uses_implicit:
            ones = np.ones(len(ratings.columns), np.float32)
            rated = SparseRows(ratings.offsets, ratings.columns, ones, num_items)
            users_UD += multiply_rows(rated, implicit_ID) / np.sqrt(np.maximum(ratings.lengths, 1))[:, None]
        self._users_UD = users_UD

    def _initial(self, random: np.random.Generator, counts: np.ndarray) -> np.ndarray:
        """Normal factors, zeros for who has no rating and in the columns that fill up the last lane: float32 [len, D]."""
        dimension = self.settings["dimension"]
        factors = np.zeros((len(counts), -(-dimension // _LANES) * _LANES), np.float32)
        factors[:, :dimension] = random.standard_normal((len(counts), dimension), np.float32)
        return factors * (np.float32(self.settings["initial_std"]) * (counts > 0).astype(np.float32)[:, None])

    def _estimate(self, users_N: np.ndarray, items_N: np.ndarray) -> np.ndarray:
        products_N = _products(users_N, items_N, self._users_UD, self._items_ID)
        return self._mean + self._user_bias_U[users_N] + self._item_bias_I[items_N] + products_N


@compiled
def _train_epoch(  # type: ignore[no-untyped-def]
    offsets, columns, values, mean, user_bias_U, item_bias_I, users_UD, items_ID, implicit_ID, uses_implicit,
    rate, ridge_U, ridge_I, bias_ridge_U, bias_ridge_I,
):  # fmt: skip
    """Takes one step for each rating, and returns the sum of the squared errors before their steps.

    SVD++ would change the y of all items of the user at each rating. But their steps are alike: with s = |N(u)|^-1/2, the
    user's w = p + s * sum of y takes the step rate * (2 e q - ridge w), and n steps on w have given p and each y, whose ridge
    is the user's, the same sum c of decayed gradients: w_n = k w_0 + 2 c, p_n = k p_0 + c, y_n = k y_0 + s c, where
    k = (1 - rate * ridge)^n. So the y are changed once for each user, with the very result of changing them n times.
    """
    dimension = users_UD.shape[1]
    user_D, start_D = np.empty(dimension, np.float32), np.empty(dimension, np.float32)
    gain = np.float32(2 if uses_implicit else 1)
    squares = 0.0
    for u in range(len(offsets) - 1):
        first, last = offsets[u], offsets[u + 1]
        if first == last:
            continue
        root = np.float32(1.0 / np.sqrt(last - first))
        user_D[:] = users_UD[u]
        if uses_implicit:
            start_D[:] = 0
            for n in range(first, last):
                implicit_D = implicit_ID[columns[n]]
                for d in range(dimension):
                    start_D[d] += implicit_D[d]
            for d in range(dimension):
                user_D[d] += root * start_D[d]
        start_D[:] = user_D
        user_bias, keep_user = user_bias_U[u], np.float32(1) - rate * ridge_U[u]
        for n in range(first, last):
            i = columns[n]
            item_D = items_ID[i]
            a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = np.float32(0)
            for d in range(0, dimension, 8):
                a0 += user_D[d] * item_D[d]
                a1 += user_D[d + 1] * item_D[d + 1]
                a2 += user_D[d + 2] * item_D[d + 2]
                a3 += user_D[d + 3] * item_D[d + 3]
                a4 += user_D[d + 4] * item_D[d + 4]
                a5 += user_D[d + 5] * item_D[d + 5]
                a6 += user_D[d + 6] * item_D[d + 6]
                a7 += user_D[d + 7] * item_D[d + 7]
            product = ((a0 + a4) + (a2 + a6)) + ((a1 + a5) + (a3 + a7))
            error = values[n] - (mean + user_bias + item_bias_I[i] + product)
            squares += error * error
            user_bias += rate * (error - bias_ridge_U[u] * user_bias)
            item_bias_I[i] += rate * (error - bias_ridge_I[i] * item_bias_I[i])
            step = rate * np.float32(error)
            user_step, keep_item = gain * step, np.float32(1) - rate * ridge_I[i]
            for d in range(dimension):
                before = user_D[d]
                user_D[d] = keep_user * before + user_step * item_D[d]
                item_D[d] = keep_item * item_D[d] + step * before
        user_bias_U[u] = user_bias
        keep = keep_user ** (last - first)
        for d in range(dimension):
            start_D[d] = (user_D[d] - keep * start_D[d]) / gain
            users_UD[u, d] = keep * users_UD[u, d] + start_D[d]
        if uses_implicit:
            for n in range(first, last):
                implicit_D = implicit_ID[columns[n]]
                for d in range(dimension):
                    implicit_D[d] = keep * implicit_D[d] + root * start_D[d]
    return squares


@compiled
def _products(users_N, items_N, users_UD, items_ID):  # type: ignore[no-untyped-def]
    """The inner products of pairs of rows, float64 [N], summed in float64."""
    products_N = np.empty(len(users_N))
    for n in range(len(users_N)):
        total = 0.0
        for d in range(users_UD.shape[1]):
            total += np.float64(users_UD[users_N[n], d]) * np.float64(items_ID[items_N[n], d])
        products_N[n] = total
    return products_N


class SvdPlusPlusModel(SvdModel):
    """SVD with factors of the items that a user rated, whatever the rating."""

    uses_implicit = True
