"""The inputs and results of an engine: a shard of items, queries, targets, and ragged top-K lists.

Axes: U users, I items, Q queries, D dimensions, W eligibility words, K results.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from semrec.errors import DeviceError, InputError
from semrec.scoring.formats import NORM, STORED_NORMS, CoarseFormat, row_norms
from semrec.scoring.halves import join_halves, split_halves

_CHECKED_ROWS = 65_536
_ENCODED_ROWS = 8_192

__all__ = [
    "ItemShard",
    "Queries",
    "Targets",
    "TopK",
    "check_queries",
    "check_query_shapes",
    "first_places",
    "query_not_finite",
    "rows_not_finite",
    "select_top_k",
    "take_lists",
]


@dataclass(frozen=True)
class ItemShard:
    """A contiguous range of the item matrix.

    `high_ID` uint16 and `low_ID` int16 are the halves of the float32 vectors (`halves`); `norms_IN` float32 are their columns
    `formats.STORED_NORMS`; `words_IW` uint64 eligibility bitsets; clause c owns words
    `clause_starts[c] : clause_starts[c + 1]` (the last one runs to W). Row r here is row `first_row + r` of the matrix.
    """

    high_ID: np.ndarray
    low_ID: np.ndarray
    norms_IN: np.ndarray
    words_IW: np.ndarray
    clause_starts: tuple[int, ...] = ()
    first_row: int = 0

    @classmethod
    def from_vectors(
        cls,
        vectors_ID: np.ndarray,
        words_IW: np.ndarray | None = None,
        clause_starts: tuple[int, ...] = (),
        first_row: int = 0,
    ) -> ItemShard:
        """A shard of float32 vectors; without words every item is eligible for everybody.

        Raises InputError naming the first row that holds NaN or infinity.
        """
        _check_finite(vectors_ID, first_row)
        words = np.zeros((len(vectors_ID), 0), np.uint64) if words_IW is None else words_IW
        return cls(*split_halves(vectors_ID), row_norms(vectors_ID), words, clause_starts, first_row)

    @property
    def num_items(self) -> int:
        return int(self.high_ID.shape[0])

    @property
    def dimension(self) -> int:
        return int(self.high_ID.shape[1])

    @property
    def clause_ranges(self) -> list[tuple[int, int]]:
        """First and last-plus-one word of each clause."""
        edges = [*self.clause_starts, self.words_IW.shape[1]]
        return list(pairwise(edges))

    def vectors(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The float32 vectors of some rows of this shard, a fresh array: [len(rows), D]."""
        return join_halves(self.high_ID[rows], self.low_ID[rows])

    def norms_of(self, coarse: CoarseFormat) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Norm, scale and residual norm of each row in a coarse format: float32 [I] each.

        They are taken from `norms_IN`, or computed for a format that stores none.
        """
        norm_I = self._norm(NORM)
        scale_I, residual_I = np.ones(self.num_items, np.float32), np.zeros(self.num_items, np.float32)
        if set(coarse.columns) <= set(STORED_NORMS):
            if coarse.scale_column:
                scale_I = self._norm(coarse.scale_column)
            if coarse.residual_column:
                residual_I = self._norm(coarse.residual_column)
            return norm_I, scale_I, residual_I
        for start in range(0, self.num_items, _ENCODED_ROWS):
            rows = slice(start, start + _ENCODED_ROWS)
            scale_I[rows], residual_I[rows] = coarse.row_columns(self.vectors(rows), norm_I[rows])
        return norm_I, scale_I, residual_I

    def every(self, step: int, *, copied: bool = True) -> ItemShard:
        """Every `step`-th item, with rows counted from 0: copied side by side, or where they lie."""
        high, low, norms, words = (array[::step].copy() if copied else array[::step] for array in self._arrays)
        return ItemShard(high, low, norms, words, self.clause_starts)

    def slice(self, start: int, stop: int) -> ItemShard:
        """Rows start:stop of this shard as a shard of their own."""
        high, low, norms, words = (array[start:stop] for array in self._arrays)
        return ItemShard(high, low, norms, words, self.clause_starts, int(self.first_row + start))

    def _norm(self, name: str) -> np.ndarray:
        return np.asarray(self.norms_IN[:, STORED_NORMS.index(name)])

    @property
    def _arrays(self) -> tuple[np.ndarray, ...]:
        return self.high_ID, self.low_ID, self.norms_IN, self.words_IW


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

    def between(self, start: int, stop: int) -> Queries:
        """The queries start:stop."""
        first, last = self.seen_offsets[start], self.seen_offsets[stop]
        offsets, rows = self.seen_offsets[start : stop + 1] - first, self.seen_rows[first:last]
        return Queries(self.vectors_QD[start:stop], self.words_QW[start:stop], offsets, rows)

    def seen_of(self, shard: ItemShard) -> tuple[np.ndarray, np.ndarray]:
        """Seen rows inside `shard`, as CSR: offsets int64 [Q + 1], and rows of the shard, int64, ascending per query."""
        rows = self.seen_rows - shard.first_row
        owner = np.repeat(np.arange(self.num_queries), np.diff(self.seen_offsets))
        inside = (rows >= 0) & (rows < shard.num_items)
        owner, rows = owner[inside], rows[inside]
        if ((owner[1:] == owner[:-1]) & (rows[1:] < rows[:-1])).any():
            rows = rows[np.lexsort((rows, owner))]
        return _offsets(np.bincount(owner, minlength=self.num_queries)), np.ascontiguousarray(rows, dtype=np.int64)

    def take(self, rows: np.ndarray) -> Queries:
        """The queries at `rows`, in that order."""
        offsets, positions = take_lists(self.seen_offsets, rows)
        return Queries(self.vectors_QD[rows], self.words_QW[rows], offsets, self.seen_rows[positions])


@dataclass(frozen=True)
class Targets:
    """Items whose rank is wanted, ragged: those of query q are `rows[offsets[q] : offsets[q + 1]]`.

    `rows` int64 matrix rows; `scores` float32: the canonical score of each for its query.
    """

    offsets: np.ndarray
    rows: np.ndarray
    scores: np.ndarray

    def between(self, start: int, stop: int) -> Targets:
        """The targets of the queries start:stop."""
        first, last = self.offsets[start], self.offsets[stop]
        return Targets(self.offsets[start : stop + 1] - first, self.rows[first:last], self.scores[first:last])


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

    def padded(self, k: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The lists as matrices of K columns, by default as many as the longest has: int64 rows and float32 scores [Q, K].

        What a list is too short for is row -1 with score minus infinity; `lengths` says how long each is.
        """
        k = int(self.lengths.max(initial=0)) if k is None else k
        rows_QK, scores_QK = (
            np.full((self.num_queries, k), -1, np.int64),
            np.full((self.num_queries, k), -np.inf, np.float32),
        )
        rank_N = np.arange(len(self.rows)) - np.repeat(self.offsets[:-1], self.lengths)
        query_N, is_within_N = np.repeat(np.arange(self.num_queries), self.lengths), rank_N < k
        at = query_N[is_within_N], rank_N[is_within_N]
        rows_QK[at], scores_QK[at] = self.rows[is_within_N], self.scores[is_within_N]
        return rows_QK, scores_QK

    def kth_scores(self, k: int) -> np.ndarray:
        """Each query's K-th score, or minus infinity where there are fewer: float32 [Q]."""
        kth_Q = np.full(self.num_queries, -np.inf, np.float32)
        full = np.flatnonzero(self.lengths >= k)
        kth_Q[full] = self.scores[self.offsets[full] + k - 1]
        return kth_Q

    def replaced(self, queries: np.ndarray, other: TopK) -> TopK:
        """A copy in which the lists of `queries`, int64, are those of `other`, in the same order."""
        list_Q = np.arange(self.num_queries)
        list_Q[queries] = self.num_queries + np.arange(len(queries))
        both = TopK.concatenate([self, other])
        offsets, positions = take_lists(both.offsets, list_Q)
        return TopK(offsets, both.rows[positions], both.scores[positions], both.num_candidates, both.num_exhaustive)

    @classmethod
    def concatenate(cls, blocks: list[TopK]) -> TopK:
        """The results of consecutive blocks of queries as those of all of them; a single one is not copied."""
        if len(blocks) == 1:
            return blocks[0]
        lengths = np.concatenate([np.zeros(0, np.int64), *(block.lengths for block in blocks)])
        return cls(
            _offsets(lengths),
            np.concatenate([np.zeros(0, np.int64), *(block.rows for block in blocks)]),
            np.concatenate([np.zeros(0, np.float32), *(block.scores for block in blocks)]),
            sum(block.num_candidates for block in blocks),
            sum(block.num_exhaustive for block in blocks),
        )

    @classmethod
    def merge(cls, parts: list[TopK], k: int) -> TopK:
        """The top K of the union of disjoint shards' results for the same queries."""
        if len(parts) == 1 and (parts[0].lengths <= k).all():
            return parts[0]
        num_queries = parts[0].num_queries
        queries = np.concatenate([np.repeat(np.arange(num_queries), part.lengths) for part in parts])
        merged = select_top_k(
            queries,
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.scores for part in parts]),
            num_queries,
            k,
        )
        num_candidates = sum(part.num_candidates for part in parts)
        # A query that one shard did exhaustively counts once: how many did in several is not known here.
        num_exhaustive = max(part.num_exhaustive for part in parts)
        return cls(merged.offsets, merged.rows, merged.scores, num_candidates, num_exhaustive)


