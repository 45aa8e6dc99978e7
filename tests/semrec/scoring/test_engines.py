"""The scoring contract, stated once for every engine. An engine's own class is three lines."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semrec.errors import DeviceError, InputError
from semrec.scoring import ItemShard, Queries, Targets, TopK, exact_ranks, make_engine
from semrec.scoring.canonical import canonical_scores
from semrec.scoring.coarse import COARSE_FORMATS, CoarseFormat
from semrec.scoring.cpu import CpuEngine
from semrec.scoring.eligibility import Clause, Layout
from semrec.scoring.engine import Engine
from semrec.scoring.reference import ReferenceEngine

PLATFORMS = ("Atlas", "Lumina", "Marquee")


def catalogue(seed: int, num_items: int, dimension: int, kind: str) -> np.ndarray:
    """Item vectors with a known difficulty."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((num_items, dimension)).astype(np.float32)
    if kind == "ties":
        vectors = rng.integers(-1, 2, (num_items, dimension)).astype(np.float32)
    elif kind == "duplicates":
        vectors = vectors[rng.integers(0, max(1, num_items // 4), num_items)]
    elif kind == "zeros":
        vectors[rng.random(num_items) < 0.7] = 0
    elif kind == "factors":
        vectors *= np.exp(rng.normal(0, 3, (num_items, 1))).astype(np.float32)
    elif kind == "near ties":
        vectors = vectors[:1] + (rng.integers(-2, 3, (num_items, dimension)) * 2.0**-22).astype(np.float32)
    elif kind == "tiny":
        vectors *= np.float32(1e-22)
    elif kind == "huge":
        vectors *= np.float32(1e19)
    elif kind == "one large coordinate":
        vectors[:, 0] = 4096 + rng.integers(0, 2, num_items)
    return np.ascontiguousarray(vectors)


KINDS = ("plain", "ties", "duplicates", "zeros", "factors", "near ties", "tiny", "huge", "one large coordinate")


@st.composite
def problems(draw: st.DrawFn) -> tuple[ItemShard, Queries, int]:
    num_items, num_queries = draw(st.integers(1, 60)), draw(st.integers(1, 8))
    dimension, kind = draw(st.sampled_from([1, 3, 8, 13, 32])), draw(st.sampled_from(KINDS))
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed + 1)
    vectors = catalogue(seed, num_items + num_queries, dimension, kind)
    layout = Layout((Clause("platform", PLATFORMS),) if draw(st.booleans()) else ())
    choose = lambda: {"platform": [p for p in PLATFORMS if rng.random() < 0.4]}  # noqa: E731
    items = layout.item_words([choose() for _ in range(num_items)])
    users = layout.user_words([choose() for _ in range(num_queries)])
    seen = [np.flatnonzero(rng.random(num_items) < rng.choice([0.0, 0.3, 1.0])) for _ in range(num_queries)]
    offsets = np.concatenate([[0], np.cumsum([len(s) for s in seen])]).astype(np.int64)
    shard = ItemShard.from_vectors(vectors[:num_items], items, layout.clause_starts)
    queries = Queries(vectors[num_items:], users, offsets, np.concatenate(seen).astype(np.int64))
    return shard, queries, draw(st.sampled_from([1, 2, 5, 20, 100]))


def assert_same(got: TopK, expected: TopK) -> None:
    assert got.offsets.tolist() == expected.offsets.tolist()
    assert got.rows.tolist() == expected.rows.tolist()
    assert got.scores.tobytes() == expected.scores.tobytes()


# Each engine's class runs these tests with its own `make`, which is what the health check warns about.
shared = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.differing_executors])


