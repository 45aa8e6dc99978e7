"""The CUDA engine: coarse products fused with thresholds in Triton, and canonical scores for what may be among the first K.

A pass over every few items gives each query a threshold that K items certainly reach; a pass over all of them marks the
candidates, whose upper bounds reach it, and raises it by the largest scores of groups. What is then left is listed, scored
canonically and ranked. A query with more candidates than a list takes is scored alone, from a list as long as it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import numpy as np
import torch

from semrec.errors import DeviceError
from semrec.scoring.cuda.block import BlockTargets, ListedBlock, PendingBlock, SentQueries
from semrec.scoring.cuda.graphs import MOST_SHAPES, Graphs, Recorded, record_cuda_graph
from semrec.scoring.cuda.items import DeviceShard, gpu_form, padded_dimension, shard_bytes
from semrec.scoring.cuda.keys import from_keys, to_keys
from semrec.scoring.cuda.launches import (
    BLOCK_QUERIES,
    SEEN_CHUNK,
    Launches,
    load_kernels,
    power_of_two,
    sample_stride,
)
from semrec.scoring.cuda.product_choice import fastest_products
from semrec.scoring.cuda.products import DEPTH, Kernels, Products, tiled_product
from semrec.scoring.cuda.results import DenseLists
from semrec.scoring.cuda.transfers import Transfers
from semrec.scoring.formats import DEFAULT_FORMAT, CoarseFormat, get_format
from semrec.scoring.formats.check import check_product
from semrec.scoring.types import (
    ItemShard,
    Queries,
    Targets,
    TopK,
    check_queries,
    check_query_shapes,
    query_not_finite,
)

__all__ = ["CudaEngine"]

_GRAPHED_QUERIES: Final = 128  # for more, kernels take longer than their launches
_GRAPHS_SHARE: Final = 16  # what recorded launches keep is at most a 16th of the memory for queries
_LEAST_SEEN_ROOM: Final = 256
_MAX_CANDIDATES: Final = 8192  # ranking takes their square
_WORDS_TOGETHER: Final = 5  # for each 32 rows of a query: visible ones, candidates, largest scores, of a sample too
_PAIR_BYTES: Final = 16  # int32 row and query, int64 key
_TARGETS_TOGETHER: Final = 8  # of a query, for which one product is made
_OVERFLOW_PAIRS: Final = 1 << 24
_RESULT_BYTES: Final = 1 << 30  # of pinned memory for the lists of one call; more of them are copied out of it


class CudaEngine:
    """Exact top K on one GPU. Results depend neither on `coarse` nor on the sizes.

    It takes at most `memory_fraction` of the device's memory. `device="cpu"` is for Triton's interpreter. `kernels` and
    `transfers` stand for those of the device where its own work is to be left out or looked at. Launches for a few queries are
    recorded by `record`: on a GPU, if nothing else is said, as CUDA graphs. `products` multiply: if nothing else is said, the
    fastest of this device.
    """

    name = "cuda"

    def __init__(
        self,
        shard: ItemShard,
        *,
        coarse: str | CoarseFormat = DEFAULT_FORMAT,
        device: str = "cuda",
        memory_fraction: float = 0.85,
        block_queries: int = BLOCK_QUERIES,
        max_candidates: int = _MAX_CANDIDATES,
        capacity_per_query: int | None = None,
        kernels: Kernels | None = None,
        transfers: Transfers | None = None,
        products: Products | None = None,
        record: Callable[..., Recorded[ListedBlock]] | None = None,
    ) -> None:
        coarse = get_format(coarse) if isinstance(coarse, str) else coarse
        self.shard, self.coarse, form = shard, coarse.name, gpu_form(coarse)
        self._device = torch.device(device)
        self._on_gpu = self._device.type == "cuda"
        kernels = kernels or load_kernels(self._on_gpu)
        self._block_queries, self._max_candidates = block_queries, max_candidates
        self._capacity_per_query = capacity_per_query
        padded = padded_dimension(shard.dimension, DEPTH)
        self._workspace_bytes = self._free_bytes(shard_bytes(shard, coarse, padded), memory_fraction, form.tile[0])
        with self._current():
            check_product(self.name, coarse, shard.dimension)
            self._items = DeviceShard(shard, coarse, self._device, padded)
            self._transfers = transfers or Transfers(self._device)
            tiled = Products.always(tiled_product(form, kernels))
            self.launches = Launches(kernels, self._items, self._transfers, products or tiled)
            if self._on_gpu and products is None and shard.num_items:
                _, most_queries = next(self._edges(block_queries, 1))
                self.launches.products = fastest_products(self.launches, most_queries)
        record = record or (record_cuda_graph if self._on_gpu else None)
        self._graphs: Graphs[ListedBlock] | None = None
        if record is not None and shard.num_items:
            # A recorded shape keeps words and maxima of a tile. With many items the kernels outlast their launches anyhow.
            words_bytes = _WORDS_TOGETHER * self._items.sampled(1).num_words * 4
            tile_bytes = self.launches.tile_queries * words_bytes
            if MOST_SHAPES * tile_bytes <= self._workspace_bytes // _GRAPHS_SHARE:
                self._graphs = Graphs(record)
                self._workspace_bytes -= MOST_SHAPES * tile_bytes

    def top_k(self, queries: Queries, k: int) -> TopK:
        """See `Engine.top_k`."""
        check_query_shapes(queries, k, self.shard)
        if not self.shard.num_items:
            return self._no_lists(queries)
        k = min(k, self.shard.num_items)
        edges = list(self._edges(queries.num_queries, k))
        blocks_together = max(1, _RESULT_BYTES // (k * 12 * edges[0][1])) if edges else 1
        results: list[DenseLists] = []
        in_flight: PendingBlock | None = None
        graphs = self._graphs
        if len(edges) != 1 or queries.num_queries > _GRAPHED_QUERIES or len(queries.seen_rows) > SEEN_CHUNK:
            graphs = None
        with self._current(), nullcontext() if graphs is None else graphs.lock:
            for number, (start, stop) in enumerate(edges):
                if number % blocks_together == 0:
                    first, end = start, edges[min(number + blocks_together, len(edges)) - 1][1]
                    results.append(DenseLists(end - first, k, self._transfers.host))
                launched = self._launch(queries.between(start, stop), results[-1], start, start - first, graphs)
                if in_flight is not None:
                    self._finish(in_flight)
                in_flight = launched
            if in_flight is not None:
                self._finish(in_flight)
        return TopK.concatenate([lists.top_k() for lists in results])

    def count_before(self, queries: Queries, targets: Targets) -> np.ndarray:
        """See `Engine.count_before`."""
        check_queries(queries, 1, self.shard)
        counts = np.zeros(len(targets.rows), np.int64)
        if not self.shard.num_items:
            return counts
        lengths = np.diff(targets.offsets)
        num_together = int(min(_TARGETS_TOGETHER, lengths.max(initial=1)))
        # A query takes as many lines as its targets fill; target n stands at place `at[n]` of all lines.
        lines_Q = -(-lengths // num_together)
        first_line_Q = np.cumsum(lines_Q) - lines_Q
        owner = np.repeat(np.arange(queries.num_queries), lines_Q)
        at = np.arange(len(counts)) + np.repeat(first_line_Q * num_together - targets.offsets[:-1], lengths)
        # A target outside the shard stands before or behind all rows of equal score.
        rows_LT = np.zeros((len(owner), num_together), np.int64)
        scores_LT = np.full((len(owner), num_together), np.nan, np.float32)
        rows_LT.flat[at] = np.clip(targets.rows - self.shard.first_row, -1, self.shard.num_items)
        scores_LT.flat[at] = targets.scores
        counts_LT = np.zeros(rows_LT.shape, np.int64)
        with self._current():
            for start, stop in self._edges(len(owner), 1, num_together):
                of_lines = queries.take(owner[start:stop])
                counts_LT[start:stop] = self._count_block(of_lines, rows_LT[start:stop], scores_LT[start:stop])
        return counts_LT.reshape(-1)[at]

    def _launch(
        self, queries: Queries, lists: DenseLists, first_query: int, first: int, graphs: Graphs[ListedBlock] | None
    ) -> PendingBlock:
        """Starts everything up to the ranked candidates of queries that fit a list, and the copies of their lists."""
        if graphs is None:
            listed = self._list(self.launches.send(queries), lists.k)
        else:
            room = power_of_two(max(_LEAST_SEEN_ROOM, len(queries.seen_rows)))
            sent, num = self.launches.send(queries, room), queries.num_queries
            ((_, seen),) = sent.seen_chunks

            def launch(tensors: tuple[torch.Tensor, ...]) -> ListedBlock:
                vectors_QD, words_QH, offsets, rows = tensors
                return self._list(SentQueries(num, vectors_QD, words_QH, offsets, [(0, rows)]), lists.k)

            tensors = sent.vectors_QD, sent.words_QH, sent.seen_offsets, seen
            listed = graphs.run((num, lists.k, room), tensors, launch)
        block, pairs, width = listed.block, listed.pairs, listed.rows_QK.shape[1]
        of_block = slice(first, first + block.num_queries)
        self._transfers.fetch(listed.rows_QK, lists.rows_QK[of_block, :width])
        self._transfers.fetch(listed.scores_QK, lists.scores_QK[of_block, :width])
        start_fetch = self._transfers.start_fetch
        host_3Q = start_fetch(block.is_finite_Q), start_fetch(pairs.count_Q), start_fetch(pairs.start_Q)
        return PendingBlock(listed, lists, first_query, first, host_3Q, self._transfers.fetched())

    def _list(self, queries: SentQueries, k: int) -> ListedBlock:
        """Launches the kernels for a block; nothing here depends on values."""
        run, stride = self.launches, sample_stride(self.shard.num_items, k)
        block, whole, sample = run.prepare(queries), self._items.sampled(1), self._items.sampled(stride)
        visible_QW, *of_sample = run.visible(queries, block.padded, [whole] if stride == 1 else [whole, sample])
        (sampled_QW,) = of_sample or (visible_QW,)
        run.raise_thresholds(block, sample, run.find_maxima(block, sample, sampled_QW), k)
        words_QW, maxima_QG = run.find_candidates(block, visible_QW, with_maxima=stride > 1)
        if maxima_QG is not None:
            run.raise_thresholds(block, whole, maxima_QG, k)
        capacity, bits_QW = block.num_queries * self._capacity(k), words_QW[: block.num_queries]
        pairs = run.collect(bits_QW, self._max_candidates, capacity, block, maxima_QG)
        keys_N = run.score(pairs, block.vectors_QD, block.num_queries)
        return ListedBlock(block, words_QW, pairs, *run.rank(pairs, keys_N, min(k, self._max_candidates)))

    def _finish(self, pending: PendingBlock) -> None:
        """Waits for a block and completes its lists: queries whose candidates overflowed the list are scored again."""
        if pending.copied is not None:
            pending.copied.synchronize()
        is_finite_Q, count_Q, start_Q = (tensor.numpy() for tensor in pending.host_3Q)
        if not is_finite_Q.all():
            raise query_not_finite(pending.first_query + int(np.argmin(is_finite_Q)))
        lists, listed_Q = pending.lists, np.where(start_Q < 0, 0, count_Q)
        lists.length_Q[pending.first : pending.first + len(count_Q)] = np.minimum(listed_Q, lists.k)
        lists.num_candidates += int(listed_Q.sum())
        for queries in self._overflowed(count_Q, start_Q):
            self._score_overflowed(pending, queries, count_Q[queries])

    def _score_overflowed(self, pending: PendingBlock, queries: np.ndarray, count_Q: np.ndarray) -> None:
        """Scores some queries of a block from a list that holds all their candidates; sorts where they are too many to rank."""
        index, total, lists = torch.from_numpy(queries).to(self._device), int(count_Q.sum()), pending.lists
        pairs = self.launches.collect(pending.listed.words_QW[index], total, total)
        keys_N = self.launches.score(pairs, pending.listed.block.vectors_QD[index], len(index))
        lists.num_candidates, fetch = lists.num_candidates + total, self._transfers.fetch_now
        if count_Q[0] <= self._max_candidates:
            rows_QK, scores_QK = self.launches.rank(pairs, keys_N, min(lists.k, self._max_candidates))
            rows, scores = fetch(rows_QK), fetch(scores_QK)
            lists.put(pending.first + queries, rows, scores, count_Q)
            return
        keys = fetch(torch.sort(keys_N, descending=True).values[: lists.k])
        rows, scores = from_keys(keys)
        lists.put(pending.first + queries, rows[None] + self.shard.first_row, scores[None], count_Q)
        lists.num_exhaustive += 1

    def _no_lists(self, queries: Queries) -> TopK:
        check_queries(queries, 1, self.shard)
        return TopK(np.zeros(queries.num_queries + 1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))

    def _count_block(self, queries: Queries, rows_QT: np.ndarray, scores_QT: np.ndarray) -> np.ndarray:
        """How many rows stand before each of T targets of a query, of which those with NaN do not count: int64 [Q, T]."""
        run, send, fetch = self.launches, self._transfers.send, self._transfers.fetch_now
        sent, whole = run.send(queries), self._items.sampled(1)
        block = run.prepare(sent)
        padding = ((0, 0), (0, block.padded - block.num_queries))
        score_TQ = np.pad(scores_QT.T, padding, constant_values=np.nan)
        keys_TQ = to_keys(np.pad(rows_QT.T, padding), score_TQ)
        counts_TQ = torch.zeros(score_TQ.shape, dtype=torch.int32, device=self._device)
        targets = BlockTargets(send(score_TQ), send(keys_TQ), counts_TQ)
        words_NW = run.count_certain(block, run.visible(sent, block.padded, [whole])[0], targets)
        pairs = run.collect(words_NW, self._max_candidates, rows_QT.size * self._capacity(1))
        key_N, count_N = targets.key_TQ.view(-1), counts_TQ.view(-1)
        run.score(pairs, block.vectors_QD, block.padded, key_N, count_N)
        listed_N, start_N = fetch(pairs.count_Q), fetch(pairs.start_Q)
        for left_out in self._overflowed(listed_N, start_N):
            index, total = torch.from_numpy(left_out).to(self._device), int(listed_N[left_out].sum())
            added_N = torch.zeros(len(left_out), dtype=torch.int32, device=self._device)
            vectors_ND = block.vectors_QD[index % block.padded]
            run.score(run.collect(words_NW[index], total, total), vectors_ND, len(left_out), key_N[index], added_N)
            count_N[index] += added_N
        return fetch(counts_TQ)[:, : block.num_queries].T.astype(np.int64)

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

    def _edges(self, num_queries: int, k: int, num_targets: int = 0) -> Iterator[tuple[int, int]]:
        """Blocks of queries, of which two fit the device at a time; with `num_targets` each to count before, else for lists."""
        words_bytes = self._items.sampled(1).num_words * 4 * max(_WORDS_TOGETHER, num_targets + 1)
        list_bytes = self._capacity(k) * _PAIR_BYTES * max(1, num_targets) + min(k, self._max_candidates) * 12
        per_query = words_bytes + self._items.padded * 8 + list_bytes + 256
        fitting = self._workspace_bytes // (2 * per_query) // self.launches.tile_queries * self.launches.tile_queries
        largest = min(self._block_queries, max(fitting, self.launches.tile_queries))
        if not num_targets:
            largest = min(largest, _RESULT_BYTES // (k * 12))  # a block's lists are pinned as one
        largest = max(1, largest)
        for start in range(0, num_queries, largest):
            yield start, min(start + largest, num_queries)

    def _free_bytes(self, resident: int, memory_fraction: float, tile_queries: int) -> int:
        """Bytes that the items leave for queries. Raises DeviceError when that is too little."""
        if not self._on_gpu:
            return 1 << 30
        free, total = torch.cuda.mem_get_info(self._device)
        free += torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        # One query alone and its sort, a chunk of seen rows, and the queries whose candidates overflowed.
        lists = _PAIR_BYTES * (self.shard.num_items * 3 + 2 * SEEN_CHUNK + 2 * _OVERFLOW_PAIRS)
        least = 2 * tile_queries * (self.shard.num_items + 256_000)
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
