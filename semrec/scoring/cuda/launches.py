"""What the CUDA engine launches: a method per kernel, with the sizes of its programs."""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np
import torch

from semrec.errors import DeviceError
from semrec.scoring.cuda.block import Block, BlockTargets, Pairs, PassMode, SentQueries
from semrec.scoring.cuda.items import WORD, DeviceShard, SampledItems, bound_slopes
from semrec.scoring.cuda.products import Kernels, Product, Products
from semrec.scoring.cuda.results import write_local_rows
from semrec.scoring.cuda.transfers import Transfers
from semrec.scoring.formats.base import as_tensor
from semrec.scoring.types import Queries

__all__ = [
    "BLOCK_QUERIES",
    "GROUP",
    "SEEN_CHUNK",
    "Launches",
    "load_kernels",
    "power_of_two",
    "sample_stride",
]

BLOCK_QUERIES: Final = 8192  # that are computed together
_GROUPS_PER_RESULT: Final = 4
_MAX_STRIDE: Final = 32
GROUP: Final = 32  # rows, of which the largest score is kept
_FINE_GROUP: Final = 8  # without a sample K is large: of the best rows, several would share a group of 32
_MAX_SLOTS: Final = 16_384
SEEN_CHUNK: Final = 1 << 22
_SEEN_BLOCK: Final = 256
_PAIR_BLOCK: Final = 64
_PAIR_PROGRAMS: Final = 2048
_RANK_BLOCK: Final = 64  # with eight warps its 64 x 64 comparisons fit the registers


