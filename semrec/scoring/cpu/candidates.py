"""Candidate buffers of a block of queries: filled tile by tile, shrunk when full, rescored and sorted at the end.

Each query keeps its candidates in ascending rows. Its threshold is the K-th largest lower bound so far: at least K items reach
it, so an item whose upper bound stays below is not among the first K and ties with none of them. A full buffer keeps what
reaches the threshold. Where that is still too much, its candidates are scored canonically, after which K are enough. So
nothing overflows, and no pair is scored twice.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from semrec.compiled import compiled
from semrec.scoring.cpu.llvm import lanes_dot, prefetch

__all__ = [
    "Bounds",
    "CandidateBuffers",
    "RescoreVectors",
    "canonical_score",
    "error_of_item",
    "finish",
    "kth_largest_of_rows",
    "new_candidate_buffers",
    "score_bounds",
    "shrink_buffer",
]

_CACHE_LINE = 64
_PREFETCHED_ROWS = 2  # rows ahead of the one that is scored


class RescoreVectors(NamedTuple):
    """The vectors of canonical scores: queries float32 [Q, D]; items in halves, uint16 and int16 [I, D]."""

    queries_QD: np.ndarray
    high_ID: np.ndarray
    low_ID: np.ndarray


class Bounds(NamedTuple):
    """Scales of the coarse format (else ones), and the terms of its bound (`formats.base`). float32.

    Item arrays are one group longer than the items, so that whole groups can be read.
    """

    scale_Q: np.ndarray
    a_Q: np.ndarray
    b_Q: np.ndarray
    c_Q: np.ndarray
    scale_I: np.ndarray
    norm_I: np.ndarray
    residual_I: np.ndarray
    eta: float


class CandidateBuffers(NamedTuple):
    """Up to N candidates of each query, in ascending rows: int32 rows, float32 scores, [Q, N] each; int64 counts [Q].

    Scores are coarse; those of rows stored as ~row are canonical. `threshold_Q` float32; `num_scored_Q`, `num_visible_Q`
    int64: pairs scored canonically, and items passed that the query may be shown.
    """

    row_QN: np.ndarray
    score_QN: np.ndarray
    count_Q: np.ndarray
    threshold_Q: np.ndarray
    num_scored_Q: np.ndarray
    num_visible_Q: np.ndarray


def new_candidate_buffers(capacity: int, threshold_Q: np.ndarray) -> CandidateBuffers:
    """Empty buffers of queries that only look for scores of `threshold_Q`, float32, and above."""
    row_QN = np.empty((len(threshold_Q), capacity), np.int32)
    counts = np.zeros((3, len(threshold_Q)), np.int64)
    score_QN = np.empty(row_QN.shape, np.float32)
    return CandidateBuffers(row_QN, score_QN, counts[0], threshold_Q.copy(), counts[1], counts[2])


@compiled
def error_of_item(bounds, q, norm, residual):  # type: ignore[no-untyped-def]
    """The part of the error that does not depend on the coarse score, float64. NaN and infinity mean: unbounded."""
    return np.float64(bounds.a_Q[q]) * norm + np.float64(bounds.b_Q[q]) * residual + np.float64(bounds.c_Q[q])


@compiled
def score_bounds(bounds, q, row, score):  # type: ignore[no-untyped-def]
    """Lower and upper bound of the canonical score, float32; infinities where the coarse score says nothing."""
    error = error_of_item(bounds, q, bounds.norm_I[row], bounds.residual_I[row]) + bounds.eta * abs(np.float64(score))
    if not error < np.inf:  # NaN as well: infinity times a residual of zero
        return np.float32(-np.inf), np.float32(np.inf)
    return np.float32(score - error), np.float32(score + error)


@compiled
def shrink_buffer(q, k, bounds, buffers, vectors, lower_N):  # type: ignore[no-untyped-def]
    """Drops candidates that cannot be among the first K; scores canonically those that the bounds cannot tell apart.

    Leaves at most (K + capacity) / 2 of them, so that a buffer is shrunk once for many items. `lower_N` is scratch.
    """
    _drop_below(q, k, bounds, buffers, lower_N)
    row_N, score_N, count = buffers.row_QN[q], buffers.score_QN[q], buffers.count_Q[q]
    if count <= (k + len(row_N)) // 2:
        return
    for n in range(count):
        if row_N[n] >= 0:
            score_N[n] = canonical_score(q, row_N[n], vectors)
            row_N[n] = ~row_N[n]
            buffers.num_scored_Q[q] += 1
    _drop_below(q, k, bounds, buffers, lower_N)
    # Now the threshold is the K-th canonical score: all above it stay, and as many ties as fill K.
    count, threshold = buffers.count_Q[q], buffers.threshold_Q[q]
    num_ties_left = k
    for n in range(count):
        num_ties_left -= score_N[n] > threshold
    num_left = 0
    for n in range(count):  # rows ascend, so the first ties are those to keep
        if score_N[n] > threshold or num_ties_left > 0:
            num_ties_left -= score_N[n] == threshold
            row_N[num_left], score_N[num_left] = row_N[n], score_N[n]
            num_left += 1
    buffers.count_Q[q] = num_left


@compiled
def _drop_below(q, k, bounds, buffers, lower_N):  # type: ignore[no-untyped-def]
    """Raises the threshold to the K-th largest lower bound, and keeps the candidates that reach it, in their order.

    `lower_N` is scratch, as large as a buffer.
    """
    row_N, score_N, count = buffers.row_QN[q], buffers.score_QN[q], buffers.count_Q[q]
    if count < k:
        return
    for n in range(count):
        lower_N[n] = score_N[n] if row_N[n] < 0 else score_bounds(bounds, q, row_N[n], score_N[n])[0]
    threshold = max(buffers.threshold_Q[q], _kth_largest(lower_N[:count], k))
    num_left = 0
    for n in range(count):
        upper = score_N[n] if row_N[n] < 0 else score_bounds(bounds, q, row_N[n], score_N[n])[1]
        if upper >= threshold:
            row_N[num_left], score_N[num_left] = row_N[n], score_N[n]
            num_left += 1
    buffers.count_Q[q], buffers.threshold_Q[q] = num_left, threshold


@compiled
def kth_largest_of_rows(values_QN, k, kth_Q):  # type: ignore[no-untyped-def]
    """Fills `kth_Q`, float32, with the K-th largest value of each row; reorders the rows."""
    for q in range(len(values_QN)):
        kth_Q[q] = _kth_largest(values_QN[q], k)


@compiled
def _kth_largest(values, k):  # type: ignore[no-untyped-def]
    """The K-th largest of at least K numbers, by Hoare's quickselect; reorders them."""
    low, high, rank = 0, len(values) - 1, k - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] > pivot:
                i += 1
            while values[j] < pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if rank <= j:
            high = j
        elif rank >= i:
            low = i
        else:  # between the two halves all values equal the pivot
            break
    return values[rank]


