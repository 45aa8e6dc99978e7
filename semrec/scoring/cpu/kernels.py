"""The loops of the CPU engine over tiles of coarse scores, compiled by numba; they hold no lock, so threads run side by side.

A block of queries passes the tiles of the shard in ascending row order. An item whose upper bound reaches a query's threshold
goes into the query's candidate buffer (`candidates`). Nearly all items do not, so each loop first compares 64 scores at once
with one number that is safe for all of the tile (`llvm`), and looks at an item's own bound only where that is reached.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from semrec.compiled import compiled
from semrec.scoring.cpu.candidates import canonical_score, error_of_item, largest_norms, score_bounds, shrink_buffer
from semrec.scoring.cpu.llvm import (
    GROUP,
    MAXIMA,
    as_limit,
    at_least,
    at_least_each,
    count_bits,
    first_bit,
    load_score,
    raise_maxima,
)
from semrec.scoring.formats.panel_products import PANEL, STRIP, compare_strip, multiply_strip

__all__ = [
    "Visibility",
    "count_tile",
    "eligible_groups",
    "panel_maxima",
    "sweep_few",
    "sweep_panels",
    "sweep_tile",
    "tile_maxima",
]

_RUN_BYTES = 3 << 17  # of panels


class Visibility(NamedTuple):
    """The items of a tile that each query may be shown: bit j of group g stands for item 64 g + j of the tile.

    `eligible_CG` uint64 eligible items for each distinct combination C of eligibility words; `combination_Q` int64; seen
    rows in CSR, ascending, int64; `cursor_Q` int64: the first seen row that no tile has passed yet.
    """

    eligible_CG: np.ndarray
    combination_Q: np.ndarray
    seen_offsets: np.ndarray
    seen_rows: np.ndarray
    cursor_Q: np.ndarray


@compiled
def eligible_groups(words_CW, clause_edges, bit_planes_VG, plane_of_bit, first_group, num_items, eligible_CG):  # type: ignore[no-untyped-def]
    """Fills uint64 [C, G] with the items of a tile that pass every clause, per combination of words.

    `bit_planes_VG` has one bit per item for each value that some item has; `plane_of_bit` says which value that is for each
    bit of the words, or -1. The bits beyond `num_items` are left clear.
    """
    num_groups = (num_items + GROUP - 1) // GROUP
    for c in range(len(words_CW)):
        for g in range(num_groups):
            eligible_CG[c, g] = ~np.uint64(0)
        if num_items % GROUP:
            eligible_CG[c, num_groups - 1] = (np.uint64(1) << np.uint64(num_items % GROUP)) - np.uint64(1)
        # A clause is an OR over the values that the query states, an eligible item passes the AND of the clauses.
        for clause in range(len(clause_edges) - 1):
            passes = np.zeros(num_groups, np.uint64)
            for w in range(clause_edges[clause], clause_edges[clause + 1]):
                bits = words_CW[c, w]
                while bits:
                    plane = plane_of_bit[w * 64 + first_bit(bits)]
                    bits &= bits - np.uint64(1)  # clears the lowest bit
                    if plane >= 0:
                        for g in range(num_groups):
                            passes[g] |= bit_planes_VG[plane, first_group + g]
            for g in range(num_groups):
                eligible_CG[c, g] &= passes[g]


@compiled
def sweep_tile(tile_QT, start, k, bounds, visibility, buffers, vectors):  # type: ignore[no-untyped-def]
    """Adds every item of the tile whose upper bound reaches the query's threshold to its candidate buffer.

    `tile_QT[q, t]` is the coarse score of query q and row `start + t`.
    """
    num_items = tile_QT.shape[1]
    num_groups = (num_items + GROUP - 1) // GROUP
    visible_G = np.empty(num_groups, np.uint64)
    # The largest norms of the tile bound the error of each of its items: one limit serves the whole row of the tile.
    norm, residual = largest_norms(bounds, start, num_items)
    scales = np.uintp(bounds.scale_I.ctypes.data) + np.uintp(start * 4)
    bounds_3N = np.empty((3, buffers.row_QN.shape[1]), np.float32)
    for q in range(len(tile_QT)):
        buffers.num_visible_Q[q] += _visible_groups(q, start, num_items, 0, visibility, visible_G)
        address = np.uintp(tile_QT[q].ctypes.data)
        error = error_of_item(bounds, q, norm, residual)
        limit = as_limit(tile_QT, _min_coarse(bounds, q, buffers.threshold_Q[q], error))
        for g in range(num_groups):
            mask = visible_G[g]
            if not mask:
                continue
            mask &= at_least(
                tile_QT, address + np.uintp(g * GROUP * tile_QT.itemsize), scales + np.uintp(g * GROUP * 4), limit
            )
            while mask:
                t = g * GROUP + first_bit(mask)
                mask &= mask - np.uint64(1)
                if _add_candidate(q, start + t, tile_QT[q, t], bounds, buffers):
                    shrink_buffer(q, k, bounds, buffers, vectors, bounds_3N)
                    # The threshold may be higher now; the mask of this group stays as it is, which is only less sharp.
                    limit = as_limit(tile_QT, _min_coarse(bounds, q, buffers.threshold_Q[q], error))


@compiled
def sweep_panels(strips, panels, start, num_items, k, bounds, visibility, buffers, vectors):  # type: ignore[no-untyped-def]
    """`sweep_tile` for items in panels, from row `start`: 6 queries by 64 items are multiplied and looked at, at a time.

    A run of panels that fits into the processor's second cache stays there while all queries pass.
    """
    products, mask_R = np.empty((STRIP, PANEL), strips.dtype), np.empty(STRIP, np.uint64)
    run = max(1, _RUN_BYTES // (panels.shape[1] * panels.itemsize))
    visible_RG, limit_R = np.empty((STRIP, run), np.uint64), np.full(STRIP, np.inf, np.float32)
    error_R = np.empty(STRIP, np.float64)
    bounds_3N = np.empty((3, buffers.row_QN.shape[1]), np.float32)
    for first in range(0, len(panels), run):
        row = start + first * PANEL
        num_rows = min(run * PANEL, num_items - first * PANEL)
        num_groups = (num_rows + PANEL - 1) // PANEL
        norm, residual = largest_norms(bounds, row, num_rows)
        for s in range(len(strips)):
            num_queries = min(STRIP, len(buffers.count_Q) - s * STRIP)
            for r in range(num_queries):
                q = s * STRIP + r
                visible_G = visible_RG[r, :num_groups]
                buffers.num_visible_Q[q] += _visible_groups(q, row, num_rows, first, visibility, visible_G)
                error_R[r] = error_of_item(bounds, q, norm, residual)
                limit_R[r] = as_limit(products, _min_coarse(bounds, q, buffers.threshold_Q[q], error_R[r]))
            for g in range(num_groups):
                group_row = row + g * PANEL
                scales = np.uintp(bounds.scale_I.ctypes.data) + np.uintp(group_row * 4)
                if not compare_strip(strips, s, num_queries, panels, first + g, scales, limit_R, mask_R, products):
                    continue
                for r in range(num_queries):
                    mask = visible_RG[r, g] & mask_R[r]
                    while mask:
                        t = first_bit(mask)
                        mask &= mask - np.uint64(1)
                        q = s * STRIP + r
                        if _add_candidate(q, group_row + t, products[r, t], bounds, buffers):
                            shrink_buffer(q, k, bounds, buffers, vectors, bounds_3N)
                            limit_R[r] = as_limit(products, _min_coarse(bounds, q, buffers.threshold_Q[q], error_R[r]))


@compiled
def sweep_few(tile_TP, start, k, bounds, visibility, buffers, vectors, limits_P):  # type: ignore[no-untyped-def]
    """`sweep_tile` for at most 64 queries over a transposed tile: `tile_TP[t, q]` is that of row `start + t` and query q.

    Here 64 queries of one item are compared at once, each with its own limit. One group of scores is read from every row,
    so that many must lie behind the last one. `limits_P`: scratch for as many limits.
    """
    num_items, num_queries = len(tile_TP), len(buffers.count_Q)
    visible_QG = np.empty((num_queries, (num_items + GROUP - 1) // GROUP), np.uint64)
    norm, residual = largest_norms(bounds, start, num_items)
    bounds_3N = np.empty((3, buffers.row_QN.shape[1]), np.float32)
    error_Q = np.empty(num_queries, np.float64)
    for q in range(num_queries):
        buffers.num_visible_Q[q] += _visible_groups(q, start, num_items, 0, visibility, visible_QG[q])
        error_Q[q] = error_of_item(bounds, q, norm, residual)
        limits_P[q] = as_limit(tile_TP, _min_coarse(bounds, q, buffers.threshold_Q[q], error_Q[q]))
    query_bits = ~np.uint64(0) >> np.uint64(GROUP - num_queries)
    address, limits = np.uintp(tile_TP.ctypes.data), np.uintp(limits_P.ctypes.data)
    row_bytes = np.uintp(tile_TP.shape[1] * tile_TP.itemsize)
    for t in range(num_items):
        mask = query_bits & at_least_each(tile_TP, address, bounds.scale_I[start + t], limits)
        address += row_bytes
        while mask:
            q = first_bit(mask)
            mask &= mask - np.uint64(1)
            if not (visible_QG[q, t // GROUP] >> np.uint64(t % GROUP)) & np.uint64(1):
                continue
            if _add_candidate(q, start + t, tile_TP[t, q], bounds, buffers):
                shrink_buffer(q, k, bounds, buffers, vectors, bounds_3N)
                limits_P[q] = as_limit(tile_TP, _min_coarse(bounds, q, buffers.threshold_Q[q], error_Q[q]))


@compiled
def _add_candidate(q, row, stored, bounds, buffers):  # type: ignore[no-untyped-def]
    """Adds an item to query q's buffer if its own bound reaches the threshold. Returns whether the buffer is full now."""
    score = load_score(stored) * bounds.scale_I[row] * bounds.scale_Q[q]
    if score_bounds(bounds, q, row, score)[1] < buffers.threshold_Q[q]:
        return False
    n = buffers.count_Q[q]
    if bounds.are_scores:
        row, score = ~row, score + np.float32(0.0)  # -0.0 becomes 0.0
    buffers.row_QN[q, n], buffers.score_QN[q, n] = row, score
    buffers.count_Q[q] = n + 1
    return n + 1 == buffers.full_Q[q]


