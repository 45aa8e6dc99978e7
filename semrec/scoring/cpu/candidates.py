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
from semrec.scoring.cpu.canonical import lanes_dot, wide_lanes_dot, widen
from semrec.scoring.cpu.llvm import GROUP, count_at_least, prefetch

__all__ = [
    "Bounds",
    "CandidateBuffers",
    "RescoreVectors",
    "buffer_capacity",
    "canonical_score",
    "error_of_item",
    "finish",
    "kth_largest_of_rows",
    "largest_norms",
    "new_candidate_buffers",
    "score_bounds",
    "score_lists",
    "shrink_buffer",
]

_CACHE_LINE = 64
_PREFETCHED_ROWS = 2  # rows ahead of the one that is scored
_FEWEST_FOR_RADIX, _RADIX = 400, 2048  # keys, and values of a digit
_PAIRS_PER_ROW = 8  # that are scored while a row passes


class RescoreVectors(NamedTuple):
    """The vectors of canonical scores: queries float32 [Q, D]; items in halves, uint16 and int16 [I, D]."""

    queries_QD: np.ndarray
    high_ID: np.ndarray
    low_ID: np.ndarray


class Bounds(NamedTuple):
    """Scales of the coarse format (else ones), and the terms of its bound (`formats.base`). float32.

    Item arrays are one group longer than the items, so that whole groups can be read. `norm_G`, `residual_G`: the largest of
    each group of 64 items. `are_scores`: coarse scores are those to be ordered by (`CoarseFormat.is_score`).
    """

    scale_Q: np.ndarray
    a_Q: np.ndarray
    b_Q: np.ndarray
    c_Q: np.ndarray
    scale_I: np.ndarray
    norm_I: np.ndarray
    residual_I: np.ndarray
    norm_G: np.ndarray
    residual_G: np.ndarray
    eta: float
    are_scores: bool


class CandidateBuffers(NamedTuple):
    """Up to N candidates of each query, in ascending rows: int32 rows, float32 scores, [Q, N] each; int64 counts [Q].

    Scores are coarse; those of rows stored as ~row are final: canonical, or of a format that `is_score`. `threshold_Q` float32;
    `num_scored_Q`, `num_visible_Q` int64: pairs scored canonically, and items passed that the query may be shown. `full_Q`
    int64: with how many a buffer is shrunk, at most N; it begins with few, which raise the threshold early, and doubles where
    the bounds leave too many.
    """

    row_QN: np.ndarray
    score_QN: np.ndarray
    count_Q: np.ndarray
    threshold_Q: np.ndarray
    num_scored_Q: np.ndarray
    num_visible_Q: np.ndarray
    full_Q: np.ndarray


def new_candidate_buffers(k: int, threshold_Q: np.ndarray) -> CandidateBuffers:
    """Empty buffers of queries that only look for K scores of `threshold_Q`, float32, and above."""
    capacity = buffer_capacity(k)
    row_QN = np.empty((len(threshold_Q), capacity), np.int32)
    counts = np.zeros((3, len(threshold_Q)), np.int64)
    score_QN = np.empty(row_QN.shape, np.float32)
    full_Q = np.full(len(threshold_Q), min(3 * k + 48, capacity), np.int64)
    return CandidateBuffers(row_QN, score_QN, counts[0], threshold_Q.copy(), counts[1], counts[2], full_Q)


def buffer_capacity(k: int) -> int:
    """How many candidates a query's buffer holds at most."""
    return 6 * k + 512


@compiled
def error_of_item(bounds, q, norm, residual):  # type: ignore[no-untyped-def]
    """The part of the error that does not depend on the coarse score, float64. NaN and infinity mean: unbounded."""
    return np.float64(bounds.a_Q[q]) * norm + np.float64(bounds.b_Q[q]) * residual + np.float64(bounds.c_Q[q])


