"""Choose the weights with which the models of a release are added up, on held-out items."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Final

import numpy as np

from semrec.compiled import compiled
from semrec.errors import InputError

__all__ = ["MIN_VALIDATION_USERS", "choose_weights"]

#: With fewer users who have a held-out item, differences between weights are chance.
MIN_VALIDATION_USERS: Final = 100
#: Relative weights that are tried; in every combination the largest is 1.
_TRIED_WEIGHTS: Final = (0.0, 0.25, 0.5, 1.0)
_SCORE_BYTES: Final = 256 << 20  # for the score matrices of a chunk of users


def choose_weights(
    models: Sequence[tuple[np.ndarray, np.ndarray]],
    target_offsets: np.ndarray,
    target_rows: np.ndarray,
    seen_offsets: np.ndarray,
    seen_rows: np.ndarray,
    *,
    k: int = 100,
    max_users: int = 2_000,
) -> tuple[np.ndarray, list[tuple[tuple[float, ...], float]]]:
    """Tries combinations of weights of M models on held-out items, ranked among the whole catalogue without what was seen.

    `models`: (item vectors, user vectors) of each, float32 [I, D] and [U, D], of unit score variance per user, so that
    weights mean the same for all. Targets and seen rows in CSR by user. Every n-th user is taken where more than `max_users`
    have a target. K is larger than a list, because an item that rises from place 60 to 20 says something about weights, too.

    Returns the best weights, float64 [M], and every combination with its mean nDCG@K, best first; of equal ones the one with
    fewer models. Raises InputError with fewer than 100 users to choose by: take the default weights.
    """
    tested = np.flatnonzero(np.diff(target_offsets))
    if len(tested) < MIN_VALIDATION_USERS:
        raise InputError(
            f"{len(tested)} users with a held-out item to choose weights by",
            expected=f"at least {MIN_VALIDATION_USERS}: with fewer, chance would choose",
            remedy="Use the default weights, or import more interactions.",
        )
    tested = tested[:: -(-len(tested) // max_users)]
    tried = [weights for weights in product(_TRIED_WEIGHTS, repeat=len(models)) if max(weights) == 1.0]
    tried.sort(key=lambda weights: sum(weight > 0 for weight in weights))
    weights_WM = np.array(tried, np.float32)
    users_per_chunk = max(1, _SCORE_BYTES // (4 * len(models[0][0]) * len(models)))
    gains_W = np.zeros(len(tried))
    for start in range(0, len(tested), users_per_chunk):
        users = tested[start : start + users_per_chunk]
        scores_MQI = np.stack([users_UD[users] @ items_ID.T for items_ID, users_UD in models])
        gains_W += _gains_of_weights(
            scores_MQI, weights_WM, users, target_offsets, target_rows, seen_offsets, seen_rows, k
        )
    order = np.argsort(-gains_W, kind="stable")
    table = [(tried[w], float(gains_W[w] / len(tested))) for w in order]
    return weights_WM[order[0]].astype(np.float64), table


@compiled
def _gains_of_weights(scores_MQI, weights_WM, users, target_offsets, target_rows, seen_offsets, seen_rows, k):  # type: ignore[no-untyped-def]
    """The sum over some users of nDCG@K, for each combination of weights: float64 [W]."""
    num_models, num_users, num_items = scores_MQI.shape
    gains_W = np.zeros(len(weights_WM))
    blended_I = np.empty(num_items, np.float32)
    for q in range(num_users):
        u = users[q]
        ideal = 0.0
        for place in range(min(target_offsets[u + 1] - target_offsets[u], k)):
            ideal += 1.0 / np.log2(2.0 + place)
        for w in range(len(weights_WM)):
            blended_I[:] = 0
            for m in range(num_models):
                weight = weights_WM[w, m]
                if weight > 0:
                    for i in range(num_items):
                        blended_I[i] += weight * scores_MQI[m, q, i]
            for n in range(seen_offsets[u], seen_offsets[u + 1]):
                blended_I[seen_rows[n]] = -np.inf
            for n in range(target_offsets[u], target_offsets[u + 1]):
                row = target_rows[n]
                own = blended_I[row]
                before = 0
                for i in range(num_items):
                    before += (blended_I[i] > own) | ((blended_I[i] == own) & (i < row))
                if before < k:
                    gains_W[w] += 1.0 / np.log2(2.0 + before) / ideal
    return gains_W
