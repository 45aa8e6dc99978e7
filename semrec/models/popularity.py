"""The popularity model: one dimension that gives every user the same preference for what many others chose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from semrec.errors import InputError
from semrec.models.base import Events, ItemVectors, TrainingData, UserVectors, VectorModel, WeightedHistory

__all__ = ["PopularityModel"]


class PopularityModel(VectorModel):
    """Items have x_i = log(1 + n_i) / log(1 + max_j n_j), n_i the distinct users of item i; every user has [1].

    Between 0 and 1, so that its weight beside other models means the same in every catalogue. It is not personal: a user
    in whom no other model sees anything gets the source `popularity`, whose scores are the n_i. It has no settings.
    """

    kind = "popularity"
    is_personal = False
    compares_items = False
    default_weight = 0.25  # of its scores divided by their standard deviation over the items

    def __init__(self, settings: Mapping[str, Any], dimension: int = 1) -> None:
        super().__init__(settings, dimension)
        if settings:
            raise InputError(
                f"settings {', '.join(sorted(settings))} of the popularity model",
                expected="none",
                remedy="Leave them out.",
            )

    @classmethod
    def fit(cls, data: TrainingData, settings: Mapping[str, Any]) -> tuple[Self, np.ndarray]:
        """Takes the counts of users; without any interaction all are 0."""
        logarithms_I = np.log1p(data.popularity_I.astype(np.float64))
        largest = logarithms_I.max(initial=0) or 1.0
        return cls(settings), (logarithms_I / largest).astype(np.float32)[:, None]

    def user_vectors(self, events: Events, items: ItemVectors, num_users: int) -> UserVectors:
        """See `VectorModel.user_vectors`."""
        return UserVectors(np.ones((num_users, 1), np.float32), np.ones(num_users, bool))

    def fold_in(self, events: Events, items: ItemVectors) -> WeightedHistory:
        """See `VectorModel.fold_in`. No event explains it."""
        return WeightedHistory.without_terms(np.ones(1, np.float32), 1)

    def fold_in_weights(self, weights_N: np.ndarray, items: ItemVectors) -> WeightedHistory:
        """See `VectorModel.fold_in_weights`."""
        return WeightedHistory.without_terms(np.ones(1, np.float32), 1)

    def cold_items(self, content: Mapping[str, np.ndarray]) -> np.ndarray:
        """Nobody has chosen a new item yet: zeros."""
        return np.zeros((len(next(iter(content.values()))), 1), np.float32)
