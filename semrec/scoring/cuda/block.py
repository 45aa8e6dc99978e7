"""One block of queries of the CUDA engine: what it holds on the device, and its results."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from semrec.scoring.types import TopK

__all__ = ["Block", "Pairs", "PendingBlock", "ragged"]


@dataclass(frozen=True)
class Block:
    """Queries on the device; beyond `num_queries` everything but the vectors is padded to whole tiles with zeros."""

    num_queries: int
    vectors_QD: torch.Tensor
    coarse_QD: torch.Tensor
    scale_Q: torch.Tensor
    a_Q: torch.Tensor
    b_Q: torch.Tensor
    c_Q: torch.Tensor

    @property
    def bounds(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return self.a_Q, self.b_Q, self.c_Q


@dataclass(frozen=True)
class Pairs:
    """Listed candidates. Query q has `count_Q[q]`, at `start_Q[q]` of the list, or nowhere when that is negative."""

    count_Q: torch.Tensor
    start_Q: torch.Tensor
    row_N: torch.Tensor
    query_N: torch.Tensor
    total: torch.Tensor


@dataclass(frozen=True)
class PendingBlock:
    """A block whose kernels still run: `host` is being filled by copies, `words_QW` holds the candidates' bits."""

    block: Block
    words_QW: torch.Tensor
    host: tuple[torch.Tensor, ...]
    copied: torch.cuda.Event | None


def ragged(lengths: np.ndarray, rows_QK: np.ndarray, scores_QK: np.ndarray, k: int) -> TopK:
    """Results of queries with `lengths` candidates each, of which the first K stand in the rows of `rows_QK`, `scores_QK`."""
    list_lengths = np.minimum(lengths, k).astype(np.int64)
    is_filled = np.arange(rows_QK.shape[1]) < list_lengths[:, None]
    offsets = np.concatenate([[0], np.cumsum(list_lengths)]).astype(np.int64)
    return TopK(offsets, rows_QK[is_filled], scores_QK[is_filled], int(lengths.sum()))
