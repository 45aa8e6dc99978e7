"""Ranks through the engine are those of a plain sort of every user's scores, for every split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from semrec.errors import InputError
from semrec.evaluation.ranks import ModelVectors, count_popularity, rank_listed, rank_split
from semrec.evaluation.splits import SPLITS, split_events
from semrec.scoring.canonical import canonical_scores
from tests.semrec.evaluation.test_splits import NUM_ITEMS, generated

NUM_USERS = 60


def model(seed: int = 0) -> ModelVectors:
    """Small whole numbers, so that scores tie; every fifth user has no vector."""
    draws = np.random.default_rng(seed)
    items_ID, users_UD = (draws.integers(-2, 3, (n, 4)).astype(np.float32) for n in (NUM_ITEMS, NUM_USERS))
    return ModelVectors(items_ID, users_UD, np.arange(NUM_USERS) % 5 != 0)


@pytest.mark.parametrize("method", SPLITS)
def test_ranks_and_lists_are_those_of_a_plain_sort(method: str) -> None:
    split = split_events(generated(), method, num_users=NUM_USERS, num_items=NUM_ITEMS, neutral_value=2.5, share=0.3)
    vectors, popularity_I = model(), count_popularity(split.train, NUM_ITEMS)
    ranking = rank_split(vectors, split, k=7)
    rows = np.arange(NUM_ITEMS) if split.candidates is None else split.candidates
    for t, u in enumerate(ranking.users.tolist()):
        scores_I = canonical_scores(vectors.users_UD[u : u + 1], vectors.items_ID)
        scores_I = scores_I if vectors.has_vector_U[u] else popularity_I
        unseen = [row for row in rows.tolist() if row not in split.history.row[split.history.user == u]]
        order = sorted(unseen, key=lambda row: (-scores_I[row], row))
        own = slice(split.target_offsets[u], split.target_offsets[u + 1])
        assert ranking.ranks[own].tolist() == [order.index(row) + 1 for row in split.target_rows[own].tolist()]
        assert ranking.lists.rows[ranking.lists.offsets[t] : ranking.lists.offsets[t + 1]].tolist() == order[:7]
    assert ranking.num_by_popularity == int((ranking.users % 5 == 0).sum()) > 0


def test_listed_candidates_compete_alone() -> None:
    vectors = model()
    users, rows = np.array([1, 2]), np.array([3, 9])
    offsets, candidates = np.array([0, 4, 7]), np.array([3, 5, 6, 7, 9, 8, 0])  # the target itself does not count
    found = rank_listed(vectors, users, rows, offsets, candidates)
    for n, (u, row) in enumerate(zip(users, rows, strict=True)):
        scores_I = canonical_scores(vectors.users_UD[u : u + 1], vectors.items_ID)
        others = {int(c) for c in candidates[offsets[n] : offsets[n + 1]]} - {int(row)}
        before = [c for c in others if scores_I[c] > scores_I[row] or (scores_I[c] == scores_I[row] and c < row)]
        assert found[n] == 1 + len(before)


def test_vectors_of_other_users_are_refused() -> None:
    split = split_events(generated(), "leave-last-out", num_users=NUM_USERS, num_items=NUM_ITEMS, neutral_value=0)
    with pytest.raises(InputError, match="vectors of 60 users and 49 items"):
        rank_split(replace(model(), items_ID=model().items_ID[1:]), split)
    broken = model()
    broken.users_UD[1] = np.nan
    with pytest.raises(InputError, match="not finite"):
        rank_split(broken, split)
