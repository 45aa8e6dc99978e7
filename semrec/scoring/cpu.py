"""The CPU engine: a coarse product per tile by torch, everything around it by `kernels`; threads take blocks of queries."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Final, TypeVar

import numpy as np
import torch

from semrec.scoring import candidates, kernels
from semrec.scoring.coarse import (
    NORM,
    RESIDUAL_BFLOAT16,
    RESIDUAL_INT8,
    SCALE_INT8,
    CoarseFormat,
    check_format,
    int8_codes,
    query_bounds,
    row_norms,
    split_halves,
)
from semrec.scoring.types import ItemShard, Queries, Targets, TopK, check_queries
from semrec.scoring.vector_ops import GROUP

__all__ = ["CpuEngine"]

_TILE_ITEMS: Final = 1024  # with as many queries, a bfloat16 tile is 2 MiB: what a core's second-level cache holds
_BLOCK_QUERIES: Final = 2048
_RESERVOIR_BYTES: Final = 16 << 20  # for the reservoirs of one block
_CANDIDATE_BYTES: Final = 8
_FEWEST_SAMPLED: Final = 1024
_CODED_ROWS: Final = 8_192
_FEWEST_QUERIES: Final = 16  # a block smaller than this is not worth a thread

T = TypeVar("T")


class CpuEngine:
    """Exact top K on CPU threads. Neither `coarse` nor the sizes leave a trace in the results.

    Every `sample_every`-th item of a large shard is multiplied twice: at first, to guess where a query's first K begin.
    Beside the shard, which is read where it lies, int8 keeps a quarter of its size in codes; the other formats keep nothing.
    """

    name = "cpu"

    def __init__(
        self,
        shard: ItemShard,
        *,
        coarse: CoarseFormat = "bfloat16",
        num_threads: int | None = None,
        tile_items: int = _TILE_ITEMS,
        block_queries: int = _BLOCK_QUERIES,
        sample_every: int = 21,
    ) -> None:
        self.shard, self.coarse = shard, coarse
        self.num_threads = num_threads or torch.get_num_threads()
        self._items = _Items(shard, coarse, -(-tile_items // GROUP) * GROUP)
        self._block_queries = block_queries
        self._sample_every, self._sample = sample_every, None
        if shard.num_items >= sample_every * _FEWEST_SAMPLED:
            self._sample = _Items(shard.every(sample_every), coarse, self._items.tile_items)

    def top_k(self, queries: Queries, k: int) -> TopK:
        """See `Engine.top_k`."""
        check_queries(queries, k, self.shard)
        k = min(k, max(1, self.shard.num_items))
        capacity = 3 * k + 4 * GROUP
        largest = max(_FEWEST_QUERIES, _RESERVOIR_BYTES // (capacity * _CANDIDATE_BYTES))
        edges = self._edges(queries.num_queries, min(self._block_queries, largest))
        return TopK.concatenate(
            self._in_threads(lambda edge: self._top_k_block(queries.between(*edge), k, capacity), edges)
        )

    def count_before(self, queries: Queries, targets: Targets) -> np.ndarray:
        """See `Engine.count_before`."""
        check_queries(queries, 1, self.shard)
        edges = self._edges(queries.num_queries, self._block_queries)
        counts = self._in_threads(lambda edge: self._count_block(queries.between(*edge), targets.between(*edge)), edges)
        return np.concatenate([np.zeros(0, np.int64), *counts])

    def _top_k_block(self, queries: Queries, k: int, capacity: int) -> TopK:
        block, guess_Q = _Block(self._items, queries), self._guess(queries, k)
        found = self._sweep(block, k, capacity, guess_Q)
        # A guess was too high for a query when fewer than K scores reach it: the rest of the items may hold some.
        missed = np.flatnonzero(found.kth_scores(k) < guess_Q)
        if len(missed):
            again = self._sweep(
                _Block(self._items, queries.take(missed)), k, capacity, np.full(len(missed), -np.inf, np.float32)
            )
            found = found.replaced(missed, again)
        return found

    def _sweep(self, block: _Block, k: int, capacity: int, least_Q: np.ndarray) -> TopK:
        """The first K of each query among the items that may reach `least_Q`."""
        reservoirs = candidates.new_reservoirs(capacity, least_Q)
        for start, tile_QT in block.tiles():
            kernels.sweep_tile(tile_QT, start, k, block.bounds, block.visibility, reservoirs, block.rows)
        offsets, rows, scores = candidates.finish(k, self.shard.num_items, block.bounds, reservoirs, block.rows)
        scored, shown = reservoirs.num_scored_Q, reservoirs.num_shown_Q
        exhaustive = int(((scored >= shown) & (shown > capacity)).sum())
        return TopK(offsets, rows + self.shard.first_row, scores, int(scored.sum()), exhaustive)

    def _guess(self, queries: Queries, k: int) -> np.ndarray:
        """A score that each query's first K most likely reach, from a sample: float32 [Q]; minus infinity for none.

        Of every n-th item about K / n are among the first K; hardly ever that and 3.5 standard deviations and three more.
        The maxima of groups stand for the items, of which two among the best seldom share a group.
        """
        none = np.full(queries.num_queries, -np.inf, np.float32)
        if self._sample is None:
            return none
        expected, num_sampled = k / self._sample_every, self._sample.shard.num_items
        rank = int(np.ceil(expected + 3.5 * expected**0.5 + 3))
        width = next((width for width in (64, 16) if num_sampled // width >= 3 * rank), None)
        if width is None:
            return none
        rows = queries.seen_rows - self.shard.first_row
        seen = _every(queries.seen_offsets, rows, self._sample_every)
        block = _Block(self._sample, replace(queries, seen_offsets=seen[0], seen_rows=seen[1]))
        maxima_QG = np.empty((queries.num_queries, -(-num_sampled // width)), np.float32)
        for start, tile_QT in block.tiles():
            kernels.group_maxima(tile_QT, width, block.bounds, block.visibility, maxima_QG, start)
        candidates.kth_largest_of_rows(maxima_QG, rank, none)
        return none

    def _count_block(self, queries: Queries, targets: Targets) -> np.ndarray:
        block, counts = _Block(self._items, queries), np.zeros(len(targets.rows), np.int64)
        targets = replace(targets, rows=targets.rows - self.shard.first_row)
        for start, tile_QT in block.tiles():
            kernels.count_tile(
                tile_QT, start, targets.offsets, targets.rows, targets.scores, block.bounds, block.visibility, block.rows,
                counts,
            )  # fmt: skip
        return counts

    def _edges(self, num_queries: int, largest: int) -> list[tuple[int, int]]:
        """Even blocks of at most `largest` queries; a multiple of the threads, when there are queries enough."""
        threads = max(1, min(self.num_threads, num_queries // _FEWEST_QUERIES))
        num_blocks = -(-num_queries // (largest * threads)) * threads
        edges = np.linspace(0, num_queries, num_blocks + 1).astype(int).tolist()
        return [edge for edge in pairwise(edges) if edge[0] < edge[1]]

    def _in_threads(self, function: Callable[[tuple[int, int]], T], edges: Sequence[tuple[int, int]]) -> list[T]:
        return list(_pool(self.num_threads).map(function, edges))


class _Items:
    """A shard made ready: what every block of queries reads."""

    def __init__(self, shard: ItemShard, coarse: CoarseFormat, tile_items: int) -> None:
        self.shard, self.coarse, self.tile_items = shard, check_format(coarse), tile_items
        norms, zeros = np.asarray(shard.norms_IN), np.zeros(shard.num_items, np.float32)
        residual = {"float32": zeros, "bfloat16": norms[:, RESIDUAL_BFLOAT16], "int8": norms[:, RESIDUAL_INT8]}
        self.norm_I, self.residual_I = _padded(norms[:, NORM]), _padded(residual[coarse])
        self.scale_I = _padded(norms[:, SCALE_INT8] if coarse == "int8" else zeros + 1)
        self.high_ID, self.low_ID = _frozen(shard.high_ID), _frozen(shard.low_ID)
        self.codes_ID = _codes(shard) if coarse == "int8" else np.zeros((0, 0), np.int8)
        self.planes_VG, self.plane_of_bit = _value_planes(shard.words_IW)
        self.clause_edges = np.array([*shard.clause_starts, shard.words_IW.shape[1]], np.int64)

    def coarse_tile(self, start: int, stop: int) -> torch.Tensor:
        """Rows start:stop in the coarse format: [T, D]."""
        if self.coarse == "float32":
            return torch.from_numpy(self.shard.vectors(slice(start, stop)))
        if self.coarse == "int8":
            return torch.from_numpy(self.codes_ID[start:stop])
        return _tensor(self.high_ID[start:stop]).view(torch.bfloat16)


class _Block:
    """One block of queries, made ready to meet the tiles."""

    def __init__(self, items: _Items, queries: Queries) -> None:
        self._items = items
        vectors = _frozen(np.ascontiguousarray(queries.vectors_QD, dtype=np.float32))
        self.rows = candidates.Rows(vectors, items.high_ID, items.low_ID)
        norms, coarse = row_norms(vectors), items.coarse
        limits = query_bounds(norms, items.shard.dimension, coarse, rounded_output=coarse == "bfloat16")
        self._vectors, scale = _coarse_queries(vectors, norms[:, SCALE_INT8], coarse)
        self.bounds = candidates.Bounds(
            scale, limits.a_Q, limits.b_Q, limits.c_Q, items.scale_I, items.norm_I, items.residual_I, limits.eta
        )
        self._words_CW, combination = _distinct_rows(queries.words_QW)
        num_groups = -(-items.tile_items // GROUP)
        self.visibility = kernels.Visibility(
            np.zeros((len(self._words_CW), num_groups), np.uint64),
            combination,
            *_ascending(queries.seen_offsets, queries.seen_rows - items.shard.first_row, items.shard.num_items),
        )

    def tiles(self) -> Iterator[tuple[int, np.ndarray]]:
        """First row and coarse scores [Q, T] of each tile, in a buffer that the next one overwrites. `visibility` follows."""
        items = self._items
        kind = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int32}[items.coarse]
        # One group more than the tile, because the last row's last group is read whole.
        buffer = torch.zeros(len(self._vectors) * min(items.tile_items, items.shard.num_items) + GROUP, dtype=kind)
        for start in range(0, items.shard.num_items, items.tile_items):
            stop = min(start + items.tile_items, items.shard.num_items)
            tile_QT = buffer[: len(self._vectors) * (stop - start)].view(len(self._vectors), stop - start)
            multiply = torch._int_mm if items.coarse == "int8" else torch.mm
            multiply(self._vectors, items.coarse_tile(start, stop).T, out=tile_QT)
            kernels.eligible_groups(
                self._words_CW, items.clause_edges, items.planes_VG, items.plane_of_bit, start // GROUP, stop - start,
                self.visibility.eligible_CG,
            )  # fmt: skip
            yield start, (tile_QT.view(torch.uint16) if kind == torch.bfloat16 else tile_QT).numpy()


def _coarse_queries(
    vectors_QD: np.ndarray, scale_Q: np.ndarray, coarse: CoarseFormat
) -> tuple[torch.Tensor, np.ndarray]:
    """The queries in the coarse format, and what their products are to be multiplied with, float32 [Q]."""
    if coarse == "int8":
        return torch.from_numpy(int8_codes(vectors_QD, scale_Q)), np.ascontiguousarray(scale_Q)
    ones = np.ones(len(vectors_QD), np.float32)
    if coarse == "bfloat16":
        return torch.from_numpy(split_halves(vectors_QD)[0]).view(torch.bfloat16), ones
    return _tensor(vectors_QD), ones


def _codes(shard: ItemShard) -> np.ndarray:
    scale = np.asarray(shard.norms_IN[:, SCALE_INT8])
    codes = np.empty((shard.num_items, int8_codes(shard.vectors(slice(0, 0)), scale[:0]).shape[1]), np.int8)
    for start in range(0, shard.num_items, _CODED_ROWS):
        rows = slice(start, start + _CODED_ROWS)
        codes[rows] = int8_codes(shard.vectors(rows), scale[rows])
    return codes


def _value_planes(words_IW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The eligibility words turned round: uint64 [V, G] with bit j of group g for item 64 g + j, one plane for each bit of
    the words that some item has; and which plane that is for each bit, or -1: int64 [64 W].
    """
    used = np.bitwise_or.reduce(words_IW, axis=0) if len(words_IW) else np.zeros(words_IW.shape[1], np.uint64)
    bits = [64 * w + b for w in range(len(used)) for b in range(64) if int(used[w]) >> b & 1]
    planes = np.zeros((len(bits), -(-len(words_IW) // GROUP)), np.uint64)
    plane_of_bit = np.full(64 * len(used), -1, np.int64)
    for plane, bit in enumerate(bits):
        has = (words_IW[:, bit // 64] >> np.uint64(bit % 64) & np.uint64(1)).astype(np.uint8)
        packed = np.zeros(planes.shape[1] * 8, np.uint8)
        packed[: -(-len(has) // 8)] = np.packbits(has, bitorder="little")
        planes[plane], plane_of_bit[bit] = packed.view("<u8"), plane
    return planes, plane_of_bit


def _distinct_rows(words_QW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows, uint64 [C, W], and which of them each query has, int64 [Q]."""
    if not words_QW.shape[1]:
        return np.zeros((1, 0), np.uint64), np.zeros(len(words_QW), np.int64)
    words, combination = np.unique(words_QW, axis=0, return_inverse=True)
    return words, combination.reshape(-1).astype(np.int64)


def _ascending(offsets: np.ndarray, rows: np.ndarray, num_items: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Offsets, rows and first places (a copy of the offsets) of CSR lists, each ascending and inside 0:num_items."""
    owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    inside = (rows >= 0) & (rows < num_items)
    owner, rows = owner[inside], rows[inside]
    if ((owner[1:] == owner[:-1]) & (rows[1:] < rows[:-1])).any():
        rows = rows[np.lexsort((rows, owner))]
    counts = np.bincount(owner, minlength=len(offsets) - 1)
    edges = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return edges, np.ascontiguousarray(rows, dtype=np.int64), edges[:-1].copy()


def _every(offsets: np.ndarray, rows: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """CSR lists of the rows that are multiples of `step`, divided by it."""
    kept = rows % step == 0
    return np.concatenate([[0], np.cumsum(kept)])[offsets], rows[kept] // step


def _padded(column_I: np.ndarray) -> np.ndarray:
    """float32, with a group of zeros behind."""
    return np.concatenate([column_I, np.zeros(GROUP)]).astype(np.float32)


def _frozen(array: np.ndarray) -> np.ndarray:
    """A plain read-only view, so that memory-mapped and other arrays share one compiled kernel."""
    view = np.ascontiguousarray(array).view(np.ndarray)
    view.flags.writeable = False
    return view


def _tensor(array: np.ndarray) -> torch.Tensor:
    """A tensor over the array's own memory, to which nothing here writes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)


def _compute_alone() -> None:
    torch.get_num_threads()  # a thread's first look takes the process's number over, and would undo the next line
    torch.set_num_threads(1)


@cache
def _pool(num_threads: int) -> ThreadPoolExecutor:
    """Threads in which torch computes alone; shared by the engines of the process."""
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(num_threads, "semrec-engine", initializer=_compute_alone)
    all_there = threading.Barrier(num_threads)
    list(pool.map(lambda _: all_there.wait(), range(num_threads)))
    torch.set_num_threads(before)  # for the rest of the process; these threads keep theirs
    return pool
