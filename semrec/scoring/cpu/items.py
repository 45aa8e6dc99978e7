"""A shard made ready for the CPU engine: what every block of queries reads."""

from __future__ import annotations

import numpy as np

from semrec.scoring.cpu.llvm import GROUP
from semrec.scoring.formats import CoarseFormat
from semrec.scoring.types import ItemShard

__all__ = ["CpuItems", "frozen"]


class CpuItems:
    """A shard and what is derived from it. The halves are read where they lie; what a format keeps lies beside them.

    Item columns `norm_I`, `residual_I` and `scale_I` are float32, one group of zeros longer than the items.
    `coarse_tile(start, stop)` gives rows in the coarse format: [T, D'].
    """

    def __init__(self, shard: ItemShard, coarse: CoarseFormat, tile_items: int) -> None:
        self.shard, self.coarse, self.tile_items = shard, coarse, tile_items
        norm_I, scale_I, residual_I = shard.norms_of(coarse)
        self.norm_I, self.scale_I, self.residual_I = _padded(norm_I), _padded(scale_I), _padded(residual_I)
        self.high_ID, self.low_ID = frozen(shard.high_ID), frozen(shard.low_ID)
        self.coarse_tile = coarse.item_tiles(shard, scale_I)
        self.planes_VG, self.plane_of_bit = _value_planes(shard.words_IW)
        self.clause_edges = np.array([*shard.clause_starts, shard.words_IW.shape[1]], np.int64)


def frozen(array: np.ndarray) -> np.ndarray:
    """A plain read-only view, so that memory-mapped and other arrays share one compiled kernel."""
    view = np.ascontiguousarray(array).view(np.ndarray)
    view.flags.writeable = False
    return view


def _value_planes(words_IW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The eligibility words turned round: uint64 [V, G] with bit j of group g for item 64 g + j, one plane for each bit of
    the words that some item has; and which plane that is for each bit, or -1: int64 [64 W].
    """
    used = np.bitwise_or.reduce(words_IW, axis=0) if len(words_IW) else np.zeros(words_IW.shape[1], np.uint64)
    bits = [64 * w + b for w in range(len(used)) for b in range(64) if int(used[w]) >> b & 1]
    planes = np.zeros((len(bits), -(-len(words_IW) // GROUP)), np.uint64)
    plane_of_bit = np.full(64 * len(used), -1, np.int64)
    for plane, bit in enumerate(bits):
        has = (words_IW[:, bit // 64] >> np.uint64(bit % 64) & np.uint64(1)).astype(np.uint8)
        packed = np.zeros(planes.shape[1] * 8, np.uint8)
        packed[: -(-len(has) // 8)] = np.packbits(has, bitorder="little")
        planes[plane], plane_of_bit[bit] = packed.view("<u8"), plane
    return planes, plane_of_bit


def _padded(column_I: np.ndarray) -> np.ndarray:
    return np.concatenate([column_I, np.zeros(GROUP)]).astype(np.float32)
