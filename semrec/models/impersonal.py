"""What models share that score an item alike for every user: one dimension, in which every user has 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from semrec.errors import InputError
from semrec.models.base import Events, ItemVectors, UserVectors, VectorModel, WeightedHistory

__all__ = ["ImpersonalModel"]


class ImpersonalModel(VectorModel):
    """A model of one dimension without settings: a subclass fits the item's value, and every user's vector is [1]."""

    is_personal = False
    compares_items = False

    def __init__(self, settings: Mapping[str, Any], dimension: int = 1) -> None:
        super().__init__(settings, dimension)
        if settings:
            raise InputError(
                f"settings {', '.join(sorted(settings))} of the {self.kind} model",
                expected="none",
                remedy="Leave them out.",
            )

    def user_vectors(self, events: Events, items: ItemVectors, num_users: int) -> UserVectors:
        """See `VectorModel.user_vectors`."""
        return UserVectors(np.ones((num_users, 1), np.float32), np.ones(num_users, bool))

    def fold_in(self, events: Events, items: ItemVectors) -> WeightedHistory:
        """See `VectorModel.fold_in`. No event explains it."""
        return WeightedHistory.without_terms(np.ones(1, np.float32), 1)

    def fold_in_weights(self, weights_N: np.ndarray, items: ItemVectors) -> WeightedHistory:
        """See `VectorModel.fold_in_weights`."""
        return WeightedHistory.without_terms(np.ones(1, np.float32), 1)
