"""Published linear item-item models to measure others by. They stand in no release: a user's vector has as many dimensions as
there are liked items, and so has an item's.

A user scores by score(u, i) = sum over the user's likes j of weights_JJ[j, i], which is the inner product of the user's row of
likes and column i.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from semrec.errors import InputError
from semrec.evaluation.ranks import ModelVectors
from semrec.evaluation.splits import Split
from semrec.models.sparse import liked_matrix

__all__ = ["YARDSTICKS", "Yardstick", "ease_weights", "fit_yardstick", "item_knn_weights"]

_MOST_ITEMS: Final = 15_000  # whose square in float64 is 1.8 GB


def ease_weights(counts_JJ: np.ndarray, *, regularization: float) -> np.ndarray:
    """EASE (Steck 2019, "Embarrassingly shallow autoencoders for sparse data", eq. 8): float64 [J, J].

    `counts_JJ` float64: how many users like both of two items. B = I - P diag(1 / diag P) with P = (X'X + regularization I)^-1.
    """
    import torch  # a second, which a run's driver need not wait for

    gram = torch.from_numpy(counts_JJ + regularization * np.eye(len(counts_JJ)))
    inverse_JJ = torch.cholesky_inverse(torch.linalg.cholesky(gram)).numpy()
    weights_JJ = -inverse_JJ / inverse_JJ.diagonal()
    np.fill_diagonal(weights_JJ, 0.0)
    return weights_JJ


def item_knn_weights(counts_JJ: np.ndarray, *, num_neighbours: int, shrinkage: float) -> np.ndarray:
    """Item-based nearest neighbours: each item's `num_neighbours` largest cosines, damped where few users tell: float64 [J, J].

    cosine(i, j) = n_ij / (sqrt(n_i n_j) + shrinkage), as Ferrari Dacrema et al. 2019 have it; column i is of i's neighbours.
    """
    lengths_J = np.sqrt(counts_JJ.diagonal())
    cosines_JJ = counts_JJ / (np.outer(lengths_J, lengths_J) + shrinkage)
    np.fill_diagonal(cosines_JJ, 0.0)
    num_others = max(0, len(cosines_JJ) - num_neighbours)
    others = (
        np.argpartition(cosines_JJ, num_others - 1, axis=0)[:num_others] if num_others else np.zeros((0, 1), np.int64)
    )
    np.put_along_axis(cosines_JJ, others, 0.0, axis=0)
    return cosines_JJ


class Yardstick(NamedTuple):
    """How an item-item model weighs its neighbours, its settings with their defaults, and the values to search."""

    weigh: Callable[..., np.ndarray]
    defaults: Mapping[str, Any]
    search_grid: Sequence[Mapping[str, tuple[Any, ...]]]


#: By a name that no model of a release has.
YARDSTICKS: Final[Mapping[str, Yardstick]] = {
    "ease": Yardstick(ease_weights, {"regularization": 300.0}, ({"regularization": (100.0, 300.0, 1000.0)},)),
    "item_knn": Yardstick(
        item_knn_weights,
        {"num_neighbours": 100, "shrinkage": 10.0},
        ({"num_neighbours": (50, 100, 200)}, {"shrinkage": (1.0, 10.0, 100.0)}),
    ),
}


def fit_yardstick(kind: str, settings: Mapping[str, Any], split: Split, neutral_value: float) -> ModelVectors:
    """Fits one of `YARDSTICKS` on a split's train part. Raises InputError where too many items are liked for a square."""
    yardstick = YARDSTICKS[kind]
    trained, folded_in = (
        liked_matrix(events, split.num_users, split.num_items, neutral_value) for events in (split.train, split.history)
    )
    rows_J = np.flatnonzero(trained.column_counts)
    if not 0 < len(rows_J) <= _MOST_ITEMS:
        raise InputError(
            f"{len(rows_J):,} liked items for {kind}",
            expected=f"1 to {_MOST_ITEMS:,}: its weights are a square matrix of them",
            remedy=f"Leave {kind} out of --models.",
        )
    likes_UI = np.zeros((split.num_users, split.num_items), np.float32)
    likes_UI[np.repeat(np.arange(split.num_users), trained.lengths), trained.columns] = 1
    likes_UJ = likes_UI[:, rows_J]
    # Whole numbers: float32 adds them exactly up to 16 million users.
    counts_JJ = (likes_UJ.T @ likes_UJ).astype(np.float64)
    weights_JJ = yardstick.weigh(counts_JJ, **{**yardstick.defaults, **settings})
    items_IJ = np.zeros((split.num_items, len(rows_J)), np.float32)
    items_IJ[rows_J] = weights_JJ.T
    likes_UI[:] = 0
    likes_UI[np.repeat(np.arange(split.num_users), folded_in.lengths), folded_in.columns] = 1
    users_UJ = np.ascontiguousarray(likes_UI[:, rows_J])
    return ModelVectors(items_IJ, users_UJ, folded_in.lengths > 0)
