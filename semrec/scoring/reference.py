"""The reference engine: every pair in the canonical arithmetic, one query at a time. Slow, and right by inspection."""

from __future__ import annotations

import numpy as np

from semrec.scoring.canonical import canonical_scores
from semrec.scoring.eligibility import eligible_items
from semrec.scoring.types import ItemShard, Queries, Targets, TopK, check_queries

__all__ = ["ReferenceEngine"]


class ReferenceEngine:
    """Scores all items of the shard for each query, removes what may not be shown, sorts."""

    name = "reference"

    def __init__(self, shard: ItemShard) -> None:
        self.shard, self._vectors_ID = shard, shard.vectors()

    def top_k(self, queries: Queries, k: int) -> TopK:
        """See `Engine.top_k`."""
        check_queries(queries, k, self.shard)
        rows, scores = [], []
        for q in range(queries.num_queries):
            visible_rows, visible_scores = self.scored(queries, q)
            best = np.lexsort((visible_rows, -visible_scores))[:k]
            rows.append(visible_rows[best] + self.shard.first_row)
            scores.append(visible_scores[best])
        offsets = np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64)
        return TopK(
            offsets,
            np.concatenate(rows).astype(np.int64) if rows else np.zeros(0, np.int64),
            np.concatenate(scores).astype(np.float32) if scores else np.zeros(0, np.float32),
            queries.num_queries * self.shard.num_items,
            queries.num_queries,
        )

    def count_before(self, queries: Queries, targets: Targets) -> np.ndarray:
        """See `Engine.count_before`."""
        check_queries(queries, 1, self.shard)
        counts = np.zeros(len(targets.rows), np.int64)
        for q in range(queries.num_queries):
            visible_rows, visible_scores = self.scored(queries, q)
            for n in range(targets.offsets[q], targets.offsets[q + 1]):
                row, score = targets.rows[n] - self.shard.first_row, targets.scores[n]
                counts[n] = ((visible_scores > score) | ((visible_scores == score) & (visible_rows < row))).sum()
        return counts

    def scored(self, queries: Queries, q: int) -> tuple[np.ndarray, np.ndarray]:
        """The local rows that query q may be shown, ascending, and their scores."""
        shard = self.shard
        is_visible = eligible_items(shard.words_IW, queries.words_QW[q], shard.clause_ranges)
        seen = queries.seen_rows[queries.seen_offsets[q] : queries.seen_offsets[q + 1]] - shard.first_row
        is_visible[seen[(seen >= 0) & (seen < shard.num_items)]] = False
        visible_rows = np.flatnonzero(is_visible)
        return visible_rows, canonical_scores(queries.vectors_QD[q : q + 1], self._vectors_ID[visible_rows])
