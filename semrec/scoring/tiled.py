"""The tiled engine: a float32 product per tile, a safe threshold, canonical rescoring of what may reach the top K.

For each block of queries the tiles of the shard pass by once. A coarse score differs from the canonical one by at most a
bound for that query and the longest item of the tile; the K-th largest lower bound met so far is a threshold that at least
K items reach, so an item whose upper bound stays below it cannot be among the first K, nor tie with them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from semrec.errors import DeviceError
from semrec.scoring.canonical import canonical_scores_torch, coarse_slack, lane_blocks, pad_lanes
from semrec.scoring.types import ItemShard, Queries, TopK, check_queries, select_top_k

__all__ = ["TiledEngine"]

_RESCORE_PAIRS = 8192
_NORM_ROWS = 65_536
_NEVER = float("-inf")
_SAFE_PRODUCT = 2.0**126


@dataclass(frozen=True)
class _Block:
    """One block of queries on the device, with the same masks for every tile."""

    vectors: torch.Tensor  # float32 [Q, D]
    lanes: torch.Tensor  # float64 [D / 8, Q, 8]: the vectors for canonical rescoring
    norms: torch.Tensor  # float32 [Q], rounded up
    group_words: torch.Tensor  # int64 [G, W]: the distinct eligibility words
    group: torch.Tensor  # int64 [Q]
    seen_query: torch.Tensor  # int64 [S], ordered by seen_row
    seen_row: torch.Tensor  # int64 [S], local rows, ascending


class TiledEngine:
    """`cpu` or `cuda` through torch. `tile_items` and `block_queries` trade memory for speed and leave no trace."""

    def __init__(
        self, shard: ItemShard, *, device: str = "cpu", tile_items: int = 4096, block_queries: int = 512
    ) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise DeviceError("no CUDA device", expected="a GPU that torch can use", remedy="Use --engine cpu.")
        shard.check_finite()
        self.name, self.shard = device, shard
        self._device = torch.device(device)
        self._tile_items, self._block_queries = tile_items, block_queries
        vectors = pad_lanes(np.asarray(shard.vectors_ID, dtype=np.float32))
        self._dimension = shard.vectors_ID.shape[1]
        self._items = _tensor(vectors).to(self._device)
        self._words = _tensor(np.asarray(shard.words_IW).view(np.int64)).to(self._device)
        self._relative, self._absolute = coarse_slack(vectors.shape[1])
        self._norms = _upper_norms(self._items)
        self._largest_norm = float(self._norms.max()) if len(vectors) else 0.0
        self._scratch = torch.empty(block_queries * min(tile_items, len(vectors)), device=self._device)

    def top_k(self, queries: Queries, k: int) -> TopK:
        """See `Engine.top_k`."""
        check_queries(queries, k, self._dimension)
        step, blocks = self._block_queries, []
        for start in range(0, queries.num_queries, step):
            blocks.append(self._top_k_block(queries.take(np.arange(start, min(start + step, queries.num_queries))), k))
        return _concatenate(blocks)

    def _top_k_block(self, queries: Queries, k: int) -> TopK:
        block = self._load(queries)
        num_queries, buffer = queries.num_queries, k + max(k, 512)
        lower_k = torch.full((num_queries, k), _NEVER, device=self._device)
        counts = torch.zeros(num_queries, dtype=torch.int64, device=self._device)
        # Partial sums stay below |u| |i|; where that may leave float32 the coarse score says nothing.
        overflowed = ~(block.norms * self._largest_norm < _SAFE_PRODUCT)
        collected: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        for start in range(0, self.shard.num_items, self._tile_items):
            coarse, margin = self._coarse(block, start)
            if bool((lower_k[:, -1] == _NEVER).any()):
                found = torch.topk(coarse, min(k, coarse.shape[1]), dim=1, sorted=False).values - margin[:, None]
                lower_k = torch.topk(torch.cat([lower_k, found], dim=1), k, dim=1).values
                query, column = _reach(coarse, lower_k[:, -1] - margin, overflowed)
            else:
                query, column = _reach(coarse, lower_k[:, -1] - margin, overflowed)
                lower_k = _raise_threshold(lower_k, query, coarse[query, column] - margin[query])
            counts += torch.bincount(query, minlength=num_queries)
            collected.append((query, column + start, coarse[query, column] + margin[query]))
            if bool((counts > buffer).any()):
                collected = [_keep(collected, lower_k[:, -1], overflowed)]
                counts = torch.bincount(collected[0][0], minlength=num_queries)
                overflowed |= counts > buffer
        query, row, _ = _keep(collected, lower_k[:, -1], overflowed)
        return self._finish(queries, block, query, row, overflowed, k)

    def _load(self, queries: Queries) -> _Block:
        vectors = _tensor(pad_lanes(np.ascontiguousarray(queries.vectors_QD, dtype=np.float32))).to(self._device)
        words, group = _distinct_rows(queries.words_QW)
        owner = np.repeat(np.arange(queries.num_queries), np.diff(queries.seen_offsets))
        local = queries.seen_rows - self.shard.first_row
        inside = np.flatnonzero((local >= 0) & (local < self.shard.num_items))
        inside = inside[np.argsort(local[inside], kind="stable")]
        to = self._device
        return _Block(
            vectors,
            lane_blocks(vectors),
            _upper_norms(vectors),
            _tensor(words.view(np.int64)).to(to),
            _tensor(group).to(to),
            _tensor(owner[inside].astype(np.int64)).to(to),
            _tensor(local[inside].astype(np.int64)).to(to),
        )

    def _coarse(self, block: _Block, start: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Coarse scores of the tile at `start`, [Q, T], -inf where the item may not be shown; and how far they may be off
        for any item of the tile, [Q]."""
        stop = min(start + self._tile_items, self.shard.num_items)
        shape = (len(block.vectors), stop - start)
        coarse = self._scratch[: shape[0] * shape[1]].view(shape)
        torch.mm(block.vectors, self._items[start:stop].T, out=coarse)
        self._exclude(coarse, block, start, stop)
        return coarse, block.norms * (self._norms[start:stop].max() * self._relative) + self._absolute

    def _exclude(self, coarse: torch.Tensor, block: _Block, start: int, stop: int) -> None:
        first, last = torch.searchsorted(block.seen_row, torch.tensor([start, stop], device=self._device)).tolist()
        if last > first:
            coarse[block.seen_query[first:last], block.seen_row[first:last] - start] = _NEVER
        if self.shard.clause_starts:
            refused_GT = ~self._eligible(block.group_words, self._words[start:stop])
            if bool(refused_GT.any()):
                coarse.masked_fill_(refused_GT[block.group], _NEVER)

    def _eligible(self, words_GW: torch.Tensor, words_TW: torch.Tensor) -> torch.Tensor:
        allowed = torch.ones((len(words_GW), len(words_TW)), dtype=torch.bool, device=self._device)
        for first, stop in self.shard.clause_ranges:
            clause = torch.zeros_like(allowed)
            for word in range(first, stop):
                clause |= (words_GW[:, word, None] & words_TW[None, :, word]) != 0
            allowed &= clause
        return allowed

    def _finish(
        self, queries: Queries, block: _Block, query: torch.Tensor, row: torch.Tensor, overflowed: torch.Tensor, k: int
    ) -> TopK:
        """Rescores the candidates canonically, does the overflowed queries exhaustively, and selects."""
        exhaustive = torch.nonzero(overflowed).flatten().tolist()
        found = [_host(query, row, self._rescore(block, query, row))]
        found += [self._exhaust(block, q, k) for q in exhaustive]
        columns = [np.concatenate(column) for column in zip(*found, strict=True)]
        best = select_top_k(columns[0], columns[1] + self.shard.first_row, columns[2], queries.num_queries, k)
        num_candidates = len(query) + len(exhaustive) * self.shard.num_items
        return TopK(best.offsets, best.rows, best.scores, num_candidates, len(exhaustive))

    def _rescore(self, block: _Block, query: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
        scores = torch.empty(len(query), device=self._device)
        for start in range(0, len(query), _RESCORE_PAIRS):
            part = slice(start, start + _RESCORE_PAIRS)
            scores[part] = canonical_scores_torch(block.lanes, query[part], self._items.index_select(0, row[part]))
        return scores

    def _exhaust(self, block: _Block, query: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Every item that `query` may be shown, in the canonical arithmetic; the best K of each tile are kept."""
        rows, scores = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
        mine = block.seen_row[block.seen_query == query]
        words = block.group_words[block.group[query]][None]
        for start in range(0, self.shard.num_items, self._tile_items):
            stop = min(start + self._tile_items, self.shard.num_items)
            allowed = self._eligible(words, self._words[start:stop])[0]
            allowed[mine[(mine >= start) & (mine < stop)] - start] = False
            row = torch.nonzero(allowed).flatten() + start
            found = self._rescore(block, torch.full_like(row, query), row)
            q, r, s = _host(torch.zeros_like(row), row, found)
            best = select_top_k(q, r, s, 1, k)
            rows.append(best.rows)
            scores.append(best.scores)
        all_rows = np.concatenate(rows)
        return np.full(len(all_rows), query, np.int64), all_rows, np.concatenate(scores)


def _reach(coarse: torch.Tensor, floor: torch.Tensor, dropped: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(query, column) of the scores that are not below their query's floor; nothing of dropped queries."""
    least = torch.where(dropped, torch.inf, floor.clamp(min=torch.finfo(torch.float32).min))
    query, column = torch.nonzero(coarse >= least[:, None], as_tuple=True)
    return query, column


def _raise_threshold(lower_k: torch.Tensor, query: torch.Tensor, lower: torch.Tensor) -> torch.Tensor:
    """The K largest lower bounds per query after `lower` (ragged, ordered by query) joined them."""
    if not len(query):
        return lower_k
    counts = torch.bincount(query, minlength=len(lower_k))
    place = torch.arange(len(query), device=query.device) - (torch.cumsum(counts, 0) - counts)[query]
    padded = torch.full((len(lower_k), int(counts.max())), _NEVER, device=lower.device)
    padded[query, place] = lower
    return torch.topk(torch.cat([lower_k, padded], dim=1), lower_k.shape[1], dim=1).values


def _keep(
    collected: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]], threshold: torch.Tensor, dropped: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The candidates that still reach the threshold, of queries that are not dropped."""
    if not collected:
        none = torch.zeros(0, dtype=torch.int64, device=threshold.device)
        return none, none, torch.zeros(0, device=threshold.device)
    query, row, upper = (torch.cat(column) for column in zip(*collected, strict=True))
    stays = (upper >= threshold[query]) & ~dropped[query]
    return query[stays], row[stays], upper[stays]


def _upper_norms(vectors: torch.Tensor) -> torch.Tensor:
    """Euclidean norms, float32, never below the true ones; in pieces, so that the float64 copies stay small."""
    pieces = [torch.linalg.vector_norm(piece.double(), dim=1) for piece in vectors.split(_NORM_ROWS)]
    return (torch.cat(pieces) * (1 + 2.0**-22)).float()


def _distinct_rows(words_QW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows, uint64 [G, W], and which of them each query has, int64 [Q]."""
    if not words_QW.shape[1]:
        return np.zeros((1, 0), np.uint64), np.zeros(len(words_QW), np.int64)
    words, group = np.unique(words_QW, axis=0, return_inverse=True)
    return words, group.reshape(-1).astype(np.int64)


def _tensor(array: np.ndarray) -> torch.Tensor:
    """A tensor over the array's own memory. Memory-mapped arrays are read-only, and nothing here writes to one."""
    if not array.flags.writeable:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return torch.from_numpy(array)
    return torch.from_numpy(array)


def _host(query: torch.Tensor, row: torch.Tensor, scores: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return query.cpu().numpy(), row.cpu().numpy(), scores.cpu().numpy()


def _concatenate(blocks: list[TopK]) -> TopK:
    if not blocks:
        return TopK(np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
    lengths = np.concatenate([block.lengths for block in blocks])
    return TopK(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate([block.rows for block in blocks]),
        np.concatenate([block.scores for block in blocks]),
        sum(block.num_candidates for block in blocks),
        sum(block.num_exhaustive for block in blocks),
    )
