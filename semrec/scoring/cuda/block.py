"""What the CUDA engine holds on the device of one block of queries, and what a pass over the items computes for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import torch

from semrec.scoring.cuda.results import DenseLists

__all__ = ["Block", "BlockTargets", "ListedBlock", "Pairs", "PassMode", "PendingBlock", "SentQueries"]


class PassMode(IntEnum):
    """What `coarse_pass` computes of the scores of all pairs."""

    MAXIMA = 0  # the largest of groups
    COLLECT = 1  # the candidates
    COUNT = 2  # the items before a target


@dataclass(frozen=True)
class SentQueries:
    """Queries as they are sent: vectors float32, eligibility words as int32 halves, and the offsets of seen lists, int64.

    The entries of these lists, rows of the shard, int32, or -1, come in chunks, each after the number of entries before it.
    """

    num_queries: int
    vectors_QD: torch.Tensor
    words_QH: torch.Tensor
    seen_offsets: torch.Tensor
    seen_chunks: Iterable[tuple[int, torch.Tensor]]


@dataclass(frozen=True)
class Block:
    """Queries on the device; beyond `num_queries` everything but the vectors is padded to whole tiles with zeros.

    `inverse_Q` is 1 / `scale_Q`. `threshold_Q` is raised by passes over the items. `is_finite_Q` int32: 0 for a vector that
    holds NaN or infinity.
    """

    num_queries: int
    vectors_QD: torch.Tensor
    coarse_QD: torch.Tensor
    scale_Q: torch.Tensor
    inverse_Q: torch.Tensor
    a_Q: torch.Tensor
    b_Q: torch.Tensor
    c_Q: torch.Tensor
    threshold_Q: torch.Tensor
    is_finite_Q: torch.Tensor

    @property
    def bounds(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return self.a_Q, self.b_Q, self.c_Q

    @property
    def padded(self) -> int:
        """The queries of whole tiles."""
        return len(self.scale_Q)


@dataclass(frozen=True)
class BlockTargets:
    """T targets of each query of a block, padded to whole tiles: scores float32 [T, Q], NaN where there are fewer, keys int64,
    and how many rows are known to stand before each, int32.
    """

    score_TQ: torch.Tensor
    key_TQ: torch.Tensor
    count_TQ: torch.Tensor


@dataclass(frozen=True)
class Pairs:
    """Listed candidates. Query q has `count_Q[q]`, at `start_Q[q]` of the list, or nowhere when that is negative."""

    count_Q: torch.Tensor
    start_Q: torch.Tensor
    row_N: torch.Tensor
    query_N: torch.Tensor
    total: torch.Tensor


@dataclass(frozen=True)
class ListedBlock:
    """A block with its ranked candidates, rows int64 and scores float32. `words_QW` holds the candidates' bits."""

    block: Block
    words_QW: torch.Tensor
    pairs: Pairs
    rows_QK: torch.Tensor
    scores_QK: torch.Tensor


@dataclass(frozen=True)
class PendingBlock:
    """A block whose kernels still run.

    It holds the queries from `first_query` of the call on. Copies fill `lists`, from query `first` of these on, and `host_3Q`,
    int32: of each query whether it is finite, how many candidates it has and where they are listed; they are done at `copied`.
    """

    listed: ListedBlock
    lists: DenseLists
    first_query: int
    first: int
    host_3Q: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    copied: torch.cuda.Event | None
