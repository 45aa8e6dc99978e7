"""Multiplies the blocks of an nSVD's passes in many processes, as `models.nsvd.truncated_svd` does in one (see `factors`).

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
from semrec.release.factors import BlockWorker, FactorsCheckpoint, HalfStep, TrainingJob, block_arrays
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
        self._scales_C = _joined(self._storage, step.fixed_blocks, "scales_R")
        if step.side == "items":
            self._fixed_CD = _joined(self._storage, step.fixed_blocks, "products_RD")
        elif step.epoch > 1:
            self._fixed_CD = orthonormal(_joined(self._storage, step.fixed_blocks, "products_RD"))
        else:
            self._fixed_CD = orthonormal(start_columns(len(self._scales_C), step.width, job.settings["seed"]))

    def solve(self, rows: SparseRows) -> dict[str, Any]:
        """Multiplies a block: see `BlockWorker.solve`."""
        scales_R = degree_scales(rows.lengths, self._job.settings["degree_exponent"])
        if not self._step.fixed_blocks:
            return {"scales_R": scales_R}
        products_RD = multiply_rows(rows.scaled(scales_R, self._scales_C), self._fixed_CD)
        if self._step.epoch > self._job.settings["num_passes"]:
            return {"gram_DD": gram_of_rows(products_RD)}
        return {"scales_R": scales_R, "products_RD": products_RD}


def sum_grams(storage: Storage, blocks: Sequence[TableFile]) -> np.ndarray:
    """Adds up the Gram of the matrix's products with the last basis, in the order of the blocks: float64 [D, D]."""
    grams = [gram_DD for (gram_DD,) in block_arrays(storage, blocks, "gram_DD")]
    return sum(grams[1:], grams[0])


def read_nsvd(storage: Storage, checkpoint: FactorsCheckpoint) -> tuple[np.ndarray, np.ndarray]:
    """Reads the last basis and the Gram of the matrix's products with it, of a finished training: what `ritz_vectors` takes."""
    assert checkpoint.basis is not None
    basis_CD = orthonormal(_joined(storage, checkpoint.blocks, "products_RD"))
    return basis_CD, np.asarray(read_array(storage, checkpoint.basis))


def _joined(storage: Storage, blocks: Sequence[TableFile], name: str) -> np.ndarray:
    return np.concatenate([array for (array,) in block_arrays(storage, blocks, name)])