@compiled
def canonical_score(q, row, vectors):  # type: ignore[no-untyped-def]
    """The canonical score of a pair, float32."""
    dimension = vectors.queries_QD.shape[1]
    query = np.uintp(vectors.queries_QD.ctypes.data) + np.uintp(q * dimension * 4)
    offset = np.uintp(row * dimension * 2)
    high, low = np.uintp(vectors.high_ID.ctypes.data) + offset, np.uintp(vectors.low_ID.ctypes.data) + offset
    return np.float32(lanes_dot(query, high, low, dimension)) + np.float32(0.0)  # -0.0 becomes 0.0


@compiled
def finish(k, num_rows, bounds, buffers, vectors):  # type: ignore[no-untyped-def]
    """Scores the candidates canonically and returns the first K of every query, best first.

    Returns offsets int64 [Q + 1], rows int64 and scores float32 of the ragged lists. The candidates with the K largest
    lower bounds are scored first. The lowest of their scores raises the threshold, and only what still reaches it is scored
    then. Pairs of all queries are scored in ascending order of their rows, so that the item matrix is read once.
    """
    num_queries, capacity = buffers.row_QN.shape
    lower_N = np.empty(capacity, np.float32)
    for phase in range(2):
        slots, count = np.empty(buffers.count_Q.sum(), np.int64), 0
        for q in range(num_queries):
            _drop_below(q, k, bounds, buffers, lower_N)
            is_short = buffers.count_Q[q] <= k  # then all of them are results
            for n in range(buffers.count_Q[q]):
                row = buffers.row_QN[q, n]
                if row < 0:
                    continue
                lower = score_bounds(bounds, q, row, buffers.score_QN[q, n])[0]
                if phase == 1 or is_short or lower >= buffers.threshold_Q[q]:
                    slots[count] = q * capacity + n
                    count += 1
        _score_slots(_slots_by_row(slots[:count], num_rows, buffers), buffers, vectors)
    offsets = np.zeros(num_queries + 1, np.int64)
    for q in range(num_queries):
        offsets[q + 1] = offsets[q] + min(k, buffers.count_Q[q])
    rows, scores = np.empty(offsets[-1], np.int64), np.empty(offsets[-1], np.float32)
    for q in range(num_queries):
        row_N, score_N = buffers.row_QN[q, : buffers.count_Q[q]], buffers.score_QN[q]
        _sort_best(row_N, score_N, rows[offsets[q] : offsets[q + 1]], scores[offsets[q] : offsets[q + 1]])
    return offsets, rows, scores


