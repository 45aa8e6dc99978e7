"""Predict the learned vectors of items that nobody liked yet from their content, by weighted ridge regression."""

from __future__ import annotations

from typing import Final

import numpy as np

from semrec.compiled import compiled
from semrec.models.sparse import gram_of_rows

__all__ = ["fit_factor_ridge", "predict_factors"]

_CONFIDENT_LIKES: Final = 10.0  # an item's factors weigh n / (n + 10) when n users liked it
_ROWS_PER_BLOCK: Final = 1 << 15


def fit_factor_ridge(
    content_ID: np.ndarray, factors_IF: np.ndarray, num_likes_I: np.ndarray, *, regularization: float = 1.0
) -> np.ndarray:
    """Coefficients that predict an item's factors from its content and a constant: float64 [D + 1, F].

    Ridge regression over the items that somebody liked, weighted n / (n + 10) for n likes: factors of rarely liked items are
    mostly noise. Unlike a cosine, it keeps how long factors are, in which popularity stands. `regularization` is relative to
    the mean eigenvalue of the content's weighted scatter; the constant is not regularised.
    """
    weights_I = num_likes_I / (num_likes_I + _CONFIDENT_LIKES)
    total = max(float(weights_I.sum()), 1e-9)
    dimension = content_ID.shape[1]
    design_gram = np.zeros((dimension + 1, dimension + 1))
    moments_DF = np.zeros((dimension + 1, factors_IF.shape[1]))
    # In blocks like every sum over items, so that its order is fixed.
    for start in range(0, len(content_ID), _ROWS_PER_BLOCK):
        rows = slice(start, start + _ROWS_PER_BLOCK)
        design_ID = _with_constant(content_ID[rows])
        design_gram += gram_of_rows(design_ID, weights_I[rows])
        moments_DF += (design_ID * weights_I[rows, None]).T @ factors_IF[rows].astype(np.float64)
    mean_D = design_gram[-1, :-1] / total
    scatter = float(np.trace(design_gram[:-1, :-1]) - total * (mean_D @ mean_D))
    ridge_D = np.full(dimension + 1, regularization * max(scatter, 1e-9) / dimension)
    ridge_D[-1] = 1e-9 * total
    return np.linalg.solve(design_gram + np.diag(ridge_D), moments_DF)


def predict_factors(content_ND: np.ndarray, coefficients_DF: np.ndarray) -> np.ndarray:
    """Factors of items from their content, float32 [N, F]: an item's bytes are the same alone or among others."""
    factors_NF = np.empty((len(content_ND), coefficients_DF.shape[1]), np.float32)
    _predict(
        np.ascontiguousarray(content_ND, np.float32), np.ascontiguousarray(coefficients_DF, np.float64), factors_NF
    )
    return factors_NF


def _with_constant(content_ND: np.ndarray) -> np.ndarray:
    return np.concatenate([content_ND.astype(np.float64), np.ones((len(content_ND), 1))], axis=1)


@compiled
def _predict(content_ND, coefficients_DF, factors_NF):  # type: ignore[no-untyped-def]
    dimension = content_ND.shape[1]
    total_F = np.empty(factors_NF.shape[1])
    for n in range(len(content_ND)):
        total_F[:] = coefficients_DF[dimension]
        for d in range(dimension):
            value = np.float64(content_ND[n, d])
            for f in range(len(total_F)):
                total_F[f] += value * coefficients_DF[d, f]
        for f in range(len(total_F)):
            factors_NF[n, f] = total_F[f]
