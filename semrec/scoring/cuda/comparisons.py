"""Triton functions for what becomes of a tile of coarse scores: largest scores of groups, candidates, counts.

Words are int32: bit j of word w stands for row 32 w + j of the sampled items, every `stride`-th of the shard. `W` counts these
words, `G` groups of neighbouring rows within a word. A bound is taken for a whole word: the largest norm and the
largest residual of its 32 items stand for each of them. An error that is infinite or not a number means that a coarse score
says nothing; all comparisons are written so that such an item is a candidate.

Products of codes stay the integers that they are. The rows of a word share their scale, so that a bound on scores is, divided
by the scales of query and word, one on sums: two products a word instead of two for each pair.
"""

from __future__ import annotations

import triton
import triton.language as tl

from semrec.scoring.cuda.block import PassMode

__all__ = ["compare_scores", "count_bits", "lowest_bit", "min_coarse", "word_errors"]

_MAXIMA = tl.constexpr(int(PassMode.MAXIMA))
_COUNT = tl.constexpr(int(PassMode.COUNT))

_LARGEST_SUM = tl.constexpr(2.0**31 - 2.0**7)  # float32; sums of products of codes stay below it (`formats.int8`)
_NO_SUM = tl.constexpr(-(2**31))


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
def max_coarse(threshold, error):  # type: ignore[no-untyped-def]
    """A coarse score above this has a canonical score above `threshold`."""
    return tl.where(error < float("inf"), threshold + error, float("inf"))


@triton.jit
def in_sums(limit, inverse_Q, inverse_W, unknown):  # type: ignore[no-untyped-def]
    """A bound on scores as one on sums, int32, rounded down and at most one off; `unknown` for a bound of 0 without scales.

    The inverses are those of the scales. Five roundings, the bound's own among them, are of the eight that `formats.base`
    grants beside the canonical score's; a product that underflows is less than one sum off.
    """
    quotient = limit * inverse_Q * inverse_W
    quotient = tl.where(quotient == quotient, quotient, unknown)
    return tl.floor(tl.minimum(tl.maximum(quotient, -_LARGEST_SUM), _LARGEST_SUM)).to(tl.int32)


@triton.jit
def compare_scores(  # type: ignore[no-untyped-def]
    sums, q, tile, row, a, b, c, scale, inverse, threshold, scale_W, inverse_W, norm_W, residual_W, visible_QW, visible_stride,
    threshold_TQ, maxima_QG, candidates_QW, count_TQ, num_words, num_queries, num_targets,
    BQ: tl.constexpr, BI: tl.constexpr, G: tl.constexpr, INTEGER: tl.constexpr, MODE: tl.constexpr, WITH_MAXIMA: tl.constexpr
):  # fmt: skip
    """Writes a few bits for each pair of a tile: see `coarse_pass`. Words from `num_words` on do not exist.

    `sums` float32 or, with INTEGER, int32 [BQ, BI] of the queries `q`, whose bounds, scales and thresholds are float32 [BQ];
    `row` of the shard [BI].
    """
    NW: tl.constexpr = BI // 32
    w = tile * NW + tl.arange(0, NW)
    inside = (w < num_words)[None, :]
    q_long = q.to(tl.int64)[:, None]
    visible = tl.load(visible_QW + q_long * visible_stride + w[None, :], mask=inside, other=0)
    bit = tl.arange(0, 32)[None, None, :]
    if INTEGER and MODE != _MAXIMA:
        word_scale = tl.load(scale_W + w, mask=w < num_words, other=0.0)[None, :]
        word_inverse = tl.load(inverse_W + w, mask=w < num_words, other=0.0)[None, :]
    if MODE != _MAXIMA:
        # One bound for the 32 rows of a word: their largest norms are loaded once instead of 32 times.
        norm = tl.load(norm_W + w, mask=w < num_words, other=0.0)[None, :]
        residual = tl.load(residual_W + w, mask=w < num_words, other=0.0)[None, :]
        error = word_errors(a[:, None], b[:, None], c[:, None], norm, residual)
        sums_of_words = tl.reshape(sums, (BQ, NW, 32))
        if MODE == _COUNT:
            target = 0
            at_target = q_long
            while target < num_targets:  # the scores of one product serve them all
                target_score = tl.load(threshold_TQ + at_target)
                lowest, highest = min_coarse(target_score, error), max_coarse(target_score, error)
                if INTEGER:
                    lowest = in_sums(lowest, inverse[:, None], word_inverse, float("-inf")) - 1
                    highest = in_sums(highest, inverse[:, None], word_inverse, float("inf")) + 1
                certain = tl.sum(tl.where(sums_of_words > highest[:, :, None], 1 << bit, 0), axis=2) & visible
                reaching = tl.sum(tl.where(sums_of_words < lowest[:, :, None], 0, 1 << bit), axis=2) & visible
                num_certain = tl.sum(count_bits(certain), axis=1)[:, None]
                tl.atomic_add(count_TQ + at_target, num_certain, sem="relaxed")
                reaching = tl.where(target_score == target_score, reaching & ~certain, 0)
                tl.store(candidates_QW + at_target * num_words + w[None, :], reaching, mask=inside)
                at_target += num_queries
                target += 1
        else:
            lowest = min_coarse(threshold[:, None], error)
            if INTEGER:
                lowest = in_sums(lowest, inverse[:, None], word_inverse, float("-inf")) - 1
            reaching = tl.sum(tl.where(sums_of_words < lowest[:, :, None], 0, 1 << bit), axis=2)
            tl.store(candidates_QW + q_long * num_words + w[None, :], reaching & visible, mask=inside)
    if WITH_MAXIMA:
        hidden = float("-inf")
        if INTEGER:
            if MODE == _MAXIMA:  # rows of a sample come from words of their own
                sums = sums.to(tl.float32) * tl.load(scale_W + row // 32)[None, :]
            else:
                hidden = _NO_SUM
        is_visible = ((visible[:, :, None] >> bit) & 1) != 0
        shown = tl.where(is_visible, tl.reshape(sums, (BQ, NW, 32)), hidden)
        maxima = tl.max(tl.reshape(shown, (BQ, NW, 32 // G, G)), axis=3)
        if INTEGER:
            if MODE == _MAXIMA:
                maxima *= scale[:, None, None]
            else:
                scores = maxima.to(tl.float32) * word_scale[:, :, None] * scale[:, None, None]
                maxima = tl.where(maxima == _NO_SUM, float("-inf"), scores)
        g = w[:, None] * (32 // G) + tl.arange(0, 32 // G)[None, :]
        at_group = q_long[:, :, None] * (num_words * (32 // G)) + g[None, :, :]
        tl.store(maxima_QG + at_group, maxima, mask=inside[:, :, None])
