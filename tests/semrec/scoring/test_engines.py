"""The reference and the CPU engine keep the contract, and what is particular to them."""

from __future__ import annotations

import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.engine_contract import engine_contract
from helpers.oracle import canonical_score, ranked_lists
from helpers.scoring_problems import KINDS, assert_same, catalogue, filtered_problem, problems
from semrec.errors import DeviceError, InputError
from semrec.scoring.canonical import canonical_scores
from semrec.scoring.cpu.engine import CpuEngine, _pool
from semrec.scoring.eligibility import Layout
from semrec.scoring.engine import Engine, make_engine
from semrec.scoring.formats import COMPRESSED_FORMATS, FORMATS
from semrec.scoring.formats.check import product_fault
from semrec.scoring.formats.int8 import Int8
from semrec.scoring.reference import ReferenceEngine
from semrec.scoring.types import ItemShard, Queries, Targets


class TestReference(engine_contract()):
    """The engine that the others are held against is itself held against plain Python."""

    def make(self, shard: ItemShard, **sizes: int) -> Engine:
        return ReferenceEngine(shard)

    @given(problems(), st.integers(0, 2**40))
    @settings(max_examples=80, deadline=None)
    def test_equals_the_reference_byte_for_byte(self, problem, first_row) -> None:
        shard, queries, k = problem
        shard, queries = replace(shard, first_row=first_row), replace(queries, seen_rows=queries.seen_rows + first_row)
        top = self.make(shard).top_k(queries, k)
        places = [place[:k] for place in ranked_lists(shard, queries)]
        assert top.lengths.tolist() == [len(place) for place in places]
        assert top.rows.tolist() == [row for place in places for row, _ in place]
        assert top.scores.tobytes() == np.array([s for place in places for _, s in place], np.float32).tobytes()

    @given(problems())
    @settings(max_examples=80, deadline=None)
    def test_counts_equal_the_reference(self, problem) -> None:
        shard, queries, _ = problem
        places = ranked_lists(shard, queries)
        rows = [sorted(row for row, _ in place) for place in places]
        score_of = [dict(place) for place in places]
        targets = Targets(
            np.cumsum([0, *map(len, rows)]),
            np.array([row for some in rows for row in some], np.int64),
            np.array([score_of[q][row] for q, some in enumerate(rows) for row in some], np.float32),
        )
        expected = [[row for row, _ in places[q]].index(row) for q, some in enumerate(rows) for row in some]
        assert self.make(shard).count_before(queries, targets).tolist() == expected


def test_the_oracle_is_right_where_the_answer_is_known() -> None:
    assert canonical_score([1, 2, 3], [4, 5, 6]) == 32
    # In one lane 2^60 swallows the ones; in the next lane they stay, and are lost only in the last sum and its rounding.
    assert canonical_score([2.0**60, *[0] * 7, 1, -(2.0**60)], [1, *[0] * 7, 1, 1]) == 0
    assert canonical_score([2.0**60, 1, -(2.0**60)], [1, 1, 1]) == 0
    assert canonical_score([2.0**60, *[0] * 7, -(2.0**60), 1], [1, *[0] * 7, 1, 1]) == 1
    assert str(canonical_score([-0.0], [1])) == "0.0"
    assert canonical_score([3e38], [3e38]) == float("inf")


class TestCpuBfloat16(engine_contract()):
    thread_counts = (1, 2, 9)

    def make(self, shard: ItemShard, **sizes: int) -> Engine:
        return CpuEngine(shard, coarse="bfloat16", **{"num_threads": 2, **sizes})


class TestCpuInt8(engine_contract()):
    thread_counts = (1, 2, 9)

    def make(self, shard: ItemShard, **sizes: int) -> Engine:
        return CpuEngine(shard, coarse="int8", **{"num_threads": 2, **sizes})


class TestCpuRotatedInt8(engine_contract()):
    thread_counts = (1, 2, 9)

    def make(self, shard: ItemShard, **sizes: int) -> Engine:
        return CpuEngine(shard, coarse="int8_rotated", **{"num_threads": 2, **sizes})


