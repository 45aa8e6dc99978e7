"""Ranking by popularity equals the reference engine over the same one-dimensional shard, byte for byte."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.scoring_problems import assert_same, problems
from semrec.errors import InputError
from semrec.scoring.popularity import PopularityEngine
from semrec.scoring.reference import ReferenceEngine
from semrec.scoring.types import ItemShard, Queries, Targets, TopK


def by_popularity(problem: tuple[ItemShard, Queries, int], seed: int) -> tuple[ItemShard, Queries, int]:
    """The problem's items and queries, with counts that tie often in place of vectors."""
    shard, queries, k = problem
    counts = np.random.default_rng(seed).integers(0, 4, (shard.num_items, 1)).astype(np.float32)
    ones = np.ones((queries.num_queries, 1), np.float32)
    counted = ItemShard.from_vectors(counts, shard.words_IW, shard.clause_starts)
    return counted, replace(queries, vectors_QD=ones), k


@given(problems(), st.integers(0, 99), st.integers(1, 3))
@settings(deadline=None)
def test_first_k_equal_the_reference_whole_and_in_shards(problem, seed, num_shards) -> None:
    shard, queries, k = by_popularity(problem, seed)
    expected = ReferenceEngine(shard).top_k(queries, k)
    assert_same(PopularityEngine(shard).top_k(queries, k), expected)
    edges = np.linspace(0, shard.num_items, num_shards + 1).astype(int).tolist()
    parts = [PopularityEngine(shard.slice(a, b)).top_k(queries, k) for a, b in itertools.pairwise(edges)]
    assert_same(TopK.merge(parts, k), expected)


@given(problems(), st.integers(0, 99))
@settings(deadline=None)
def test_counts_equal_the_reference(problem, seed) -> None:
    shard, queries, _ = by_popularity(problem, seed)
    every, num = np.arange(shard.num_items), queries.num_queries
    scores = shard.vectors()[:, 0]
    targets = Targets(np.arange(num + 1) * len(every), np.tile(every, num), np.tile(scores, num))
    for part in (shard, shard.slice(shard.num_items // 2, shard.num_items)):  # a target need not lie in the shard
        expected = ReferenceEngine(part).count_before(queries, targets)
        assert PopularityEngine(part).count_before(queries, targets).tolist() == expected.tolist()


def test_seen_rows_may_come_in_any_order() -> None:
    shard = ItemShard.from_vectors(np.array([[5], [4], [3], [2]], np.float32), first_row=10)
    queries = Queries(np.ones((1, 1), np.float32), np.zeros((1, 0), np.uint64), np.array([0, 3]), np.array([12, 3, 10]))
    assert PopularityEngine(shard).top_k(queries, 9).rows.tolist() == [11, 13]


def test_a_query_with_a_taste_is_refused() -> None:
    engine = PopularityEngine(ItemShard.from_vectors(np.ones((3, 1), np.float32)))
    with pytest.raises(InputError, match=r"not 1\.0"):
        engine.top_k(Queries.unfiltered(np.full((1, 1), 2, np.float32)), 1)
    with pytest.raises(InputError, match="K = 0"):
        engine.top_k(Queries.unfiltered(np.ones((1, 1), np.float32)), 0)
