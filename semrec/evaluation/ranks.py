"""Rank held-out items among the whole catalogue, through the engine that also serves recommendations.

No sampling: a target's rank counts every candidate that the user has not seen, and ties go to the smaller item row, as in
every recommendation list.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semrec.errors import InputError
from semrec.evaluation.splits import Split
from semrec.models.base import Events
from semrec.scoring.canonical import canonical_scores
from semrec.scoring.engine import Engine, make_engine
from semrec.scoring.popularity import PopularityEngine
from semrec.scoring.ranks import exact_ranks
from semrec.scoring.types import ItemShard, Queries, TopK, take_lists

__all__ = ["ModelVectors", "Ranking", "count_popularity", "rank_listed", "rank_split"]

_PAIRS_PER_CHUNK = 1 << 16  # canonical scores take 16 bytes a dimension meanwhile


@dataclass(frozen=True)
class ModelVectors:
    """The vectors of one model: its score is their inner product.

    `items_ID`, `users_UD` float32; `has_vector_U` bool: a user without one is ranked by popularity, as in a release.
    """

    items_ID: np.ndarray
    users_UD: np.ndarray
    has_vector_U: np.ndarray


@dataclass(frozen=True)
class Ranking:
    """Where the targets of the tested users stand, and what these users are recommended.

    `ranks` int64, parallel to the split's `target_rows`, best = 1; tested user number t is user `users[t]`, with the list
    `lists.rows[lists.offsets[t] : lists.offsets[t + 1]]` of matrix rows. `num_by_popularity` tested users had no vector.
    """

    users: np.ndarray
    ranks: np.ndarray
    lists: TopK
    num_by_popularity: int


def rank_split(vectors: ModelVectors, split: Split, *, k: int = 100, engine: str = "cpu") -> Ranking:
    """Ranks every target of a split, and lists each tested user's first K candidates.

    Raises InputError when the vectors are not those of the split's users and items, or are not finite.
    """
    if vectors.items_ID.shape[0] != split.num_items or vectors.users_UD.shape[0] != split.num_users:
        raise InputError(
            f"vectors of {vectors.users_UD.shape[0]} users and {vectors.items_ID.shape[0]} items",
            expected=f"{split.num_users} users and {split.num_items} items, as the split has",
            remedy="Compute the vectors for the split's own users and items.",
        )
    users = split.tested_users
    rows = np.arange(split.num_items) if split.candidates is None else split.candidates
    popularity_I1 = count_popularity(split.train, split.num_items)[rows, None]
    # One engine for the users with a vector, one for those without: the sources of a release.
    sources = (
        (vectors.has_vector_U[users], vectors.users_UD, lambda: _engine(engine, vectors.items_ID[rows])),
        (
            ~vectors.has_vector_U[users],
            np.ones((split.num_users, 1), np.float32),
            lambda: PopularityEngine(ItemShard.from_vectors(popularity_I1)),
        ),
    )
    ranks = np.zeros(len(split.target_rows), np.int64)
    lists, order = [], []
    for is_of_source, users_UD, open_engine in sources:
        source_users = users[is_of_source]
        if not len(source_users):
            continue
        queries = _queries(split.history, source_users, users_UD, rows)
        target_offsets, where = take_lists(split.target_offsets, source_users)
        source = open_engine()
        ranks[where] = exact_ranks([source], queries, target_offsets, np.searchsorted(rows, split.target_rows[where]))
        lists.append(source.top_k(queries, k))
        order.append(np.flatnonzero(is_of_source))
    joined = TopK.concatenate(lists)
    back = np.argsort(np.concatenate(order), kind="stable")
    offsets, where = take_lists(joined.offsets, back)
    listed = TopK(offsets, rows[joined.rows[where]], joined.scores[where])
    return Ranking(users, ranks, listed, int((~vectors.has_vector_U[users]).sum()))


def rank_listed(
    vectors: ModelVectors,
    target_users: np.ndarray,
    target_rows: np.ndarray,
    candidate_offsets: np.ndarray,
    candidate_rows: np.ndarray,
) -> np.ndarray:
    """Ranks targets among candidates that each of them brings along, for published tables with sampled negatives.

    Target n of user `target_users[n]` competes with the item rows `candidate_rows[candidate_offsets[n] :
    candidate_offsets[n + 1]]`, of which itself does not count. Returns the ranks, best = 1: int64.
    """
    owner = np.repeat(np.arange(len(target_rows)), np.diff(candidate_offsets))
    target_scores = _pair_scores(vectors, target_users, target_rows)
    scores = _pair_scores(vectors, target_users[owner], candidate_rows)
    target_score, target_row = target_scores[owner], target_rows[owner]
    stands_before = (scores > target_score) | ((scores == target_score) & (candidate_rows < target_row))
    stands_before &= candidate_rows != target_row
    return 1 + np.bincount(owner[stands_before], minlength=len(target_rows))


def count_popularity(events: Events, num_items: int) -> np.ndarray:
    """Distinct users with an event of each item: float32 [I]."""
    pairs = np.unique(events.user.astype(np.int64) * num_items + events.row)
    return np.bincount(pairs % num_items, minlength=num_items).astype(np.float32)


def _engine(name: str, items_ID: np.ndarray) -> Engine:
    return make_engine(name, ItemShard.from_vectors(np.ascontiguousarray(items_ID, np.float32)))


def _queries(history: Events, users: np.ndarray, users_UD: np.ndarray, rows: np.ndarray) -> Queries:
    """Queries of `users` (ascending) over the candidate `rows` (ascending), without what their history has seen."""
    number = np.searchsorted(users, history.user)
    is_of_source = users[np.minimum(number, len(users) - 1)] == history.user
    place = np.searchsorted(rows, history.row)
    is_of_source &= rows[np.minimum(place, len(rows) - 1)] == history.row
    number, place = number[is_of_source], place[is_of_source]
    order = np.lexsort((place, number))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(number, minlength=len(users)))]).astype(np.int64)
    words = np.zeros((len(users), 0), np.uint64)
    return Queries(np.ascontiguousarray(users_UD[users], np.float32), words, offsets, place[order].astype(np.int64))


def _pair_scores(vectors: ModelVectors, users: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Canonical scores of pairs of users and items, float32, a chunk of pairs at a time."""
    chunks = [slice(start, start + _PAIRS_PER_CHUNK) for start in range(0, len(rows), _PAIRS_PER_CHUNK)]
    scores = [canonical_scores(vectors.users_UD[users[c]], vectors.items_ID[rows[c]]) for c in chunks]
    return np.concatenate([np.zeros(0, np.float32), *scores])
