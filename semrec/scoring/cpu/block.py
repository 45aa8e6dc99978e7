"""A block of queries of the CPU engine: prepared once, then multiplied with the tiles of a shard, or of a sample of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import torch

from semrec.scoring.cpu import candidates, kernels
from semrec.scoring.cpu.items import CpuItems, frozen
from semrec.scoring.cpu.llvm import GROUP, LIMIT_KIND
from semrec.scoring.formats import CoarseFormat
from semrec.scoring.formats.base import vector_norms
from semrec.scoring.formats.panels import fill_tile, pack_strips
from semrec.scoring.types import ItemShard, Queries

__all__ = ["CpuBlock", "PreparedQueries"]

_WHOLE_QUERIES: Final = 16  # a product of fewer queries takes as long
_TALL_ITEMS: Final = 32_768  # with 64 queries, a bfloat16 tile is 4 MiB


class PreparedQueries:
    """Queries made ready for a shard, and for any sample of it. `in_panels`: to be multiplied with panels of the items.

    `vectors_QD` float32; `coarse_QD` the same in the coarse format, and `strips` of them or None; `scale_Q`
    float32: what their products are to be multiplied with; `bounds`: the terms of their errors; `words_CW` uint64 distinct
    eligibility words, of which query q has those at `combination_Q[q]`; `seen`: offsets int64 [Q + 1] and the shard's seen
    rows, int64, ascending for each query.
    """

    def __init__(self, queries: Queries, coarse: CoarseFormat, shard: ItemShard, *, in_panels: bool) -> None:
        self.vectors_QD = frozen(np.ascontiguousarray(queries.vectors_QD, dtype=np.float32))
        norm_Q = vector_norms(self.vectors_QD)
        self.scale_Q, residual_Q = coarse.query_columns(self.vectors_QD, norm_Q)
        self.bounds = coarse.query_bounds(norm_Q, residual_Q, self.vectors_QD.shape[1], rounded_output=not in_panels)
        self.coarse_QD = coarse.encode_queries(self.vectors_QD, self.scale_Q)
        self.strips = pack_strips(coarse.panels, self.coarse_QD) if in_panels and coarse.panels else None
        self.words_CW, self.combination_Q = _distinct_rows(queries.words_QW)
        self.seen = queries.seen_of(shard)

    @property
    def num_queries(self) -> int:
        return len(self.vectors_QD)

    @property
    def words_bytes(self) -> int:
        """The bytes of a row in panels."""
        return 0 if self.strips is None else (self.strips.shape[1] - 1) * self.strips.itemsize


class CpuBlock:
    """Prepared queries and some items, as the loops take them. `seen_offsets`, `seen_rows`: CSR, ascending, of these items.

    The tiles pass once and in ascending order, because the cursors of `visibility` move on with them.
    """

    def __init__(
        self, items: CpuItems, queries: PreparedQueries, seen_offsets: np.ndarray, seen_rows: np.ndarray
    ) -> None:
        self._items, self._queries = items, queries
        self.vectors = candidates.RescoreVectors(queries.vectors_QD, items.high_ID, items.low_ID)
        terms = queries.bounds
        self.bounds = candidates.Bounds(
            queries.scale_Q,
            terms.a_Q,
            terms.b_Q,
            terms.c_Q,
            items.scale_I,
            items.norm_I,
            items.residual_I,
            items.norm_G,
            items.residual_G,
            terms.eta,
            items.coarse.is_score,
        )
        # Few queries take as many items more, so that a tile keeps its size.
        self._width = items.tile_items if queries.num_queries > GROUP else _TALL_ITEMS
        num_groups = -(-min(self._width, items.num_items) // GROUP)
        eligible_CG = np.empty((len(queries.words_CW), num_groups), np.uint64)
        self.visibility = kernels.Visibility(
            eligible_CG, queries.combination_Q, seen_offsets, seen_rows, seen_offsets[:-1].copy()
        )

    def tiles(self) -> Iterator[tuple[int, np.ndarray]]:
        """First row and coarse scores [Q, T] of each tile, in a buffer that the next one overwrites."""
        items, num_queries = self._items, self._queries.num_queries
        strips = self._queries.strips
        if strips is not None:  # whose products have the strips' own type
            room = np.empty(self._buffer_size(0, items.num_items, num_queries), strips.dtype)
            for start, stop, panels in self.panel_tiles(0, items.num_items):
                products_QT = room[: num_queries * (stop - start)].reshape(num_queries, stop - start)
                fill_tile(strips, panels, products_QT)
                yield start, products_QT
            return
        buffer = self._buffer(0, items.num_items, num_queries)
        assert items.coarse_tile is not None
        for start, stop in self._edges(0, items.num_items):
            tile_QT = buffer[: num_queries * (stop - start)].view(num_queries, stop - start)
            items.coarse.multiply(self._queries.coarse_QD, items.coarse_tile(start, stop), tile_QT)
            yield start, _as_array(tile_QT)

    def panel_tiles(self, first: int, last: int) -> Iterator[tuple[int, int, np.ndarray]]:
        """First and last-plus-one row of each tile of the rows first:last, and its panels, until the next ones."""
        panel_tile = self._items.panel_tile
        assert panel_tile is not None
        num_rows = -(-min(self._width, last - first) // GROUP) * GROUP
        room = np.empty(num_rows * self._queries.words_bytes, np.uint8)
        for start, stop in self._edges(first, last):
            yield start, stop, panel_tile(start, stop, room)

    def tall_tiles(self, first: int, last: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """As `tiles` for the rows first:last and at most 64 queries: scores [T, P], and scratch for limits.

        P are the queries and zeros that fill them up. torch packs its second factor before it multiplies: packing the items
        costs more than a product with few queries, packing the queries nothing.
        """
        items, coarse_QD = self._items, self._queries.coarse_QD
        assert items.coarse_tile is not None
        num_padded = -(-len(coarse_QD) // _WHOLE_QUERIES) * _WHOLE_QUERIES
        queries_PD = torch.zeros((num_padded, coarse_QD.shape[1]), dtype=coarse_QD.dtype)
        queries_PD[: len(coarse_QD)] = coarse_QD
        limits_P = np.empty(GROUP, LIMIT_KIND[items.coarse.score_kind])
        buffer = self._buffer(first, last, num_padded)
        for start, stop in self._edges(first, last):
            tile_TP = buffer[: num_padded * (stop - start)].view(stop - start, num_padded)
            items.coarse.multiply(items.coarse_tile(start, stop), queries_PD, tile_TP)
            yield start, _as_array(tile_TP), limits_P

    def _buffer(self, first: int, last: int, num_queries: int) -> torch.Tensor:
        """Room for the scores of a tile."""
        size = self._buffer_size(first, last, num_queries)
        return torch.empty(size, dtype=getattr(torch, self._items.coarse.score_kind))

    def _buffer_size(self, first: int, last: int, num_queries: int) -> int:
        """The number of scores of a tile and a group more, because the last row's last group is read whole."""
        return num_queries * min(self._width, last - first) + GROUP

    def _edges(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """First and last-plus-one row of each tile; sets what of the tile is eligible."""
        items = self._items
        for start in range(first, last, self._width):
            stop = min(start + self._width, last)
            kernels.eligible_groups(
                self._queries.words_CW, items.clause_edges, items.bit_planes_VG, items.plane_of_bit, start // GROUP,
                stop - start, self.visibility.eligible_CG,
            )  # fmt: skip
            yield start, stop


def _distinct_rows(words_QW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows, uint64 [C, W], and which of them each query has, int64 [Q]."""
    if not words_QW.size:
        return np.zeros((1, 0), np.uint64), np.zeros(len(words_QW), np.int64)
    order = np.lexsort(words_QW.T)  # numpy's unique takes ten times as long for few rows
    words = words_QW[order]
    is_first = np.concatenate([[True], (words[1:] != words[:-1]).any(axis=1)])
    combination_Q = np.empty(len(order), np.int64)
    combination_Q[order] = np.cumsum(is_first) - 1
    return words[is_first], combination_Q


def _as_array(tile: torch.Tensor) -> np.ndarray:
    """The tile for numba, which knows no bfloat16."""
    return (tile.view(torch.uint16) if tile.dtype == torch.bfloat16 else tile).numpy()