def take_lists(offsets: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Picks lists of a CSR in the order of `chosen`: their own offsets, and the positions of their entries in it. int64."""
    lengths = np.diff(offsets)[chosen]
    new_offsets = _offsets(lengths)
    return new_offsets, np.repeat(offsets[:-1][chosen] - new_offsets[:-1], lengths) + np.arange(new_offsets[-1])


def _offsets(lengths: np.ndarray) -> np.ndarray:
    """The offsets of ragged lists of these lengths: int64 [len(lengths) + 1]."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def select_top_k(queries: np.ndarray, rows: np.ndarray, scores: np.ndarray, num_queries: int, k: int) -> TopK:
    """Selects each query's first K of scored pairs by (score descending, row ascending).

    `queries`, `rows` int64 [N]; `scores` float32 [N] canonical. Every pair must stand at most once.
    """
    offsets, chosen = first_places(queries, rows, scores, num_queries, k)
    return TopK(offsets, rows[chosen].astype(np.int64), scores[chosen].astype(np.float32))


def first_places(
    queries: np.ndarray, rows: np.ndarray, scores: np.ndarray, num_queries: int, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Where the first K of each query stand among scored pairs, as `select_top_k` has them: offsets and places, int64."""
    order = np.lexsort((rows, -scores, queries))
    counts = np.bincount(queries, minlength=num_queries)
    starts = np.cumsum(counts) - counts
    rank = np.arange(len(order)) - np.repeat(starts, counts)
    return _offsets(np.minimum(counts, k)), order[rank < k]


def check_queries(queries: Queries, k: int, shard: ItemShard) -> None:
    """Raises InputError when K < 1, the queries do not fit the shard, or one of their vectors is not finite.

    Raises DeviceError in a thread that flushes subnormal numbers to zero: scores would lose their bytes.
    """
    check_query_shapes(queries, k, shard)
    bad_rows = rows_not_finite(queries.vectors_QD)
    if len(bad_rows):
        raise query_not_finite(int(bad_rows[0]))


def check_query_shapes(queries: Queries, k: int, shard: ItemShard) -> None:
    """`check_queries` without a look at the vectors, for an engine that finds out by itself whether they are finite."""
    if k < 1:
        raise InputError(f"K = {k}", expected="at least 1", remedy="Ask for one result or more.")
    if queries.vectors_QD.shape[1] != shard.dimension:
        raise InputError(
            f"queries of {queries.vectors_QD.shape[1]} dimensions",
            expected=f"{shard.dimension}, as the item matrix has",
            remedy="Use users and items of one release.",
        )
    if queries.words_QW.shape[1] != shard.words_IW.shape[1]:
        raise InputError(
            f"queries with {queries.words_QW.shape[1]} eligibility words",
            expected=f"{shard.words_IW.shape[1]}, as the items have",
            remedy="Use users and items of one release.",
        )
    _check_subnormals()


def query_not_finite(query: int) -> InputError:
    """The error of a query whose vector holds NaN or infinity."""
    return InputError(
        f"the vector of query {query} is not finite",
        expected="finite float32 vectors",
        remedy="Find out why the user's vector broke: it has no order of items.",
    )


def rows_not_finite(vectors_ID: np.ndarray) -> np.ndarray:
    """The rows that hold NaN or infinity, ascending: int64."""
    bad_rows = [np.zeros(0, np.int64)]
    for start in range(0, len(vectors_ID), _CHECKED_ROWS):
        is_finite = np.isfinite(vectors_ID[start : start + _CHECKED_ROWS]).all(axis=1)
        bad_rows.append(np.flatnonzero(~is_finite) + start)
    return np.concatenate(bad_rows)


def _check_subnormals() -> None:
    smallest = np.full(1, 2.0**-149, np.float32)  # an array, because numpy may have folded a scalar's product before
    if not (smallest * np.float32(1)).any():
        raise DeviceError(
            "a thread that flushes subnormal numbers to zero",
            expected="scores as IEEE 754 has them, to the last byte",
            remedy="Call torch.set_flush_denormal(False) in it; libraries built with -ffast-math set it, too.",
        )


def _check_finite(vectors_ID: np.ndarray, first_row: int) -> None:
    bad_rows = rows_not_finite(vectors_ID)
    if len(bad_rows):
        raise InputError(
            f"the vector of row {bad_rows[0] + first_row} is not finite",
            expected="finite float32 vectors",
            remedy="Find out why the item's vector broke; a release refuses such items by item_id.",
        )