class EngineContract:
    """What every engine must do; a subclass says how to make one."""

    def make(self, shard: ItemShard, **sizes: int) -> Engine:
        raise NotImplementedError

    @given(problems(), st.sampled_from([1, 3, 7, 64]), st.sampled_from([1, 4, 64]))
    @shared
    def test_equals_the_reference_byte_for_byte(self, problem, tile_items, block_queries) -> None:
        shard, queries, k = problem
        engine = self.make(shard, tile_items=tile_items, block_queries=block_queries)
        assert_same(engine.top_k(queries, k), ReferenceEngine(shard).top_k(queries, k))

    @given(problems(), st.integers(1, 3))
    @shared
    def test_shards_merge_to_the_whole(self, problem, num_shards) -> None:
        shard, queries, k = problem
        edges = np.linspace(0, shard.num_items, num_shards + 1).astype(int)
        pieces = [self.make(shard.slice(a, b)).top_k(queries, k) for a, b in itertools.pairwise(edges) if b > a]
        assert_same(TopK.merge(pieces, k), ReferenceEngine(shard).top_k(queries, k))

    def test_ties_go_to_the_smaller_row(self) -> None:
        shard = ItemShard.from_vectors(np.ones((5, 4), np.float32))
        found = self.make(shard).top_k(Queries.unfiltered(np.ones((1, 4), np.float32)), 3)
        assert found.rows.tolist() == [0, 1, 2]
        assert found.scores.tolist() == [4.0, 4.0, 4.0]

    def test_seen_items_never_return(self) -> None:
        shard = ItemShard.from_vectors(np.arange(1, 6, dtype=np.float32)[:, None], first_row=100)
        queries = Queries(
            np.ones((2, 1), np.float32),
            np.zeros((2, 0), np.uint64),
            np.array([0, 2, 7]),
            np.array([104, 102, 100, 101, 102, 103, 104]),
        )
        found = self.make(shard).top_k(queries, 10)
        assert found.rows.tolist() == [103, 101, 100]
        assert found.lengths.tolist() == [3, 0]

    def test_a_user_gets_only_their_platforms(self) -> None:
        layout = Layout((Clause("platform", PLATFORMS),))
        items = layout.item_words([{"platform": ["Atlas"]}, {"platform": ["Lumina"]}, {}])
        users = layout.user_words([{"platform": ["Lumina"]}, {}, {"platform": ["Nowhere"]}])
        shard = ItemShard.from_vectors(np.array([[3], [2], [1]], np.float32), items, layout.clause_starts)
        queries = Queries(np.ones((3, 1), np.float32), users, np.zeros(4, np.int64), np.zeros(0, np.int64))
        found = self.make(shard).top_k(queries, 3)
        assert [found.rows[a:b].tolist() for a, b in zip(found.offsets, found.offsets[1:], strict=False)] == [
            [1],
            [0, 1, 2],
            [],
        ]

    @given(problems())
    @shared
    def test_counts_equal_the_reference(self, problem) -> None:
        shard, queries, _ = problem
        rng = np.random.default_rng(shard.num_items)
        wanted = [rng.integers(0, shard.num_items, 4) for _ in range(queries.num_queries)]
        scores = [canonical_scores(queries.vectors_QD[q : q + 1], shard.vectors(w)) for q, w in enumerate(wanted)]
        offsets = np.arange(queries.num_queries + 1) * 4
        targets = Targets(offsets, np.concatenate(wanted), np.concatenate(scores))
        got = self.make(shard).count_before(queries, targets)
        assert got.tolist() == ReferenceEngine(shard).count_before(queries, targets).tolist()

    def test_an_item_of_the_list_has_its_place_as_rank(self) -> None:
        vectors = catalogue(5, 300, 16, "duplicates")
        seen = np.arange(10)
        queries = Queries(vectors[:3], np.zeros((3, 0), np.uint64), np.array([0, 10, 10, 10]), seen)
        shard = ItemShard.from_vectors(vectors)
        found = self.make(shard).top_k(queries, 300)
        engines = [self.make(shard.slice(0, 100)), self.make(shard.slice(100, 300))]
        ranks = exact_ranks(engines, queries, found.offsets, found.rows)
        assert ranks.tolist() == [place + 1 for length in found.lengths for place in range(length)]
        assert exact_ranks(engines, queries, np.array([0, 2, 2, 2]), np.array([3, 4])).tolist() == [0, 0]

    def test_other_words_are_refused(self) -> None:
        with pytest.raises(InputError, match="1 eligibility words"):
            self.make(ItemShard.from_vectors(np.ones((2, 2), np.float32))).top_k(
                Queries.unfiltered(np.ones((1, 2), np.float32), 1), 1
            )

    def test_k_below_one_is_refused(self) -> None:
        shard = ItemShard.from_vectors(np.ones((2, 2), np.float32))
        with pytest.raises(InputError, match="K = 0"):
            self.make(shard).top_k(Queries.unfiltered(np.ones((1, 2), np.float32)), 0)

    def test_another_dimension_is_refused(self) -> None:
        shard = ItemShard.from_vectors(np.ones((2, 2), np.float32))
        with pytest.raises(InputError, match="3 dimensions"):
            self.make(shard).top_k(Queries.unfiltered(np.ones((1, 3), np.float32)), 1)

    def test_infinite_items_are_refused(self) -> None:
        with pytest.raises(InputError, match="row 1"):
            self.make(ItemShard.from_vectors(np.array([[1.0], [np.inf]], np.float32)))


class TestReference(EngineContract):
    def make(self, shard: ItemShard, **sizes: int) -> Engine:
        return ReferenceEngine(shard)


class TestCpuBfloat16(EngineContract):
    def make(self, shard: ItemShard, **sizes: int) -> Engine:
        return CpuEngine(shard, coarse="bfloat16", num_threads=2, **sizes)


class TestCpuInt8(EngineContract):
    def make(self, shard: ItemShard, **sizes: int) -> Engine:
        return CpuEngine(shard, coarse="int8", num_threads=2, **sizes)


class TestCpuFloat32(EngineContract):
    def make(self, shard: ItemShard, **sizes: int) -> Engine:
        return CpuEngine(shard, coarse="float32", num_threads=2, **sizes)


