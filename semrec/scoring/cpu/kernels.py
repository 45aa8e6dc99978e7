"""The loops of the CPU engine over the tiles, compiled by numba; they hold no lock, so threads run side by side.

A block of queries meets the tiles of the shard in ascending row order. What may be among a query's first K goes into its
reservoir (`candidates`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from semrec.compiled import compiled
from semrec.scoring.cpu.candidates import canonical_score, error_of_item, make_room, margins
from semrec.scoring.cpu.llvm import (
    GROUP,
    as_limit,
    at_least,
    at_least_each,
    count_bits,
    first_bit,
    largest,
    load_score,
)

__all__ = ["Visibility", "count_tile", "eligible_groups", "group_maxima", "sweep_few", "sweep_tile"]


class Visibility(NamedTuple):
    """What a block's queries may be shown: bit j of group g stands for item 64 g + j of the tile.

    `eligible_CG` uint64 eligible items for each distinct combination C of eligibility words; `combination_Q` int64; seen
    rows in CSR, ascending, int64; `cursor_Q` int64: the first seen row that no tile has passed yet.
    """

    eligible_CG: np.ndarray
    combination_Q: np.ndarray
    seen_offsets: np.ndarray
    seen_rows: np.ndarray
    cursor_Q: np.ndarray


@compiled
def eligible_groups(words_CW, clause_edges, planes_VG, plane_of_bit, first_group, num_items, out_CG):  # type: ignore[no-untyped-def]
    """Which items of a tile pass every clause, per combination of words: fills uint64 [C, G].

    `planes_VG` has one bit per item for each value that some item has; `plane_of_bit` says which value that is for each
    bit of the words, or -1. The bits beyond `num_items` are left clear.
    """
    num_groups = (num_items + GROUP - 1) // GROUP
    for c in range(len(words_CW)):
        for g in range(num_groups):
            out_CG[c, g] = ~np.uint64(0)
        if num_items % GROUP:
            out_CG[c, num_groups - 1] = (np.uint64(1) << np.uint64(num_items % GROUP)) - np.uint64(1)
        for clause in range(len(clause_edges) - 1):
            passes = np.zeros(num_groups, np.uint64)
            for w in range(clause_edges[clause], clause_edges[clause + 1]):
                bits = words_CW[c, w]
                while bits:
                    plane = plane_of_bit[w * 64 + first_bit(bits)]
                    bits &= bits - np.uint64(1)
                    if plane >= 0:
                        for g in range(num_groups):
                            passes[g] |= planes_VG[plane, first_group + g]
            for g in range(num_groups):
                out_CG[c, g] &= passes[g]


@compiled
def sweep_tile(tile_QT, start, k, bounds, visibility, reservoirs, rows):  # type: ignore[no-untyped-def]
    """Lets a tile's coarse scores pass: `tile_QT[q, t]` is that of query q and row `start + t`."""
    num_items = tile_QT.shape[1]
    num_groups = (num_items + GROUP - 1) // GROUP
    shown_G = np.empty(num_groups, np.uint64)
    norm, residual = bounds.norm_I[start : start + num_items].max(), bounds.residual_I[start : start + num_items].max()
    scales = np.uintp(bounds.scale_I.ctypes.data) + np.uintp(start * 4)
    lower_N = np.empty(reservoirs.row_QN.shape[1], np.float32)
    for q in range(len(tile_QT)):
        reservoirs.num_shown_Q[q] += _shown(q, start, num_items, visibility, shown_G)
        address = np.uintp(tile_QT[q].ctypes.data)
        error = error_of_item(bounds, q, norm, residual)
        least = as_limit(tile_QT, _least_coarse(bounds, q, reservoirs.threshold_Q[q], error))
        for g in range(num_groups):
            mask = shown_G[g]
            if not mask:
                continue
            mask &= at_least(
                tile_QT, address + np.uintp(g * GROUP * tile_QT.itemsize), scales + np.uintp(g * GROUP * 4), least
            )
            while mask:
                t = g * GROUP + first_bit(mask)
                mask &= mask - np.uint64(1)
                if _offer(q, start + t, tile_QT[q, t], bounds, reservoirs):
                    make_room(q, k, bounds, reservoirs, rows, lower_N)
                    least = as_limit(tile_QT, _least_coarse(bounds, q, reservoirs.threshold_Q[q], error))


