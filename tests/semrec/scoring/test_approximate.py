"""Approximate lists: every engine follows the rule byte for byte, and nothing is approximate unless it is asked for."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.oracle import canonical_score, ranked_lists
from helpers.scoring_problems import KINDS, assert_same, catalogue, filtered_problem, problems
from semrec.errors import InputError
from semrec.scoring.approximate import Fetched, _Cpu, check_approximate, make_approximate_engine, merge_lists
from semrec.scoring.cpu.engine import CpuEngine
from semrec.scoring.formats import FORMATS, get_format
from semrec.scoring.formats.base import vector_norms
from semrec.scoring.reference import ReferenceEngine
from semrec.scoring.types import ItemShard, Queries

CODES = get_format("pq").code_scores
assert CODES is not None


def reference(shard: ItemShard, queries: Queries, k: int, over_fetch: int) -> Fetched:
    return make_approximate_engine("reference", shard, coarse="pq", over_fetch=over_fetch).top_k(queries, k)


def on_cpu(shard: ItemShard, queries: Queries, k: int, over_fetch: int, **sizes: int) -> Fetched:
    return _Cpu(CpuEngine(shard, coarse=CODES, **{"num_threads": 2, **sizes}), over_fetch).top_k(queries, k)


def assert_same_fetched(got: Fetched, expected: Fetched) -> None:
    assert_same(got.lists, expected.lists)
    assert got.scores.tobytes() == expected.scores.tobytes()


def oracle(shard: ItemShard, queries: Queries, k: int, over_fetch: int) -> list[list[tuple[int, float]]]:
    """The rule in plain Python, of the codes that the format gives: (row, canonical score) of each list."""
    vectors_ID = shard.vectors()
    _, scale_I, _ = shard.norms_of(CODES)
    scale_Q, _ = CODES.query_columns(queries.vectors_QD, vector_norms(queries.vectors_QD))
    codes_ID = CODES.encode(vectors_ID, scale_I).tolist()
    codes_QD = CODES.encode_queries(queries.vectors_QD, scale_Q).tolist()

    def code_score(q: int, row: int) -> float:
        total = sum(a * b for a, b in zip(codes_QD[q], codes_ID[row], strict=True))
        with np.errstate(over="ignore", under="ignore"):
            return float(np.float32(np.float32(np.float32(total) * scale_I[row]) * scale_Q[q]))

    lists = []
    for q, visible in enumerate(ranked_lists(shard, queries)):  # which gives what q may be shown, and its scores
        fetched = sorted(visible, key=lambda pair, q=q: (-code_score(q, pair[0]), pair[0]))[: over_fetch * k]
        lists.append(sorted(fetched, key=lambda pair: (-float(pair[1]), pair[0]))[:k])
    return lists


@given(problems(), st.sampled_from([1, 2, 10]))
@settings(max_examples=25, deadline=None)
def test_the_reference_follows_the_rule(problem, over_fetch) -> None:
    shard, queries, k = problem
    found = merge_lists([reference(shard, queries, k, over_fetch)], k)
    expected = oracle(shard, queries, k, over_fetch)
    assert found.lengths.tolist() == [len(one) for one in expected]
    assert found.rows.tolist() == [row for one in expected for row, _ in one]
    assert found.scores.tobytes() == np.array([score for one in expected for _, score in one], np.float32).tobytes()


@given(problems(), st.sampled_from([1, 2, 10]), st.sampled_from([1, 4, 64]), st.sampled_from([0, 64]))
@settings(max_examples=50, deadline=None)
def test_the_cpu_engine_equals_the_reference(problem, over_fetch, block_queries, few_queries) -> None:
    shard, queries, k = problem
    sizes = {"block_queries": block_queries, "few_queries": few_queries}
    assert_same_fetched(on_cpu(shard, queries, k, over_fetch, **sizes), reference(shard, queries, k, over_fetch))


@pytest.mark.parametrize("kind", KINDS)
def test_samples_threads_and_full_buffers_change_nothing(kind: str) -> None:
    shard, queries = filtered_problem(kind, num_items=4000, num_queries=12)
    for k, over_fetch in ((1, 1), (10, 10), (100, 3)):
        expected = reference(shard, queries, k, over_fetch)
        for sizes in ({"few_queries": 0}, {"num_threads": 3}):
            got = on_cpu(shard, queries, k, over_fetch, sample_every=3, tile_items=512, **sizes)
            assert_same_fetched(got, expected)


@given(problems(), st.sampled_from([1, 3]), st.integers(2, 4))
@settings(max_examples=40, deadline=None)
def test_shards_merge_to_the_whole(problem, over_fetch, num_shards) -> None:
    shard, queries, k = problem
    edges = np.linspace(0, shard.num_items, num_shards + 1).astype(int)
    pieces = [on_cpu(shard.slice(a, b), queries, k, over_fetch) for a, b in itertools.pairwise(edges) if b > a]
    assert_same(merge_lists(pieces, k), merge_lists([reference(shard, queries, k, over_fetch)], k))


def test_many_users_are_merged_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    shard, queries = filtered_problem("ties", num_items=300, num_queries=40)
    nobody = queries.take(np.array([39, 39]))
    nobody = Queries(nobody.vectors_QD, nobody.words_QW, np.array([0, 300, 600]), np.tile(np.arange(300), 2))
    for some, fetched in ((queries, 60), (nobody, 0)):
        parts = [on_cpu(shard.slice(a, b), some, 20, 3) for a, b in ((0, 100), (100, 300))]
        assert max(part.lists.lengths.max() for part in parts) == fetched
        whole = merge_lists(parts, 20)
        assert whole.num_queries == some.num_queries
        with monkeypatch.context() as patch:
            patch.setattr("semrec.scoring.approximate._MERGED_ROWS", 1000)
            blocks = merge_lists(parts, 20)
        assert_same(blocks, whole)
        assert blocks.num_candidates == whole.num_candidates == sum(len(part.scores) for part in parts)


@given(problems())
@settings(max_examples=40, deadline=None)
def test_who_fetches_all_that_may_be_shown_has_the_exact_lists(problem) -> None:
    shard, queries, k = problem
    found = merge_lists([on_cpu(shard, queries, k, shard.num_items)], k)
    assert_same(found, ReferenceEngine(shard).top_k(queries, k))


def test_lists_are_approximate_and_their_scores_canonical() -> None:
    vectors = catalogue(3, 2000, 64, "plain")
    shard, queries = ItemShard.from_vectors(vectors), Queries.unfiltered(catalogue(4, 20, 64, "plain"))
    exact = ReferenceEngine(shard).top_k(queries, 10)
    recalls = []
    for over_fetch in (1, 2, 10):
        found = merge_lists([on_cpu(shard, queries, 10, over_fetch)], 10)
        assert found.num_candidates == 20 * 10 * over_fetch
        assert found.scores[0] == canonical_score(queries.vectors_QD[0].tolist(), vectors[found.rows[0]].tolist())
        lists = zip(found.rows.reshape(20, 10), exact.rows.reshape(20, 10), strict=True)
        recalls.append(np.mean([np.isin(best, some).mean() for some, best in lists]))
    assert 0.5 < recalls[0] < recalls[1] < recalls[2] == 1


def test_codes_of_queries_are_those_of_every_processor() -> None:
    """Larger ones, which few processors multiply exactly, would give other lists there."""
    vectors = catalogue(1, 50, 24, "plain")
    scale, _ = CODES.query_columns(vectors, vector_norms(vectors))
    assert np.abs(CODES.encode_queries(vectors, scale).numpy().astype(int)).max() == 64


def test_no_queries_have_no_lists() -> None:
    shard = ItemShard.from_vectors(catalogue(1, 50, 8, "plain"))
    fetched = on_cpu(shard, Queries.unfiltered(np.zeros((0, 8), np.float32)), 3, 10)
    assert (fetched.num_queries, len(fetched.scores), merge_lists([fetched], 3).num_queries) == (0, 0, 0)


def test_the_bytes_of_a_small_problem_stay_what_they_are() -> None:
    """On every processor: else equal plans give other lists. Whoever must change them raises CONTRACT_VERSION."""
    row, d = np.meshgrid(np.arange(200), np.arange(24), indexing="ij")
    vectors = (((row * 7 + d * d * 3 + row * d) % 23 - 11) / 11.0 * 2.0 ** (row % 5)).astype(np.float32)
    fetched = on_cpu(ItemShard.from_vectors(vectors[:180]), Queries.unfiltered(vectors[180:]), 5, 3)
    digest = hashlib.sha256(fetched.lists.rows.tobytes() + fetched.lists.scores.tobytes() + fetched.scores.tobytes())
    assert digest.hexdigest()[:16] == "1cac90f9680e08d7"


@pytest.mark.parametrize("coarse", ["auto", *FORMATS])
def test_other_formats_are_refused(coarse: str) -> None:
    with pytest.raises(InputError, match=rf"coarse format {coarse}; expected a release whose format is pq\."):
        check_approximate(coarse)


def test_other_engines_are_refused_by_name() -> None:
    shard = ItemShard.from_vectors(np.ones((2, 2), np.float32))
    with pytest.raises(InputError, match="approximate lists by engine cuda; expected reference or cpu"):
        make_approximate_engine("cuda", shard, coarse="pq", over_fetch=10)
    for engine in ("reference", "cpu"):
        with pytest.raises(InputError, match="K = 0"):
            make_approximate_engine(engine, shard, coarse="pq", over_fetch=10).top_k(
                Queries.unfiltered(np.ones((1, 2))), 0
            )
