"""The lists of many queries in memory that a device writes to, and the seen rows as a device reads them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from semrec.compiled import compiled
from semrec.scoring.types import TopK

__all__ = ["DenseLists", "write_local_rows"]


class DenseLists:
    """Lists of consecutive queries, K places each. Where every list is full, the result is this memory itself.

    `host` makes the memory: of this shape and dtype, with undefined values. A list holds nothing until its length is set.
    """

    def __init__(self, num_queries: int, k: int, host: Callable[[tuple[int, ...], torch.dtype], torch.Tensor]) -> None:
        self.k = k
        self.rows_QK, self.scores_QK = (host((num_queries, k), dtype) for dtype in (torch.int64, torch.float32))
        self.length_Q = np.zeros(num_queries, np.int64)
        self.num_candidates, self.num_exhaustive = 0, 0

    def put(self, queries: np.ndarray, rows_QK: np.ndarray, scores_QK: np.ndarray, length_Q: np.ndarray) -> None:
        """Writes the lists of some queries, of which each has `length_Q` candidates, and as many results or K."""
        width = rows_QK.shape[1]
        self.rows_QK.numpy()[queries, :width] = rows_QK
        self.scores_QK.numpy()[queries, :width] = scores_QK
        self.length_Q[queries] = np.minimum(length_Q, self.k)

    def top_k(self) -> TopK:
        """The lists, without the places that nothing fills: these are lost to this object."""
        offsets = np.concatenate([[0], np.cumsum(self.length_Q)])
        rows, scores = self.rows_QK.numpy().reshape(-1), self.scores_QK.numpy().reshape(-1)
        if offsets[-1] < len(rows):
            _close_gaps(offsets, self.k, rows, scores)
        rows, scores = rows[: offsets[-1]], scores[: offsets[-1]]
        return TopK(offsets, rows, scores, self.num_candidates, self.num_exhaustive)


@compiled
def write_local_rows(rows_N, first_row, num_items, out_N):  # type: ignore[no-untyped-def]
    """Writes matrix rows, int64, as rows of the shard that begins at `first_row`, int32; -1 for those outside it."""
    for n in range(len(rows_N)):
        local = rows_N[n] - first_row
        out_N[n] = np.int32(local) if 0 <= local < num_items else np.int32(-1)


@compiled
def _close_gaps(offsets, k, rows_N, scores_N):  # type: ignore[no-untyped-def]
    for q in range(len(offsets) - 1):
        if offsets[q] == q * k:
            continue
        for n in range(offsets[q + 1] - offsets[q]):  # no list moves behind where it was read
            rows_N[offsets[q] + n] = rows_N[q * k + n]
            scores_N[offsets[q] + n] = scores_N[q * k + n]
