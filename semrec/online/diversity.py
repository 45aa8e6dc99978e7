"""Diversity: an answer whose items differ from each other, by maximal marginal relevance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from semrec.changes.overlay import OverlayView
from semrec.errors import InputError
from semrec.online.answers import RankedList, ScoredItem, item_ids_of

if TYPE_CHECKING:
    from semrec.online.release import OnlineRelease

__all__ = ["diversified", "diversify", "num_candidates"]

_FEWEST_CANDIDATES: Final = 50
_CANDIDATES_PER_HIT: Final = 5


def num_candidates(k: int, diversity: float) -> int:
    """The K to rank with for an answer of `k`: more than that are chosen from, unless `diversity` is 0.

    Raises InputError unless it lies between 0 and 1.
    """
    if not 0 <= diversity <= 1:
        raise InputError(
            f"diversity {diversity}", expected="0 (the plain order) to 1", remedy="Choose a value between them."
        )
    return k if diversity == 0 else max(_FEWEST_CANDIDATES, _CANDIDATES_PER_HIT * k)


def diversified(
    served: OnlineRelease, ranked: RankedList, k: int, diversity: float, overlay: OverlayView
) -> RankedList:
    """The answer of `k` items from one ranked with `num_candidates`; diversity 0 leaves it as it is."""
    if diversity == 0:
        return ranked
    vectors_ND = served.vectors_of(item_ids_of(ranked.hits), overlay)
    hits = diversify(ranked.hits, vectors_ND, k, diversity)
    return RankedList(hits, ranked.short_reason if len(hits) < k else None)


def diversify(hits: Sequence[ScoredItem], vectors_ND: np.ndarray, k: int, diversity: float) -> list[ScoredItem]:
    """Up to `k` of `hits`, in the order in which maximal marginal relevance picks them; they keep their scores.

    Each pick is the item with the largest

        lambda * r_i - (1 - lambda) * max_{j picked} cos(x_i, x_j),    lambda = 1 - diversity

    (Carbonell and Goldstein, The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing Summaries,
    SIGIR 1998, section 2). r_i is the score divided by the largest absolute score of all hits, so that both terms lie
    between -1 and 1 whatever the scores are (a popularity counts users). Ties go to the better score. The best item is
    always first. `vectors_ND` float32 are those of `hits`; one of length zero is like nothing.
    """
    if not hits:
        return []
    trade = 1.0 - diversity
    scores = np.array([hit.score for hit in hits], np.float64)
    relevance_N = scores / (np.abs(scores).max() or 1.0)
    lengths = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    unit_ND = vectors_ND / np.where(lengths > 0, lengths, 1)
    nearest_N = np.full(len(hits), -np.inf)
    value_N, picked = relevance_N.copy(), []
    for _ in range(min(k, len(hits))):
        best = int(np.argmax(value_N))  # the first of equals, and hits come best first
        picked.append(best)
        np.maximum(nearest_N, unit_ND @ unit_ND[best], out=nearest_N)
        value_N = trade * relevance_N - diversity * nearest_N
        value_N[picked] = -np.inf
    return [hits[place] for place in picked]
