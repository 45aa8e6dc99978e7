"""Learn item factors by implicit alternating least squares (iALS); a user's vector is a half-step over the own likes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from semrec.models.base import TrainingData
from semrec.models.half_step import FixedSide, solve_rows
from semrec.models.ials_training import train_ials
from semrec.models.learned import LearnedModel
from semrec.models.sparse import SparseRows, liked_of_data

__all__ = ["IalsModel"]


class IalsModel(LearnedModel):
    """Implicit alternating least squares.

    Settings: `dimension`; `unobserved_weight` of a pair that nobody liked, against 1 of a like; `regularization`, which is
    searched together with it; `frequency_exponent` of a row's number of likes in it; `num_epochs` at most, fewer where
    one lowers the loss by less than the share `min_improvement`; `seed`.
    """

    kind = "ials"
    compares_items = False
    defaults: ClassVar[Mapping[str, Any]] = {
        "dimension": 64, "unobserved_weight": 0.1, "regularization": 0.01, "frequency_exponent": 1.0, "num_epochs": 12,
        "min_improvement": 0.001, "seed": 0,
    }  # fmt: skip
    # The more an unobserved pair weighs, the less regularisation is best: one after the other, the first would bind the second.
    search_grid: ClassVar[Sequence[Mapping[str, tuple[Any, ...]]]] = (
        {"regularization": (0.001, 0.003, 0.01), "unobserved_weight": (0.03, 0.1, 0.3, 1.0)},
        {"dimension": (64, 128, 192)},
    )

    @classmethod
    def fit(cls, data: TrainingData, settings: Mapping[str, Any]) -> tuple[Self, np.ndarray]:
        """See `VectorModel.fit`. Raises InputError when nobody liked anything, TrainingError when the loss rises."""
        model = cls({"neutral_value": data.neutral_value, **settings}, 0)
        liked = liked_of_data(data)
        trained = data.trained.get(cls.kind)
        items = trained() if trained else train_ials(liked, model.settings)
        model.dimension = items.factors_CD.shape[1]
        model._arrays = {"eigenvalues_D": items.eigenvalues_D, "num_items": np.array(items.num_learned)}
        return model, model.finish_fit(items.factors_CD, liked, data)

    def raw_users(self, liked: SparseRows, vectors_ND: np.ndarray, matrix_rows_N: np.ndarray) -> np.ndarray:
        """See `LearnedModel.raw_users`: the half-step of the training."""
        fixed = FixedSide(vectors_ND, self._arrays["eigenvalues_D"], int(self._arrays["num_items"]))
        return solve_rows(liked, fixed, self.settings)

    def term_vectors(self, liked: SparseRows, vectors_ND: np.ndarray, matrix_rows_N: np.ndarray) -> np.ndarray:
        """See `LearnedModel.term_vectors`: the solved vector of each like, (H_S' H_S + a G + l)^-1 h_i."""
        a, num_items = self.settings["unobserved_weight"], int(self._arrays["num_items"])
        liked_LD = vectors_ND[liked.columns].astype(np.float64)
        exponent = self.settings["frequency_exponent"]
        ridge = self.settings["regularization"] * (len(liked_LD) + a * num_items) ** exponent
        system_DD = liked_LD.T @ liked_LD + np.diag(a * self._arrays["eigenvalues_D"] + ridge)
        return np.linalg.solve(system_DD, liked_LD.T).T
