"""The scores of single items for a query, whether or not they may be shown, and on any replica."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from semrec.changes.overlay import OverlayView
from semrec.online.answers import WORDS, RankQuery
from semrec.online.item_vectors import unknown_item
from semrec.scoring.canonical import canonical_scores

if TYPE_CHECKING:
    from semrec.online.release import OnlineRelease

__all__ = ["popularity_shares", "scores_of"]


def scores_of(
    served: OnlineRelease, rank_query: RankQuery, item_ids: Sequence[str], overlay: OverlayView
) -> np.ndarray:
    """The score of each item as the query's ranking has it: float32 [len(item_ids)]; 0 without a word of the query.

    The rows that `served` holds do not matter. Raises MissingArtefactError for an unknown item.
    """
    if rank_query.source == WORDS:
        return _word_scores(served, rank_query.terms or (), item_ids, overlay)
    vectors_ND = served.vectors_of(item_ids, overlay)
    if rank_query.vector is None:
        return _popularity_of(served, item_ids)
    return canonical_scores(rank_query.vector[None], vectors_ND)


def popularity_shares(served: OnlineRelease, item_ids: Sequence[str]) -> np.ndarray:
    """ln(1 + popularity) of items as a share of the most popular one's: float64 [len(item_ids)], 0 for a new item."""
    most = np.log1p(served.greatest_popularity)
    return np.log1p(_popularity_of(served, item_ids).astype(np.float64)) / (most or 1.0)


def _popularity_of(served: OnlineRelease, item_ids: Sequence[str]) -> np.ndarray:
    rows = [served.items.row_of.get(item_id) for item_id in item_ids]
    return np.array([0 if row is None else served.popularity_I[row] for row in rows], np.float32)


def _word_scores(
    served: OnlineRelease, terms: Sequence[str], item_ids: Sequence[str], overlay: OverlayView
) -> np.ndarray:
    score_N = np.zeros(len(item_ids), np.float32)
    for index, place_of, is_changed in (
        (served.release.word_index, served.items.row_of, False),
        (served.changed_words(overlay), overlay.place_of, True),
    ):
        numbers = [n for n, item_id in enumerate(item_ids) if (item_id in overlay.changes) == is_changed]
        places = [place_of.get(item_ids[n]) for n in numbers]
        if None in places:
            raise unknown_item(item_ids[numbers[places.index(None)]], served.release_id)
        if index is not None and numbers:
            score_N[numbers] = index.scores_of(terms, np.array(places, np.int64))
    return score_N
