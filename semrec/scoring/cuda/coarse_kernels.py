"""Triton kernels of the coarse pass: encode queries, find visible items, multiply and compare in one kernel.

Words are int32: bit j of word w stands for row 32 w + j of the sampled items, every `stride`-th of the shard. `W` counts these
words, `G` groups of neighbouring rows within a word. A bound is taken for a whole word: the largest norm and the
largest residual of its 32 items stand for each of them. An error that is infinite or not a number means that a coarse score
says nothing; all comparisons are written so that such an item is a candidate. Loops with bounds known at run time only are
`while` loops: Triton's interpreter cannot count to a tensor with numpy 2.4.
"""

from __future__ import annotations

import triton
import triton.language as tl

from semrec.scoring.cuda.block import PassMode
from semrec.scoring.formats.base import LARGEST_BOUNDED, TINY, QueryEncoding

__all__ = [
    "coarse_pass",
    "eligible_words",
    "hide_seen",
    "prepare_queries",
]

# What a query is encoded as, chosen by the coarse format.
_HIGH_HALF = tl.constexpr(int(QueryEncoding.HIGH_HALF))
_CODES = tl.constexpr(int(QueryEncoding.CODES))

_MAXIMA = tl.constexpr(int(PassMode.MAXIMA))
_COUNT = tl.constexpr(int(PassMode.COUNT))

_TINY = tl.constexpr(TINY)
_UP = tl.constexpr(1 + 2.0**-20)  # makes up for the rounding of a norm to float32
_LARGEST_BOUNDED = tl.constexpr(LARGEST_BOUNDED)
_TO_WHOLE = tl.constexpr(1.5 * 2.0**52)  # added to a small float64 and taken away again, it rounds to the nearest even
_INT8_MAX = tl.constexpr(127.0)


@triton.jit
def count_bits(words):  # type: ignore[no-untyped-def]
    """How many bits of each int32 are set."""
    x = words.to(tl.uint32, bitcast=True)
    x = x - ((x >> 1) & 0x55555555)
    x = (x & 0x33333333) + ((x >> 2) & 0x33333333)
    x = (x + (x >> 4)) & 0x0F0F0F0F
    x = x + (x >> 8)
    return ((x + (x >> 16)) & 0x3F).to(tl.int32)


@triton.jit
def lowest_bit(words):  # type: ignore[no-untyped-def]
    """The place of the lowest set bit of int32 words that are not zero."""
    return count_bits((words & -words) - 1)


@triton.jit
def word_errors(a, b, c, norm, residual):  # type: ignore[no-untyped-def]
    """How far the coarse scores of a word's items may stray, float32; infinite or not a number where they say nothing."""
    return a * norm + b * residual + c


@triton.jit
def min_coarse(threshold, error):  # type: ignore[no-untyped-def]
    """A coarse score below this has a canonical score below `threshold`.

    No float32 c lies between the exact difference and its rounding, so rounding cannot drop one that reaches it.
    """
    return tl.where(error < float("inf"), threshold - error, float("-inf"))


@triton.jit
def prepare_queries(  # type: ignore[no-untyped-def]
    vectors_QD, coarse_QD, scale_Q, a_Q, b_Q, c_Q, threshold_Q, is_finite_Q, affine, num_queries,
    D: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr, ENCODING: tl.constexpr
):  # fmt: skip
    """One query per program: its coarse form, as ENCODING has it, padded with zeros, its scale, and the bounds a, b and c,
    each `affine[0] + affine[1] norm + affine[2] residual` with a row of `affine`, float32 [3, 3]. `threshold_Q` becomes
    minus infinity, `is_finite_Q` 0 for a vector that holds NaN or infinity, else 1.
    """
    q = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK)
    x = tl.load(vectors_QD + q * D + d, mask=(d < D) & (q < num_queries), other=0.0)
    exact = x.to(tl.float64)
    out, inside = coarse_QD + q * PADDED + d, d < PADDED
    scale = tl.full((), 1.0, tl.float32)
    rest = exact - exact
    if ENCODING == _HIGH_HALF:
        high = ((x.to(tl.int32, bitcast=True) + 0x8000) >> 16).to(tl.int16)
        tl.store(out, high, mask=inside)
        rest = exact - (high.to(tl.int32) << 16).to(tl.float32, bitcast=True).to(tl.float64)
    elif ENCODING == _CODES:
        scale = tl.max(tl.abs(x), axis=0) / _INT8_MAX
        scale = tl.where((scale >= _TINY) & (scale <= _LARGEST_BOUNDED), scale, 0.0)
        ratio = exact / tl.where(scale > 0, scale, 1.0).to(tl.float64)
        code = tl.minimum(tl.maximum(ratio, -_INT8_MAX), _INT8_MAX)
        code = tl.where(scale > 0, (code + _TO_WHOLE) - _TO_WHOLE, 0.0)
        tl.store(out, code.to(tl.int32).to(tl.int8), mask=inside)
        rest = exact - code * scale.to(tl.float64)
    else:
        tl.store(out, x, mask=inside)
    # Squares of float32 do not leave float64, so the sum is finite where all values are.
    is_finite = tl.sum(exact * exact, axis=0) < float("inf")
    tl.store(is_finite_Q + q, is_finite.to(tl.int32), mask=q < num_queries)
    norm, residual = _upper_norm(exact), _upper_norm(rest)
    bounded = norm <= _LARGEST_BOUNDED
    norm, residual = tl.where(bounded, norm, float("inf")), tl.where(bounded, residual, float("inf"))
    tl.store(scale_Q + q, scale)
    tl.store(threshold_Q + q, float("-inf"))
    tl.store(a_Q + q, tl.load(affine) + tl.load(affine + 1) * norm + tl.load(affine + 2) * residual)
    tl.store(b_Q + q, tl.load(affine + 3) + tl.load(affine + 4) * norm + tl.load(affine + 5) * residual)
    tl.store(c_Q + q, tl.load(affine + 6) + tl.load(affine + 7) * norm + tl.load(affine + 8) * residual)


