"""Multiply the blocks of an nSVD's passes: what one process does in `models.nsvd.truncated_svd`, by many (see `factors`).

A pass is two steps: the users' rows of the normalised matrix are multiplied with the orthonormal basis of the items' products
before, and then the items' rows with what that gave. Each worker makes the basis of all blocks by itself: the same bytes,
without a step of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from semrec.models.nsvd import degree_scales, orthonormal, start_columns
from semrec.models.sparse import SparseRows, gram_of_rows, multiply_rows
from semrec.release.arrays import read_array
from semrec.release.factors import BlockWorker, FactorsCheckpoint, HalfStep, TrainingJob, open_block
from semrec.workspace.folder import Workspace
from semrec.workspace.records import TableFile
from semrec.workspace.storage import Storage

__all__ = ["NsvdBlockWorker", "read_nsvd", "sum_grams"]


class NsvdBlockWorker(BlockWorker):
    """Multiplies blocks of one side with the whole other side, which it holds in memory.

    A block is scales_R float64, by which its rows are normalised, and products_RD float32. The items' step of pass 0 gives
    the scales alone, and the users' step after the last pass gram_DD instead of products.
    """

    def __init__(self, workspace: Workspace, job: TrainingJob, step: HalfStep) -> None:
        super().__init__(workspace, job, step)
        if not step.fixed_blocks:
            return
        scales, products = [], []
        for file in step.fixed_blocks:
            with open_block(self._storage, file) as stored:
                scales.append(stored["scales_R"])
                products += [stored["products_RD"]] if step.side == "items" or step.epoch > 1 else []
        self._scales_C = np.concatenate(scales)
        if step.side == "items":
            self._fixed_CD = np.concatenate(products)
        elif products:
            self._fixed_CD = orthonormal(np.concatenate(products))
        else:
            self._fixed_CD = orthonormal(start_columns(len(self._scales_C), step.width, job.settings["seed"]))

    def solve(self, rows: SparseRows) -> dict[str, Any]:
        """See `BlockWorker.solve`."""
        scales_R = degree_scales(rows.lengths, self._job.settings["degree_exponent"])
        if not self._step.fixed_blocks:
            return {"scales_R": scales_R}
        products_RD = multiply_rows(rows.scaled(scales_R, self._scales_C), self._fixed_CD)
        if self._step.epoch > self._job.settings["num_passes"]:
            return {"gram_DD": gram_of_rows(products_RD)}
        return {"scales_R": scales_R, "products_RD": products_RD}


def sum_grams(storage: Storage, blocks: Sequence[TableFile]) -> np.ndarray:
    """The Gram of the matrix's products with the last basis, in the order of the blocks: float64 [D, D]."""
    grams = []
    for file in blocks:
        with open_block(storage, file) as stored:
            grams.append(stored["gram_DD"])
    return sum(grams[1:], grams[0])


def read_nsvd(storage: Storage, checkpoint: FactorsCheckpoint) -> tuple[np.ndarray, np.ndarray]:
    """The last basis and the Gram of the matrix's products with it, of a finished training: what `ritz_vectors` takes."""
    products = []
    for file in checkpoint.blocks:
        with open_block(storage, file) as stored:
            products.append(stored["products_RD"])
    assert checkpoint.basis is not None
    return orthonormal(np.concatenate(products)), np.asarray(read_array(storage, checkpoint.basis))
