"""Upload a shard for the CUDA engine, with samples of its items."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import torch

from semrec.errors import DeviceError
from semrec.scoring.formats import CoarseFormat
from semrec.scoring.formats.base import GpuForm, as_tensor
from semrec.scoring.types import ItemShard

__all__ = [
    "WORD",
    "DeviceShard",
    "SampledItems",
    "bound_slopes",
    "gpu_form",
    "padded_dimension",
    "shard_bytes",
]

WORD: Final = 32
_TILE_WORDS: Final = 8  # words are padded to what the largest tile of items has
_CHUNK_ROWS: Final = 65_536


@dataclass(frozen=True)
class SampledItems:
    """Every `stride`-th item. W counts int32 words of 32 rows each, V the values that some row has.

    `norm_W`, `residual_W` float32: the largest of a word's rows. `bit_planes_VW` int32: a bit per row that has the value;
    `plane_of_bit` int32 [64 x uint64 words]: which plane each bit of the eligibility words is, or -1.
    """

    stride: int
    num_rows: int
    num_words: int
    norm_W: torch.Tensor
    residual_W: torch.Tensor
    bit_planes_VW: torch.Tensor
    plane_of_bit: torch.Tensor


class DeviceShard:
    """A shard on a device. Vectors are padded with zeros to `padded` dimensions.

    `high_ID`, `low_ID` int16: the halves; `coarse_ID` what the coarse product reads (`CoarseFormat.device_items`); `scale_W`
    float32: the largest scale of a word's rows, by which a format with integer sums encodes them all, and `inverse_W` the
    inverse. The residuals grow little by it, and the bound is that of the largest anyway. Raises DeviceError for a format
    that the kernels do not have.
    """

    def __init__(self, shard: ItemShard, coarse: CoarseFormat, device: torch.device, padded: int) -> None:
        self.shard, self.coarse, self.device, self.padded = shard, coarse, device, padded
        self.form = gpu_form(coarse)
        columns = (as_tensor(np.ascontiguousarray(column_I)).to(device) for column_I in shard.norms_of(coarse))
        self._norm_I, scale_I, self._residual_I = columns
        self.high_ID = self._upload(shard.high_ID.view(np.int16))
        self.low_ID = self._upload(shard.low_ID)
        self.scale_W = _word_maxima(scale_I, _padded_words(shard.num_items))
        self.inverse_W = 1 / self.scale_W
        scale_I = self.scale_W.repeat_interleave(WORD)[: shard.num_items]
        self.coarse_ID, residual_I = coarse.device_items(self.high_ID, self.low_ID, scale_I)
        if residual_I is not None:
            self._residual_I = torch.where(self._norm_I < torch.inf, residual_I, torch.inf)
        edges = np.array([*shard.clause_starts, shard.words_IW.shape[1]], np.int32)
        self.clause_edges = as_tensor(edges * 2).to(device)  # in words of 32 bits
        self.sampled = cache(self._sample)

    def _upload(self, halves_ID: np.ndarray) -> torch.Tensor:
        out = torch.zeros((len(halves_ID), self.padded), dtype=torch.int16, device=self.device)
        for start in range(0, len(halves_ID), _CHUNK_ROWS):
            rows = np.ascontiguousarray(halves_ID[start : start + _CHUNK_ROWS])
            out[start : start + len(rows), : rows.shape[1]] = as_tensor(rows).to(self.device)
        return out

    def _sample(self, stride: int) -> SampledItems:
        shard, device = self.shard, self.device
        words_IW = shard.words_IW[::stride]
        num_words = _padded_words(len(words_IW))
        norm_W, residual_W = (_word_maxima(of_I[::stride], num_words) for of_I in (self._norm_I, self._residual_I))
        planes = (as_tensor(array).to(device) for array in _bit_planes(words_IW, num_words))
        return SampledItems(stride, len(words_IW), num_words, norm_W, residual_W, *planes)


def gpu_form(coarse: CoarseFormat) -> GpuForm:
    """How the kernels multiply in a format. Raises DeviceError for one that they do not have."""
    if coarse.gpu is None:
        raise DeviceError(
            f"coarse format {coarse.name} on a GPU",
            expected="a format that the kernels have",
            remedy="Use another format; it changes only the speed.",
        )
    return coarse.gpu


def padded_dimension(dimension: int, depth: int) -> int:
    """The dimensions of a row on the device: a multiple of `depth`, which one turn of the product's loop takes."""
    return -(-dimension // depth) * depth


def shard_bytes(shard: ItemShard, coarse: CoarseFormat, padded: int) -> int:
    """What a shard takes on the device, an upper bound."""
    per_value, words = 4 + gpu_form(coarse).extra_bytes, shard.words_IW.shape[1]
    return shard.num_items * (padded * per_value + 8 + words * 16) + (1 << 20)


def _affine_bounds(rows: np.ndarray) -> np.ndarray:
    """Constant and two slopes of a bound as a function of a query's norm and residual norm: float32 [3].

    `rows` are the bounds at (0, 0), (1, 0) and (0, 1); the slopes are raised by what the subtraction may have lost.
    """
    value = rows.astype(np.float64)
    return (np.array([value[0], value[1] - value[0], value[2] - value[0]]) * (1 + 2.0**-10)).astype(np.float32)


def _padded_words(num_rows: int) -> int:
    return -(-num_rows // (WORD * _TILE_WORDS)) * _TILE_WORDS


def _word_maxima(column_I: torch.Tensor, num_words: int) -> torch.Tensor:
    padded = torch.zeros(num_words * WORD, device=column_I.device)
    padded[: len(column_I)] = column_I
    return padded.view(num_words, WORD).amax(dim=1)


def _bit_planes(words_IW: np.ndarray, num_words: int) -> tuple[np.ndarray, np.ndarray]:
    """Transposes eligibility words into bit planes: int32 [V, num_words], and the plane of each bit: int32 [64 W]."""
    used = np.bitwise_or.reduce(words_IW, axis=0) if len(words_IW) else np.zeros(words_IW.shape[1], np.uint64)
    bits = [64 * w + b for w in range(len(used)) for b in range(64) if int(used[w]) >> b & 1]
    planes = np.zeros((max(1, len(bits)), num_words * WORD // 8), np.uint8)
    plane_of_bit = np.full(max(1, 64 * len(used)), -1, np.int32)
    for plane, bit in enumerate(bits):
        has_value_I = (words_IW[:, bit // 64] >> np.uint64(bit % 64) & np.uint64(1)).astype(np.uint8)
        packed = np.packbits(has_value_I, bitorder="little")
        planes[plane, : len(packed)], plane_of_bit[bit] = packed, plane
    return planes.view("<i4"), plane_of_bit


def bound_slopes(dimension: int, coarse: CoarseFormat) -> np.ndarray:
    """Coefficients by which a kernel makes a, b and c of a query's norm and residual norm: float32 [9]."""
    bounds = coarse.query_bounds(np.array([0, 1, 0]), np.array([0, 0, 1]), dimension, rounded_output=False)
    return np.concatenate([_affine_bounds(column) for column in (bounds.a_Q, bounds.b_Q, bounds.c_Q)])
