"""Scale each user's vector so that the scores over the catalogue have variance 1, whatever the model's own units are.

For item vectors Q with covariance C, the scores of a user with vector p have the variance p' C p. Divided by its root,
vectors of several models can be added up with weights that mean the same for every model and every user.
"""

from __future__ import annotations

import numpy as np

from semrec.compiled import compiled
from semrec.models.sparse import gram_of_rows

__all__ = ["score_covariance", "unit_score_users"]


def score_covariance(items_ID: np.ndarray) -> np.ndarray:
    """The covariance of float32 item vectors over all items of the catalogue: float64 [D, D]."""
    mean_D = items_ID.mean(axis=0, dtype=np.float64)
    return gram_of_rows(items_ID) / len(items_ID) - np.outer(mean_D, mean_D)


def unit_score_users(users_UD: np.ndarray, covariance_DD: np.ndarray) -> np.ndarray:
    """User vectors (float64) scaled so that each user's scores have variance 1: float32 [U, D].

    A user whose scores are all alike, as with a vector of zeros, gets zeros. One row gives the same bytes alone or among
    others, and on every processor.
    """
    scaled_UD = np.zeros(users_UD.shape, np.float32)
    _scale_users(np.asarray(users_UD, np.float64), np.ascontiguousarray(covariance_DD, np.float64), scaled_UD)
    return scaled_UD


@compiled
def _scale_users(users_UD, covariance_DD, scaled_UD):  # type: ignore[no-untyped-def]
    dimension = users_UD.shape[1]
    total_D = np.empty(dimension)
    for u in range(len(users_UD)):
        # C is symmetric: adding its rows keeps the inner loop in memory order, and the sum in a fixed one.
        total_D[:] = 0
        for d in range(dimension):
            value = users_UD[u, d]
            for e in range(dimension):
                total_D[e] += value * covariance_DD[d, e]
        variance = 0.0
        for d in range(dimension):
            variance += total_D[d] * users_UD[u, d]
        if variance > 1e-300:
            inverse = 1.0 / np.sqrt(variance)
            for d in range(dimension):
                scaled_UD[u, d] = users_UD[u, d] * inverse
