"""What the CUDA engine keeps on the device: a shard's items and lattices over them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import torch

from semrec.scoring.coarse import (
    NORM,
    NORM_COLUMNS,
    RESIDUAL_BFLOAT16,
    RESIDUAL_INT8,
    SCALE_INT8,
    CoarseFormat,
    query_bounds,
)
from semrec.scoring.types import ItemShard

__all__ = [
    "WORD",
    "DeviceShard",
    "Lattice",
    "as_tensor",
    "bound_slopes",
    "padded_dimension",
    "shard_bytes",
]

WORD: Final = 32
_TILE_WORDS: Final = 8  # words are padded to what the largest tile of items has
_CHUNK_ROWS: Final = 65_536
_RESIDUAL: Final = {"bfloat16": RESIDUAL_BFLOAT16, "int8": RESIDUAL_INT8}


@dataclass(frozen=True)
class Lattice:
    """Every `step`-th item. W counts int32 words of 32 rows each, V the values that some row has.

    `norm_W`, `residual_W` float32: the largest of a word's rows. `planes_VW` int32: a bit per row that has the value;
    `plane_of_bit` int32 [64 x uint64 words]: which plane each bit of the eligibility words is, or -1.
    """

    step: int
    num_rows: int
    num_words: int
    norm_W: torch.Tensor
    residual_W: torch.Tensor
    planes_VW: torch.Tensor
    plane_of_bit: torch.Tensor


class DeviceShard:
    """A shard on a device. Vectors are padded with zeros to `padded` dimensions.

    `high_ID`, `low_ID` int16: the halves; `coarse_ID` what the coarse product reads: bfloat16 over the high halves, int8
    codes, or the high halves themselves, which float32 joins with the low ones; `scale_I` float32, of the codes.
    """

    def __init__(self, shard: ItemShard, coarse: CoarseFormat, device: torch.device, padded: int) -> None:
        self.shard, self.coarse, self.device, self.padded = shard, coarse, device, padded
        self.high_ID = self._upload(shard.high_ID.view(np.int16))
        self.low_ID = self._upload(shard.low_ID)
        self.scale_I = as_tensor(np.ascontiguousarray(shard.norms_IN[:, SCALE_INT8])).to(device)
        self.coarse_ID = self.high_ID
        if coarse == "bfloat16":
            self.coarse_ID = self.high_ID.view(torch.bfloat16)
        if coarse == "int8":
            self.coarse_ID = self._codes()
        edges = np.array([*shard.clause_starts, shard.words_IW.shape[1]], np.int32)
        self.clause_edges = as_tensor(edges * 2).to(device)  # in words of 32 bits
        self.lattice = cache(self._lattice)

    def _upload(self, halves_ID: np.ndarray) -> torch.Tensor:
        out = torch.zeros((len(halves_ID), self.padded), dtype=torch.int16, device=self.device)
        for start in range(0, len(halves_ID), _CHUNK_ROWS):
            rows = np.ascontiguousarray(halves_ID[start : start + _CHUNK_ROWS])
            out[start : start + len(rows), : rows.shape[1]] = as_tensor(rows).to(self.device)
        return out

    def _codes(self) -> torch.Tensor:
        """`coarse.int8_codes` on the device: the same float64 division and rounding, so the residual norms hold."""
        codes = torch.zeros(self.high_ID.shape, dtype=torch.int8, device=self.device)
        for start in range(0, len(codes), _CHUNK_ROWS):
            rows = slice(start, start + _CHUNK_ROWS)
            bits = (self.high_ID[rows].int() << 16) + self.low_ID[rows]
            scale = self.scale_I[rows, None].double()
            ratio = bits.view(torch.float32).double() / torch.where(scale > 0, scale, 1.0)
            codes[rows] = torch.where(scale > 0, ratio.round_().clamp_(-127, 127), 0.0).to(torch.int8)
        return codes

    def _lattice(self, step: int) -> Lattice:
        shard, device = self.shard, self.device
        norms_IN, words_IW = shard.norms_IN[::step], shard.words_IW[::step]
        num_words = -(-len(norms_IN) // (WORD * _TILE_WORDS)) * _TILE_WORDS
        residual = (
            norms_IN[:, _RESIDUAL[self.coarse]] if self.coarse in _RESIDUAL else np.zeros(len(norms_IN), np.float32)
        )
        planes_VW, plane_of_bit = _value_planes(words_IW, num_words)
        arrays = (
            _word_maxima(norms_IN[:, NORM], num_words),
            _word_maxima(residual, num_words),
            planes_VW,
            plane_of_bit,
        )
        return Lattice(step, len(norms_IN), num_words, *(as_tensor(array).to(device) for array in arrays))


def padded_dimension(dimension: int, depth: int) -> int:
    """The dimensions of a row on the device: a multiple of `depth`, which is what one step of the product takes."""
    return -(-dimension // depth) * depth


def shard_bytes(shard: ItemShard, coarse: CoarseFormat, padded: int) -> int:
    """What a shard takes on the device, an upper bound."""
    per_value = 5 if coarse == "int8" else 4
    words = shard.words_IW.shape[1]
    return shard.num_items * (padded * per_value + 8 + words * 16) + (1 << 20)


def _affine_bounds(rows: np.ndarray) -> np.ndarray:
    """How a bound follows from a query's norm and residual norm: constant and two slopes, float32 [3].

    `rows` are the bounds at (0, 0), (1, 0) and (0, 1); the slopes are raised by what taking them apart may have lost.
    """
    at = rows.astype(np.float64)
    return (np.array([at[0], at[1] - at[0], at[2] - at[0]]) * (1 + 2.0**-10)).astype(np.float32)


def as_tensor(array: np.ndarray) -> torch.Tensor:
    """A tensor over the array's own memory, to which nothing here writes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)


def _word_maxima(column_I: np.ndarray, num_words: int) -> np.ndarray:
    padded = np.zeros(num_words * WORD, np.float32)
    padded[: len(column_I)] = column_I
    return padded.reshape(num_words, WORD).max(axis=1, initial=0)


def _value_planes(words_IW: np.ndarray, num_words: int) -> tuple[np.ndarray, np.ndarray]:
    """The eligibility words turned round: int32 [V, num_words], and which plane each bit is: int32 [64 W]."""
    used = np.bitwise_or.reduce(words_IW, axis=0) if len(words_IW) else np.zeros(words_IW.shape[1], np.uint64)
    bits = [64 * w + b for w in range(len(used)) for b in range(64) if int(used[w]) >> b & 1]
    planes = np.zeros((max(1, len(bits)), num_words * WORD // 8), np.uint8)
    plane_of_bit = np.full(max(1, 64 * len(used)), -1, np.int32)
    for plane, bit in enumerate(bits):
        has = (words_IW[:, bit // 64] >> np.uint64(bit % 64) & np.uint64(1)).astype(np.uint8)
        packed = np.packbits(has, bitorder="little")
        planes[plane, : len(packed)], plane_of_bit[bit] = packed, plane
    return planes.view("<i4"), plane_of_bit


def bound_slopes(dimension: int, coarse: CoarseFormat) -> np.ndarray:
    """How a, b and c follow from a query's norm and residual norm: float32 [9]."""
    norms = np.zeros((3, NORM_COLUMNS), np.float32)
    norms[1, NORM] = 1
    norms[2, [RESIDUAL_BFLOAT16, RESIDUAL_INT8]] = 1
    bounds = query_bounds(norms, dimension, coarse, rounded_output=False)
    return np.concatenate([_affine_bounds(column) for column in (bounds.a_Q, bounds.b_Q, bounds.c_Q)])
