"""Prepare a shard for the CPU engine: the arrays that every block of queries reads."""

from __future__ import annotations

import numpy as np

from semrec.scoring.cpu.llvm import GROUP
from semrec.scoring.formats import CoarseFormat
from semrec.scoring.types import ItemShard

__all__ = ["CpuItems", "frozen"]


class CpuItems:
    """What is derived from a shard. Its halves are read where they lie; what a format keeps lies beside them.

    Of a sample, whose rows may lie apart, nothing is scored canonically.

    Item columns `norm_I`, `residual_I` and `scale_I` are float32, one group of zeros longer than the items; `norm_G` and
    `residual_G` are the largest of each group.
    `coarse_tile(start, stop)` gives rows in the coarse format, [T, D'], and `panel_tile(start, stop, room)` panels of them: one
    of the two for a format with `only_panels`, both for others with panels.
    """

    def __init__(self, shard: ItemShard, coarse: CoarseFormat, tile_items: int, *, is_sample: bool = False) -> None:
        self.num_items, self.coarse, self.tile_items = shard.num_items, coarse, tile_items
        norm_I, scale_I, residual_I = shard.norms_of(coarse)
        self.norm_I, self.scale_I, self.residual_I = _padded(norm_I), _padded(scale_I), _padded(residual_I)
        self.norm_G, self.residual_G = _largest_of_groups(self.norm_I), _largest_of_groups(self.residual_I)
        scored = shard.slice(0, 0) if is_sample else shard
        self.high_ID, self.low_ID = frozen(scored.high_ID), frozen(scored.low_ID)
        self.panel_tile = coarse.item_panels(shard, scale_I) if coarse.panels else None
        self.coarse_tile = None if self.panel_tile and coarse.only_panels else coarse.item_tiles(shard, scale_I)
        self.bit_planes_VG, self.plane_of_bit = _bit_planes(shard.words_IW)
        self.clause_edges = np.array([*shard.clause_starts, shard.words_IW.shape[1]], np.int64)


def frozen(array: np.ndarray) -> np.ndarray:
    """A plain read-only view, so that memory-mapped and other arrays share one compiled kernel."""
    view = np.ascontiguousarray(array).view(np.ndarray)
    view.flags.writeable = False
    return view


def _bit_planes(words_IW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Transposes eligibility words into one bit plane per value that some item has.

    Returns uint64 [V, G], bit j of group g for item 64 g + j, and the plane of each bit of the words, or -1: int64 [64 W].
    A query's eligible items are then an OR of few planes, 64 items at a time.
    """
    used = np.bitwise_or.reduce(words_IW, axis=0) if len(words_IW) else np.zeros(words_IW.shape[1], np.uint64)
    bits = [64 * w + b for w in range(len(used)) for b in range(64) if int(used[w]) >> b & 1]
    bit_planes_VG = np.zeros((len(bits), -(-len(words_IW) // GROUP)), np.uint64)
    plane_of_bit = np.full(64 * len(used), -1, np.int64)
    for plane, bit in enumerate(bits):
        has_value_I = (words_IW[:, bit // 64] >> np.uint64(bit % 64) & np.uint64(1)).astype(np.uint8)
        packed = np.zeros(bit_planes_VG.shape[1] * 8, np.uint8)
        packed[: -(-len(has_value_I) // 8)] = np.packbits(has_value_I, bitorder="little")
        bit_planes_VG[plane], plane_of_bit[bit] = packed.view("<u8"), plane
    return bit_planes_VG, plane_of_bit


def _largest_of_groups(padded_I: np.ndarray) -> np.ndarray:
    return np.maximum.reduceat(padded_I, np.arange(0, len(padded_I), GROUP))


def _padded(column_I: np.ndarray) -> np.ndarray:
    return np.concatenate([column_I, np.zeros(GROUP)]).astype(np.float32)
