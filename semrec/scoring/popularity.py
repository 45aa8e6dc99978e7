"""Rank by popularity: all queries share one order, so it is sorted once and read from its beginning."""

from __future__ import annotations

import numpy as np

from semrec.compiled import compiled
from semrec.errors import InputError
from semrec.scoring.canonical import canonical_scores
from semrec.scoring.types import ItemShard, Queries, Targets, TopK, check_queries

__all__ = ["PopularityEngine"]


class PopularityEngine:
    """An `Engine` over a shard of one dimension, the popularity, for queries whose vector is [1.0].

    A query costs as many steps as there are items that it may not be shown before its K-th, and no product.
    """

    name = "popularity"

    def __init__(self, shard: ItemShard) -> None:
        self.shard = shard
        one, vectors = np.ones((1, 1), np.float32), shard.vectors()
        scores_I = canonical_scores(one, vectors) if len(vectors) else np.zeros(0, np.float32)
        self._order_I = np.argsort(-scores_I, kind="stable")
        self._scores_I = scores_I[self._order_I]
        self._words_IW = np.ascontiguousarray(shard.words_IW[self._order_I])
        self._clause_edges = np.array([*shard.clause_starts, shard.words_IW.shape[1]], np.int64)

    def top_k(self, queries: Queries, k: int) -> TopK:
        """See `Engine.top_k`. Raises InputError for a query whose vector is not [1.0], too."""
        words_QW, seen_offsets, seen_rows = self._checked(queries, k)
        k = min(k, self.shard.num_items)
        positions_QK, lengths_Q = np.empty((len(words_QW), k), np.int64), np.zeros(len(words_QW), np.int64)
        _first_visible(
            self._order_I,
            self._words_IW,
            self._clause_edges,
            words_QW,
            seen_offsets,
            seen_rows,
            positions_QK,
            lengths_Q,
        )
        positions = positions_QK[np.arange(k) < lengths_Q[:, None]]
        offsets = np.concatenate([[0], np.cumsum(lengths_Q)]).astype(np.int64)
        return TopK(offsets, self._order_I[positions] + self.shard.first_row, self._scores_I[positions])

    def count_before(self, queries: Queries, targets: Targets) -> np.ndarray:
        """See `Engine.count_before`."""
        words_QW, seen_offsets, seen_rows = self._checked(queries, 1)
        rows = targets.rows - self.shard.first_row
        counts = np.zeros(len(rows), np.int64)
        # Positions of the first item with a target's score, and of the first with a lower one; between them rows ascend.
        firsts = np.searchsorted(-self._scores_I, -targets.scores, side="left")
        lasts = np.searchsorted(-self._scores_I, -targets.scores, side="right")
        ties = zip(firsts, lasts, rows, strict=True)
        positions = np.array([a + np.searchsorted(self._order_I[a:b], row) for a, b, row in ties], np.int64)
        _count_visible(
            self._order_I, self._words_IW, self._clause_edges, words_QW, seen_offsets, seen_rows, targets.offsets, positions,
            counts,
        )  # fmt: skip
        return counts

    def _checked(self, queries: Queries, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Eligibility words, and the seen rows of the shard as CSR (`Queries.seen_of`)."""
        check_queries(queries, k, self.shard)
        if not (queries.vectors_QD == 1).all():
            raise InputError(
                "a query that is not 1.0",
                expected="[1.0]: everybody has the same order",
                remedy="Ask an engine over vectors.",
            )
        return np.ascontiguousarray(queries.words_QW), *queries.seen_of(self.shard)


@compiled
def _first_visible(order_I, words_IW, clause_edges, words_QW, seen_offsets, seen_rows, positions_QK, lengths_Q):  # type: ignore[no-untyped-def]
    """Fills in the first positions of `order_I` that each query may be shown, and how many there are."""
    k = positions_QK.shape[1]
    for q in range(len(words_QW)):
        seen = seen_rows[seen_offsets[q] : seen_offsets[q + 1]]
        length = 0
        for position in range(len(order_I)):
            if length == k:
                break
            if _is_visible(order_I[position], words_IW[position], clause_edges, words_QW[q], seen):
                positions_QK[q, length] = position
                length += 1
        lengths_Q[q] = length


@compiled
def _count_visible(order_I, words_IW, clause_edges, words_QW, seen_offsets, seen_rows, offsets, positions, counts):  # type: ignore[no-untyped-def]
    """Adds to `counts` how many items each query may be shown before the position of each of its targets."""
    for q in range(len(words_QW)):
        seen = seen_rows[seen_offsets[q] : seen_offsets[q + 1]]
        for n in range(offsets[q], offsets[q + 1]):
            for position in range(positions[n]):
                counts[n] += _is_visible(order_I[position], words_IW[position], clause_edges, words_QW[q], seen)


@compiled
def _is_visible(row, item_words, clause_edges, words, seen):  # type: ignore[no-untyped-def]
    """Whether the item passes every clause and is not among the ascending `seen` rows."""
    for clause in range(len(clause_edges) - 1):
        passes = False
        for w in range(clause_edges[clause], clause_edges[clause + 1]):
            passes |= (item_words[w] & words[w]) != 0
        if not passes:
            return False
    position = np.searchsorted(seen, row)
    return position == len(seen) or seen[position] != row
