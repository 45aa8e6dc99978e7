"""The coarse pass with resident queries: a tile of them stays in shared memory, and items stream past it.

The kernel of `coarse_kernels` reads both factors of each tile from the second-level cache, which limits it. This one reads
queries once for RUN tiles of items, which the copy unit of GPUs from Hopper on (TMA) brings while those before are multiplied.
A tile of queries and two of items have to fit the shared memory. `product_choice` takes it where it is faster.
"""

from __future__ import annotations

import triton
import triton.language as tl

from semrec.scoring.cuda.comparisons import compare_scores

__all__ = ["resident_pass"]


@triton.jit
def resident_pass(  # type: ignore[no-untyped-def]
    queries_QD, items_ID, scale_Q, inverse_Q, scale_W, inverse_W, a_Q, b_Q, c_Q, norm_W, residual_W, visible_QW,
    visible_stride, threshold_Q, maxima_QG, candidates_QW, count_Q, num_rows, num_words, num_query_tiles, num_targets, stride,
    D: tl.constexpr, BQ: tl.constexpr, BI: tl.constexpr, BD: tl.constexpr, G: tl.constexpr, RUN: tl.constexpr,
    INTEGER: tl.constexpr, MODE: tl.constexpr, WITH_MAXIMA: tl.constexpr, WIDEN: tl.constexpr
):  # fmt: skip
    """Does as `coarse_pass` for a tile of BQ queries and RUN tiles of BI rows, one after the other.

    `queries_QD` and `items_ID` are tensor descriptors, whose blocks are BQ and BI rows of BD values; `items_ID` has the sampled
    rows only. What lies behind the last row reads as zeros, and is hidden.
    """
    first_query = (tl.program_id(0) % num_query_tiles) * BQ
    first_tile = (tl.program_id(0) // num_query_tiles) * RUN
    q = first_query + tl.arange(0, BQ)
    a, b, c = tl.load(a_Q + q), tl.load(b_Q + q), tl.load(c_Q + q)
    scale, inverse, threshold = tl.load(scale_Q + q), tl.load(inverse_Q + q), tl.load(threshold_Q + q)
    parts = ()
    for n in tl.static_range(D // BD):
        parts = parts + (queries_QD.load([first_query, n * BD]),)  # type: ignore[assignment]  # noqa: RUF005
    for step in tl.range(RUN, num_stages=2):
        tile = first_tile + step
        sums = tl.zeros((BQ, BI), tl.int32 if INTEGER else tl.float32)
        for n in tl.static_range(D // BD):
            left, right = parts[n], items_ID.load([tile * BI, n * BD]).T  # type: ignore[var-annotated]
            if WIDEN and not INTEGER:
                left, right = left.to(tl.float32), right.to(tl.float32)
            sums = tl.dot(left, right, sums, out_dtype=sums.dtype)
        row = tl.minimum(tile * BI + tl.arange(0, BI), num_rows - 1) * stride
        compare_scores(
            sums, q, tile, row, a, b, c, scale, inverse, threshold, scale_W, inverse_W, norm_W, residual_W, visible_QW,
            visible_stride, threshold_Q, maxima_QG, candidates_QW, count_Q, num_words, num_query_tiles * BQ, num_targets,
            BQ, BI, G, INTEGER, MODE, WITH_MAXIMA,
        )  # fmt: skip