class Launches:
    """Runs the kernels over one shard, on the current stream. Shapes alone decide what is launched and allocated."""

    def __init__(self, kernels: Kernels, items: DeviceShard, transfers: Transfers, products: Products) -> None:
        self._kernels, self.items, self._transfers, self.products = kernels, items, transfers, products
        self._device, self._interpreted = items.device, kernels.interpreted
        self.tile_queries = products.of_more.tile[0]
        self._affine = as_tensor(bound_slopes(items.shard.dimension, items.coarse)).to(self._device)

    def multiplying(self, product: Product) -> Launches:
        """The same with one product for everything."""
        return Launches(self._kernels, self.items, self._transfers, Products.always(product))

    def send(self, queries: Queries, seen_room: int | None = None) -> SentQueries:
        """Sends queries; with `seen_room` the entries of their seen lists in one chunk of that length, else a few at a time."""
        words_QH = np.ascontiguousarray(queries.words_QW, dtype=np.uint64).view(np.int32)
        length = len(queries.seen_rows)
        chunks = (
            (first, self._send_seen(queries.seen_rows[first : first + SEEN_CHUNK]))
            for first in range(0, length, SEEN_CHUNK)
        )
        return SentQueries(
            queries.num_queries,
            self._transfers.send(queries.vectors_QD, torch.float32),
            self._transfers.send(words_QH),
            self._transfers.send(queries.seen_offsets, torch.int64),
            chunks if seen_room is None else [(0, self._send_seen(queries.seen_rows, seen_room))],
        )

    def _send_seen(self, seen_rows: np.ndarray, room: int = 0) -> torch.Tensor:
        rows, shard = np.ascontiguousarray(seen_rows, dtype=np.int64), self.items.shard
        fill = partial(write_local_rows, rows, shard.first_row, shard.num_items)
        return self._transfers.send_filled(max(room, len(rows)), torch.int32, fill)

    def prepare(self, queries: SentQueries) -> Block:
        """Encodes queries."""
        num, padded, device, form = queries.num_queries, self.items.padded, self._device, self.items.form
        whole = -(-num // self.tile_queries) * self.tile_queries
        coarse_QD = torch.empty((whole, padded), dtype=getattr(torch, form.query_storage), device=device)
        scale_Q, inverse_Q, a_Q, b_Q, c_Q, threshold_Q = torch.empty((6, whole), dtype=torch.float32, device=device)
        is_finite_Q = torch.empty(num, dtype=torch.int32, device=device)
        self._kernels.coarse.prepare_queries[(whole,)](
            queries.vectors_QD, coarse_QD, scale_Q, inverse_Q, a_Q, b_Q, c_Q, threshold_Q, is_finite_Q, self._affine, num,
            D=self.items.shard.dimension, PADDED=padded, BLOCK=power_of_two(padded), ENCODING=int(form.query_encoding),
        )  # fmt: skip
        coarse_QD = coarse_QD.view(getattr(torch, form.query_dtype))
        return Block(num, queries.vectors_QD, coarse_QD, scale_Q, inverse_Q, a_Q, b_Q, c_Q, threshold_Q, is_finite_Q)

    def visible(self, queries: SentQueries, padded: int, samples: list[SampledItems]) -> list[torch.Tensor]:
        """For each sample the bits of rows that a query may be shown: int32 [padded, W]."""
        items, num, kernels = self.items, queries.num_queries, self._kernels.coarse
        visible = []
        for sample in samples:
            block = min(1024, power_of_two(sample.num_words))
            words_QW = torch.empty((padded, sample.num_words), dtype=torch.int32, device=self._device)
            kernels.eligible_words[(padded, -(-sample.num_words // block))](
                queries.words_QH, items.clause_edges, sample.bit_planes_VW, sample.plane_of_bit, words_QW, num, sample.num_rows,
                sample.num_words, len(items.shard.clause_starts), queries.words_QH.shape[1], BLOCK=block,
            )  # fmt: skip
            visible.append(words_QW)
        for first, rows in queries.seen_chunks:
            for sample, words_QW in zip(samples, visible, strict=True):
                kernels.hide_seen[(-(-len(rows) // _SEEN_BLOCK),)](
                    words_QW, rows, queries.seen_offsets, first, num, sample.stride, sample.num_words,
                    STEPS=(num - 1).bit_length(), BLOCK=_SEEN_BLOCK,
                )  # fmt: skip
        return visible

    def find_maxima(self, block: Block, sample: SampledItems, visible_QW: torch.Tensor) -> torch.Tensor:
        """The largest coarse score of each group of a sample: float32 [Q, G]."""
        per_word = WORD // (_FINE_GROUP if sample.stride == 1 else GROUP)
        shape = len(visible_QW), sample.num_words * per_word
        maxima_QG = torch.empty(shape, dtype=torch.float32, device=self._device)
        self._coarse_pass(PassMode.MAXIMA, block, sample, visible_QW, maxima_QG=maxima_QG)
        return maxima_QG

    def find_candidates(
        self, block: Block, visible_QW: torch.Tensor, *, with_maxima: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The bits of candidates, int32 [Q, W], and where asked for the largest scores of groups."""
        words_QW = torch.empty_like(visible_QW)
        maxima_QG = torch.empty(words_QW.shape, dtype=torch.float32, device=self._device) if with_maxima else None
        whole = self.items.sampled(1)
        self._coarse_pass(PassMode.COLLECT, block, whole, visible_QW, maxima_QG=maxima_QG, candidates=words_QW)
        return words_QW, maxima_QG

    def count_certain(self, block: Block, visible_QW: torch.Tensor, targets: BlockTargets) -> torch.Tensor:
        """Adds to the targets' counts the rows that certainly stand before them; the bits of rows that may: int32 [T Q, W]."""
        num_targets = len(targets.score_TQ)
        candidates = torch.empty((num_targets, *visible_QW.shape), dtype=torch.int32, device=self._device)
        whole = self.items.sampled(1)
        self._coarse_pass(PassMode.COUNT, block, whole, visible_QW, targets=targets, candidates=candidates)
        return candidates.view(-1, whole.num_words)

    def _coarse_pass(
        self,
        mode: PassMode,
        block: Block,
        sample: SampledItems,
        visible_QW: torch.Tensor,
        *,
        maxima_QG: torch.Tensor | None = None,
        targets: BlockTargets | None = None,
        candidates: torch.Tensor | None = None,
    ) -> None:
        items, tiles = self.items, block.padded // self.tile_queries
        group = GROUP if maxima_QG is None else sample.num_words * WORD // maxima_QG.shape[1]
        threshold_Q = block.threshold_Q if targets is None else targets.score_TQ
        arguments = (
            block.scale_Q, block.inverse_Q, items.scale_W, items.inverse_W, *block.bounds, sample.norm_W, sample.residual_W,
            visible_QW, sample.num_words, threshold_Q, threshold_Q if maxima_QG is None else maxima_QG,
            visible_QW if candidates is None else candidates, visible_QW if targets is None else targets.count_TQ,
            sample.num_rows, sample.num_words, tiles, 1 if targets is None else len(targets.score_TQ), sample.stride,
        )  # fmt: skip
        constants = {
            "D": items.padded, "G": group, "INTEGER": items.form.integer, "MODE": int(mode),
            "WITH_MAXIMA": maxima_QG is not None, "WIDEN": self._interpreted,
        }  # fmt: skip
        product = self.products.of_one_tile if tiles == 1 else self.products.of_more
        if mode == PassMode.COUNT:
            product = self.products.of_counts
        product.launch(self._kernels, block.coarse_QD, items, sample, arguments, constants)

    def raise_thresholds(self, block: Block, sample: SampledItems, maxima_QG: torch.Tensor, k: int) -> None:
        """Raises each query's threshold to what K rows certainly reach, by the largest scores of groups."""
        num_groups = maxima_QG.shape[1]
        slots = power_of_two(min(num_groups, max(_GROUPS_PER_RESULT * k, 1024)))
        if k <= min(slots, _MAX_SLOTS):
            self._kernels.lists.raise_thresholds[(block.num_queries,)](
                maxima_QG, sample.norm_W, sample.residual_W, *block.bounds, block.threshold_Q, sample.num_words,
                num_groups, k, PER_WORD=num_groups // sample.num_words, BLOCK=min(slots, _MAX_SLOTS), num_warps=8,
            )  # fmt: skip

    def collect(
        self,
        words_QW: torch.Tensor,
        max_candidates: int,
        capacity: int,
        block: Block | None = None,
        maxima_QG: torch.Tensor | None = None,
    ) -> Pairs:
        """Lists the rows whose bits are set; with `maxima_QG` only of groups that may reach the block's thresholds."""
        num, num_words = words_QW.shape
        whole = self.items.sampled(1)
        count_Q, start_Q = torch.empty((2, num), dtype=torch.int32, device=self._device)
        row_N, query_N = torch.empty((2, capacity), dtype=torch.int32, device=self._device)
        totals = torch.zeros(2, dtype=torch.int64, device=self._device)
        unused = whole.norm_W
        bounds = (unused, unused, unused) if block is None else block.bounds
        self._kernels.lists.collect_candidates[(num,)](
            words_QW, unused if maxima_QG is None else maxima_QG, whole.norm_W, whole.residual_W, *bounds,
            unused if block is None else block.threshold_Q, count_Q, start_Q, row_N, query_N, totals, num_words,
            max_candidates, capacity, FILTER=maxima_QG is not None, BLOCK=min(1024, power_of_two(num_words)),
        )  # fmt: skip
        return Pairs(count_Q, start_Q, row_N, query_N, totals[1:])

    def score(
        self,
        pairs: Pairs,
        vectors_QD: torch.Tensor,
        num_vectors: int,
        target_Q: torch.Tensor | None = None,
        counts_Q: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Scores listed pairs and returns their keys; with targets adds to `counts_Q` how many stand before them instead.

        Query q of the pairs has vector q mod `num_vectors`: so several targets of a query share it.
        """
        capacity, items = len(pairs.row_N), self.items
        keys_N = torch.empty(capacity if target_Q is None else 1, dtype=torch.int64, device=self._device)
        programs = max(1, min(4 if self._interpreted else _PAIR_PROGRAMS, -(-capacity // _PAIR_BLOCK)))
        self._kernels.lists.score_pairs[(programs,)](
            pairs.row_N, pairs.query_N, pairs.total, capacity, vectors_QD, items.high_ID, items.low_ID, keys_N,
            keys_N if target_Q is None else target_Q, pairs.count_Q if counts_Q is None else counts_Q,
            num_vectors, programs, D=items.shard.dimension, PADDED=items.padded, COUNTING=target_Q is not None,
            BLOCK=1024 if self._interpreted else _PAIR_BLOCK,
        )  # fmt: skip
        return keys_N

    def rank(self, pairs: Pairs, keys_N: torch.Tensor, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The first `width` candidates of each query, best first: int64 matrix rows and float32 scores [Q, width]."""
        num = len(pairs.count_Q)
        rows_QK = torch.empty((num, width), dtype=torch.int64, device=self._device)
        scores_QK = torch.empty((num, width), dtype=torch.float32, device=self._device)
        self._kernels.lists.rank_candidates[(num, 1 if self._interpreted else 4)](
            keys_N, pairs.count_Q, pairs.start_Q, rows_QK, scores_QK, self.items.shard.first_row, width,
            BLOCK=_RANK_BLOCK, num_warps=8,
        )  # fmt: skip
        return rows_QK, scores_QK


def sample_stride(num_items: int, k: int) -> int:
    """Every how many items the first pass takes: a power of two that leaves groups enough for K results."""
    stride = _MAX_STRIDE
    while stride > 1 and num_items // (stride * GROUP) < _GROUPS_PER_RESULT * k:
        stride //= 2
    return stride


def power_of_two(number: int) -> int:
    """The smallest power of two that is not below `number`, and at least 16."""
    return 1 << max(4, (number - 1).bit_length())


def load_kernels(on_gpu: bool) -> Kernels:
    """The kernels for a GPU, or for Triton's interpreter. Raises DeviceError when the one or the other is missing."""
    if on_gpu and not torch.cuda.is_available():
        raise DeviceError("no CUDA device", expected="a GPU that torch can use", remedy="Use --engine cpu.")
    try:
        import triton

        from semrec.scoring.cuda import candidate_kernels, coarse_kernels, resident_kernel
    except ImportError as error:
        raise DeviceError(
            f"triton is missing ({error})", expected="triton beside torch", remedy="Install triton or use --engine cpu."
        ) from error
    if not on_gpu and not triton.knobs.runtime.interpret:
        raise DeviceError(
            "the cuda engine on a CPU",
            expected="TRITON_INTERPRET=1 before triton is imported",
            remedy="Use --engine cpu.",
        )
    return Kernels(coarse_kernels, candidate_kernels, resident_kernel, interpreted=not on_gpu)