class TestCpuProductQuantized(engine_contract(max_examples=40)):
    thread_counts = (1, 2, 9)

    def make(self, shard: ItemShard, **sizes: int) -> Engine:
        return CpuEngine(shard, coarse="pq", **{"num_threads": 2, **sizes})


class Int8OfLibrary(Int8):
    """What a processor without the instruction for panels does."""

    panels = None


@pytest.mark.skipif(Int8().panels is None, reason="NOT TESTED: this processor has no products of bytes for panels")
def test_int8_is_multiplied_in_panels_where_it_can_be() -> None:
    engine = CpuEngine(ItemShard.from_vectors(catalogue(1, 100, 8, "plain")), coarse="int8")
    assert engine._items.coarse_tile is None
    assert engine._items.panel_tile is not None
    assert engine._items.panel_tile(0, 100, np.empty(0, np.uint8)).shape == (2, 64 * 8)


@pytest.mark.skipif(
    bool(product_fault("cpu", Int8OfLibrary(), 64)), reason="NOT TESTED: the library's products of int8 are wrong here"
)
class TestCpuInt8OfLibrary(engine_contract()):
    thread_counts = (1, 2, 9)

    def make(self, shard: ItemShard, **sizes: int) -> Engine:
        return CpuEngine(shard, coarse=Int8OfLibrary(), **{"num_threads": 2, **sizes})


class TestCpuFloat32(engine_contract()):
    thread_counts = (1, 2, 9)

    def make(self, shard: ItemShard, **sizes: int) -> Engine:
        return CpuEngine(shard, coarse="float32", **{"num_threads": 2, **sizes})


@pytest.mark.parametrize("coarse", [*FORMATS, *COMPRESSED_FORMATS])
@pytest.mark.parametrize("kind", KINDS)
def test_a_sampled_threshold_changes_nothing(kind: str, coarse: str) -> None:
    shard, queries = filtered_problem(kind, num_items=4000, num_queries=12)
    sizes = {"sample_every": 3, "tile_items": 512}
    engines = [
        CpuEngine(shard, coarse=coarse, num_threads=2, few_queries=0, **sizes),
        CpuEngine(shard, coarse=coarse, num_threads=3, **sizes),
    ]
    for k in (1, 10, 100):
        expected = ReferenceEngine(shard).top_k(queries, k)
        for engine in engines:
            assert_same(engine.top_k(queries, k), expected)


@pytest.mark.parametrize("coarse", FORMATS)
def test_blocks_of_more_queries_meet_several_tiles(coarse: str) -> None:
    shard, queries = filtered_problem("factors", num_items=1000, num_queries=150)
    engine = CpuEngine(shard, coarse=coarse, num_threads=2, tile_items=320)
    assert_same(engine.top_k(queries, 5), ReferenceEngine(shard).top_k(queries, 5))


@pytest.mark.parametrize("coarse", [*FORMATS, *COMPRESSED_FORMATS])
@pytest.mark.parametrize(("num_threads", "few_queries"), [(1, 0), (1, 64), (3, 64)])
def test_a_guess_that_is_too_high_is_noticed(coarse: str, num_threads: int, few_queries: int) -> None:
    vectors = catalogue(3, 12_000, 16, "plain")
    vectors[:, 0] = 0
    vectors[: 29 * 195 : 195, 0] = 100  # every third item is in the sample, and each of these has a maximum of its own
    queries = Queries.unfiltered(np.eye(1, 16, dtype=np.float32) + catalogue(4, 20, 16, "plain") * np.float32(0.01))
    shard = ItemShard.from_vectors(vectors)
    engine = CpuEngine(shard, coarse=coarse, sample_every=3, num_threads=num_threads, few_queries=few_queries)
    expected = ReferenceEngine(shard).top_k(queries, 30)
    assert (engine._guess(engine._prepared(queries), 30) > expected.kth_scores(30)).all()
    assert_same(engine.top_k(queries, 30), expected)


