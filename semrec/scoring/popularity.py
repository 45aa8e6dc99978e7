"""Ranking by popularity: all queries share one order, so it is sorted once and then read from its beginning."""

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
        most = min(k, self.shard.num_items)
        places_QK, lengths_Q = np.empty((len(words_QW), most), np.int64), np.zeros(len(words_QW), np.int64)
        _first(
            self._order_I, self._words_IW, self._clause_edges, words_QW, seen_offsets, seen_rows, places_QK, lengths_Q
        )
        places = places_QK[np.arange(most) < lengths_Q[:, None]]
        offsets = np.concatenate([[0], np.cumsum(lengths_Q)]).astype(np.int64)
        return TopK(offsets, self._order_I[places] + self.shard.first_row, self._scores_I[places])

    def count_before(self, queries: Queries, targets: Targets) -> np.ndarray:
        """See `Engine.count_before`."""
        words_QW, seen_offsets, seen_rows = self._checked(queries, 1)
        rows = targets.rows - self.shard.first_row
        counts = np.zeros(len(rows), np.int64)
        # Places of the first item with a target's score, and of the first with a lower one; between them rows ascend.
        firsts = np.searchsorted(-self._scores_I, -targets.scores, side="left")
        lasts = np.searchsorted(-self._scores_I, -targets.scores, side="right")
        ties = zip(firsts, lasts, rows, strict=True)
        before = np.array([a + np.searchsorted(self._order_I[a:b], row) for a, b, row in ties], np.int64)
        _count(
            self._order_I, self._words_IW, self._clause_edges, words_QW, seen_offsets, seen_rows, targets.offsets, before,
            counts,
        )  # fmt: skip
        return counts

    def _checked(self, queries: Queries, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Words, and what of the shard each query has seen."""
        check_queries(queries, k, self.shard)
        if not (queries.vectors_QD == 1).all():
            raise InputError(
                "a query that is not 1.0",
                expected="no taste: everybody has the same order",
                remedy="Ask an engine over vectors.",
            )
        return np.ascontiguousarray(queries.words_QW), *queries.seen_of(self.shard)


@compiled
def _first(order_I, words_IW, clause_edges, words_QW, seen_offsets, seen_rows, places_QK, lengths_Q):  # type: ignore[no-untyped-def]
    """Fills in the first places of `order_I` that each query may be shown, and how many there are."""
    most = places_QK.shape[1]
    for q in range(len(words_QW)):
        seen = seen_rows[seen_offsets[q] : seen_offsets[q + 1]]
        found = 0
        for place in range(len(order_I)):
            if found == most:
                break
            if _is_shown(order_I[place], words_IW[place], clause_edges, words_QW[q], seen):
                places_QK[q, found] = place
                found += 1
        lengths_Q[q] = found


@compiled
def _count(order_I, words_IW, clause_edges, words_QW, seen_offsets, seen_rows, offsets, before, counts):  # type: ignore[no-untyped-def]
    """Counts what each query may be shown among the first `before` places, per target."""
    for q in range(len(words_QW)):
        seen = seen_rows[seen_offsets[q] : seen_offsets[q + 1]]
        for n in range(offsets[q], offsets[q + 1]):
            for place in range(before[n]):
                counts[n] += _is_shown(order_I[place], words_IW[place], clause_edges, words_QW[q], seen)


@compiled
def _is_shown(row, item_words, clause_edges, words, seen):  # type: ignore[no-untyped-def]
    for clause in range(len(clause_edges) - 1):
        passes = False
        for w in range(clause_edges[clause], clause_edges[clause + 1]):
            passes |= (item_words[w] & words[w]) != 0
        if not passes:
            return False
    place = np.searchsorted(seen, row)
    return place == len(seen) or seen[place] != row
