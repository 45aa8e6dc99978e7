"""The canonical score, and how far any other arithmetic may stray from it.

score(u, i) is the inner product of two float32 vectors in eight float64 lanes; `semrec.contracts` states it in full.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch

__all__ = ["LANES", "canonical_scores", "canonical_scores_torch", "coarse_slack", "lane_blocks", "pad_lanes"]

LANES: Final = 8
_UNIT_32: Final = 2.0**-24  # unit roundoff of float32
_UNIT_64: Final = 2.0**-53
_TINY_32: Final = 2.0**-126  # smallest normal float32: what one flushed product or sum can lose


def pad_lanes(vectors: np.ndarray) -> np.ndarray:
    """Zero columns up to a multiple of eight. They add +0.0 to a lane, which no score can tell."""
    missing = -vectors.shape[1] % LANES
    return np.pad(vectors, ((0, 0), (0, missing))) if missing else vectors


def canonical_scores(left_ND: np.ndarray, right_ND: np.ndarray) -> np.ndarray:
    """Canonical scores of pairs: float32 [N]. Either side may have one row, which then meets all rows of the other."""
    left, right = pad_lanes(left_ND).astype(np.float64), pad_lanes(right_ND).astype(np.float64)
    lanes = np.zeros((np.broadcast_shapes((len(left),), (len(right),))[0], LANES))
    for start in range(0, left.shape[1], LANES):  # an explicit loop: no library sum promises this order
        lanes += left[:, start : start + LANES] * right[:, start : start + LANES]
    with np.errstate(over="ignore"):
        return _fold(lanes).astype(np.float32) + np.float32(0.0)  # -0.0 becomes 0.0


def lane_blocks(vectors_ND: torch.Tensor) -> torch.Tensor:
    """Vectors as float64 blocks of eight neighbouring dimensions: [D / 8, N, 8]. D must be a multiple of eight."""
    return vectors_ND.double().view(len(vectors_ND), -1, LANES).transpose(0, 1).contiguous()


def canonical_scores_torch(left_BQL: torch.Tensor, query_N: torch.Tensor, right_ND: torch.Tensor) -> torch.Tensor:
    """`canonical_scores` of pairs (query n, row n of `right_ND`), on any device: float32 [N].

    `left_BQL` are the queries' `lane_blocks`; only slices of eight dimensions are ever widened to float64, so that they
    stay in cache.
    """
    lanes = torch.zeros((len(right_ND), LANES), dtype=torch.float64, device=right_ND.device)
    for block, left_QL in enumerate(left_BQL):
        right_NL = right_ND[:, block * LANES : (block + 1) * LANES].double()
        lanes.addcmul_(left_QL.index_select(0, query_N), right_NL)  # the products are exact, fused or not
    return _fold(lanes).float() + 0.0


def _fold(lanes):  # type: ignore[no-untyped-def]  # the same expression for numpy and torch
    low = (lanes[:, 0] + lanes[:, 1]) + (lanes[:, 2] + lanes[:, 3])
    return low + ((lanes[:, 4] + lanes[:, 5]) + (lanes[:, 6] + lanes[:, 7]))


def coarse_slack(dimension: int) -> tuple[float, float]:
    """(relative, absolute): |coarse - canonical| <= relative * |u| |i| + absolute, for any float32 inner product.

    Any summation order of D products, fused or not, errs by at most gamma_D * sum |u_d i_d| with
    gamma_n = n u / (1 - n u) (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1, eq. 3.5), and
    sum |u_d i_d| <= |u| |i| by Cauchy-Schwarz. The canonical score itself adds its float64 sum and one rounding to float32;
    three more roundings are left for whoever adds and subtracts the bound in float32.
    Underflow adds at most one smallest normal number for each product and each sum, also where denormals are flushed.
    """
    gamma_32 = dimension * _UNIT_32 / (1 - dimension * _UNIT_32)
    gamma_64 = dimension * _UNIT_64 / (1 - dimension * _UNIT_64)
    return (gamma_32 + gamma_64 + 4 * _UNIT_32) * (1 + 2.0**-10), (2 * dimension + 2) * _TINY_32
