"""Learn item factors by implicit alternating least squares (iALS); a user's vector is a half-step over the own likes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Self

import numpy as np

from semrec.compiled import compiled
from semrec.errors import TrainingError
from semrec.models.base import TrainingData
from semrec.models.half_step import FixedSide, fixed_side, solve_rows
from semrec.models.learned import LearnedModel
from semrec.models.sparse import SparseRows, gram_of_rows, liked_of_data, map_ranges

__all__ = ["IalsModel", "ials_loss", "train_ials"]

_INITIAL_STD: Final = 0.1
_ROWS_PER_SEED: Final = 1 << 16  # rows that one seed draws, so that ranges draw their own


class IalsModel(LearnedModel):
    """Implicit alternating least squares.

    Settings: `dimension`; `unobserved_weight` of a pair that nobody liked, against 1 of a like; `regularization`, which is
    searched together with these two; `frequency_exponent` of a row's number of likes in it; `num_epochs`; `seed`.
    """

    kind = "ials"
    compares_items = False
    defaults: Mapping[str, Any] = {
        "dimension": 64, "unobserved_weight": 0.1, "regularization": 0.01, "frequency_exponent": 1.0, "num_epochs": 12,
        "seed": 0,
    }  # fmt: skip

    @classmethod
    def fit(cls, data: TrainingData, settings: Mapping[str, Any]) -> tuple[Self, np.ndarray]:
        """See `VectorModel.fit`. Raises InputError when nobody liked anything, TrainingError when the loss rises."""
        model = cls({"neutral_value": data.neutral_value, **settings}, 0)
        liked = liked_of_data(data)
        return model, model.finish_training(train_ials(liked, model.settings), liked, data)

    def finish_training(self, items: FixedSide, liked: SparseRows, data: TrainingData) -> np.ndarray:
        """Takes trained item factors over; returns the item vectors."""
        self.dimension = items.factors_CD.shape[1]
        self._arrays = {"eigenvalues_D": items.eigenvalues_D, "num_items": np.array(liked.num_columns)}
        return self.finish_fit(items.factors_CD, liked, data)

    def raw_users(self, liked: SparseRows, vectors_ND: np.ndarray, matrix_rows_N: np.ndarray) -> np.ndarray:
        """See `LearnedModel.raw_users`: the half-step of the training."""
        fixed = FixedSide(vectors_ND, self._arrays["eigenvalues_D"])
        return solve_rows(liked, fixed, self.settings, num_columns=int(self._arrays["num_items"]))

    def term_vectors(self, liked: SparseRows, vectors_ND: np.ndarray, matrix_rows_N: np.ndarray) -> np.ndarray:
        """See `LearnedModel.term_vectors`: the solved vector of each like, (H_S' H_S + a G + l)^-1 h_i."""
        a, num_items = self.settings["unobserved_weight"], int(self._arrays["num_items"])
        liked_LD = vectors_ND[liked.columns].astype(np.float64)
        exponent = self.settings["frequency_exponent"]
        ridge = self.settings["regularization"] * (len(liked_LD) + a * num_items) ** exponent
        system_DD = liked_LD.T @ liked_LD + np.diag(a * self._arrays["eigenvalues_D"] + ridge)
        return np.linalg.solve(system_DD, liked_LD.T).T


def train_ials(
    liked: SparseRows,
    settings: Mapping[str, Any],
    *,
    start_ID: np.ndarray | None = None,
    on_epoch: Callable[[int, float, FixedSide], bool] | None = None,
    num_threads: int = 1,
) -> FixedSide:
    """Alternates between users and items; returns the item side, in the eigenbasis of its Gram.

    `liked` users x items; `settings` those of `IalsModel`. `start_ID` float32: factors to begin with (a warm start), of as
    many dimensions. `on_epoch` is told (epoch from 1, loss, item side) and stops the training by returning True. Raises
    TrainingError when the loss rises or is not finite.
    """
    by_item = liked.transposed()
    items = fixed_side(_initial_factors(liked.num_columns, settings) if start_ID is None else start_ID)
    before = np.inf
    for epoch in range(1, settings["num_epochs"] + 1):
        users = fixed_side(_half_step(liked, items, settings, num_threads))
        factors_ID = _half_step(by_item, users, settings, num_threads)
        loss = ials_loss(liked, users, factors_ID, settings)
        # Exact half-steps never raise the loss; float32 factors leave it a little room.
        if not loss <= before * (1 + 1e-5):
            raise TrainingError(
                f"iALS loss {loss:.6g} after epoch {epoch}, {before:.6g} before",
                expected="a finite loss that falls",
                remedy="Raise regularization, or lower dimension: the system may be singular.",
            )
        before, items = loss, fixed_side(factors_ID)
        if on_epoch is not None and on_epoch(epoch, loss, items):
            break
    return items


def ials_loss(liked: SparseRows, users: FixedSide, factors_ID: np.ndarray, settings: Mapping[str, Any]) -> float:
    """The loss that both half-steps minimise (see `half_step`), with the regularisation of both sides."""
    gram_DD = gram_of_rows(factors_ID)
    unobserved = float((gram_DD.diagonal() * users.eigenvalues_D).sum())  # the users' Gram is diagonal in their basis
    observed = _observed_loss(liked.offsets, liked.columns, users.factors_CD, factors_ID)
    return (
        observed + settings["unobserved_weight"] * unobserved + _penalty(liked, users.factors_CD, factors_ID, settings)
    )


def _penalty(liked: SparseRows, users_UD: np.ndarray, items_ID: np.ndarray, settings: Mapping[str, Any]) -> float:
    total = 0.0
    sides = ((liked.lengths, users_UD, liked.num_columns), (liked.column_counts, items_ID, liked.num_rows))
    for counts, factors, num_others in sides:
        ridge = (
            settings["regularization"]
            * (counts + settings["unobserved_weight"] * num_others) ** settings["frequency_exponent"]
        )
        total += float((ridge * np.einsum("rd,rd->r", factors, factors, dtype=np.float64)).sum())
    return total


def _half_step(matrix: SparseRows, fixed: FixedSide, settings: Mapping[str, Any], num_threads: int) -> np.ndarray:
    dimension = fixed.factors_CD.shape[1]
    return map_ranges(lambda rows: solve_rows(rows, fixed, settings), matrix, dimension, num_threads)


def _initial_factors(num_rows: int, settings: Mapping[str, Any]) -> np.ndarray:
    """Normal float32 factors whose inner products have a standard deviation of 0.01: [num_rows, D]."""
    shape, std = (min(_ROWS_PER_SEED, num_rows), settings["dimension"]), _INITIAL_STD / settings["dimension"] ** 0.25
    blocks = [
        np.random.default_rng([settings["seed"], start]).standard_normal(shape, np.float32)[: num_rows - start]
        for start in range(0, num_rows, _ROWS_PER_SEED)
    ]
    return np.concatenate(blocks) * np.float32(std)


@compiled
def _observed_loss(offsets, columns, users_UD, items_ID):  # type: ignore[no-untyped-def]
    """The sum over liked pairs of (1 - score) ** 2, in float64."""
    total = 0.0
    for u in range(len(offsets) - 1):
        for n in range(offsets[u], offsets[u + 1]):
            score = 0.0
            for d in range(users_UD.shape[1]):
                score += np.float64(users_UD[u, d]) * np.float64(items_ID[columns[n], d])
            total += (1.0 - score) ** 2
    return total
