"""Pack a score and a row into one int64 key that orders like the contract: the larger key stands first."""

from __future__ import annotations

from typing import Final

import numpy as np

__all__ = ["from_keys", "to_keys"]

_LAST_ROW: Final = 0x7FFFFFFF


def to_keys(rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The keys that `score_pairs` writes for pairs: int64. A row of -1 stands before all others of its score."""
    bits = (np.asarray(scores, np.float32) + np.float32(0)).view(np.int32)
    ordered = bits ^ ((bits >> 31) & np.int32(_LAST_ROW))
    return (ordered.astype(np.int64) << 32) + (_LAST_ROW - rows.astype(np.int64))


def from_keys(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows int64 and scores float32 of keys."""
    ordered = (keys >> 32).astype(np.int32)
    return _LAST_ROW - (keys & 0xFFFFFFFF), (ordered ^ ((ordered >> 31) & np.int32(_LAST_ROW))).view(np.float32)
