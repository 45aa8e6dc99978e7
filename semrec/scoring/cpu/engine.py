"""The CPU engine: torch multiplies a tile, the compiled loops of `kernels` look at its scores.

Threads take blocks of queries. Where there are too few queries for that, threads take ranges of the items. A block goes
through three steps: guess a threshold from a sample of the items (`_guess`), sweep all tiles for candidates (`_sweep`), score
the candidates canonically (`candidates.finish`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import Final, TypeVar

import numpy as np
import torch

from semrec.ranges import even_ranges
from semrec.scoring.cpu import candidates, kernels
from semrec.scoring.cpu.block import CpuBlock, PreparedQueries
from semrec.scoring.cpu.items import CpuItems, frozen
from semrec.scoring.cpu.llvm import GROUP, MAXIMA
from semrec.scoring.formats import DEFAULT_FORMAT, CoarseFormat, get_format
from semrec.scoring.formats.check import check_product
from semrec.scoring.types import ItemShard, Queries, Targets, TopK, check_queries
from semrec.torch_threads import single_threads

__all__ = ["CpuEngine"]

_TILE_ITEMS: Final = 1024  # with a block of queries, a bfloat16 tile is 4 MiB
_BLOCK_QUERIES: Final = 2048
_READY_QUERIES: Final = 512  # where panels lie ready, more are not faster, and their candidates take memory
_BUFFER_BYTES: Final = 16 << 20  # for the candidate buffers of one block
_CANDIDATE_BYTES: Final = 8
_LISTED_BYTES: Final = 40  # of an entry that `candidates.score_lists` scores
_MIN_SAMPLED: Final = 1024
_GROUPS_IN_SET: Final = (16, 4, 1)  # the fewest maxima that tell enough items apart are selected from the fastest
_MIN_QUERIES: Final = 16  # a block smaller than this is not worth a thread
_POOLS_LOCK: Final = threading.Lock()

Work = TypeVar("Work")
Result = TypeVar("Result")
Edges = tuple[int, int]  # first and last plus one
Sweep = Callable[[Edges], TopK]


class CpuEngine:
    """Exact top K on CPU threads. Results depend neither on `coarse` nor on the sizes.

    Batches of at most `few_queries`, and never more than 64, take transposed tiles and a range of the items per thread.
    Every `sample_every`-th item of a large shard is multiplied twice: at first, to guess each query's K-th score. Beside
    the shard, which is read where it lies, only what the format keeps of the items is kept. Raises
    InputError for a format that does not exist, DeviceError where this machine's products in it are wrong.
    """

    name = "cpu"

    def __init__(
        self,
        shard: ItemShard,
        *,
        coarse: str | CoarseFormat = DEFAULT_FORMAT,
        num_threads: int | None = None,
        tile_items: int = _TILE_ITEMS,
        block_queries: int | None = None,
        few_queries: int = GROUP,
        sample_every: int = 21,
    ) -> None:
        self._format = get_format(coarse) if isinstance(coarse, str) else coarse
        self.shard, self.coarse = shard, self._format.name
        check_product(self.name, self._format, shard.dimension)
        self.num_threads = num_threads or torch.get_num_threads()
        self._items = CpuItems(shard, self._format, -(-tile_items // GROUP) * GROUP)
        self._block_queries = block_queries or (
            _READY_QUERIES if self._format.only_panels and self._format.panels else _BLOCK_QUERIES
        )
        self._few_queries = min(few_queries, GROUP)
        self._sample_every, self._sample = sample_every, None
        if shard.num_items >= sample_every * _MIN_SAMPLED:
            sample = shard.every(sample_every, copied=False)
            self._sample = CpuItems(sample, self._format, self._items.tile_items, is_sample=True)

    def top_k(self, queries: Queries, k: int) -> TopK:
        """See `Engine.top_k`; in a format that `is_score`, the first K by that score, exactly."""
        self._check(queries, k)
        k = min(k, max(1, self.shard.num_items))
        if 0 < queries.num_queries <= self._few_queries:
            return self._top_k_few(queries, k)
        fitting = max(_MIN_QUERIES, _BUFFER_BYTES // (candidates.buffer_capacity(k) * _CANDIDATE_BYTES))
        blocks = self._blocks(queries.num_queries, min(self._block_queries, fitting))
        return TopK.concatenate(self._in_threads(lambda edges: self._top_k_block(queries.between(*edges), k), blocks))

    def score_lists(self, queries: Queries, lists: TopK) -> np.ndarray:
        """The canonical scores of the entries of `lists`, rows of this shard for each query: float32, in their order."""
        vectors_QD = frozen(np.ascontiguousarray(queries.vectors_QD, dtype=np.float32))
        rows = lists.rows - self.shard.first_row

        def scores(edges: Edges) -> np.ndarray:
            offsets = lists.offsets[edges[0] : edges[1] + 1]
            vectors = candidates.RescoreVectors(vectors_QD[slice(*edges)], self._items.high_ID, self._items.low_ID)
            part = rows[offsets[0] : offsets[-1]]
            scores_N: np.ndarray = candidates.score_lists(offsets - offsets[0], part, self.shard.num_items, vectors)
            return scores_N

        fitting = max(_MIN_QUERIES, _BUFFER_BYTES // (_LISTED_BYTES * int(lists.lengths.max(initial=1))))
        blocks = self._blocks(queries.num_queries, min(self._block_queries, fitting))
        return np.concatenate([np.zeros(0, np.float32), *self._in_threads(scores, blocks)])

    def count_before(self, queries: Queries, targets: Targets) -> np.ndarray:
        """See `Engine.count_before`."""
        self._check(queries, 1)
        blocks = self._blocks(queries.num_queries, self._block_queries)
        counts = self._in_threads(
            lambda edges: self._count_block(queries.between(*edges), targets.between(*edges)), blocks
        )
        return np.concatenate([np.zeros(0, np.int64), *counts])

    def _check(self, queries: Queries, k: int) -> None:
        check_queries(queries, k, self.shard)
        check_product(self.name, self._format, self.shard.dimension)  # torch's precision may be another by now

    def _top_k_few(self, queries: Queries, k: int) -> TopK:
        """All queries at once, a range of the items in each thread."""
        [(prepared, guess_Q)] = self._in_threads(lambda _: self._prepare(queries, k), [None])
        return self._exact(
            queries, k, prepared, guess_Q, lambda sweep: TopK.merge(self._in_threads(sweep, self._ranges()), k)
        )

    def _top_k_block(self, queries: Queries, k: int) -> TopK:
        """One block of queries, all items, in this thread."""
        prepared, guess_Q = self._prepare(queries, k)
        return self._exact(queries, k, prepared, guess_Q, lambda sweep: sweep((0, self.shard.num_items)))

    def _exact(
        self,
        queries: Queries,
        k: int,
        prepared: PreparedQueries,
        guess_Q: np.ndarray,
        over_all: Callable[[Sweep], TopK],
    ) -> TopK:
        """The first K of each query; `over_all` says how the items are swept."""
        lists = over_all(lambda edges: self._sweep(prepared, k, guess_Q, edges))
        # A guess was too high for a query when fewer than K scores reach it: the rest of the items may hold some.
        too_high = np.flatnonzero(lists.kth_scores(k) < guess_Q)
        if not len(too_high):
            return lists
        # They are swept once more without a guess; the guess is a matter of speed alone.
        prepared, no_guess_Q = self._prepared(queries.take(too_high)), np.full(len(too_high), -np.inf, np.float32)
        return lists.replaced(too_high, over_all(lambda edges: self._sweep(prepared, k, no_guess_Q, edges)))

    def _prepare(self, queries: Queries, k: int) -> tuple[PreparedQueries, np.ndarray]:
        prepared = self._prepared(queries)
        return prepared, self._guess(prepared, k)

    def _prepared(self, queries: Queries) -> PreparedQueries:
        in_panels = self._format.panels is not None
        if not self._format.only_panels:  # making them costs more than a product with few queries
            in_panels &= queries.num_queries > self._few_queries
        return PreparedQueries(queries, self._format, self.shard, in_panels=in_panels)

    def _sweep(self, queries: PreparedQueries, k: int, threshold_Q: np.ndarray, edges: Edges) -> TopK:
        """The first K of each query among those items of a range whose score may reach `threshold_Q`."""
        block = CpuBlock(self._items, queries, *queries.seen)
        buffers = candidates.new_candidate_buffers(k, threshold_Q)
        if queries.strips is not None:
            for start, stop, panels in block.panel_tiles(*edges):
                kernels.sweep_panels(
                    queries.strips, panels, start, stop - start, k, block.bounds, block.visibility, buffers, block.vectors
                )  # fmt: skip
        elif queries.num_queries <= self._few_queries:
            for start, tile_TP, limits_P in block.tall_tiles(*edges):
                kernels.sweep_few(
                    tile_TP, start, k, block.bounds, block.visibility, buffers, block.vectors, limits_P
                )  # fmt: skip
        else:
            for start, tile_QT in block.tiles():
                kernels.sweep_tile(tile_QT, start, k, block.bounds, block.visibility, buffers, block.vectors)
        offsets, rows, scores = candidates.finish(k, self.shard.num_items, block.bounds, buffers, block.vectors)
        num_scored_Q, num_visible_Q = buffers.num_scored_Q, buffers.num_visible_Q
        num_exhaustive = int(((num_scored_Q >= num_visible_Q) & (num_visible_Q > candidates.buffer_capacity(k))).sum())
        return TopK(offsets, rows + self.shard.first_row, scores, int(num_scored_Q.sum()), num_exhaustive)

    def _guess(self, queries: PreparedQueries, k: int) -> np.ndarray:
        """A score that each query's first K most likely reach, from a sample: float32 [Q]; minus infinity for none.

        Of every n-th item about K / n are among the first K, and hardly ever more than that, 3.5 standard deviations and
        three. So the score of that rank in the sample is most likely below the K-th of all. The maxima of sets of items stand
        for the items, because two of the best seldom share a set.
        """
        guess_Q = np.full(queries.num_queries, -np.inf, np.float32)
        if self._sample is None:
            return guess_Q
        expected, num_sampled = k / self._sample_every, self._sample.num_items
        rank = int(np.ceil(expected + 3.5 * expected**0.5 + 3))
        num_groups = -(-num_sampled // GROUP)
        groups_in_set = next((n for n in _GROUPS_IN_SET if num_groups // n * MAXIMA >= 3 * rank), None)
        if groups_in_set is None:
            return guess_Q
        block = CpuBlock(self._sample, queries, *_every(*queries.seen, self._sample_every))
        maxima_QG = np.full((queries.num_queries, -(-num_groups // groups_in_set) * MAXIMA), -np.inf, np.float32)
        terms = groups_in_set, block.bounds, block.visibility, maxima_QG
        if queries.strips is not None:
            for start, stop, panels in block.panel_tiles(0, num_sampled):
                kernels.panel_maxima(queries.strips, panels, start, stop - start, *terms)
        else:
            for start, tile_QT in block.tiles():
                kernels.tile_maxima(tile_QT, start, *terms)
        with np.errstate(invalid="ignore"):  # no score times a scale of zero
            maxima_QG *= queries.scale_Q[:, None]
        candidates.kth_largest_of_rows(maxima_QG, rank, guess_Q)
        guess_Q[np.isnan(guess_Q)] = -np.inf  # products that left float32, or int8 codes of nothing
        return guess_Q

    def _count_block(self, queries: Queries, targets: Targets) -> np.ndarray:
        prepared, counts = self._prepared(queries), np.zeros(len(targets.rows), np.int64)
        block = CpuBlock(self._items, prepared, *prepared.seen)
        targets = replace(targets, rows=targets.rows - self.shard.first_row)
        for start, tile_QT in block.tiles():
            kernels.count_tile(
                tile_QT, start, targets.offsets, targets.rows, targets.scores, block.bounds, block.visibility,
                block.vectors, counts,
            )  # fmt: skip
        return counts

    def _blocks(self, num_queries: int, max_queries: int) -> list[Edges]:
        """Even blocks of at most `max_queries`; a multiple of the threads, when there are queries enough."""
        threads = max(1, min(self.num_threads, num_queries // _MIN_QUERIES))
        num_blocks = -(-num_queries // (max_queries * threads)) * threads
        return even_ranges(num_queries, num_blocks)

    def _ranges(self) -> list[Edges]:
        """Even ranges of whole tiles, one for each thread as far as the tiles go; an empty one when there are no items."""
        num_items, tile_items = self.shard.num_items, self._items.tile_items
        num_tiles = -(-num_items // tile_items)
        ranges = even_ranges(num_tiles, min(self.num_threads, num_tiles))
        return [(first * tile_items, min(last * tile_items, num_items)) for first, last in ranges] or [(0, 0)]

    def _in_threads(self, function: Callable[[Work], Result], work: Sequence[Work]) -> list[Result]:
        return list(_pool(self.num_threads).map(function, work))


def _every(offsets: np.ndarray, rows: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """CSR lists of the rows that are multiples of `step`, divided by it."""
    is_sampled = rows % step == 0
    return np.concatenate([[0], np.cumsum(is_sampled)])[offsets], rows[is_sampled] // step


def _pool(num_threads: int) -> ThreadPoolExecutor:
    """Threads in which torch computes alone; shared by the engines of the process."""
    # `cache` alone would let two threads make one each, and the later would take the lowered number of threads for torch's.
    with _POOLS_LOCK:
        return _new_pool(num_threads)


@cache
def _new_pool(num_threads: int) -> ThreadPoolExecutor:
    return single_threads(num_threads, "semrec-engine")