def large_problem(kind: str, seed: int = 0) -> tuple[ItemShard, Queries]:
    """Items enough for a sample, and users with seen items and platforms; the last has seen nearly everything."""
    rng = np.random.default_rng(seed)
    vectors = catalogue(seed, 4000, 24, kind)
    layout = Layout((Clause("platform", PLATFORMS),))
    choose = lambda: {"platform": [p for p in PLATFORMS if rng.random() < 0.5]}  # noqa: E731
    items, users = layout.item_words([choose() for _ in vectors]), layout.user_words([choose() for _ in range(12)])
    seen = [rng.choice(4000, 50, replace=False) for _ in range(11)] + [rng.permutation(4000)[:3950]]
    offsets = np.concatenate([[0], np.cumsum([len(s) for s in seen])])
    queries = Queries(catalogue(seed + 1, 12, 24, kind), users, offsets, np.concatenate(seen))
    return ItemShard.from_vectors(vectors, items, layout.clause_starts), queries


@pytest.mark.parametrize("coarse", COARSE_FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_sampled_threshold_changes_nothing(kind: str, coarse: CoarseFormat) -> None:
    shard, queries = large_problem(kind)
    engine = CpuEngine(shard, coarse=coarse, num_threads=2, sample_every=3, tile_items=512)
    for k in (1, 10, 100):
        assert_same(engine.top_k(queries, k), ReferenceEngine(shard).top_k(queries, k))


@pytest.mark.parametrize("coarse", COARSE_FORMATS)
def test_a_guess_that_is_too_high_is_noticed(coarse: CoarseFormat) -> None:
    vectors = catalogue(3, 12_000, 16, "plain")
    vectors[:, 0] = 0
    vectors[: 29 * 48 : 48, 0] = 100  # every third item is in the sample, and each of these in a group of its own
    queries = Queries.unfiltered(np.eye(1, 16, dtype=np.float32) + catalogue(4, 20, 16, "plain") * np.float32(0.01))
    shard = ItemShard.from_vectors(vectors)
    engine = CpuEngine(shard, coarse=coarse, sample_every=3, num_threads=1)
    expected = ReferenceEngine(shard).top_k(queries, 30)
    assert (engine._guess(queries, 30) > expected.kth_scores(30)).all()
    assert_same(engine.top_k(queries, 30), expected)


@pytest.mark.parametrize("coarse", COARSE_FORMATS)
def test_duplicates_do_not_end_in_scoring_everything(coarse: CoarseFormat) -> None:
    vectors = catalogue(6, 6000, 32, "plain")
    vectors[1000:3000] = vectors[1000]
    queries = Queries.unfiltered(vectors[1000:1001] + catalogue(7, 9, 32, "plain") * np.float32(0.1))
    shard = ItemShard.from_vectors(vectors)
    found = CpuEngine(shard, coarse=coarse, num_threads=1).top_k(queries, 50)
    assert_same(found, ReferenceEngine(shard).top_k(queries, 50))
    assert found.num_exhaustive == 0


@pytest.mark.parametrize("coarse", COARSE_FORMATS)
def test_vectors_beyond_any_bound_are_all_scored_and_counted(coarse: CoarseFormat) -> None:
    vectors = catalogue(8, 900, 8, "plain") * np.float32(1e30)
    shard, queries = ItemShard.from_vectors(vectors), Queries.unfiltered(catalogue(9, 2, 8, "plain"))
    found = CpuEngine(shard, coarse=coarse, num_threads=1).top_k(queries, 5)
    assert_same(found, ReferenceEngine(shard).top_k(queries, 5))
    assert (found.num_exhaustive, found.num_candidates) == (2, 1800)


def test_few_candidates_are_scored_on_plain_vectors() -> None:
    shard = ItemShard.from_vectors(catalogue(0, 4000, 64, "plain"))
    found = CpuEngine(shard, coarse="float32", tile_items=512).top_k(
        Queries.unfiltered(catalogue(1, 50, 64, "plain")), 10
    )
    assert found.num_exhaustive == 0
    assert 500 <= found.num_candidates <= 520


def test_canonical_scores_follow_the_stated_order() -> None:
    rng = np.random.default_rng(3)
    left, right = rng.standard_normal((2, 6, 19)).astype(np.float32)
    for row in range(6):
        lanes = [0.0] * 8
        for d in range(19):
            lanes[d % 8] += float(left[row, d]) * float(right[row, d])
        total = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]))
        assert canonical_scores(left, right)[row] == np.float32(total)


def test_negative_zero_becomes_zero() -> None:
    score = canonical_scores(np.array([[-0.0]], np.float32), np.array([[1.0]], np.float32))
    assert score.tobytes() == np.zeros(1, np.float32).tobytes()


def test_too_many_values_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="'country' has 257 values"):
        Clause("country", tuple(str(n) for n in range(257)))


def test_engine_names_are_checked() -> None:
    shard = ItemShard.from_vectors(np.ones((1, 1), np.float32))
    with pytest.raises(InputError, match="engine 'fast'"):
        make_engine("fast", shard)
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="no CUDA device"):
            make_engine("cuda", shard)