@compiled
def _slots_by_row(slots, num_rows, buffers):  # type: ignore[no-untyped-def]
    """Orders slots of the buffers (query * capacity + n) by ascending row."""
    capacity = buffers.row_QN.shape[1]
    if len(slots) * 8 < num_rows:  # a counting sort would spend its time on rows without a candidate
        row_of_slot = np.empty(len(slots), np.int64)
        for i in range(len(slots)):
            row_of_slot[i] = buffers.row_QN[slots[i] // capacity, slots[i] % capacity]
        return slots[np.argsort(row_of_slot)]
    starts = np.zeros(num_rows + 1, np.int64)
    for i in range(len(slots)):
        starts[buffers.row_QN[slots[i] // capacity, slots[i] % capacity] + 1] += 1
    for r in range(num_rows):
        starts[r + 1] += starts[r]
    ordered = np.empty(len(slots), np.int64)
    for i in range(len(slots)):
        row = buffers.row_QN[slots[i] // capacity, slots[i] % capacity]
        ordered[starts[row]] = slots[i]
        starts[row] += 1
    return ordered


@compiled
def _score_slots(slots, buffers, vectors):  # type: ignore[no-untyped-def]
    """Scores candidates canonically. Those whose rows ascend read the matrix as it lies.

    The rows stand far apart, so no hardware prefetcher sees a pattern: the cache lines of the next ones are asked for here.
    """
    capacity, row_bytes = buffers.row_QN.shape[1], vectors.high_ID.shape[1] * 2
    high, low = np.uintp(vectors.high_ID.ctypes.data), np.uintp(vectors.low_ID.ctypes.data)
    for i in range(len(slots)):
        if i + _PREFETCHED_ROWS < len(slots):
            ahead = slots[i + _PREFETCHED_ROWS]
            offset = np.uintp(np.int64(buffers.row_QN[ahead // capacity, ahead % capacity]) * row_bytes)
            for line in range(0, row_bytes, _CACHE_LINE):
                prefetch(high + offset + np.uintp(line))
                prefetch(low + offset + np.uintp(line))
        q, n = slots[i] // capacity, slots[i] % capacity
        row = buffers.row_QN[q, n]
        buffers.score_QN[q, n] = canonical_score(q, np.int64(row), vectors)
        buffers.row_QN[q, n] = ~row
        buffers.num_scored_Q[q] += 1


@compiled
def _sort_best(row_N, score_N, best_rows, best_scores):  # type: ignore[no-untyped-def]
    """Sorts by (score descending, row ascending) and fills `best_rows` and `best_scores` with the first.

    One uint64 key holds both: above, bits of the score that ascend as scores descend; below, the row.
    """
    keys = np.empty(len(row_N), np.uint64)
    for n in range(len(row_N)):
        bits = np.uint64(np.float32(score_N[n]).view(np.uint32))
        if not bits & np.uint64(0x80000000):  # not negative: descending scores are ascending complements
            bits = ~bits & np.uint64(0x7FFFFFFF)
        keys[n] = (bits << np.uint64(32)) | np.uint64(row_N[n] if row_N[n] >= 0 else ~row_N[n])
    keys.sort()
    for n in range(len(best_rows)):
        bits = keys[n] >> np.uint64(32)
        if not bits & np.uint64(0x80000000):
            bits = ~bits & np.uint64(0x7FFFFFFF)
        best_rows[n], best_scores[n] = keys[n] & np.uint64(0xFFFFFFFF), np.uint32(bits).view(np.float32)
