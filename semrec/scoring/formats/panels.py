"""Panels: codes laid out for the processor's own dot products, of which no product ever goes through memory.

A library's product of a block of queries and a tile of items is megabytes of scores, written and read again. Here the product
of six queries (a strip) and 64 items (a panel) is made in registers and lands in 1.5 KB, which stay in the innermost cache
while `cpu.kernels` looks at them.

A word is 32 bits: four int8 codes, two bfloat16 or one float32, of neighbouring dimensions. A panel holds, for one word after
another, those of 16 or of all its 64 items side by side, as many as the registers take (`panel_products.group_items`); a
strip the same words of each of its queries. So packing is a transposition of words, whatever they hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from semrec.compiled import compiled
from semrec.scoring.formats.panel_products import PANEL, STRIP, group_items, has_instruction, multiply_strip

if TYPE_CHECKING:
    import torch

__all__ = [
    "BFLOAT16",
    "FLOAT32",
    "INT8",
    "PanelKind",
    "fill_tile",
    "has_products",
    "multiply",
    "pack_panels",
    "pack_strips",
]

_WORD_BYTES: Final = 4
_OFFSET: Final = 128  # makes int8 codes of items unsigned


@dataclass(frozen=True)
class PanelKind:
    """What the words of panels hold: numpy's names of the types of codes, which tell loops the instruction, and of sums."""

    codes: str
    sums: str


INT8: Final = PanelKind("uint8", "int32")
BFLOAT16: Final = PanelKind("uint16", "float32")  # the bits of bfloat16
FLOAT32: Final = PanelKind("float32", "float32")


def has_products(kind: PanelKind) -> bool:
    """Whether this processor multiplies such panels."""
    return has_instruction(kind.codes)


def pack_panels(kind: PanelKind, codes_ID: torch.Tensor, room: np.ndarray | None = None) -> np.ndarray:
    """Panels of encoded items: codes [P, 64 D'], D filled up to whole words. Items that fill up the last one are zero.

    `room`: uint8, at least as many bytes, in which the panels are made.
    """
    words_IW = _words(kind, codes_ID)
    shape = (-(-len(words_IW) // PANEL), PANEL * words_IW.shape[1])
    if room is None:
        room = np.empty(shape[0] * shape[1] * _WORD_BYTES, np.uint8)
    packed = room[: shape[0] * shape[1] * _WORD_BYTES].view(np.int32).reshape(shape)
    _transpose_groups(words_IW, group_items(), packed)
    if kind == INT8:
        packed.view(np.uint8)[:] ^= np.uint8(_OFFSET)  # the same as adding 128
    return packed.view(kind.codes)


def pack_strips(kind: PanelKind, codes_QD: torch.Tensor) -> np.ndarray:
    """Strips of encoded queries, in the type of sums: [S, 1 + words, 6], of which the first row are what sums start from."""
    words_QW = _words(kind, codes_QD)
    strips = np.zeros((-(-len(words_QW) // STRIP), 1 + words_QW.shape[1], STRIP), np.int32)
    for r in range(STRIP):
        of_strip_SW = words_QW[r::STRIP]
        strips[: len(of_strip_SW), 1:, r] = of_strip_SW
        if kind == INT8:
            strips[: len(of_strip_SW), 0, r] = -_OFFSET * codes_QD.numpy()[r::STRIP].sum(axis=1, dtype=np.int32)
    return strips.view(kind.sums)


def multiply(kind: PanelKind, left_ND: torch.Tensor, right_MD: torch.Tensor, out_NM: torch.Tensor) -> None:
    """The inner products of all rows of two encoded matrices, as `CoarseFormat.multiply` has them, in the type of sums."""
    fill_tile(pack_strips(kind, left_ND), pack_panels(kind, right_MD), out_NM.numpy())


@compiled
def fill_tile(strips, panels, tile_QT):  # type: ignore[no-untyped-def]
    """Fills [Q, T], of the type of `strips`, with the products of strips and panels."""
    products = np.empty((STRIP, PANEL), strips.dtype)
    for s in range(len(strips)):
        for p in range(len(panels)):
            multiply_strip(strips, s, panels, p, products)
            for q in range(s * STRIP, min((s + 1) * STRIP, len(tile_QT))):
                for t in range(p * PANEL, min((p + 1) * PANEL, tile_QT.shape[1])):
                    tile_QT[q, t] = products[q - s * STRIP, t - p * PANEL]


def _words(kind: PanelKind, codes_ND: torch.Tensor) -> np.ndarray:
    """The codes of each row as words, filled up with zeros: int32 [N, W]."""
    import torch

    codes = codes_ND.view(getattr(torch, kind.codes)).numpy()
    missing = -codes.shape[1] % (_WORD_BYTES // codes.itemsize)
    return np.ascontiguousarray(np.pad(codes, ((0, 0), (0, missing))) if missing else codes).view(np.int32)


@compiled
def _transpose_groups(words_IW, group, panels):  # type: ignore[no-untyped-def]
    """Fills int32 [P, 64 W] with the words of `group` items side by side, one word after another; zeros beyond the items."""
    num_items, num_words = words_IW.shape
    flat = panels.reshape(-1)
    for first in range(0, len(panels) * PANEL, group):
        for i in range(group):
            start = first * num_words + i
            if first + i < num_items:
                for w in range(num_words):
                    flat[start + w * group] = words_IW[first + i, w]
            else:
                for w in range(num_words):
                    flat[start + w * group] = 0