@compiled
def sweep_few(tile_TP, start, k, bounds, visibility, reservoirs, rows, limits_P):  # type: ignore[no-untyped-def]
    """`sweep_tile` for at most 64 queries, with the tile turned round: `tile_TP[t, q]` is that of row `start + t` and query q.

    One group of scores is read from every row, so that many must lie behind the last one. `limits_P`: scratch for as many
    limits.
    """
    num_items, num_queries = len(tile_TP), len(reservoirs.count_Q)
    shown_QG = np.empty((num_queries, (num_items + GROUP - 1) // GROUP), np.uint64)
    norm, residual = bounds.norm_I[start : start + num_items].max(), bounds.residual_I[start : start + num_items].max()
    lower_N = np.empty(reservoirs.row_QN.shape[1], np.float32)
    error_Q = np.empty(num_queries, np.float64)
    for q in range(num_queries):
        reservoirs.num_shown_Q[q] += _shown(q, start, num_items, visibility, shown_QG[q])
        error_Q[q] = error_of_item(bounds, q, norm, residual)
        limits_P[q] = as_limit(tile_TP, _least_coarse(bounds, q, reservoirs.threshold_Q[q], error_Q[q]))
    asked = ~np.uint64(0) >> np.uint64(GROUP - num_queries)
    address, limits = np.uintp(tile_TP.ctypes.data), np.uintp(limits_P.ctypes.data)
    row_bytes = np.uintp(tile_TP.shape[1] * tile_TP.itemsize)
    for t in range(num_items):
        mask = asked & at_least_each(tile_TP, address, bounds.scale_I[start + t], limits)
        address += row_bytes
        while mask:
            q = first_bit(mask)
            mask &= mask - np.uint64(1)
            if not (shown_QG[q, t // GROUP] >> np.uint64(t % GROUP)) & np.uint64(1):
                continue
            if _offer(q, start + t, tile_TP[t, q], bounds, reservoirs):
                make_room(q, k, bounds, reservoirs, rows, lower_N)
                limits_P[q] = as_limit(tile_TP, _least_coarse(bounds, q, reservoirs.threshold_Q[q], error_Q[q]))


@compiled
def _offer(q, row, stored, bounds, reservoirs):  # type: ignore[no-untyped-def]
    """Puts an item that may reach query q's threshold into its reservoir. Returns whether that is full now."""
    score = load_score(stored) * bounds.scale_I[row] * bounds.scale_Q[q]
    if margins(bounds, q, row, score)[1] < reservoirs.threshold_Q[q]:
        return False
    n = reservoirs.count_Q[q]
    reservoirs.row_QN[q, n], reservoirs.score_QN[q, n] = row, score
    reservoirs.count_Q[q] = n + 1
    return n + 1 == reservoirs.row_QN.shape[1]


@compiled
def _shown(q, start, num_items, visibility, shown_G):  # type: ignore[no-untyped-def]
    """Fills the groups of a tile that query q may be shown, and returns how many items that are."""
    eligible_G = visibility.eligible_CG[visibility.combination_Q[q]]
    for g in range(len(shown_G)):
        shown_G[g] = eligible_G[g]
    cursor, end = visibility.cursor_Q[q], visibility.seen_offsets[q + 1]
    while cursor < end and visibility.seen_rows[cursor] < start:  # the tiles before may be another thread's
        cursor += 1
    while cursor < end and visibility.seen_rows[cursor] < start + num_items:
        t = np.uint64(visibility.seen_rows[cursor] - start)
        shown_G[t // np.uint64(GROUP)] &= ~(np.uint64(1) << (t % np.uint64(GROUP)))
        cursor += 1
    visibility.cursor_Q[q] = cursor
    num_shown = 0
    for g in range(len(shown_G)):
        num_shown += count_bits(shown_G[g])
    return num_shown


@compiled
def _least_coarse(bounds, q, threshold, error):  # type: ignore[no-untyped-def]
    """What a stored score must reach for its upper bound to reach the threshold, when no error exceeds `error`."""
    if not error < np.inf:
        return -np.inf
    least = np.float64(threshold) - error
    least /= 1 + bounds.eta if least > 0 else 1 - bounds.eta
    scale = np.float64(bounds.scale_Q[q])
    if scale == 0:  # every score is zero
        return np.inf if least > 0 else -np.inf
    return least / scale


@compiled
def group_maxima(tile_QT, width, bounds, visibility, maxima_QG, start):  # type: ignore[no-untyped-def]
    """The largest coarse score that query q may be shown in each group of `width` items, 16 or 64: float32 [Q, G]."""
    num_items = tile_QT.shape[1]
    shown_G = np.empty((num_items + GROUP - 1) // GROUP, np.uint64)
    scales = np.uintp(bounds.scale_I.ctypes.data) + np.uintp(start * 4)
    for q in range(len(tile_QT)):
        _shown(q, start, num_items, visibility, shown_G)
        address = np.uintp(tile_QT[q].ctypes.data)
        for first in range(0, num_items, width):
            best = np.float32(-np.inf)
            for t in range(first, min(first + width, num_items), 16):
                mask = np.uint16(shown_G[t // GROUP] >> np.uint64(t % GROUP))
                at, at_scale = address + np.uintp(t * tile_QT.itemsize), scales + np.uintp(t * 4)
                best = max(best, largest(tile_QT, at, at_scale, mask))
            maxima_QG[q, (start + first) // width] = best * bounds.scale_Q[q]


@compiled
def count_tile(tile_QT, start, target_offsets, target_rows, target_scores, bounds, visibility, rows, counts):  # type: ignore[no-untyped-def]
    """Adds to `counts` how many items of the tile that query q may be shown stand before each of its targets.

    What the bounds cannot tell from a target is scored canonically.
    """
    num_items = tile_QT.shape[1]
    num_groups = (num_items + GROUP - 1) // GROUP
    shown_G = np.empty(num_groups, np.uint64)
    norm, residual = bounds.norm_I[start : start + num_items].max(), bounds.residual_I[start : start + num_items].max()
    scales = np.uintp(bounds.scale_I.ctypes.data) + np.uintp(start * 4)
    for q in range(len(tile_QT)):
        _shown(q, start, num_items, visibility, shown_G)
        address = np.uintp(tile_QT[q].ctypes.data)
        error = error_of_item(bounds, q, norm, residual)
        for n in range(target_offsets[q], target_offsets[q + 1]):
            target_row, target = target_rows[n], target_scores[n]
            least = as_limit(tile_QT, _least_coarse(bounds, q, target, error))
            surely = _surely_above(bounds, q, target, error)
            above = as_limit(tile_QT, surely)
            for g in range(num_groups):
                if not shown_G[g]:
                    continue
                at = address + np.uintp(g * GROUP * tile_QT.itemsize)
                at_scale = scales + np.uintp(g * GROUP * 4)
                reach = shown_G[g] & at_least(tile_QT, at, at_scale, least)
                if not reach:
                    continue
                sure = reach & at_least(tile_QT, at, at_scale, above) if surely < np.inf else np.uint64(0)
                counts[n] += count_bits(sure)
                mask = reach & ~sure
                while mask:
                    t = g * GROUP + first_bit(mask)
                    mask &= mask - np.uint64(1)
                    coarse = load_score(tile_QT[q, t]) * bounds.scale_I[start + t] * bounds.scale_Q[q]
                    lower, upper = margins(bounds, q, start + t, coarse)
                    if lower > target:
                        counts[n] += 1
                    elif upper >= target and start + t != target_row:
                        score = canonical_score(q, start + t, rows)
                        counts[n] += score > target or (score == target and start + t < target_row)


@compiled
def _surely_above(bounds, q, target, error):  # type: ignore[no-untyped-def]
    """A stored score that reaches this has a canonical score above `target`; infinity when none can be named."""
    scale = np.float64(bounds.scale_Q[q])
    if not error < np.inf or scale == 0:
        return np.inf
    least = np.float64(target) + error
    least /= 1 - bounds.eta if least > 0 else 1 + bounds.eta
    # `at_least` rounds down to a bfloat16: two units up make sure of it.
    return (least + abs(least) * 2.0**-6 + 2.0**-120) / scale
