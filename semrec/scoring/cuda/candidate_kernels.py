"""Triton kernels after the coarse pass: raise thresholds, list candidates, score them canonically, rank them.

A key orders like the contract: the score in the upper half, the complement of the row in the lower, so that the larger key
stands first. Candidates of all queries of a block lie in one list, each query's in one piece.
"""

from __future__ import annotations

import triton
import triton.language as tl

from semrec.scoring.cuda.comparisons import count_bits, lowest_bit, min_coarse, word_errors

__all__ = ["collect_candidates", "raise_thresholds", "rank_candidates", "score_pairs"]

_LAST_ROW = tl.constexpr(0x7FFFFFFF)
_NO_KEY = tl.constexpr(-(2**63))


@triton.jit
def ordered_bits(bits):  # type: ignore[no-untyped-def]
    """The bits of float32 as an int32 that orders like the numbers; its own inverse."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@triton.jit
def raise_thresholds(  # type: ignore[no-untyped-def]
    maxima_QG, norm_W, residual_W, a_Q, b_Q, c_Q, threshold_Q, num_words, num_groups, k,
    PER_WORD: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Raises `threshold_Q` to the K-th largest lower bound of one query per program, where there are K.

    Group g falls into slot g mod BLOCK. The largest lower bound of each slot is that of another row, so K rows reach the
    K-th largest of the slots.
    """
    q = tl.program_id(0).to(tl.int64)
    a, b, c = tl.load(a_Q + q), tl.load(b_Q + q), tl.load(c_Q + q)
    best = tl.full((BLOCK,), float("-inf"), tl.float32)
    start = 0
    while start < num_groups:
        g = start + tl.arange(0, BLOCK)
        inside = g < num_groups
        largest = tl.load(maxima_QG + q * num_groups + g, mask=inside, other=float("-inf"))
        norm = tl.load(norm_W + g // PER_WORD, mask=inside, other=0.0)
        residual = tl.load(residual_W + g // PER_WORD, mask=inside, other=0.0)
        error = word_errors(a, b, c, norm, residual)
        best = tl.maximum(best, tl.where(error < float("inf"), largest - error, float("-inf")))
        start += BLOCK
    keys = ordered_bits(best.to(tl.int32, bitcast=True))
    # Bisection over the bits: K slots reach `low`, or it stands for minus infinity; fewer reach `high`.
    low = ordered_bits(tl.full((), float("-inf"), tl.float32).to(tl.int32, bitcast=True)).to(tl.int64)
    high = ordered_bits(tl.full((), float("inf"), tl.float32).to(tl.int32, bitcast=True)).to(tl.int64) + 1
    while high - low > 1:
        middle = (low + high) >> 1
        is_reached = tl.sum((keys >= middle.to(tl.int32)).to(tl.int32), axis=0) >= k
        low, high = tl.where(is_reached, middle, low), tl.where(is_reached, high, middle)
    kth = ordered_bits(low.to(tl.int32)).to(tl.float32, bitcast=True)
    tl.store(threshold_Q + q, tl.maximum(tl.load(threshold_Q + q), kth))


@triton.jit
def collect_candidates(  # type: ignore[no-untyped-def]
    candidates_QW, maxima_QW, norm_W, residual_W, a_Q, b_Q, c_Q, threshold_Q, count_Q, start_Q, row_N, query_N, totals,
    num_words, max_candidates, capacity, FILTER: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Lists the rows whose bits are set, ascending, of one query per program; with FILTER only those of words whose best may
    reach `threshold_Q`, and the bits of the others are cleared.

    Fills `count_Q`, and `start_Q` with where in `row_N` and `query_N` they begin: -1 when they are more than
    `max_candidates`, or do not fit into what is left of `capacity`, the length of the list. `totals`, int64 [2], counts
    what queries have reserved, and becomes where the last listed pair ends: behind it nothing is filled in.
    """
    q = tl.program_id(0).to(tl.int64)
    count = tl.zeros((), tl.int32)
    start = 0
    while start < num_words:
        w = start + tl.arange(0, BLOCK)
        inside = w < num_words
        words = tl.load(candidates_QW + q * num_words + w, mask=inside, other=0)
        if FILTER:
            norm = tl.load(norm_W + w, mask=inside, other=0.0)
            residual = tl.load(residual_W + w, mask=inside, other=0.0)
            error = word_errors(tl.load(a_Q + q), tl.load(b_Q + q), tl.load(c_Q + q), norm, residual)
            lowest = min_coarse(tl.load(threshold_Q + q), error)
            best = tl.load(maxima_QW + q * num_words + w, mask=inside, other=float("-inf"))
            words = tl.where(best < lowest, 0, words)
            tl.store(candidates_QW + q * num_words + w, words, mask=inside)
        count += tl.sum(count_bits(words), axis=0)
        start += BLOCK
    reserved = tl.where(count <= max_candidates, count, 0).to(tl.int64)
    position = tl.atomic_add(totals, reserved)  # in any order: results do not depend on where candidates lie
    fits = (count <= max_candidates) & (position + reserved <= capacity)
    tl.store(count_Q + q, count)
    tl.store(start_Q + q, tl.where(fits, position, -1))
    if fits:
        tl.atomic_max(totals + 1, position + reserved)
        tl.debug_barrier()  # the words were written above
        start = 0
        while start < num_words:
            w = start + tl.arange(0, BLOCK)
            words = tl.load(candidates_QW + q * num_words + w, mask=w < num_words, other=0)
            counts = count_bits(words)
            first = position + tl.cumsum(counts, axis=0) - counts
            max_bits = tl.max(counts, axis=0)
            n = 0
            while n < max_bits:
                tl.store(row_N + first + n, w * 32 + lowest_bit(words), mask=n < counts)
                tl.store(query_N + first + n, tl.zeros((BLOCK,), tl.int32) + tl.program_id(0), mask=n < counts)
                words &= words - 1
                n += 1
            position += tl.sum(counts, axis=0)
            start += BLOCK


@triton.jit
def score_pairs(  # type: ignore[no-untyped-def]
    row_N, query_N, total, capacity, queries_QD, high_ID, low_ID, key_N, target_Q, count_Q, num_vectors, num_programs,
    D: tl.constexpr, PADDED: tl.constexpr, COUNTING: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Writes the canonical scores of the first `total` pairs, but at most `capacity`, as keys.

    COUNTING adds to `count_Q` how many keys of a query are larger than its `target_Q` instead.

    `queries_QD` float32, D wide: query q of the pairs has the vector q mod `num_vectors`. `high_ID`, `low_ID` int16, PADDED
    wide, with zeros behind D.
    """
    num_pairs = tl.minimum(tl.load(total), capacity).to(tl.int32)
    lane = tl.arange(0, 8)
    start = tl.program_id(0) * BLOCK
    while start < num_pairs:
        n = start + tl.arange(0, BLOCK)
        inside = n < num_pairs
        row, q = tl.load(row_N + n, mask=inside, other=0), tl.load(query_N + n, mask=inside, other=0)
        at_query = (q % num_vectors).to(tl.int64)[:, None] * D + lane[None, :]
        at_item = row.to(tl.int64)[:, None] * PADDED + lane[None, :]
        lanes = tl.zeros((BLOCK, 8), tl.float64)
        for first in range(0, D, 8):  # an explicit loop: no sum or product of Triton promises this order
            left = tl.load(queries_QD + at_query + first, mask=(lane + first < D)[None, :], other=0.0)
            high = tl.load(high_ID + at_item + first).to(tl.int32)
            bits = (high << 16) + tl.load(low_ID + at_item + first).to(tl.int32)
            lanes += left.to(tl.float64) * bits.to(tl.float32, bitcast=True).to(tl.float64)
        even, odd = tl.split(tl.reshape(lanes, (BLOCK, 4, 2)))
        even, odd = tl.split(tl.reshape(even + odd, (BLOCK, 2, 2)))  # (0+1), (4+5) and (2+3), (6+7)
        even, odd = tl.split(even + odd)
        score = (even + odd).to(tl.float32)
        score = tl.where(score == 0, 0.0, score)  # -0.0 becomes 0.0
        ordered = ordered_bits(score.to(tl.int32, bitcast=True)).to(tl.int64)
        key = (ordered << 32) + (_LAST_ROW - row)
        if COUNTING:
            before = key > tl.load(target_Q + q, mask=inside, other=0)
            tl.atomic_add(count_Q + q, before.to(tl.int32), mask=inside & before, sem="relaxed")
        else:
            tl.store(key_N + n, key, mask=inside)
        start += num_programs * BLOCK


@triton.jit
def rank_candidates(  # type: ignore[no-untyped-def]
    key_N, count_Q, start_Q, row_QK, score_QK, first_row, k, BLOCK: tl.constexpr
):  # fmt: skip
    """Writes each of a query's candidates at its rank, the number of larger keys, when that is below K.

    One query per first axis of the grid; the programs of the second share its candidates.
    """
    q = tl.program_id(0).to(tl.int64)
    begin, count = tl.load(start_Q + q), tl.load(count_Q + q)
    count = tl.where(begin < 0, 0, count)
    chunk = tl.program_id(1) * BLOCK
    while chunk < count:
        n = chunk + tl.arange(0, BLOCK)
        key = tl.load(key_N + begin + n, mask=n < count, other=_NO_KEY)
        rank = tl.zeros((BLOCK,), tl.int32)
        start = 0
        while start < count:
            m = start + tl.arange(0, BLOCK)
            other = tl.load(key_N + begin + m, mask=m < count, other=_NO_KEY)
            rank += tl.sum((other[None, :] > key[:, None]).to(tl.int32), axis=1)
            start += BLOCK
        chosen = (n < count) & (rank < k)
        row = _LAST_ROW - (key & 0xFFFFFFFF)
        score = ordered_bits((key >> 32).to(tl.int32)).to(tl.float32, bitcast=True)
        tl.store(row_QK + q * k + rank, row + first_row, mask=chosen)
        tl.store(score_QK + q * k + rank, score, mask=chosen)
        chunk += tl.num_programs(1) * BLOCK
