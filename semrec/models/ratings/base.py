"""The interface of a rating model: what predicts the value that a user would give an item.

These models answer another question than those of a release: how much somebody would like an item that they have met, not
which items to recommend. They stand beside each other in `RATING_MODELS`, and are compared by `cross_validation`.

Axes: U users, I items, N pairs of a call, D dimensions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self

import numpy as np

from semrec.errors import InputError, MissingArtefactError
from semrec.models.sparse import SparseRows
from semrec.registry import Registry, import_class

__all__ = ["RATING_MODELS", "RatingModel", "rating_model_class"]

#: Name of a model -> module and class.
RATING_MODELS: Final[Registry] = {
    "svd": ("semrec.models.ratings.svd", "SvdModel"),
    "svd++": ("semrec.models.ratings.svd", "SvdPlusPlusModel"),
    "nmf": ("semrec.models.ratings.nmf", "NmfModel"),
    "slope_one": ("semrec.models.ratings.slope_one", "SlopeOneModel"),
    "knn": ("semrec.models.ratings.neighbours", "BasicNeighboursModel"),
    "knn_centred": ("semrec.models.ratings.neighbours", "CentredNeighboursModel"),
    "knn_baseline": ("semrec.models.ratings.neighbours", "BaselineNeighboursModel"),
}


def rating_model_class(kind: str) -> type[RatingModel]:
    """Imports the model of a name. Raises InputError when there is no such model."""
    loaded: type[RatingModel] = import_class(RATING_MODELS, kind, "rating model")
    return loaded


class RatingModel(ABC):
    """A model of ratings. Adding one is a file with a subclass, and a line in `RATING_MODELS`.

    The ratings are a `SparseRows` of users x items, at most one value of each pair. The same ratings and settings give the
    same predictions on every run.
    """

    #: Settings and their defaults.
    defaults: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, settings: Mapping[str, Any] | None = None) -> None:
        """Raises InputError for a setting that the model does not have."""
        unknown = set(settings or {}) - set(self.defaults)
        if unknown:
            raise InputError(
                f"settings {', '.join(sorted(unknown))} of {type(self).__name__}",
                expected=", ".join(self.defaults) or "none",
                remedy="Name these.",
            )
        self.settings: dict[str, Any] = {**self.defaults, **(settings or {})}
        self._ratings: SparseRows | None = None

    def fit(self, ratings: SparseRows) -> Self:
        """Learns from ratings. Raises InputError when there are none or one is not finite, TrainingError on divergence."""
        if not len(ratings.values) or not np.isfinite(ratings.values).all():
            raise InputError(
                "a rating that is not finite" if len(ratings.values) else "no rating",
                expected="finite ratings",
                remedy="Drop such rows.",
            )
        self._ratings = ratings
        self._mean = float(ratings.values.mean(dtype=np.float64))
        self._range = float(ratings.values.min()), float(ratings.values.max())
        self._fit(ratings)
        return self

    def predict(self, users_N: np.ndarray, items_N: np.ndarray) -> np.ndarray:
        """The rating of each pair of a user and an item, int64 [N] both: float64 [N].

        Within the range of the ratings learned from. A pair of which the model knows nothing gets their mean. Raises
        InputError for a user or an item outside the ratings' shape, MissingArtefactError before `fit`.
        """
        if self._ratings is None:
            raise MissingArtefactError("a model without ratings", expected="a fitted one", remedy="Call fit first.")
        for name, numbers_N, count in (
            ("user", users_N, self._ratings.num_rows),
            ("item", items_N, self._ratings.num_columns),
        ):
            if len(numbers_N) and not 0 <= numbers_N.min() <= numbers_N.max() < count:
                raise InputError(
                    f"a {name} outside the ratings",
                    expected=f"numbers from 0 to {count - 1}",
                    remedy="Number them anew.",
                )
        estimates_N = self._estimate(users_N, items_N)
        return np.clip(np.where(np.isnan(estimates_N), self._mean, estimates_N), *self._range)

    @abstractmethod
    def _fit(self, ratings: SparseRows) -> None:
        """Learns from valid ratings; their mean is `self._mean`."""

    @abstractmethod
    def _estimate(self, users_N: np.ndarray, items_N: np.ndarray) -> np.ndarray:
        """The rating of each pair, outside the range, too: float64 [N], NaN where the model knows nothing."""
