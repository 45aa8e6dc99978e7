"""The canonical score.

score(u, i) is the inner product of two float32 vectors in eight float64 lanes; `semrec.contracts` states it in full.
"""

from __future__ import annotations

from typing import Final

import numpy as np

__all__ = ["LANES", "canonical_scores"]

LANES: Final = 8


def canonical_scores(left_ND: np.ndarray, right_ND: np.ndarray) -> np.ndarray:
    """Canonical scores of pairs: float32 [N]. Either side may have one row, which then meets all rows of the other."""
    left, right = _pad_lanes(left_ND).astype(np.float64), _pad_lanes(right_ND).astype(np.float64)
    lanes = np.zeros((np.broadcast_shapes((len(left),), (len(right),))[0], LANES))
    for start in range(0, left.shape[1], LANES):  # an explicit loop: no library sum promises this order
        lanes += left[:, start : start + LANES] * right[:, start : start + LANES]
    low = (lanes[:, 0] + lanes[:, 1]) + (lanes[:, 2] + lanes[:, 3])
    total = low + ((lanes[:, 4] + lanes[:, 5]) + (lanes[:, 6] + lanes[:, 7]))
    with np.errstate(over="ignore"):
        return total.astype(np.float32) + np.float32(0.0)  # -0.0 becomes 0.0


def _pad_lanes(vectors: np.ndarray) -> np.ndarray:
    """Zero columns up to a multiple of eight. They add +0.0 to a lane, which no score can tell."""
    missing = -vectors.shape[1] % LANES
    return np.pad(vectors, ((0, 0), (0, missing))) if missing else vectors
