"""Triton kernels of the coarse pass: encode queries, find visible items, multiply and compare in one kernel.

`comparisons` says what words and groups are. Loops with bounds known at run time only are `while` loops: Triton's interpreter
cannot count to a tensor with numpy 2.4.
"""

from __future__ import annotations

import triton
import triton.language as tl

from semrec.scoring.cuda.comparisons import compare_scores, lowest_bit
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

_TINY = tl.constexpr(TINY)
_UP = tl.constexpr(1 + 2.0**-20)  # makes up for the rounding of a norm to float32
_LARGEST_BOUNDED = tl.constexpr(LARGEST_BOUNDED)
_TO_WHOLE = tl.constexpr(1.5 * 2.0**52)  # added to a small float64 and taken away again, it rounds to the nearest even
_INT8_MAX = tl.constexpr(127.0)


@triton.jit
def prepare_queries(  # type: ignore[no-untyped-def]
    vectors_QD, coarse_QD, scale_Q, inverse_Q, a_Q, b_Q, c_Q, threshold_Q, is_finite_Q, affine, num_queries,
    D: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr, ENCODING: tl.constexpr
):  # fmt: skip
    """One query per program: its coarse form, as ENCODING has it, padded with zeros, its scale, the inverse of that, and the
    bounds a, b and c, each `affine[0] + affine[1] norm + affine[2] residual` with a row of `affine`, float32 [3, 3].
    `threshold_Q` becomes minus infinity, `is_finite_Q` 0 for a vector that holds NaN or infinity, else 1.
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
    tl.store(inverse_Q + q, tl.div_rn(1.0, scale))
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
    queries_QD, items_ID, lows_ID, scale_Q, inverse_Q, scale_W, inverse_W, a_Q, b_Q, c_Q, norm_W, residual_W, visible_QW,
    visible_stride, threshold_Q, maxima_QG, candidates_QW, count_Q, num_rows, num_words, num_query_tiles, num_targets, stride,
    D: tl.constexpr, BQ: tl.constexpr, BI: tl.constexpr, BD: tl.constexpr, G: tl.constexpr,
    JOIN_HALVES: tl.constexpr, INTEGER: tl.constexpr, MODE: tl.constexpr, WITH_MAXIMA: tl.constexpr, WIDEN: tl.constexpr
):  # fmt: skip
    """Multiplies a tile of BQ queries and BI rows per program. The scores stay in registers; a few bits per pair leave them.

    MAXIMA fills `maxima_QG`: the largest coarse score of each G visible rows, else minus infinity. COLLECT fills
    `candidates_QW` with the visible rows whose upper bound reaches `threshold_Q`; with WITH_MAXIMA the maxima, too. COUNT does
    so for `num_targets` targets of each query, of which a query without so many has NaN: `threshold_Q`, `count_Q` [T, Q] and
    `candidates_QW` [T, Q, W] are theirs, of the queries of whole tiles. It adds to `count_Q` the rows that certainly stand
    above `threshold_Q`, and fills `candidates_QW` with those of which the bound cannot tell.

    `visible_QW` says what a query may be shown, `visible_stride` words from one query to the next (0: alike for all).

    The format's steps: JOIN_HALVES reads items as float32 from both halves; INTEGER adds codes in int32, of which the scales of
    query and word make scores (`comparisons`). WIDEN is for the interpreter, which has no bfloat16 product.
    """
    # Neighbouring programs share their items; the queries of a block stay in the second-level cache anyway.
    first_query = (tl.program_id(0) % num_query_tiles) * BQ
    tile = tl.program_id(0) // num_query_tiles
    q = first_query + tl.arange(0, BQ)
    row = tl.minimum(tile * BI + tl.arange(0, BI), num_rows - 1) * stride  # past the last row it repeats, and is hidden
    d = tl.arange(0, BD)
    at_query = q.to(tl.int64)[:, None] * D + d[None, :]
    at_item = row.to(tl.int64)[None, :] * D + d[:, None]
    # Products of the whole depth, BD dimensions at a time; both factors are padded with zeros to whole turns.
    sums = tl.zeros((BQ, BI), tl.int32 if INTEGER else tl.float32)
    for _ in range(D // BD):
        left = tl.load(queries_QD + at_query)
        right = tl.load(items_ID + at_item)
        if JOIN_HALVES:
            bits = (right.to(tl.int32) << 16) + tl.load(lows_ID + at_item).to(tl.int32)
            right = bits.to(tl.float32, bitcast=True)
        if WIDEN and not INTEGER:
            left, right = left.to(tl.float32), right.to(tl.float32)
        sums = tl.dot(left, right, sums, input_precision="ieee", out_dtype=sums.dtype)
        at_query += BD
        at_item += BD
    compare_scores(
        sums, q, tile, row, tl.load(a_Q + q), tl.load(b_Q + q), tl.load(c_Q + q), tl.load(scale_Q + q),
        tl.load(inverse_Q + q), tl.load(threshold_Q + q), scale_W, inverse_W, norm_W, residual_W, visible_QW, visible_stride,
        threshold_Q, maxima_QG, candidates_QW, count_Q, num_words, num_query_tiles * BQ, num_targets,
        BQ, BI, G, INTEGER, MODE, WITH_MAXIMA,
    )  # fmt: skip