@compiled
def _visible_groups(q, start, num_items, first_group, visibility, visible_G):  # type: ignore[no-untyped-def]
    """Fills groups with the items from row `start` that query q may be shown, and returns their number.

    They are those of the tile from its `first_group` on. Advances the query's cursor over its seen rows, so that rows must
    come in ascending order.
    """
    eligible_G = visibility.eligible_CG[visibility.combination_Q[q]]
    for g in range(len(visible_G)):
        visible_G[g] = eligible_G[first_group + g]
    cursor, end = visibility.cursor_Q[q], visibility.seen_offsets[q + 1]
    while cursor < end and visibility.seen_rows[cursor] < start:  # the tiles before may be another thread's
        cursor += 1
    while cursor < end and visibility.seen_rows[cursor] < start + num_items:
        t = np.uint64(visibility.seen_rows[cursor] - start)
        visible_G[t // np.uint64(GROUP)] &= ~(np.uint64(1) << (t % np.uint64(GROUP)))
        cursor += 1
    visibility.cursor_Q[q] = cursor
    num_visible = 0
    for g in range(len(visible_G)):
        num_visible += count_bits(visible_G[g])
    return num_visible


@compiled
def _min_coarse(bounds, q, threshold, error):  # type: ignore[no-untyped-def]
    """The lowest stored score whose upper bound can reach the threshold, when no error exceeds `error`; float64.

    Solves c + eta |c| + error >= threshold for c, and divides by the query's scale, which stored scores lack.
    """
    if not error < np.inf:
        return -np.inf
    lowest = np.float64(threshold) - error
    lowest /= 1 + bounds.eta if lowest > 0 else 1 - bounds.eta
    scale = np.float64(bounds.scale_Q[q])
    if scale == 0:  # every score is zero
        return np.inf if lowest > 0 else -np.inf
    return lowest / scale


@compiled
def tile_maxima(tile_QT, start, groups_in_set, bounds, visibility, maxima_QG):  # type: ignore[no-untyped-def]
    """Raises float32 [Q, G] to the coarse scores of the tile that each query may be shown.

    Every so many groups of 64 items make a set with 16 maxima, of every 16th item each.
    """
    num_items = tile_QT.shape[1]
    visible_G = np.empty((num_items + GROUP - 1) // GROUP, np.uint64)
    for q in range(len(tile_QT)):
        _visible_groups(q, start, num_items, 0, visibility, visible_G)
        address = np.uintp(tile_QT[q].ctypes.data)
        for g in range(len(visible_G)):
            score_address = address + np.uintp(g * GROUP * tile_QT.itemsize)
            _raise_maxima(
                tile_QT, score_address, start // GROUP + g, groups_in_set, visible_G[g], bounds, maxima_QG[q]
            )  # fmt: skip


@compiled
def panel_maxima(strips, panels, start, num_items, groups_in_set, bounds, visibility, maxima_QG):  # type: ignore[no-untyped-def]
    """`tile_maxima` of items in panels, from row `start`, which no product of more than a strip and a panel is kept of."""
    products = np.empty((STRIP, PANEL), strips.dtype)
    address = np.uintp(products.ctypes.data)
    visible_RG = np.empty((STRIP, len(panels)), np.uint64)
    for s in range(len(strips)):
        num_rows = min(STRIP, len(maxima_QG) - s * STRIP)
        for r in range(num_rows):
            _visible_groups(s * STRIP + r, start, num_items, 0, visibility, visible_RG[r])
        for g in range(len(panels)):
            multiply_strip(strips, s, panels, g, products)
            for r in range(num_rows):
                _raise_maxima(
                    products, address + np.uintp(r * PANEL * 4), start // GROUP + g, groups_in_set, visible_RG[r, g],
                    bounds, maxima_QG[s * STRIP + r],
                )  # fmt: skip


@compiled
def _raise_maxima(tile, address, group, groups_in_set, visible, bounds, maxima_G):  # type: ignore[no-untyped-def]
    """Raises the 16 maxima of the set of a group of items to its visible coarse scores, which begin at `address`."""
    scales = np.uintp(bounds.scale_I.ctypes.data) + np.uintp(group * GROUP * 4)
    maxima = np.uintp(maxima_G.ctypes.data) + np.uintp(group // groups_in_set * MAXIMA * 4)
    raise_maxima(tile, address, scales, visible, maxima)


@compiled
def count_tile(tile_QT, start, target_offsets, target_rows, target_scores, bounds, visibility, vectors, counts):  # type: ignore[no-untyped-def]
    """Adds to `counts` how many items of the tile that query q may be shown stand before each of its targets.

    What the bounds cannot tell from a target is scored canonically.
    """
    num_items = tile_QT.shape[1]
    num_groups = (num_items + GROUP - 1) // GROUP
    visible_G = np.empty(num_groups, np.uint64)
    norm, residual = largest_norms(bounds, start, num_items)
    scales = np.uintp(bounds.scale_I.ctypes.data) + np.uintp(start * 4)
    for q in range(len(tile_QT)):
        _visible_groups(q, start, num_items, 0, visibility, visible_G)
        address = np.uintp(tile_QT[q].ctypes.data)
        error = error_of_item(bounds, q, norm, residual)
        for n in range(target_offsets[q], target_offsets[q + 1]):
            target_row, target = target_rows[n], target_scores[n]
            possible_limit = as_limit(tile_QT, _min_coarse(bounds, q, target, error))
            certain_score = _certain_coarse(bounds, q, target, error)
            certain_limit = as_limit(tile_QT, certain_score)
            for g in range(num_groups):
                if not visible_G[g]:
                    continue
                score_address = address + np.uintp(g * GROUP * tile_QT.itemsize)
                scale_address = scales + np.uintp(g * GROUP * 4)
                possible = visible_G[g] & at_least(tile_QT, score_address, scale_address, possible_limit)
                if not possible:
                    continue
                certain = np.uint64(0)
                if certain_score < np.inf:
                    certain = possible & at_least(tile_QT, score_address, scale_address, certain_limit)
                counts[n] += count_bits(certain)
                mask = possible & ~certain
                # Between the two limits an item's own bound may decide; if not, its canonical score does.
                while mask:
                    t = g * GROUP + first_bit(mask)
                    mask &= mask - np.uint64(1)
                    coarse = load_score(tile_QT[q, t]) * bounds.scale_I[start + t] * bounds.scale_Q[q]
                    lower, upper = score_bounds(bounds, q, start + t, coarse)
                    if lower > target:
                        counts[n] += 1
                    elif upper >= target and start + t != target_row:
                        score = canonical_score(q, start + t, vectors)
                        counts[n] += score > target or (score == target and start + t < target_row)


@compiled
def _certain_coarse(bounds, q, target, error):  # type: ignore[no-untyped-def]
    """A stored score that reaches this has a canonical score above `target`; infinity when none can be named. float64."""
    scale = np.float64(bounds.scale_Q[q])
    if not error < np.inf or scale == 0:
        return np.inf
    lowest = np.float64(target) + error
    lowest /= 1 - bounds.eta if lowest > 0 else 1 + bounds.eta
    # `as_limit` rounds down to a bfloat16: two units up make sure of it.
    return (lowest + abs(lowest) * 2.0**-6 + 2.0**-120) / scale
