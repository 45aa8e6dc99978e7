"""Reads single vectors of the stored item matrix, whatever range of it the engine holds."""

from __future__ import annotations

import numpy as np

from semrec.release.arrays import read_rows
from semrec.release.reader import Release
from semrec.scoring.types import ItemShard

__all__ = ["StoredRows"]


class StoredRows:
    """The blocks of a release's item matrix, each memory-mapped as it lies."""

    def __init__(self, release: Release) -> None:
        matrix = release.manifest.matrix
        edges = np.cumsum([0, *(block.num_rows for block in matrix.blocks)])
        pairs = zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
        self._blocks = [read_rows(release.storage, matrix, start, stop) for start, stop in pairs]
        self._edges, self._dimension = edges, release.dimension

    def shard(self, rows: np.ndarray) -> ItemShard:
        """The items at some rows, in that order, as a shard of their own without eligibility words."""
        owner = np.searchsorted(self._edges, rows, side="right") - 1
        high_ND, low_ND = (
            np.empty((len(rows), self._dimension), np.uint16),
            np.empty((len(rows), self._dimension), np.int16),
        )
        norms = np.empty((len(rows), self._blocks[0][2].shape[1]), np.float32)
        for number in np.unique(owner).tolist():
            in_block = owner == number
            block_rows = rows[in_block] - self._edges[number]
            high, low, norm = self._blocks[number]
            high_ND[in_block], low_ND[in_block], norms[in_block] = high[block_rows], low[block_rows], norm[block_rows]
        return ItemShard(high_ND, low_ND, norms, np.zeros((len(rows), 0), np.uint64))

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """float32 [len(rows), D], fresh."""
        return self.shard(rows).vectors()