@triton.jit
def _upper_norm(exact):  # type: ignore[no-untyped-def]
    """The norm of float64 values as float32, not below the true one."""
    norm = (tl.sqrt(tl.sum(exact * exact, axis=0)) * _UP).to(tl.float32)
    return tl.where(norm > 0, tl.maximum(norm, _TINY), norm)


@triton.jit
def eligible_words(  # type: ignore[no-untyped-def]
    user_words_QH, clause_edges, bit_planes_VW, plane_of_bit, out_QW, num_queries, num_rows, num_words, num_clauses, H,
    BLOCK: tl.constexpr
):  # fmt: skip
    """Writes which rows pass every clause: one query per first axis of the grid, BLOCK words per second; none from
    `num_queries` on.

    `user_words_QH` int32, H half words; clause c owns the half words `clause_edges[c] : clause_edges[c + 1]`. `bit_planes_VW`
    has a bit per row for each value that some row has; `plane_of_bit` int32 says which plane that is for each bit, or -1.
    """
    q = tl.program_id(0).to(tl.int64)
    w = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = w < num_words
    rows_left = tl.where(q < num_queries, tl.minimum(tl.maximum(num_rows - w * 32, 0), 32), 0)
    visible = tl.where(rows_left == 32, -1, (1 << (rows_left & 31)) - 1)  # rows past the last one stay hidden
    clause = tl.where(q < num_queries, 0, num_clauses)
    while clause < num_clauses:
        passes = tl.zeros((BLOCK,), tl.int32)
        h = tl.load(clause_edges + clause)
        while h < tl.load(clause_edges + clause + 1):
            bits = tl.load(user_words_QH + q * H + h)
            while bits != 0:
                plane = tl.load(plane_of_bit + h * 32 + lowest_bit(bits))
                if plane >= 0:
                    passes |= tl.load(bit_planes_VW + plane.to(tl.int64) * num_words + w, mask=inside, other=0)
                bits &= bits - 1
            h += 1
        visible &= passes
        clause += 1
    tl.store(out_QW + q * num_words + w, visible, mask=inside)


