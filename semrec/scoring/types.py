"""What goes into an engine and what comes out.

Axes: U users, I items, Q queries, D dimensions, W eligibility words, K results.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from semrec.errors import InputError

_CHECKED_ROWS = 65_536

__all__ = ["ItemShard", "Queries", "TopK", "check_queries", "select_top_k"]


@dataclass(frozen=True)
class ItemShard:
    """A contiguous range of the item matrix.

    `vectors_ID` float32, finite; `words_IW` uint64 eligibility bitsets; clause c owns words
    `clause_starts[c] : clause_starts[c + 1]` (the last one runs to W). Row r here is row `first_row + r` of the matrix.
    """

    vectors_ID: np.ndarray
    words_IW: np.ndarray
    clause_starts: tuple[int, ...] = ()
    first_row: int = 0

    @property
    def num_items(self) -> int:
        return int(self.vectors_ID.shape[0])

    @property
    def clause_ranges(self) -> list[tuple[int, int]]:
        """First and last-plus-one word of each clause."""
        edges = [*self.clause_starts, self.words_IW.shape[1]]
        return list(pairwise(edges))

    @classmethod
    def without_clauses(cls, vectors_ID: np.ndarray, first_row: int = 0) -> ItemShard:
        """A shard in which every item is eligible for everybody."""
        return cls(vectors_ID, np.zeros((len(vectors_ID), 0), np.uint64), (), first_row)

    def check_finite(self) -> None:
        """Raises InputError naming the first row that holds NaN or infinity."""
        for start in range(0, self.num_items, _CHECKED_ROWS):
            bad = np.flatnonzero(~np.isfinite(self.vectors_ID[start : start + _CHECKED_ROWS]).all(axis=1))
            if len(bad):
                raise InputError(
                    f"the vector of row {bad[0] + start + self.first_row} is not finite",
                    expected="finite float32 vectors",
                    remedy="Find out why the item's vector broke; a release refuses such items by item_id.",
                )

    def slice(self, start: int, stop: int) -> ItemShard:
        """Rows start:stop of this shard as a shard of their own."""
        rows = slice(start, stop)
        return ItemShard(self.vectors_ID[rows], self.words_IW[rows], self.clause_starts, self.first_row + start)


@dataclass(frozen=True)
class Queries:
    """Users to be scored.

    `vectors_QD` float32; `words_QW` uint64; query q has seen the matrix rows
    `seen_rows[seen_offsets[q] : seen_offsets[q + 1]]`, int64, in any order.
    """

    vectors_QD: np.ndarray
    words_QW: np.ndarray
    seen_offsets: np.ndarray
    seen_rows: np.ndarray

    @property
    def num_queries(self) -> int:
        return int(self.vectors_QD.shape[0])

    @classmethod
    def unfiltered(cls, vectors_QD: np.ndarray, num_words: int = 0) -> Queries:
        """Queries that have seen nothing and may see everything (bit 0 of every word set, see `eligibility`)."""
        num = len(vectors_QD)
        words = np.ones((num, num_words), np.uint64)
        return cls(vectors_QD, words, np.zeros(num + 1, np.int64), np.zeros(0, np.int64))

    def take(self, rows: np.ndarray) -> Queries:
        """The queries at `rows`, in that order."""
        lengths = np.diff(self.seen_offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        starts = np.repeat(self.seen_offsets[rows] - offsets[:-1], lengths)
        seen = self.seen_rows[starts + np.arange(offsets[-1])] if offsets[-1] else self.seen_rows[:0]
        return Queries(self.vectors_QD[rows], self.words_QW[rows], offsets, seen)


@dataclass(frozen=True)
class TopK:
    """Results, ragged: query q owns `rows[offsets[q] : offsets[q + 1]]`, best first, at most K of them.

    `rows` int64 matrix rows; `scores` float32. `num_candidates` rescored pairs, `num_exhaustive` queries done exhaustively.
    """

    offsets: np.ndarray
    rows: np.ndarray
    scores: np.ndarray
    num_candidates: int = field(default=0, compare=False)
    num_exhaustive: int = field(default=0, compare=False)

    @property
    def num_queries(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """How many results each query has: int64 [Q]."""
        return np.diff(self.offsets)

    @classmethod
    def merge(cls, parts: list[TopK], k: int) -> TopK:
        """The top K of the union of disjoint shards' results for the same queries."""
        num_queries = parts[0].num_queries
        queries = np.concatenate([np.repeat(np.arange(num_queries), part.lengths) for part in parts])
        merged = select_top_k(
            queries,
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.scores for part in parts]),
            num_queries,
            k,
        )
        candidates, exhaustive = sum(p.num_candidates for p in parts), max(p.num_exhaustive for p in parts)
        return cls(merged.offsets, merged.rows, merged.scores, candidates, exhaustive)


def select_top_k(queries: np.ndarray, rows: np.ndarray, scores: np.ndarray, num_queries: int, k: int) -> TopK:
    """Of scored pairs, each query's first K by (score descending, row ascending).

    `queries`, `rows` int64 [N]; `scores` float32 [N] canonical. Every pair must stand at most once.
    """
    order = np.lexsort((rows, -scores, queries))
    counts = np.bincount(queries, minlength=num_queries)
    starts = np.cumsum(counts) - counts
    rank = np.arange(len(order)) - np.repeat(starts, counts)
    chosen = order[rank < k]
    offsets = np.concatenate([[0], np.cumsum(np.minimum(counts, k))]).astype(np.int64)
    return TopK(offsets, rows[chosen].astype(np.int64), scores[chosen].astype(np.float32))


def check_queries(queries: Queries, k: int, dimension: int) -> None:
    """Raises InputError when K < 1 or the queries have another dimension than the items."""
    if k < 1:
        raise InputError(f"K = {k}", expected="at least 1", remedy="Ask for one result or more.")
    if queries.vectors_QD.shape[1] != dimension:
        raise InputError(
            f"queries of {queries.vectors_QD.shape[1]} dimensions",
            expected=f"{dimension}, as the item matrix has",
            remedy="Use users and items of one release.",
        )
