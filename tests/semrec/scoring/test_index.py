"""Top K over plain arrays equals the reference, and input that cannot be meant is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix, csr_matrix

import semrec
from helpers.scoring_problems import KINDS, assert_same, catalogue, filtered_problem
from semrec.errors import InputError
from semrec.scoring.reference import ReferenceEngine
from semrec.scoring.types import ItemShard, Queries

VECTORS = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
QUERIES, ITEMS = VECTORS[:10], VECTORS[10:]


@given(st.sampled_from(KINDS), st.integers(1, 40), st.booleans(), st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_lists_are_the_references(kind: str, k: int, is_sparse: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = catalogue(seed, 45, 13, kind)
    queries, items, mask = vectors[:5], vectors[5:], rng.random(40) < 0.7
    seen = rng.random((5, 40)) < 0.3
    lists = [np.flatnonzero(row) for row in seen]
    allowed = mask & ~seen
    exclude = coo_matrix(seen) if is_sparse else [rng.permutation(rows).astype(np.int32) for rows in lists]
    result = semrec.top_k(queries, items, k, exclude=exclude, eligible=mask)
    offsets = np.concatenate([[0], np.cumsum([(~row).sum() for row in allowed])])
    hidden = np.concatenate([np.flatnonzero(~row) for row in allowed])
    expected = Queries(queries, np.zeros((5, 0), np.uint64), offsets, hidden)
    assert_same(result, ReferenceEngine(ItemShard.from_vectors(items)).top_k(expected, k))


def test_an_index_answers_calls_with_other_rules_each_time() -> None:
    index = semrec.Index(ITEMS, num_threads=1)
    reference = ReferenceEngine(ItemShard.from_vectors(ITEMS))
    everything = reference.top_k(Queries.unfiltered(QUERIES), 50)
    masks = [np.arange(50) % 3 == 0, np.arange(50) % 3 == 1]
    for mask in (None, masks[0], masks[0], masks[1], None, masks[0]):
        lists = index.top_k(QUERIES, 7, eligible=mask)
        for q in range(10):
            ranked = everything.rows[everything.offsets[q] : everything.offsets[q + 1]]
            expected = ranked if mask is None else ranked[mask[ranked]]
            assert lists.rows[lists.offsets[q] : lists.offsets[q + 1]].tolist() == expected[:7].tolist()


def test_a_mask_that_is_changed_later_is_read_again() -> None:
    index, mask = semrec.Index(ITEMS), np.ones(50, bool)
    best = index.top_k(QUERIES[:1], 1, eligible=mask).rows[0]
    mask[best] = False
    assert index.top_k(QUERIES[:1], 1, eligible=mask).rows[0] != best


def test_an_engine_is_prepared_once_for_the_same_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    index, mask = semrec.Index(ITEMS), np.arange(50) < 25
    index.top_k(QUERIES, 3, eligible=mask)
    monkeypatch.setattr(index, "_make_engine", None)  # to prepare another would fail
    assert index.top_k(QUERIES, 3, eligible=mask.copy()).lengths.tolist() == [3] * 10
    assert index.top_k(QUERIES, 3).lengths.tolist() == [3] * 10


def test_rules_by_query_come_from_attributes() -> None:
    items = [{"platform": ["Atlas"]}, {"platform": ["Lumina", "Atlas"]}, {}, {"platform": ["Lumina"], "year": ["1999"]}]
    users = [{"platform": ["Lumina"]}, {}, {"platform": ["Atlas"], "year": ["1999"]}, {"platform": ["none has it"]}]
    rules = semrec.Eligibility.from_attributes(["platform", "year"], items, users)
    vectors = np.array([[4], [3], [2], [1]], np.float32)
    lists = semrec.top_k(np.ones((4, 1), np.float32), vectors, 4, eligible=rules)
    assert [lists.rows[a:b].tolist() for a, b in zip(lists.offsets, lists.offsets[1:], strict=False)] == [
        [1, 3],
        [0, 1, 2, 3],
        [],
        [],
    ]


def test_words_of_a_release_are_rules_too() -> None:
    shard, queries = filtered_problem("plain", num_items=300, num_queries=9)
    rules = semrec.Eligibility(shard.words_IW, queries.words_QW, shard.clause_starts)
    seen = [queries.seen_rows[a:b] for a, b in zip(queries.seen_offsets, queries.seen_offsets[1:], strict=False)]
    lists = semrec.top_k(queries.vectors_QD, shard.vectors(), 20, exclude=seen, eligible=rules)
    assert_same(lists, ReferenceEngine(shard).top_k(queries, 20))


def test_padded_lists_say_what_is_missing() -> None:
    lists = semrec.top_k(
        np.ones((2, 1), np.float32), np.array([[1], [3], [2]], np.float32), 3, exclude=[[1], [0, 1, 2]]
    )
    rows_QK, scores_QK = lists.padded()
    assert (rows_QK.tolist(), rows_QK.dtype) == ([[2, 0], [-1, -1]], np.int64)
    assert (scores_QK.tolist(), scores_QK.dtype) == ([[2, 1], [-np.inf, -np.inf]], np.float32)
    assert lists.padded(1)[0].tolist() == [[2], [-1]]
    assert lists.padded(3)[0].tolist() == [[2, 0, -1], [-1, -1, -1]]


def test_no_queries_and_no_items_are_answered() -> None:
    assert semrec.top_k(QUERIES[:0], ITEMS, 3, exclude=[]).num_queries == 0
    assert semrec.top_k(QUERIES, ITEMS[:0], 3).lengths.tolist() == [0] * 10


WITH_NAN = ITEMS.copy()
WITH_NAN[4, 2] = np.nan
WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "float64 items": (lambda: semrec.top_k(QUERIES, ITEMS.astype(float), 3), r"items: float64 \[50, 8\]"),
    "one query": (lambda: semrec.top_k(QUERIES[0], ITEMS, 3), r"queries: float32 \[8\]"),
    "lists": (lambda: semrec.top_k(QUERIES.tolist(), ITEMS, 3), "queries: list"),
    "no dimension": (lambda: semrec.Index(ITEMS[:, :0]), r"items: float32 \[50, 0\]"),
    "other dimensions": (lambda: semrec.top_k(QUERIES[:, :5], ITEMS, 3), "queries of 5 dimensions"),
    "NaN items": (lambda: semrec.top_k(QUERIES, WITH_NAN, 3), "the vector of row 4 is not finite"),
    "NaN queries": (lambda: semrec.top_k(WITH_NAN, ITEMS, 3), "the vector of query 4 is not finite"),
    "K of none": (lambda: semrec.top_k(QUERIES, ITEMS, 0), "K = 0"),
    "too few lists": (lambda: semrec.top_k(QUERIES, ITEMS, 3, exclude=[[1]]), "exclude: lists for 1 queries"),
    "rows of no item": (
        lambda: semrec.top_k(QUERIES[:1], ITEMS, 3, exclude=[[50]]),
        "exclude: rows 50 to 50 for query 0",
    ),
    "rows below zero": (
        lambda: semrec.top_k(QUERIES[:1], ITEMS, 3, exclude=[[-1]]),
        "exclude: rows -1 to -1 for query 0",
    ),
    "rows as floats": (
        lambda: semrec.top_k(QUERIES[:1], ITEMS, 3, exclude=[[1.0]]),
        r"exclude: float64 \[1\] for query 0",
    ),
    "a mask of pairs": (
        lambda: semrec.top_k(QUERIES, ITEMS, 3, exclude=np.zeros((10, 50), bool)),
        r"exclude: bool \[50\] for query 0",
    ),
    "another sparse matrix": (
        lambda: semrec.top_k(QUERIES, ITEMS, 3, exclude=csr_matrix((10, 49))),
        r"exclude: a sparse matrix of \[10, 49\]",
    ),
    "a mask of other items": (
        lambda: semrec.top_k(QUERIES, ITEMS, 3, eligible=np.ones(49, bool)),
        r"eligible: bool \[49\]",
    ),
    "a mask of numbers": (lambda: semrec.top_k(QUERIES, ITEMS, 3, eligible=np.ones(50)), r"eligible: float64 \[50\]"),
    "words of other queries": (
        lambda: semrec.top_k(
            QUERIES, ITEMS, 3, eligible=semrec.Eligibility(np.ones((50, 1), np.uint64), np.ones((9, 1), np.uint64))
        ),
        r"eligible: query_words_QW is uint64 \[9, 1\]",
    ),
    "another engine": (lambda: semrec.top_k(QUERIES, ITEMS, 3, engine="fast"), "engine 'fast'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_meant_is_refused(case: str) -> None:
    call, message = WRONG[case]
    with pytest.raises(InputError, match=message):
        call()