@triton.jit
def hide_seen(  # type: ignore[no-untyped-def]
    words_QW, seen_rows, seen_offsets, first, num_queries, stride, num_words, STEPS: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Clears the bits of seen rows: one entry per lane, so a query that has seen much holds up no other.

    `seen_rows` int32 are the entries from `first` on of the queries' lists, whose offsets are `seen_offsets`, int64: rows of
    the shard, or -1; some are not sampled. STEPS halvings find the query of an entry: 2^STEPS is at least their number.
    """
    lane = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    n = first + lane
    is_entry = n < tl.load(seen_offsets + num_queries)
    row = tl.load(seen_rows + lane, mask=is_entry, other=-1)
    position = row // stride
    is_sampled = is_entry & (row >= 0) & (position * stride == row)
    q = tl.zeros((BLOCK,), tl.int64)  # the last query whose list begins at n or before
    for step in tl.static_range(STEPS):
        later = q + (1 << (STEPS - 1 - step))
        inside = is_sampled & (later < num_queries)
        q = tl.where(inside & (tl.load(seen_offsets + later, mask=inside, other=0) <= n), later, q)
    tl.atomic_and(words_QW + q * num_words + position // 32, ~(1 << (position & 31)), mask=is_sampled, sem="relaxed")


@triton.jit
def coarse_pass(  # type: ignore[no-untyped-def]
    queries_QD, items_ID, lows_ID, scale_Q, scale_I, a_Q, b_Q, c_Q, norm_W, residual_W, visible_QW, visible_stride, threshold_Q,
    maxima_QG, candidates_QW, count_Q, num_rows, num_words, num_query_tiles, num_targets, stride,
    D: tl.constexpr, BQ: tl.constexpr, BI: tl.constexpr, BD: tl.constexpr, G: tl.constexpr,
    JOIN_HALVES: tl.constexpr, INTEGER: tl.constexpr, SCALED: tl.constexpr, MODE: tl.constexpr, WITH_MAXIMA: tl.constexpr,
    WIDEN: tl.constexpr
):  # fmt: skip
    """Multiplies a tile of BQ queries and BI rows per program. The scores stay in registers; a few bits per pair leave them.

    MAXIMA fills `maxima_QG`: the largest coarse score of each G visible rows, else minus infinity. COLLECT fills
    `candidates_QW` with the visible rows whose upper bound reaches `threshold_Q`; with WITH_MAXIMA the maxima, too. COUNT does
    so for `num_targets` targets of each query, of which a query without so many has NaN: `threshold_Q`, `count_Q` [T, Q] and
    `candidates_QW` [T, Q, W] are theirs, of the queries of whole tiles. It adds to `count_Q` the rows that certainly stand
    above `threshold_Q`, and fills `candidates_QW` with those of which the bound cannot tell.

    `visible_QW` says what a query may be shown, `visible_stride` words from one query to the next (0: alike for all);
    `candidates_QW` may be the same array, but not in COUNT.

    The format's steps: JOIN_HALVES reads items as float32 from both halves; INTEGER adds in int32; SCALED multiplies by the
    scales of query and item. WIDEN is for the interpreter, which has no bfloat16 product.
    """
    # Neighbouring programs share their items; the queries of a block stay in the second-level cache anyway.
    first_query = (tl.program_id(0) % num_query_tiles) * BQ
    tile = tl.program_id(0) // num_query_tiles
    q = first_query + tl.arange(0, BQ)
    q_long = q.to(tl.int64)
    row = tl.minimum(tile * BI + tl.arange(0, BI), num_rows - 1) * stride  # past the last row it repeats, and is hidden
    d = tl.arange(0, BD)
    at_query = q_long[:, None] * D + d[None, :]
    at_item = row.to(tl.int64)[None, :] * D + d[:, None]
    # Products of the whole depth, BD dimensions at a time; both factors are padded with zeros to whole turns.
    accumulator = tl.zeros((BQ, BI), tl.int32 if INTEGER else tl.float32)
    for _ in range(D // BD):
        left = tl.load(queries_QD + at_query)
        right = tl.load(items_ID + at_item)
        if JOIN_HALVES:
            bits = (right.to(tl.int32) << 16) + tl.load(lows_ID + at_item).to(tl.int32)
            right = bits.to(tl.float32, bitcast=True)
        if WIDEN and not INTEGER:
            left, right = left.to(tl.float32), right.to(tl.float32)
        accumulator = tl.dot(left, right, accumulator, input_precision="ieee", out_dtype=accumulator.dtype)
        at_query += BD
        at_item += BD
    scores = accumulator.to(tl.float32)
    if SCALED:
        scores = scores * tl.load(scale_I + row)[None, :] * tl.load(scale_Q + q)[:, None]

    NW: tl.constexpr = BI // 32
    w = tile * NW + tl.arange(0, NW)
    at_word = q_long[:, None] * num_words + w[None, :]
    visible = tl.load(visible_QW + q_long[:, None] * visible_stride + w[None, :])
    tl.debug_barrier()  # several threads may have read the same word, which one of them writes below
    bit = tl.arange(0, 32)[None, None, :]
    scores = tl.reshape(scores, (BQ, NW, 32))
    if MODE != _MAXIMA:
        # One bound for the 32 rows of a word: their largest norms are loaded once instead of 32 times.
        norm, residual = tl.load(norm_W + w)[None, :], tl.load(residual_W + w)[None, :]
        a, b, c = tl.load(a_Q + q)[:, None], tl.load(b_Q + q)[:, None], tl.load(c_Q + q)[:, None]
        error = word_errors(a, b, c, norm, residual)
        if MODE == _COUNT:
            target = 0
            at_target = q_long
            while target < num_targets:  # the scores of one product serve them all
                threshold = tl.load(threshold_Q + at_target)[:, None]
                below = scores < min_coarse(threshold, error)[:, :, None]
                above = scores > tl.where(error < float("inf"), threshold + error, float("inf"))[:, :, None]
                certain = tl.sum(tl.where(above, 1 << bit, 0), axis=2) & visible
                candidates = tl.sum(tl.where(below, 0, 1 << bit), axis=2) & visible & ~certain
                tl.atomic_add(count_Q + at_target, tl.sum(count_bits(certain), axis=1), sem="relaxed")
                at_candidates = at_target[:, None] * num_words + w[None, :]
                tl.store(candidates_QW + at_candidates, tl.where(threshold == threshold, candidates, 0))
                at_target += num_query_tiles * BQ
                target += 1
        else:
            below = scores < min_coarse(tl.load(threshold_Q + q)[:, None], error)[:, :, None]
            tl.store(candidates_QW + at_word, tl.sum(tl.where(below, 0, 1 << bit), axis=2) & visible)
    if WITH_MAXIMA:
        scores = tl.where(((visible[:, :, None] >> bit) & 1) != 0, scores, float("-inf"))
        maxima = tl.max(tl.reshape(scores, (BQ, BI // G, G)), axis=2)
        g = tile * (BI // G) + tl.arange(0, BI // G)
        tl.store(maxima_QG + q_long[:, None] * (num_words * (32 // G)) + g[None, :], maxima)
