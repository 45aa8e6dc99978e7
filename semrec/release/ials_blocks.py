"""Solves the blocks of an iALS training in many processes, as `models.ials_training` does in one (see `factors`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from semrec.models.half_step import FixedSide, eigenbasis, fixed_side, rotated_side
from semrec.models.ials_training import BlockSums, initial_factors, solve_block
from semrec.models.sparse import SparseRows
from semrec.release.arrays import read_array
from semrec.release.factors import BlockWorker, FactorsCheckpoint, HalfStep, TrainingJob, block_arrays
from semrec.workspace.folder import Workspace
from semrec.workspace.records import TableFile
from semrec.workspace.storage import Storage

__all__ = ["IalsBlockWorker", "read_ials", "sum_half_step"]


class IalsBlockWorker(BlockWorker):
    """Solves blocks of one side against the whole other side, which it holds in memory.

    A block is factors_RD float32, gram_DD and losses (observed, penalty) float64.
    """

    def __init__(self, workspace: Workspace, job: TrainingJob, step: HalfStep) -> None:
        super().__init__(workspace, job, step)
        if step.basis is None:
            self._fixed = fixed_side(initial_factors(step.num_columns, job.settings))
        else:
            self._fixed = _read_side(self._storage, step.fixed_blocks, *step.basis)

    def solve(self, rows: SparseRows) -> dict[str, Any]:
        """Solves a block: see `BlockWorker.solve`."""
        factors_RD, sums = solve_block(rows, self._fixed, self._job.settings)
        losses = np.array([sums.observed_loss, sums.penalty])
        return {"factors_RD": factors_RD, "gram_DD": sums.gram_DD, "losses": losses}


def sum_half_step(storage: Storage, blocks: Sequence[TableFile]) -> tuple[BlockSums, np.ndarray, np.ndarray]:
    """Adds up a half-step's sums in the order of its blocks, with eigenvalues and -vectors of their Gram. Reads no factors."""
    total = BlockSums.total(
        [BlockSums(gram_DD, *losses.tolist()) for gram_DD, losses in block_arrays(storage, blocks, "gram_DD", "losses")]
    )
    return total, *eigenbasis(total.gram_DD)


def read_ials(storage: Storage, checkpoint: FactorsCheckpoint) -> FixedSide:
    """Reads the item side of a finished training."""
    assert checkpoint.basis is not None
    basis = np.asarray(read_array(storage, checkpoint.basis))
    return _read_side(storage, checkpoint.blocks, basis[0], basis[1:])


def _read_side(
    storage: Storage, blocks: Sequence[TableFile], eigenvalues_D: np.ndarray, basis_DD: np.ndarray
) -> FixedSide:
    factors = [factors_RD for (factors_RD,) in block_arrays(storage, blocks, "factors_RD")]
    return rotated_side(factors, eigenvalues_D, basis_DD)
