"""Candidates of a block of queries: kept between the tiles, thinned when there are too many, scored and sorted at the end.

Each query keeps a reservoir of candidates in ascending rows. Its threshold is the K-th largest lower bound met so far: at
least K items reach it, so an item whose upper bound stays below it is not among the first K and ties with none of them. A
reservoir that is full keeps what reaches the threshold; when that is still too much, its candidates are scored canonically,
after which K are enough. So nothing overflows, and no item is scored twice.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from semrec.compiled import compiled
from semrec.scoring.cpu.llvm import lanes_dot, prefetch

__all__ = [
    "Bounds",
    "Reservoirs",
    "Rows",
    "canonical_score",
    "error_of_item",
    "finish",
    "kth_largest_of_rows",
    "make_room",
    "margins",
    "new_reservoirs",
]

_CACHE_LINE = 64
_AHEAD = 2  # rows that are asked for before they are needed


class Rows(NamedTuple):
    """What canonical scores are made of: queries float32 [Q, D]; items in halves, uint16 and int16 [I, D]."""

    queries_QD: np.ndarray
    high_ID: np.ndarray
    low_ID: np.ndarray


class Bounds(NamedTuple):
    """Scales of int8 codes (else ones), and what `coarse` bounds the error of a coarse score with. float32.

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


class Reservoirs(NamedTuple):
    """Candidates N of each query, in ascending rows: int32 rows, float32 scores, [Q, N] each; int64 counts [Q].

    Scores are coarse; those of rows stored as ~row are canonical. `threshold_Q` float32; `num_scored_Q`, `num_shown_Q`
    int64: pairs scored canonically, and items passed that may be shown.
    """

    row_QN: np.ndarray
    score_QN: np.ndarray
    count_Q: np.ndarray
    threshold_Q: np.ndarray
    num_scored_Q: np.ndarray
    num_shown_Q: np.ndarray


def new_reservoirs(capacity: int, threshold_Q: np.ndarray) -> Reservoirs:
    """Empty reservoirs of queries that only look for scores of `threshold_Q`, float32, and above."""
    rows = np.empty((len(threshold_Q), capacity), np.int32)
    counts = np.zeros((3, len(threshold_Q)), np.int64)
    return Reservoirs(rows, np.empty(rows.shape, np.float32), counts[0], threshold_Q.copy(), counts[1], counts[2])


@compiled
def error_of_item(bounds, q, norm, residual):  # type: ignore[no-untyped-def]
    """The part of the error that does not depend on the coarse score, float64. NaN and infinity mean: unbounded."""
    return np.float64(bounds.a_Q[q]) * norm + np.float64(bounds.b_Q[q]) * residual + np.float64(bounds.c_Q[q])


@compiled
def margins(bounds, q, row, score):  # type: ignore[no-untyped-def]
    """Lower and upper bound of the canonical score, float32; infinities where the coarse score says nothing."""
    error = error_of_item(bounds, q, bounds.norm_I[row], bounds.residual_I[row]) + bounds.eta * abs(np.float64(score))
    if not error < np.inf:
        return np.float32(-np.inf), np.float32(np.inf)
    return np.float32(score - error), np.float32(score + error)


@compiled
def make_room(q, k, bounds, reservoirs, rows, lower_N):  # type: ignore[no-untyped-def]
    """Drops what cannot be among the first K; scores canonically what the bounds cannot tell apart."""
    _drop_below(q, k, bounds, reservoirs, lower_N)
    row_N, score_N, count = reservoirs.row_QN[q], reservoirs.score_QN[q], reservoirs.count_Q[q]
    if count <= (k + len(row_N)) // 2:
        return
    for n in range(count):
        if row_N[n] >= 0:
            score_N[n] = canonical_score(q, row_N[n], rows)
            row_N[n] = ~row_N[n]
            reservoirs.num_scored_Q[q] += 1
    _drop_below(q, k, bounds, reservoirs, lower_N)
    count, threshold = reservoirs.count_Q[q], reservoirs.threshold_Q[q]
    ties_left = k
    for n in range(count):
        ties_left -= score_N[n] > threshold
    kept = 0
    for n in range(count):  # rows ascend, so the first ties are those to keep
        if score_N[n] > threshold or ties_left > 0:
            ties_left -= score_N[n] == threshold
            row_N[kept], score_N[kept] = row_N[n], score_N[n]
            kept += 1
    reservoirs.count_Q[q] = kept


@compiled
def _drop_below(q, k, bounds, reservoirs, lower_N):  # type: ignore[no-untyped-def]
    """Raises the threshold to the K-th largest lower bound, and keeps the candidates that reach it, in their order.

    `lower_N` is scratch, as large as a reservoir.
    """
    row_N, score_N, count = reservoirs.row_QN[q], reservoirs.score_QN[q], reservoirs.count_Q[q]
    if count < k:
        return
    for n in range(count):
        lower_N[n] = score_N[n] if row_N[n] < 0 else margins(bounds, q, row_N[n], score_N[n])[0]
    threshold = max(reservoirs.threshold_Q[q], _kth_largest(lower_N[:count], k))
    kept = 0
    for n in range(count):
        upper = score_N[n] if row_N[n] < 0 else margins(bounds, q, row_N[n], score_N[n])[1]
        if upper >= threshold:
            row_N[kept], score_N[kept] = row_N[n], score_N[n]
            kept += 1
    reservoirs.count_Q[q], reservoirs.threshold_Q[q] = kept, threshold