@pytest.mark.parametrize("coarse", FORMATS)
def test_duplicates_do_not_end_in_scoring_everything(coarse: str) -> None:
    vectors = catalogue(6, 6000, 32, "plain")
    vectors[1000:3000] = vectors[1000]
    queries = Queries.unfiltered(vectors[1000:1001] + catalogue(7, 9, 32, "plain") * np.float32(0.1))
    shard = ItemShard.from_vectors(vectors)
    found = CpuEngine(shard, coarse=coarse, num_threads=1).top_k(queries, 50)
    assert_same(found, ReferenceEngine(shard).top_k(queries, 50))
    assert found.num_exhaustive == 0


@pytest.mark.parametrize("coarse", FORMATS)
def test_vectors_beyond_any_bound_are_all_scored_and_counted(coarse: str) -> None:
    vectors = catalogue(8, 900, 8, "plain") * np.float32(1e30)
    shard, queries = ItemShard.from_vectors(vectors), Queries.unfiltered(catalogue(9, 2, 8, "plain"))
    found = CpuEngine(shard, coarse=coarse, num_threads=1).top_k(queries, 5)
    assert_same(found, ReferenceEngine(shard).top_k(queries, 5))
    assert (found.num_exhaustive, found.num_candidates) == (2, 1800)


@pytest.mark.parametrize("coarse", FORMATS)
def test_counts_of_more_queries_than_few_equal_the_reference(coarse: str) -> None:
    vectors = catalogue(10, 200, 16, "plain")
    shard, queries = ItemShard.from_vectors(vectors), Queries.unfiltered(catalogue(11, 70, 16, "plain"))
    rows = np.arange(70)
    targets = Targets(np.arange(71), rows, canonical_scores(queries.vectors_QD, vectors[rows]))
    found = CpuEngine(shard, coarse=coarse, num_threads=1).count_before(queries, targets)
    assert found.tolist() == ReferenceEngine(shard).count_before(queries, targets).tolist()


def test_few_candidates_are_scored_on_plain_vectors() -> None:
    shard = ItemShard.from_vectors(catalogue(0, 4000, 64, "plain"))
    found = CpuEngine(shard, coarse="float32", tile_items=512, num_threads=1).top_k(
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
        Layout.of_items(["country"], [{"country": [str(n)]} for n in range(257)])


def test_engine_names_are_checked() -> None:
    shard = ItemShard.from_vectors(np.ones((1, 1), np.float32))
    with pytest.raises(InputError, match="engine 'fast'"):
        make_engine("fast", shard)
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="no CUDA device"):
            make_engine("cuda", shard)


def test_threads_that_ask_together_share_one_pool_and_leave_torchs_threads_alone() -> None:
    before, together = torch.get_num_threads(), threading.Barrier(8)

    def ask(_: int) -> ThreadPoolExecutor:
        together.wait()
        return _pool(5)

    with ThreadPoolExecutor(8) as pool:
        pools = set(pool.map(ask, range(8)))
    assert len(pools) == 1
    assert torch.get_num_threads() == before


def test_beside_the_items_an_engine_keeps_their_codes_and_little_else() -> None:
    """Of the float32 matrix: int8 codes are 0.25, those of the sample 0.012, five columns 0.078 at D = 64."""
    vectors = np.random.default_rng(3).standard_normal((50_000, 64)).astype(np.float32)
    shard, queries = ItemShard.from_vectors(vectors), Queries.unfiltered(vectors[:2_048].copy())
    CpuEngine(shard, coarse="int8", num_threads=1).top_k(queries, 100)  # what is kept for all engines
    tracemalloc.start()
    try:
        engine = CpuEngine(shard, coarse="int8", num_threads=1)
        kept, peak = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        engine.top_k(queries, 100)
        kept_bytes, top_bytes = kept / vectors.nbytes, tracemalloc.get_traced_memory()[1] - kept
    finally:
        tracemalloc.stop()
    assert kept_bytes < 0.36 and peak / vectors.nbytes < 0.42
    assert top_bytes < 9 << 20  # buffers of 512 users' candidates take 4.3 MiB, all lists 2.4
