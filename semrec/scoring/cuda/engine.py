"""The CUDA engine: coarse products fused with thresholds in Triton, and canonical scores for what may be among the first K.

A pass over every few items gives each query a threshold that K items certainly reach; a pass over all of them marks the
candidates, whose upper bounds reach it, and raises it by the largest scores of groups. What is then left is listed, scored
canonically and ranked. A query with more candidates than a list takes is scored alone, from a list as long as it needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Final

import numpy as np
import torch

from semrec.errors import DeviceError
from semrec.scoring.cuda.block import Block, Pairs, PendingBlock, ragged
from semrec.scoring.cuda.items import DeviceShard, SampledItems, bound_slopes, gpu_form, padded_dimension, shard_bytes
from semrec.scoring.cuda.keys import from_keys, to_keys
from semrec.scoring.formats import DEFAULT_FORMAT, CoarseFormat, get_format
from semrec.scoring.formats.base import as_tensor
from semrec.scoring.formats.check import check_product
from semrec.scoring.types import ItemShard, Queries, Targets, TopK, check_queries

__all__ = ["CudaEngine"]

_DEPTH: Final = 64  # dimensions that one turn of the product's loop takes
_TILE_INTERPRETED: Final = (16, 256)  # queries and items
_GROUP: Final = 32
_MAX_STRIDE: Final = 32
_GROUPS_PER_RESULT: Final = 4
_MAX_SLOTS: Final = 16_384
_BLOCK_QUERIES: Final = 2048
_MAX_CANDIDATES: Final = 8192  # ranking takes their square
_SEEN_CHUNK: Final = 1 << 22
_PAIR_BYTES: Final = 16  # int32 row and query, int64 key
_OVERFLOW_PAIRS: Final = 1 << 24
_PAIR_BLOCK: Final = 64
_PAIR_PROGRAMS: Final = 2048
_RANK_BLOCK: Final = 64  # with eight warps its 64 x 64 comparisons fit the registers


class CudaEngine:
    """Exact top K on one GPU. Results depend neither on `coarse` nor on the sizes.

    It takes at most `memory_fraction` of the device's memory. `device="cpu"` is for Triton's interpreter.
    """

    name = "cuda"

    def __init__(
        self,
        shard: ItemShard,
        *,
        coarse: str | CoarseFormat = DEFAULT_FORMAT,
        device: str = "cuda",
        memory_fraction: float = 0.85,
        block_queries: int = _BLOCK_QUERIES,
        max_candidates: int = _MAX_CANDIDATES,
        capacity_per_query: int | None = None,
    ) -> None:
        coarse = get_format(coarse) if isinstance(coarse, str) else coarse
        self.shard, self.coarse, form = shard, coarse.name, gpu_form(coarse)
        self._device = torch.device(device)
        self._on_gpu = self._device.type == "cuda"
        self._kernels, self._lists = _load_kernels(self._on_gpu)
        self._block_queries, self._max_candidates = block_queries, max_candidates
        self._capacity_per_query = capacity_per_query
        self._interpreted = not self._on_gpu  # sizes that suit an interpreter
        self._tile_queries, self._tile_items = _TILE_INTERPRETED if self._interpreted else form.tile
        padded = padded_dimension(shard.dimension, _DEPTH)
        self._workspace = self._workspace_bytes(shard_bytes(shard, coarse, padded), memory_fraction)
        with self._current():
            check_product(self.name, coarse, shard.dimension)
            self._items = DeviceShard(shard, coarse, self._device, padded)
            self._affine = as_tensor(bound_slopes(shard.dimension, coarse)).to(self._device)

    def top_k(self, queries: Queries, k: int) -> TopK:
        """See `Engine.top_k`."""
        check_queries(queries, k, self.shard)
        if not self.shard.num_items:
            return TopK(np.zeros(queries.num_queries + 1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
        k = min(k, self.shard.num_items)
        blocks: list[TopK] = []
        in_flight: PendingBlock | None = None
        with self._current():
            for start, stop in self._edges(queries.num_queries, k):
                launched = self._launch(queries.between(start, stop), k)
                if in_flight is not None:
                    blocks.append(self._finish(in_flight, k))
                in_flight = launched
            if in_flight is not None:
                blocks.append(self._finish(in_flight, k))
        return TopK.concatenate(blocks)

    def count_before(self, queries: Queries, targets: Targets) -> np.ndarray:
        """See `Engine.count_before`."""
        check_queries(queries, 1, self.shard)
        counts = np.zeros(len(targets.rows), np.int64)
        if not self.shard.num_items:
            return counts
        owner = np.repeat(np.arange(queries.num_queries), np.diff(targets.offsets))
        with self._current():
            for start, stop in self._edges(len(counts), 1):
                repeated = queries.take(owner[start:stop])
                counts[start:stop] = self._count_block(repeated, targets.rows[start:stop], targets.scores[start:stop])
        return counts

    def _launch(self, queries: Queries, k: int) -> PendingBlock:
        """Starts everything up to the ranked candidates of queries that fit a list."""
        block, stride = self._prepare(queries), self._sample_stride(k)
        whole, sample = self._items.sampled(1), self._items.sampled(stride)
        threshold_Q = torch.full((len(block.scale_Q),), -np.inf, dtype=torch.float32, device=self._device)
        visible = self._visible(queries, len(threshold_Q), [whole] if stride == 1 else [whole, sample])
        words_QW, maxima_QG = visible[0], self._maxima(sample, len(threshold_Q))
        self._pass(block, sample, visible[-1], threshold_Q, maxima_QG, mode=self._kernels.MAXIMA.value)
        self._raise_thresholds(block, sample, maxima_QG, threshold_Q, k)
        if stride > 1:
            maxima_QG = self._maxima(whole, len(threshold_Q))
            self._pass(
                block, whole, words_QW, threshold_Q, maxima_QG, mode=self._kernels.COLLECT.value, with_maxima=True
            )
            self._raise_thresholds(block, whole, maxima_QG, threshold_Q, k)
        else:
            self._pass(block, whole, words_QW, threshold_Q, maxima_QG, mode=self._kernels.COLLECT.value)
        capacity = block.num_queries * self._capacity(k)
        of_groups, bits_QW = maxima_QG if stride > 1 else None, words_QW[: block.num_queries]
        pairs = self._collect(bits_QW, self._max_candidates, capacity, block, threshold_Q, of_groups)
        rows_QK, scores_QK = self._rank(pairs, self._score(pairs, block.vectors_QD), k)
        host = tuple(self._to_host(tensor) for tensor in (pairs.count_Q, pairs.start_Q, rows_QK, scores_QK))
        copied = None
        if self._on_gpu:
            copied = torch.cuda.Event()
            copied.record()
        return PendingBlock(block, words_QW, host, copied)

    def _finish(self, pending: PendingBlock, k: int) -> TopK:
        """Waits for a block and returns its results; queries whose candidates overflowed the list are rescored first."""
        if pending.copied is not None:
            pending.copied.synchronize()
        count_Q, start_Q, rows_QK, scores_QK = (tensor.numpy() for tensor in pending.host)
        lists = ragged(np.where(start_Q < 0, 0, count_Q), rows_QK, scores_QK, k)
        for queries in self._overflowed(count_Q, start_Q):
            lists = lists.replaced(queries, self._rescore_overflowed(pending, queries, count_Q[queries], k))
        return lists

    def _rescore_overflowed(self, pending: PendingBlock, queries: np.ndarray, count_Q: np.ndarray, k: int) -> TopK:
        """Scores some queries of a block from a list that holds all their candidates; sorts where they are too many to rank."""
        index, total = torch.from_numpy(queries).to(self._device), int(count_Q.sum())
        pairs = self._collect(pending.words_QW[index], total, total)
        keys_N = self._score(pairs, pending.block.vectors_QD[index])
        if count_Q[0] <= self._max_candidates:
            rows_QK, scores_QK = self._rank(pairs, keys_N, k)
            return ragged(count_Q, rows_QK.cpu().numpy(), scores_QK.cpu().numpy(), k)
        keys = torch.sort(keys_N, descending=True).values[:k].cpu().numpy()
        rows, scores = from_keys(keys)
        return TopK(np.array([0, len(keys)], np.int64), rows + self.shard.first_row, scores, total, 1)

    def _count_block(self, queries: Queries, rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """One target for each query."""
        block, whole = self._prepare(queries), self._items.sampled(1)
        num = block.num_queries
        threshold_Q = torch.zeros(len(block.scale_Q), dtype=torch.float32, device=self._device)
        threshold_Q[:num] = self._to_device(np.ascontiguousarray(scores, dtype=np.float32))
        # A target outside the shard stands before or behind all rows of equal score.
        local = np.clip(rows - self.shard.first_row, -1, self.shard.num_items)
        target_Q = self._to_device(to_keys(local, scores))
        counts_Q = torch.zeros(len(threshold_Q), dtype=torch.int32, device=self._device)
        words_QW = self._visible(queries, len(threshold_Q), [whole])[0]
        self._pass(block, whole, words_QW, threshold_Q, None, mode=self._kernels.COUNT.value, count_Q=counts_Q)
        pairs = self._collect(words_QW[:num], self._max_candidates, num * self._capacity(1))
        self._score(pairs, block.vectors_QD, target_Q, counts_Q)
        for left_out in self._overflowed(pairs.count_Q.cpu().numpy(), pairs.start_Q.cpu().numpy()):
            index = torch.from_numpy(left_out).to(self._device)
            total = int(pairs.count_Q[index].sum())
            added_Q = torch.zeros(len(left_out), dtype=torch.int32, device=self._device)
            self._score(self._collect(words_QW[index], total, total), block.vectors_QD[index], target_Q[index], added_Q)
            counts_Q[index] += added_Q
        return counts_Q[:num].cpu().numpy().astype(np.int64)

    def _prepare(self, queries: Queries) -> Block:
        num, padded, device, form = queries.num_queries, self._items.padded, self._device, self._items.form
        whole = -(-num // self._tile_queries) * self._tile_queries
        vectors_QD = self._to_device(np.ascontiguousarray(queries.vectors_QD, dtype=np.float32))
        coarse_QD = torch.empty((whole, padded), dtype=getattr(torch, form.query_storage), device=device)
        scale_Q, a_Q, b_Q, c_Q = torch.empty((4, whole), dtype=torch.float32, device=device)
        self._kernels.prepare_queries[(whole,)](
            vectors_QD, coarse_QD, scale_Q, a_Q, b_Q, c_Q, self._affine, num,
            D=self.shard.dimension, PADDED=padded, BLOCK=_power_of_two(padded), ENCODING=int(form.query_encoding),
        )  # fmt: skip
        coarse_QD = coarse_QD.view(getattr(torch, form.query_dtype))
        return Block(num, vectors_QD, coarse_QD, scale_Q, a_Q, b_Q, c_Q)

    def _visible(self, queries: Queries, padded: int, samples: list[SampledItems]) -> list[torch.Tensor]:
        """For each sample the bits of rows that a query may be shown: int32 [padded, W]."""
        items, words = self._items, np.ascontiguousarray(queries.words_QW, dtype=np.uint64).view(np.int32)
        user_words_QH = self._to_device(words)
        visible = []
        for sample in samples:
            block = min(1024, _power_of_two(sample.num_words))
            words_QW = torch.zeros((padded, sample.num_words), dtype=torch.int32, device=self._device)
            self._kernels.eligible_words[(queries.num_queries, -(-sample.num_words // block))](
                user_words_QH, items.clause_edges, sample.bit_planes_VW, sample.plane_of_bit, words_QW, sample.num_rows,
                sample.num_words, len(self.shard.clause_starts), words.shape[1], BLOCK=block,
            )  # fmt: skip
            visible.append(words_QW)
        owners = np.repeat(np.arange(queries.num_queries, dtype=np.int64), np.diff(queries.seen_offsets))
        for start in range(0, len(owners), _SEEN_CHUNK):
            part = slice(start, start + _SEEN_CHUNK)
            rows = self._to_device(np.ascontiguousarray(queries.seen_rows[part], dtype=np.int64))
            owner = self._to_device(owners[part])
            for sample, words_QW in zip(samples, visible, strict=True):
                self._kernels.hide_seen[(-(-len(rows) // 256),)](
                    words_QW, rows, owner, len(rows), self.shard.first_row, self.shard.num_items, sample.stride,
                    sample.num_words, BLOCK=256,
                )  # fmt: skip
        return visible

    def _maxima(self, sample: SampledItems, padded: int) -> torch.Tensor:
        return torch.empty((padded, sample.num_words), dtype=torch.float32, device=self._device)

    def _pass(
        self,
        block: Block,
        sample: SampledItems,
        words_QW: torch.Tensor,
        threshold_Q: torch.Tensor,
        maxima_QG: torch.Tensor | None,
        *,
        mode: int,
        with_maxima: bool = False,
        count_Q: torch.Tensor | None = None,
    ) -> None:
        """Runs `coarse_pass` over sampled items; in every mode but MAXIMA it overwrites `words_QW` with the candidates."""
        items, form, tiles = self._items, self._items.form, len(threshold_Q) // self._tile_queries
        grid = tiles * -(-sample.num_words * 32 // self._tile_items)
        self._kernels.coarse_pass[(grid,)](
            block.coarse_QD, items.coarse_ID, items.low_ID, block.scale_Q, items.scale_I, *block.bounds,
            sample.norm_W, sample.residual_W, words_QW, sample.num_words, threshold_Q,
            threshold_Q if maxima_QG is None else maxima_QG, words_QW, words_QW if count_Q is None else count_Q,
            sample.num_rows, sample.num_words, tiles, sample.stride,
            D=items.padded, BQ=self._tile_queries, BI=self._tile_items, BD=_DEPTH, G=_GROUP, JOIN_HALVES=form.join_halves,
            INTEGER=form.integer, SCALED=form.scaled, MODE=mode, WITH_MAXIMA=with_maxima or mode == self._kernels.MAXIMA.value,
            WIDEN=self._interpreted, num_warps=8, num_stages=3,
        )  # fmt: skip

    def _raise_thresholds(
        self, block: Block, sample: SampledItems, maxima_QG: torch.Tensor, threshold_Q: torch.Tensor, k: int
    ) -> None:
        slots = _power_of_two(min(sample.num_words, max(_GROUPS_PER_RESULT * k, 1024)))
        if k <= min(slots, _MAX_SLOTS):
            self._lists.raise_thresholds[(block.num_queries,)](
                maxima_QG, sample.norm_W, sample.residual_W, *block.bounds, threshold_Q, sample.num_words,
                maxima_QG.shape[1], k, PER_WORD=1, BLOCK=min(slots, _MAX_SLOTS), num_warps=8,
            )  # fmt: skip

    def _collect(
        self,
        words_QW: torch.Tensor,
        max_candidates: int,
        capacity: int,
        block: Block | None = None,
        threshold_Q: torch.Tensor | None = None,
        maxima_QG: torch.Tensor | None = None,
    ) -> Pairs:
        """Lists the rows whose bits are set; with `maxima_QG` only of groups that may reach the threshold."""
        num, num_words = words_QW.shape
        whole = self._items.sampled(1)
        count_Q, start_Q = torch.empty((2, num), dtype=torch.int32, device=self._device)
        row_N, query_N = torch.empty((2, capacity), dtype=torch.int32, device=self._device)
        total = torch.zeros(1, dtype=torch.int64, device=self._device)
        unused = whole.norm_W
        bounds = (unused, unused, unused) if block is None else block.bounds
        self._lists.collect_candidates[(num,)](
            words_QW, unused if maxima_QG is None else maxima_QG, whole.norm_W, whole.residual_W, *bounds,
            unused if threshold_Q is None else threshold_Q, count_Q, start_Q, row_N, query_N, total, num_words,
            max_candidates, capacity, PER_WORD=1, FILTER=maxima_QG is not None, BLOCK=min(1024, _power_of_two(num_words)),
        )  # fmt: skip
        # Behind the last query that fits nothing is filled in.
        total = torch.where(start_Q >= 0, start_Q + count_Q, 0).max().reshape(1).to(torch.int64)
        return Pairs(count_Q, start_Q, row_N, query_N, total)

    def _score(
        self,
        pairs: Pairs,
        vectors_QD: torch.Tensor,
        target_Q: torch.Tensor | None = None,
        counts_Q: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Scores listed pairs and returns their keys; with targets adds to `counts_Q` how many stand before them instead."""
        capacity, items = len(pairs.row_N), self._items
        keys_N = torch.empty(capacity if target_Q is None else 1, dtype=torch.int64, device=self._device)
        programs = max(1, min(4 if self._interpreted else _PAIR_PROGRAMS, -(-capacity // _PAIR_BLOCK)))
        self._lists.score_pairs[(programs,)](
            pairs.row_N, pairs.query_N, pairs.total, capacity, vectors_QD, items.high_ID, items.low_ID, keys_N,
            keys_N if target_Q is None else target_Q, pairs.count_Q if counts_Q is None else counts_Q, programs,
            D=self.shard.dimension, PADDED=items.padded, COUNTING=target_Q is not None,
            BLOCK=1024 if self._interpreted else _PAIR_BLOCK,
        )  # fmt: skip
        return keys_N

    def _rank(self, pairs: Pairs, keys_N: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        num, width = len(pairs.count_Q), min(k, self._max_candidates)
        rows_QK = torch.empty((num, width), dtype=torch.int64, device=self._device)
        scores_QK = torch.empty((num, width), dtype=torch.float32, device=self._device)
        self._lists.rank_candidates[(num, 1 if self._interpreted else 4)](
            keys_N, pairs.count_Q, pairs.start_Q, rows_QK, scores_QK, self.shard.first_row, width, BLOCK=_RANK_BLOCK,
            num_warps=8,
        )  # fmt: skip
        return rows_QK, scores_QK

    def _overflowed(self, count_Q: np.ndarray, start_Q: np.ndarray) -> Iterator[np.ndarray]:
        """Groups of queries whose candidates were not listed: one alone that has too many to rank, else as many as fit."""
        is_left_out = (start_Q < 0) & (count_Q > 0)
        for q in np.flatnonzero(is_left_out & (count_Q > self._max_candidates)):
            yield np.array([q])
        rankable = np.flatnonzero(is_left_out & (count_Q <= self._max_candidates))
        num_together = max(1, _OVERFLOW_PAIRS // max(1, self._max_candidates))
        for start in range(0, len(rankable), num_together):
            yield rankable[start : start + num_together]

    def _capacity(self, k: int) -> int:
        """How many candidates of a query the list of a block holds on average."""
        return self._capacity_per_query or min(self._max_candidates, 2 * k + 512)

    def _sample_stride(self, k: int) -> int:
        """Every how many items the first pass takes: a power of two that leaves groups enough for K results."""
        stride = _MAX_STRIDE
        while stride > 1 and self.shard.num_items // (stride * _GROUP) < _GROUPS_PER_RESULT * k:
            stride //= 2
        return stride

    def _edges(self, num_queries: int, k: int) -> Iterator[tuple[int, int]]:
        """Blocks of queries, of which two fit the device at a time."""
        bits_bytes, vector_bytes = self._items.sampled(1).num_words * 20, self._items.padded * 8
        list_bytes = self._capacity(k) * _PAIR_BYTES + min(k, self._max_candidates) * 12
        per_query = bits_bytes + vector_bytes + list_bytes + 256
        fitting = self._workspace // (2 * per_query) // self._tile_queries * self._tile_queries
        largest = max(1, min(self._block_queries, max(fitting, self._tile_queries)))
        for start in range(0, num_queries, largest):
            yield start, min(start + largest, num_queries)

    def _workspace_bytes(self, resident: int, memory_fraction: float) -> int:
        """Bytes that the items leave for queries. Raises DeviceError when that is too little."""
        if not self._on_gpu:
            return 1 << 30
        free, total = torch.cuda.mem_get_info(self._device)
        free += torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        # One query alone and its sort, a chunk of seen rows, and the queries whose candidates overflowed.
        lists = _PAIR_BYTES * (self.shard.num_items * 3 + 2 * _SEEN_CHUNK + 2 * _OVERFLOW_PAIRS)
        least = 2 * self._tile_queries * (self.shard.num_items + 256_000)
        left = min(int(total * memory_fraction), free) - resident - lists
        if left < least:
            raise DeviceError(
                f"{(resident + lists + least) >> 20} MiB wanted of a GPU with {free >> 20} MiB free",
                expected=f"a shard that fits {memory_fraction:.0%} of the GPU's memory",
                remedy="Use a larger GPU, smaller shards or --engine cpu.",
            )
        return left

    def _current(self) -> AbstractContextManager[object]:
        return torch.cuda.device(self._device) if self._on_gpu else nullcontext()

    def _to_device(self, array: np.ndarray) -> torch.Tensor:
        tensor = as_tensor(array)
        if self._on_gpu and tensor.numel():
            return tensor.pin_memory().to(self._device, non_blocking=True)
        return tensor.to(self._device)

    def _to_host(self, tensor: torch.Tensor) -> torch.Tensor:
        if not self._on_gpu:
            return tensor
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return host.copy_(tensor, non_blocking=True)


def _load_kernels(on_gpu: bool) -> tuple[ModuleType, ModuleType]:
    if on_gpu and not torch.cuda.is_available():
        raise DeviceError("no CUDA device", expected="a GPU that torch can use", remedy="Use --engine cpu.")
    try:
        import triton

        from semrec.scoring.cuda import candidate_kernels, coarse_kernels
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
    return coarse_kernels, candidate_kernels


def _power_of_two(number: int) -> int:
    return 1 << max(4, (number - 1).bit_length())
