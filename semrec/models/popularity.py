"""The popularity model: one dimension that gives every user the same preference for what many others chose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from semrec.models.base import TrainingData
from semrec.models.impersonal import ImpersonalModel

__all__ = ["PopularityModel"]


class PopularityModel(ImpersonalModel):
    """Items have x_i = log(1 + n_i) / log(1 + max_j n_j), n_i the distinct users of item i; every user has [1].

    Between 0 and 1, so that its weight beside other models means the same in every catalogue. It is not personal: a user
    in whom no other model sees anything gets the source `popularity`, whose scores are the n_i. It has no settings.
    """

    kind = "popularity"
    default_weight = 0.25  # of its scores divided by their standard deviation over the items

    @classmethod
    def fit(cls, data: TrainingData, settings: Mapping[str, Any]) -> tuple[Self, np.ndarray]:
        """Takes the counts of users; without any interaction all are 0."""
        logarithms_I = np.log1p(data.popularity_I.astype(np.float64))
        largest = logarithms_I.max(initial=0) or 1.0
        return cls(settings), (logarithms_I / largest).astype(np.float32)[:, None]

    def cold_items(self, content: Mapping[str, np.ndarray]) -> np.ndarray:
        """Nobody has chosen a new item yet: zeros."""
        return np.zeros((len(next(iter(content.values()))), 1), np.float32)
