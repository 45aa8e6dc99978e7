"""A shard made ready for the CPU engine: what every block of queries reads."""

from __future__ import annotations

import warnings
from typing import Final

import numpy as np
import torch

from semrec.scoring.coarse import (
    NORM,
    RESIDUAL_BFLOAT16,
    RESIDUAL_INT8,
    SCALE_INT8,
    CoarseFormat,
    check_format,
    code_width,
    int8_codes,
)
from semrec.scoring.cpu.llvm import GROUP
from semrec.scoring.types import ItemShard

__all__ = ["CpuItems", "as_tensor", "frozen"]

_CODED_ROWS: Final = 8_192


class CpuItems:
    """A shard and what is derived from it. The halves are read where they lie; int8 codes are kept beside them.

    Item columns `norm_I`, `residual_I` and `scale_I` are float32, one group of zeros longer than the items.
    """

    def __init__(self, shard: ItemShard, coarse: CoarseFormat, tile_items: int) -> None:
        self.shard, self.coarse, self.tile_items = shard, check_format(coarse), tile_items
        norms, zeros = np.asarray(shard.norms_IN), np.zeros(shard.num_items, np.float32)
        residual = {"float32": zeros, "bfloat16": norms[:, RESIDUAL_BFLOAT16], "int8": norms[:, RESIDUAL_INT8]}
        self.norm_I, self.residual_I = _padded(norms[:, NORM]), _padded(residual[coarse])
        self.scale_I = _padded(norms[:, SCALE_INT8] if coarse == "int8" else zeros + 1)
        self.high_ID, self.low_ID = frozen(shard.high_ID), frozen(shard.low_ID)
        self.codes_ID = _codes(shard) if coarse == "int8" else np.zeros((0, 0), np.int8)
        self.planes_VG, self.plane_of_bit = _value_planes(shard.words_IW)
        self.clause_edges = np.array([*shard.clause_starts, shard.words_IW.shape[1]], np.int64)

    def coarse_tile(self, start: int, stop: int) -> torch.Tensor:
        """Rows start:stop in the coarse format: [T, D]."""
        if self.coarse == "float32":
            return torch.from_numpy(self.shard.vectors(slice(start, stop)))
        if self.coarse == "int8":
            return torch.from_numpy(self.codes_ID[start:stop])
        return as_tensor(self.high_ID[start:stop]).view(torch.bfloat16)


def as_tensor(array: np.ndarray) -> torch.Tensor:
    """A tensor over the array's own memory, to which nothing here writes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)


def frozen(array: np.ndarray) -> np.ndarray:
    """A plain read-only view, so that memory-mapped and other arrays share one compiled kernel."""
    view = np.ascontiguousarray(array).view(np.ndarray)
    view.flags.writeable = False
    return view


def _codes(shard: ItemShard) -> np.ndarray:
    """int8 [I, code_width(D)], made of a few rows at a time."""
    scale = np.asarray(shard.norms_IN[:, SCALE_INT8])
    codes = np.empty((shard.num_items, code_width(shard.dimension)), np.int8)
    for start in range(0, shard.num_items, _CODED_ROWS):
        rows = slice(start, start + _CODED_ROWS)
        codes[rows] = int8_codes(shard.vectors(rows), scale[rows])
    return codes


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
