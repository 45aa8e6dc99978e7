"""Products as processors and libraries are known to get them wrong, for the tests of what must notice."""

from __future__ import annotations

import numpy as np
import torch


def saturated(left_ND: torch.Tensor, right_DM: torch.Tensor, *, out: torch.Tensor | None = None) -> torch.Tensor:
    """An int8 product by vpmaddubsw, which x86 without VNNI has: unsigned times signed, pairs added in 16 bits.

    The left codes are made unsigned by adding 128, which is taken off again at the end.
    """
    left = left_ND.numpy().astype(np.int32) + 128
    right = right_DM.numpy().astype(np.int32)
    total_NM = np.zeros((left.shape[0], right.shape[1]), np.int32)
    for d in range(0, left.shape[1] - 1, 2):
        pair_NM = left[:, d, None] * right[d] + left[:, d + 1, None] * right[d + 1]
        total_NM += np.clip(pair_NM, -(2**15), 2**15 - 1)
    total_NM -= 128 * right.sum(axis=0, dtype=np.int32)
    result = torch.from_numpy(total_NM)
    return result if out is None else out.copy_(result)
