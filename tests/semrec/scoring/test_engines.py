"""The scoring contract, stated once for every engine. An engine's own class is three lines."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semrec.errors import DeviceError, InputError
from semrec.scoring import ItemShard, Queries, TopK, make_engine
from semrec.scoring.canonical import canonical_scores, canonical_scores_torch, coarse_slack, lane_blocks
from semrec.scoring.eligibility import Clause, Layout
from semrec.scoring.engine import Engine
from semrec.scoring.reference import ReferenceEngine
from semrec.scoring.tiled import TiledEngine

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
    shard = ItemShard(vectors[:num_items], items, layout.clause_starts)
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
        shard = ItemShard.without_clauses(np.ones((5, 4), np.float32))
        found = self.make(shard).top_k(Queries.unfiltered(np.ones((1, 4), np.float32)), 3)
        assert found.rows.tolist() == [0, 1, 2]
        assert found.scores.tolist() == [4.0, 4.0, 4.0]

    def test_seen_items_never_return(self) -> None:
        shard = ItemShard.without_clauses(np.arange(1, 6, dtype=np.float32)[:, None], first_row=100)
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
        shard = ItemShard(np.array([[3], [2], [1]], np.float32), items, layout.clause_starts)
        queries = Queries(np.ones((3, 1), np.float32), users, np.zeros(4, np.int64), np.zeros(0, np.int64))
        found = self.make(shard).top_k(queries, 3)
        assert [found.rows[a:b].tolist() for a, b in zip(found.offsets, found.offsets[1:], strict=False)] == [
            [1],
            [0, 1, 2],
            [],
        ]

    def test_k_below_one_is_refused(self) -> None:
        shard = ItemShard.without_clauses(np.ones((2, 2), np.float32))
        with pytest.raises(InputError, match="K = 0"):
            self.make(shard).top_k(Queries.unfiltered(np.ones((1, 2), np.float32)), 0)

    def test_another_dimension_is_refused(self) -> None:
        shard = ItemShard.without_clauses(np.ones((2, 2), np.float32))
        with pytest.raises(InputError, match="3 dimensions"):
            self.make(shard).top_k(Queries.unfiltered(np.ones((1, 3), np.float32)), 1)

    def test_infinite_items_are_refused(self) -> None:
        with pytest.raises(InputError, match="row 1"):
            self.make(ItemShard.without_clauses(np.array([[1.0], [np.inf]], np.float32)))


class TestReference(EngineContract):
    def make(self, shard: ItemShard, **sizes: int) -> Engine:
        return ReferenceEngine(shard)


class TestCpu(EngineContract):
    def make(self, shard: ItemShard, **sizes: int) -> Engine:
        return TiledEngine(shard, **sizes)

    def test_a_crowd_of_near_ties_is_done_exhaustively_and_counted(self) -> None:
        shard = ItemShard.without_clauses(np.ones((3000, 8), np.float32))
        found = TiledEngine(shard, tile_items=256).top_k(Queries.unfiltered(np.ones((2, 8), np.float32)), 5)
        assert found.num_exhaustive == 2
        assert found.rows.tolist() == [0, 1, 2, 3, 4] * 2

    def test_few_candidates_are_rescored_on_plain_vectors(self) -> None:
        shard = ItemShard.without_clauses(catalogue(0, 4000, 64, "plain"))
        found = TiledEngine(shard, tile_items=512).top_k(Queries.unfiltered(catalogue(1, 50, 64, "plain")), 10)
        assert found.num_exhaustive == 0
        assert 500 <= found.num_candidates <= 520


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="NO CUDA DEVICE: the cuda engine is not tested on this machine"
)
class TestCuda(EngineContract):
    def make(self, shard: ItemShard, **sizes: int) -> Engine:
        return TiledEngine(shard, device="cuda", **sizes)


@given(st.integers(0, 2**16), st.sampled_from([1, 7, 8, 100, 384]), st.sampled_from(KINDS))
@settings(max_examples=40, deadline=None)
def test_the_bound_holds(seed: int, dimension: int, kind: str) -> None:
    vectors = catalogue(seed, 40, dimension, kind)
    left, right = vectors[:20], vectors[20:]
    coarse = (torch.from_numpy(left) @ torch.from_numpy(right).T).numpy()
    exact = np.stack([canonical_scores(row[None], right) for row in left])
    relative, absolute = coarse_slack(dimension)
    norms = np.linalg.norm(left.astype(np.float64), axis=1)[:, None] * np.linalg.norm(right.astype(np.float64), axis=1)
    fine = np.isfinite(coarse) & np.isfinite(exact)
    error = np.abs(coarse[fine].astype(np.float64) - exact[fine])
    assert (error <= (relative * norms + absolute)[fine]).all()


def test_canonical_scores_follow_the_stated_order() -> None:
    rng = np.random.default_rng(3)
    left, right = rng.standard_normal((2, 6, 19)).astype(np.float32)
    for row in range(6):
        lanes = [0.0] * 8
        for d in range(19):
            lanes[d % 8] += float(left[row, d]) * float(right[row, d])
        total = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]))
        assert canonical_scores(left, right)[row] == np.float32(total)
    padded = [torch.from_numpy(np.pad(side, ((0, 0), (0, 5)))) for side in (left, right)]
    found = canonical_scores_torch(lane_blocks(padded[0]), torch.arange(6), padded[1])
    assert found.numpy().tobytes() == canonical_scores(left, right).tobytes()


def test_negative_zero_becomes_zero() -> None:
    score = canonical_scores(np.array([[-0.0]], np.float32), np.array([[1.0]], np.float32))
    assert score.tobytes() == np.zeros(1, np.float32).tobytes()


def test_too_many_values_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="'country' has 257 values"):
        Clause("country", tuple(str(n) for n in range(257)))


def test_engine_names_are_checked() -> None:
    shard = ItemShard.without_clauses(np.ones((1, 1), np.float32))
    with pytest.raises(InputError, match="engine 'fast'"):
        make_engine("fast", shard)
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="no CUDA device"):
            make_engine("cuda", shard)
