"""The scoring contract, stated once for every engine. An engine's own class is a few lines."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.scoring_problems import PLATFORMS, assert_same, catalogue, filtered_problem, problems
from semrec.errors import DeviceError, InputError
from semrec.scoring.canonical import canonical_scores
from semrec.scoring.eligibility import Clause, Layout
from semrec.scoring.engine import Engine
from semrec.scoring.ranks import exact_ranks
from semrec.scoring.reference import ReferenceEngine
from semrec.scoring.types import ItemShard, Queries, Targets, TopK


def engine_contract(
    *,
    max_examples: int = 80,
    num_items: int = 300,
    few: tuple[int, ...] = (1, 16, 17, 64, 65),
    lengths: tuple[int, ...] = (0, 1, 64, 65),
    rank_step: int = 1,
) -> type:
    """What every engine must do; a subclass says how to make one.

    With so many examples of each property, items in the larger problems, numbers of queries that are few and of items for them.
    Ranks are asked of every `rank_step`-th item of a list.
    """
    shared = settings(max_examples=max_examples, deadline=None)

    class EngineContract:
        #: What an engine that knows threads is made with.
        thread_counts: tuple[int, ...] = (1,)

        def make(self, shard: ItemShard, **sizes: int) -> Engine:
            raise NotImplementedError

        @given(problems(), st.sampled_from([1, 4, 64]), st.sampled_from([0, 64]))
        @shared
        def test_equals_the_reference_byte_for_byte(self, problem, block_queries, few_queries) -> None:
            shard, queries, k = problem
            engine = self.make(shard, block_queries=block_queries, few_queries=few_queries)
            assert_same(engine.top_k(queries, k), ReferenceEngine(shard).top_k(queries, k))

        @given(problems(), st.integers(1, 3))
        @shared
        def test_shards_merge_to_the_whole(self, problem, num_shards) -> None:
            shard, queries, k = problem
            edges = np.linspace(0, shard.num_items, num_shards + 1).astype(int)
            pieces = [self.make(shard.slice(a, b)).top_k(queries, k) for a, b in itertools.pairwise(edges) if b > a]
            assert_same(TopK.merge(pieces, k), ReferenceEngine(shard).top_k(queries, k))

        @pytest.mark.parametrize("num_queries", few)
        def test_few_queries_at_once(self, num_queries) -> None:
            """Threads share the items then: more of them than there are tiles, one tile or none."""
            shard, queries = filtered_problem("duplicates", num_items=num_items, num_queries=num_queries)
            expected = ReferenceEngine(shard).top_k(queries, 7)
            for num_threads in self.thread_counts:
                assert_same(self.make(shard, num_threads=num_threads, tile_items=64).top_k(queries, 7), expected)
                for length in lengths:
                    part = shard.slice(10, 10 + length)
                    found = self.make(part, num_threads=num_threads, tile_items=64).top_k(queries, 7)
                    assert_same(found, ReferenceEngine(part).top_k(queries, 7))

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
            vectors, third = catalogue(5, num_items, 16, "duplicates"), num_items // 3
            seen = np.arange(10)
            queries = Queries(vectors[:3], np.zeros((3, 0), np.uint64), np.array([0, 10, 10, 10]), seen)
            shard = ItemShard.from_vectors(vectors)
            found = self.make(shard).top_k(queries, num_items)
            engines = [self.make(shard.slice(0, third)), self.make(shard.slice(third, num_items))]
            lists = [found.rows[start:stop:rank_step] for start, stop in itertools.pairwise(found.offsets)]
            ranks = exact_ranks(engines, queries, np.cumsum([0, *map(len, lists)]), np.concatenate(lists))
            assert ranks.tolist() == [1 + rank_step * n for rows in lists for n in range(len(rows))]
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

        @pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
        def test_queries_that_are_not_finite_are_refused(self, broken) -> None:
            vectors = np.ones((3, 2), np.float32)
            engine = self.make(ItemShard.from_vectors(vectors))
            vectors[1, 1] = broken
            targets = Targets(np.arange(4), np.zeros(3, np.int64), np.ones(3, np.float32))
            for ask in (
                lambda: engine.top_k(Queries.unfiltered(vectors), 1),
                lambda: engine.top_k(Queries.unfiltered(vectors).between(1, 2), 1),
                lambda: engine.count_before(Queries.unfiltered(vectors), targets),
            ):
                with pytest.raises(InputError, match=r"vector of query [01] is not finite"):
                    ask()

        def test_a_thread_that_flushes_subnormal_numbers_is_refused(self) -> None:
            engine = self.make(ItemShard.from_vectors(np.full((1, 1), 2.0**-70, np.float32)))
            queries = Queries.unfiltered(np.full((1, 1), 2.0**-70, np.float32))
            assert engine.top_k(queries, 1).scores.tolist() == [2.0**-140]
            torch.set_flush_denormal(True)
            try:
                with pytest.raises(DeviceError, match="subnormal"):
                    engine.top_k(queries, 1)
            finally:
                torch.set_flush_denormal(False)
            assert engine.top_k(queries, 1).scores.tolist() == [2.0**-140]

        def test_infinite_items_are_refused(self) -> None:
            with pytest.raises(InputError, match="row 1"):
                self.make(ItemShard.from_vectors(np.array([[1.0], [np.inf]], np.float32)))

    return EngineContract
