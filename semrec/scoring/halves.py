"""Store a float32 matrix as two 16-bit halves, of which the high one is already the matrix in bfloat16.

The high half is the nearest bfloat16; the low half is the difference of the bit patterns, so that both together give the
float32 back, bit for bit. The bfloat16 copy that the coarse product reads therefore costs no memory.
"""

from __future__ import annotations

from typing import Final

import numpy as np

__all__ = ["high_halves", "join_halves", "split_halves"]

_CHUNK_ROWS: Final = 16_384


def high_halves(vectors_ND: np.ndarray) -> np.ndarray:
    """The nearest bfloat16 of float32 [N, D], as uint16 bits; halfway goes away from zero."""
    bits = np.ascontiguousarray(vectors_ND, dtype=np.float32).view(np.uint32)
    return ((bits + np.uint32(0x8000)) >> np.uint32(16)).astype(np.uint16)


def split_halves(vectors_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(high, low) of float32 [N, D]: uint16 bits of the nearest bfloat16, and int16 differences."""
    vectors = np.ascontiguousarray(vectors_ND, dtype=np.float32)
    high, low = np.empty(vectors.shape, np.uint16), np.empty(vectors.shape, np.int16)
    for start in range(0, len(vectors), _CHUNK_ROWS):
        rows = slice(start, start + _CHUNK_ROWS)
        high[rows] = high_halves(vectors[rows])
        low[rows] = (vectors[rows].view(np.uint32) - (high[rows].astype(np.uint32) << np.uint32(16))).astype(np.int32)
    return high, low


def join_halves(high_ND: np.ndarray, low_ND: np.ndarray) -> np.ndarray:
    """`split_halves` undone: float32 [N, D]."""
    bits = high_ND.astype(np.uint32)
    bits <<= np.uint32(16)
    bits += low_ND.astype(np.int32).view(np.uint32)
    return bits.view(np.float32)