@compiled
def kth_largest_of_rows(values_QN, k, out_Q):  # type: ignore[no-untyped-def]
    """The K-th largest of each row, float32 [Q]; reorders the rows."""
    for q in range(len(values_QN)):
        out_Q[q] = _kth_largest(values_QN[q], k)


@compiled
def _kth_largest(values, k):  # type: ignore[no-untyped-def]
    """The K-th largest of at least K numbers, by quickselect; reorders them."""
    low, high, place = 0, len(values) - 1, k - 1
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
        if place <= j:
            high = j
        elif place >= i:
            low = i
        else:
            break
    return values[place]


@compiled
def canonical_score(q, row, rows):  # type: ignore[no-untyped-def]
    """The canonical score of a pair, float32."""
    dimension = rows.queries_QD.shape[1]
    left = np.uintp(rows.queries_QD.ctypes.data) + np.uintp(q * dimension * 4)
    place = np.uintp(row * dimension * 2)
    high, low = np.uintp(rows.high_ID.ctypes.data) + place, np.uintp(rows.low_ID.ctypes.data) + place
    return np.float32(lanes_dot(left, high, low, dimension)) + np.float32(0.0)  # -0.0 becomes 0.0


@compiled
def finish(k, num_rows, bounds, reservoirs, rows):  # type: ignore[no-untyped-def]
    """(offsets int64 [Q + 1], rows int64, scores float32): the first K of every reservoir, best first.

    The candidates with the K largest lower bounds are scored first. The least of their scores raises the threshold, and only
    what still reaches it is scored then. Pairs of all queries are scored in ascending order of their rows.
    """
    num_queries, capacity = reservoirs.row_QN.shape
    lower_N = np.empty(capacity, np.float32)
    for phase in range(2):
        places, count = np.empty(reservoirs.count_Q.sum(), np.int64), 0
        for q in range(num_queries):
            _drop_below(q, k, bounds, reservoirs, lower_N)
            few = reservoirs.count_Q[q] <= k
            for n in range(reservoirs.count_Q[q]):
                row = reservoirs.row_QN[q, n]
                if row < 0:
                    continue
                lower = margins(bounds, q, row, reservoirs.score_QN[q, n])[0]
                if phase == 1 or few or lower >= reservoirs.threshold_Q[q]:
                    places[count] = q * capacity + n
                    count += 1
        _score_places(_by_row(places[:count], num_rows, reservoirs), reservoirs, rows)
    offsets = np.zeros(num_queries + 1, np.int64)
    for q in range(num_queries):
        offsets[q + 1] = offsets[q] + min(k, reservoirs.count_Q[q])
    best_rows, best_scores = np.empty(offsets[-1], np.int64), np.empty(offsets[-1], np.float32)
    for q in range(num_queries):
        row_N, score_N = reservoirs.row_QN[q, : reservoirs.count_Q[q]], reservoirs.score_QN[q]
        _best(row_N, score_N, best_rows[offsets[q] : offsets[q + 1]], best_scores[offsets[q] : offsets[q + 1]])
    return offsets, best_rows, best_scores


@compiled
def _by_row(places, num_rows, reservoirs):  # type: ignore[no-untyped-def]
    """The places (query * capacity + n) of candidates by ascending row: a counting sort, when there are rows enough."""
    capacity = reservoirs.row_QN.shape[1]
    if len(places) * 8 < num_rows:
        keys = np.empty(len(places), np.int64)
        for i in range(len(places)):
            keys[i] = reservoirs.row_QN[places[i] // capacity, places[i] % capacity]
        return places[np.argsort(keys)]
    starts = np.zeros(num_rows + 1, np.int64)
    for i in range(len(places)):
        starts[reservoirs.row_QN[places[i] // capacity, places[i] % capacity] + 1] += 1
    for r in range(num_rows):
        starts[r + 1] += starts[r]
    ordered = np.empty(len(places), np.int64)
    for i in range(len(places)):
        row = reservoirs.row_QN[places[i] // capacity, places[i] % capacity]
        ordered[starts[row]] = places[i]
        starts[row] += 1
    return ordered


@compiled
def _score_places(places, reservoirs, rows):  # type: ignore[no-untyped-def]
    """Scores candidates canonically. Those whose rows ascend read the matrix as it lies, and rows are asked for in time."""
    capacity, width = reservoirs.row_QN.shape[1], rows.high_ID.shape[1] * 2
    high, low = np.uintp(rows.high_ID.ctypes.data), np.uintp(rows.low_ID.ctypes.data)
    for i in range(len(places)):
        if i + _AHEAD < len(places):
            ahead = places[i + _AHEAD]
            at = np.uintp(np.int64(reservoirs.row_QN[ahead // capacity, ahead % capacity]) * width)
            for line in range(0, width, _CACHE_LINE):
                prefetch(high + at + np.uintp(line))
                prefetch(low + at + np.uintp(line))
        q, n = places[i] // capacity, places[i] % capacity
        row = reservoirs.row_QN[q, n]
        reservoirs.score_QN[q, n] = canonical_score(q, np.int64(row), rows)
        reservoirs.row_QN[q, n] = ~row
        reservoirs.num_scored_Q[q] += 1


@compiled
def _best(row_N, score_N, best_rows, best_scores):  # type: ignore[no-untyped-def]
    """Sorts by (score descending, row ascending) and fills `best_rows` and `best_scores` with the first."""
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