@compiled
def largest_norms(bounds, start, num_items):  # type: ignore[no-untyped-def]
    """The largest norm and residual of so many items from row `start` on, a multiple of 64, or of their last group."""
    groups = slice(start // GROUP, (start + num_items + GROUP - 1) // GROUP)
    return bounds.norm_G[groups].max(), bounds.residual_G[groups].max()


@compiled
def score_bounds(bounds, q, row, score):  # type: ignore[no-untyped-def]
    """Lower and upper bound of the canonical score, float32; infinities where the coarse score says nothing."""
    error = error_of_item(bounds, q, bounds.norm_I[row], bounds.residual_I[row]) + bounds.eta * abs(np.float64(score))
    if not error < np.inf:  # NaN as well: infinity times a residual of zero
        return np.float32(-np.inf), np.float32(np.inf)
    return np.float32(score - error), np.float32(score + error)


@compiled
def shrink_buffer(q, k, bounds, buffers, vectors, bounds_3N):  # type: ignore[no-untyped-def]
    """Drops candidates that cannot be among the first K; scores canonically those that the bounds cannot tell apart.

    Scores none as long as the buffer may grow. Leaves about half of it empty, so that it is shrunk once for many items.
    `bounds_3N` is scratch.
    """
    _drop_below(q, k, bounds, buffers, bounds_3N)
    row_N, score_N, count = buffers.row_QN[q], buffers.score_QN[q], buffers.count_Q[q]
    if count <= (k + buffers.full_Q[q]) // 2:
        return
    if buffers.full_Q[q] < len(row_N):
        buffers.full_Q[q] = min(2 * buffers.full_Q[q], len(row_N))
        return
    for n in range(count):
        if row_N[n] >= 0:
            score_N[n] = canonical_score(q, row_N[n], vectors)
            row_N[n] = ~row_N[n]
            buffers.num_scored_Q[q] += 1
    _drop_below(q, k, bounds, buffers, bounds_3N)
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
def _drop_below(q, k, bounds, buffers, bounds_3N):  # type: ignore[no-untyped-def]
    """Raises the threshold to the K-th largest lower bound, and keeps the candidates that reach it, in their order.

    `bounds_3N` is scratch for three times a buffer. Where there were K candidates, its first rows are the lower and upper
    bounds of those kept.
    """
    row_N, score_N, count = buffers.row_QN[q], buffers.score_QN[q], buffers.count_Q[q]
    if count < k:
        return
    lower_N, upper_N, keys_N = bounds_3N[0, :count], bounds_3N[1, :count], bounds_3N[2, :count]
    _fill_bounds(q, bounds, row_N, score_N, lower_N, upper_N)
    keys_N[:] = lower_N
    threshold = max(buffers.threshold_Q[q], _kth_largest(keys_N, k))
    num_left = 0
    for n in range(count):
        lower, upper = lower_N[n], upper_N[n]
        # Written in any case: a branch would be a guess.
        row_N[num_left], score_N[num_left], lower_N[num_left], upper_N[num_left] = row_N[n], score_N[n], lower, upper
        num_left += upper >= threshold
    buffers.count_Q[q], buffers.threshold_Q[q] = num_left, threshold


@compiled
def _fill_bounds(q, bounds, row_N, score_N, lower_N, upper_N):  # type: ignore[no-untyped-def]
    """Fills float32 [N] each with what `score_bounds` says of candidates; those of a final score are the score itself.

    Without branches, so that several candidates are in hand at once.
    """
    a, b, c, eta = np.float64(bounds.a_Q[q]), np.float64(bounds.b_Q[q]), np.float64(bounds.c_Q[q]), bounds.eta
    for n in range(len(lower_N)):
        row, score = row_N[n], np.float64(score_N[n])
        item = row ^ (row >> np.int32(31))  # ~row of one with a final score
        error = a * bounds.norm_I[item] + b * bounds.residual_I[item] + c + eta * abs(score)
        error = error if row >= 0 else 0.0
        is_bounded = error < np.inf  # not NaN either
        lower_N[n] = np.float32(score - error) if is_bounded else np.float32(-np.inf)
        upper_N[n] = np.float32(score + error) if is_bounded else np.float32(np.inf)


@compiled
def kth_largest_of_rows(values_QN, k, kth_Q):  # type: ignore[no-untyped-def]
    """Fills `kth_Q`, float32, with the K-th largest value of each row; the rows are scratch then."""
    for q in range(len(values_QN)):
        kth_Q[q] = _kth_largest(values_QN[q], k)


@compiled
def _kth_largest(values, k):  # type: ignore[no-untyped-def]
    """The K-th largest of at least K float32, none of them NaN; the values are scratch then.

    Bisects by how many values reach a pivot, 64 of which are compared at once: quickselect takes as many steps as branches that
    no processor foresees. Bits of floats order like their values as int32 once the lower 31 of negative ones are flipped.
    """
    keys = values.view(np.int32)
    lowest, highest = np.int32(0x7FFFFFFF), np.int32(-0x80000000)
    for n in range(len(keys)):
        keys[n] ^= (keys[n] >> np.int32(31)) & np.int32(0x7FFFFFFF)
        lowest, highest = min(lowest, keys[n]), max(highest, keys[n])
    low, high = np.int64(lowest), np.int64(highest)
    while low < high:
        pivot = low + (high - low + 1) // 2
        num_reaching = count_at_least(keys, np.int32(pivot))
        if num_reaching >= k:
            low = pivot
        else:
            high = pivot - 1
        if num_reaching == k:  # the least of these K
            lowest = np.int32(0x7FFFFFFF)
            for n in range(len(keys)):
                lowest = min(lowest, keys[n]) if keys[n] >= pivot else lowest
            low = high = np.int64(lowest)
    key = np.int32(low)
    return np.int32(key ^ ((key >> np.int32(31)) & np.int32(0x7FFFFFFF))).view(np.float32)


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
    bounds_3N = np.empty((3, capacity), np.float32)
    for phase in range(2):
        slots, count = np.empty(buffers.count_Q.sum() + 1, np.int64), 0
        for q in range(num_queries):
            _drop_below(q, k, bounds, buffers, bounds_3N)
            is_short = buffers.count_Q[q] <= k  # then all of them are results
            for n in range(buffers.count_Q[q]):
                slots[count] = q * capacity + n
                is_wanted = phase == 1 or is_short or bounds_3N[0, n] >= buffers.threshold_Q[q]
                count += is_wanted and buffers.row_QN[q, n] >= 0
        # With many pairs for each row it pays to read the matrix again for every few queries, which stay in a cache then.
        num_parts = max(1, count // (_PAIRS_PER_ROW * max(1, num_rows)))
        for part in range(num_parts):
            slots_of_part = slots[count * part // num_parts : count * (part + 1) // num_parts]
            _score_slots(_slots_by_row(slots_of_part, num_rows, buffers), buffers, vectors)
    offsets = np.zeros(num_queries + 1, np.int64)
    for q in range(num_queries):
        offsets[q + 1] = offsets[q] + min(k, buffers.count_Q[q])
    rows, scores = np.empty(offsets[-1], np.int64), np.empty(offsets[-1], np.float32)
    for q in range(num_queries):
        row_N, score_N = buffers.row_QN[q, : buffers.count_Q[q]], buffers.score_QN[q]
        _sort_best(row_N, score_N, rows[offsets[q] : offsets[q + 1]], scores[offsets[q] : offsets[q + 1]])
    return offsets, rows, scores


@compiled
def score_lists(offsets, rows, num_rows, vectors):  # type: ignore[no-untyped-def]
    """The canonical scores of ragged lists, float32 [N]: query q has the local rows `rows[offsets[q] : offsets[q + 1]]`, int64.

    Pairs are scored in ascending order of their rows, as in `finish`.
    """
    num_queries, capacity = len(offsets) - 1, np.diff(offsets).max()
    row_QN, score_QN = np.empty((num_queries, capacity), np.int32), np.empty((num_queries, capacity), np.float32)
    counts, slots = np.zeros((3, num_queries), np.int64), np.empty(len(rows), np.int64)
    no_threshold_Q = np.empty(num_queries, np.float32)
    buffers = CandidateBuffers(row_QN, score_QN, counts[0], no_threshold_Q, counts[1], counts[2], counts[0])
    for q in range(num_queries):
        for n in range(offsets[q + 1] - offsets[q]):
            row_QN[q, n], slots[offsets[q] + n] = rows[offsets[q] + n], q * capacity + n
    _score_slots(_slots_by_row(slots, num_rows, buffers), buffers, vectors)
    return score_QN.reshape(-1)[slots]


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

    The rows stand far apart, so no hardware prefetcher sees a pattern: the cache lines of the next ones are asked for here. A
    row that stands in several candidates is made float64 once.
    """
    capacity, dimension = buffers.row_QN.shape[1], vectors.high_ID.shape[1]
    row_bytes = dimension * 2
    high, low = np.uintp(vectors.high_ID.ctypes.data), np.uintp(vectors.low_ID.ctypes.data)
    queries = np.uintp(vectors.queries_QD.ctypes.data)
    item_D = np.empty(dimension, np.float64)
    widened_row = np.int64(-1)
    for i in range(len(slots)):
        # Asked for in each round: numba frees an array behind its last use, whoever still has its address.
        item = np.uintp(item_D.ctypes.data)
        if i + _PREFETCHED_ROWS < len(slots):
            ahead = slots[i + _PREFETCHED_ROWS]
            offset = np.uintp(np.int64(buffers.row_QN[ahead // capacity, ahead % capacity]) * row_bytes)
            for line in range(0, row_bytes, _CACHE_LINE):
                prefetch(high + offset + np.uintp(line))
                prefetch(low + offset + np.uintp(line))
        q, n = slots[i] // capacity, slots[i] % capacity
        row = np.int64(buffers.row_QN[q, n])
        if row != widened_row and i + 1 < len(slots):
            after = slots[i + 1]
            if buffers.row_QN[after // capacity, after % capacity] == row:
                widen(high + np.uintp(row * row_bytes), low + np.uintp(row * row_bytes), dimension, item)
                widened_row = row
        if row == widened_row:
            score = wide_lanes_dot(queries + np.uintp(q * dimension * 4), item, dimension)
            buffers.score_QN[q, n] = np.float32(score) + np.float32(0.0)  # -0.0 becomes 0.0
        else:
            buffers.score_QN[q, n] = canonical_score(q, row, vectors)
        buffers.row_QN[q, n] = ~row
        buffers.num_scored_Q[q] += 1


@compiled
def _sort_best(row_N, score_N, best_rows, best_scores):  # type: ignore[no-untyped-def]
    """Sorts rows that ascend by their scores, descending, and fills `best_rows` and `best_scores` with the first.

    One uint64 key holds both: above, bits of the score that ascend as scores descend; below, the row.
    """
    keys = np.empty(len(row_N), np.uint64)
    for n in range(len(row_N)):
        bits = np.uint64(np.float32(score_N[n]).view(np.uint32))
        if not bits & np.uint64(0x80000000):  # not negative: descending scores are ascending complements
            bits = ~bits & np.uint64(0x7FFFFFFF)
        keys[n] = (bits << np.uint64(32)) | np.uint64(row_N[n] if row_N[n] >= 0 else ~row_N[n])
    if len(keys) < _FEWEST_FOR_RADIX:
        keys.sort()
    else:
        keys = _by_upper_bits(keys)
    for n in range(len(best_rows)):
        bits = keys[n] >> np.uint64(32)
        if not bits & np.uint64(0x80000000):
            bits = ~bits & np.uint64(0x7FFFFFFF)
        best_rows[n], best_scores[n] = keys[n] & np.uint64(0xFFFFFFFF), np.uint32(bits).view(np.float32)


@compiled
def _by_upper_bits(keys):  # type: ignore[no-untyped-def]
    """Sorts uint64 by their upper 32 bits and leaves the order of equal ones: a radix sort in three passes."""
    other = np.empty_like(keys)
    for shift in (32, 43, 54):
        starts = np.zeros(_RADIX + 1, np.int64)
        for key in keys:
            starts[((key >> np.uint64(shift)) & np.uint64(_RADIX - 1)) + np.uint64(1)] += 1
        for digit in range(_RADIX):
            starts[digit + 1] += starts[digit]
        for key in keys:
            digit = (key >> np.uint64(shift)) & np.uint64(_RADIX - 1)
            other[starts[digit]] = key
            starts[digit] += 1
        keys, other = other, keys
    return keys
