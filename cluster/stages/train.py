"""Trains a release's iALS over the executor: each half-step is a plan whose parts are blocks of users or items."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cluster.compute import Compute
from cluster.pool import WorkerSpec
from cluster.stages.parts import ProgressSink, do_parts
from semrec.models.base import model_class
from semrec.models.ials_training import BlockSums, block_edges, stops_after, training_loss
from semrec.models.sparse import ROWS_PER_BLOCK
from semrec.progress import NoProgress, Progress
from semrec.release.arrays import write_array
from semrec.release.factors import (
    FactorsCheckpoint,
    HalfStep,
    HalfStepWorker,
    LikesWorker,
    TrainingJob,
    sum_half_step,
)
from semrec.release.plan import ReleaseJob
from semrec.workspace.digests import fingerprint
from semrec.workspace.folder import Workspace
from semrec.workspace.ledger import Ledger, PartRecord, Plan, PlannedPart
from semrec.workspace.manifests import MatrixManifest
from semrec.workspace.storage import Storage

__all__ = ["MIN_DISTRIBUTED_INTERACTIONS", "train_factors"]

#: With fewer, one process trains sooner than parts of it are handed out.
MIN_DISTRIBUTED_INTERACTIONS = 2_000_000


def train_factors(
    workspace: Workspace,
    job: ReleaseJob,
    *,
    compute: Compute,
    progress: Progress,
    min_interactions: int = MIN_DISTRIBUTED_INTERACTIONS,
    rows_per_block: int = ROWS_PER_BLOCK,
) -> None:
    """Trains the factors of a release that has an iALS, from the last epoch's checkpoint on; its matrix takes them over.

    Does nothing where the matrix is there, or the interactions are few enough for one process. Raises TrainingError when the
    loss rises, and what the executor raises.
    """
    specs = [spec for spec in job.inputs.models if spec.kind == "ials"]
    is_few = job.interactions is None or job.interactions.num_rows < min_interactions
    if not specs or is_few or MatrixManifest.exists(workspace.storage, job.release_id):
        return
    assert job.interactions is not None
    settings = {**model_class("ials").defaults, **specs[0].settings}
    training = TrainingJob(job.release_id, settings, job.inputs, job.embedding, job.interactions, rows_per_block)
    _Training(workspace, training, compute, progress).run()


class _Training:
    """The state of one training: where its likes are, and what does its parts."""

    def __init__(self, workspace: Workspace, job: TrainingJob, compute: Compute, progress: Progress) -> None:
        self._workspace, self._job, self._compute, self._progress = workspace, job, compute, progress
        self._storage = workspace.storage
        self._devices = compute.devices(kind="cpu")

    def run(self) -> None:
        job, storage, settings = self._job, self._storage, self._job.settings
        num_epochs = settings["num_epochs"]
        checkpoint = next(filter(None, map(self._checkpoint, range(num_epochs, 0, -1))), None)
        if checkpoint and checkpoint.is_last:
            return
        self._progress.start("train", 0, "likes")
        likes = self._do("likes", [part.num_events for part in job.interactions.parts], LikesWorker, {})
        items: Any = {}
        loss_before, first_epoch = math.inf, 1
        if checkpoint:
            self._progress.note(f"goes on after epoch {checkpoint.epoch}")
            loss_before, first_epoch = checkpoint.loss, checkpoint.epoch + 1
            _, *basis = self._compute.run(sum_half_step, storage, checkpoint.blocks)
            items = _fixed(checkpoint.blocks, *basis)
        for epoch in range(first_epoch, num_epochs + 1):
            user_sums, eigenvalues_D, basis_DD, blocks = self._half_step(likes, epoch, "users", items)
            users = _fixed(blocks, eigenvalues_D, basis_DD)
            item_sums, *basis, item_blocks = self._half_step(likes, epoch, "items", users)
            loss = training_loss(eigenvalues_D, user_sums, item_sums, settings)
            is_last = stops_after(epoch, loss, loss_before, settings)
            self._keep(epoch, loss, is_last, item_blocks, *basis)
            items, loss_before = _fixed(item_blocks, *basis), loss
            if is_last:
                break
        self._progress.finish(f"ials {settings['dimension']}, {epoch} epochs, loss {loss_before:.6g}")

    def _half_step(
        self, likes: list[PartRecord], epoch: int, side: str, fixed: dict[str, Any]
    ) -> tuple[BlockSums, np.ndarray, np.ndarray, tuple[Any, ...]]:
        """Solves all blocks of one side; returns their sums, the eigenbasis of their Gram, and their files."""
        name = f"epoch-{epoch:05d}/{side}"
        users_of_bucket = tuple(record.counts["users"] for record in likes)
        num_items = likes[0].counts["items"]
        num_rows = sum(users_of_bucket) if side == "users" else num_items
        rows_of_block = [stop - start for start, stop in block_edges(num_rows, self._job.rows_per_block)]
        step = HalfStep(
            f"{self._job.folder}/{name}",
            side,
            epoch,
            tuple(part.fingerprint for part in self._plan(name, rows_of_block).parts),
            tuple(record.table for record in likes),
            users_of_bucket,
            num_items,
            **fixed,
        )
        records = self._do(name, rows_of_block, HalfStepWorker, {"step": step})
        blocks = tuple(record.table for record in records)
        return *self._compute.run(sum_half_step, self._storage, blocks), blocks

    def _do(self, name: str, num_rows: list[int], worker: Any, arguments: dict[str, Any]) -> list[PartRecord]:
        """Does the parts of one plan that are not committed; returns all records."""
        plan, ledger = self._plan(name, num_rows), Ledger(self._storage, f"{self._job.folder}/{name}")
        spec = WorkerSpec(
            worker,
            {"workspace": self._workspace, "job": self._job, **arguments},
            num_cpus=self._devices.cpus,
        )
        # One line for the training, not one for each half-step.
        sink = ProgressSink(NoProgress(), "likes", lambda record: record.counts["likes"])
        do_parts("train", ledger, plan, spec, self._compute, sink, num_groups=self._devices.count)
        records = ledger.finished_records(plan)
        self._progress.advance(sum(record.counts["likes"] for record in records))
        return records

    def _plan(self, name: str, num_rows: list[int]) -> Plan:
        """The plan of a step. The release's id stands for its likes; the rest of what the bytes depend on is named."""
        shared = {
            "release": self._job.release_id,
            "step": name,
            "rows_per_block": self._job.rows_per_block,
            "model": dict(self._job.settings),
        }
        parts = [PlannedPart(part, fingerprint([shared, part]), count) for part, count in enumerate(num_rows)]
        return Plan("training", shared, tuple(parts))

    def _checkpoint(self, epoch: int) -> FactorsCheckpoint | None:
        return FactorsCheckpoint.read_if_there(self._storage, self._job.release_id, f"{epoch:05d}")

    def _keep(
        self,
        epoch: int,
        loss: float,
        is_last: bool,
        blocks: tuple[Any, ...],
        eigenvalues_D: np.ndarray,
        basis_DD: np.ndarray,
    ) -> None:
        """Writes the checkpoint of an epoch, then removes what it replaces."""
        folder = self._job.folder
        basis = write_array(
            self._storage, f"{folder}/epoch-{epoch:05d}/basis.npy", np.concatenate([eigenvalues_D[None], basis_DD])
        )
        checkpoint = FactorsCheckpoint(epoch=epoch, loss=loss, is_last=is_last, blocks=blocks, basis=basis)
        checkpoint.write(self._storage, self._job.release_id, f"{epoch:05d}")
        _remove(self._storage, f"{folder}/epoch-{epoch:05d}/users")
        _remove(self._storage, f"{folder}/epoch-{epoch - 1:05d}/items")
        if is_last:
            _remove(self._storage, f"{folder}/likes")


def _fixed(blocks: tuple[Any, ...], eigenvalues_D: np.ndarray, basis_DD: np.ndarray) -> dict[str, Any]:
    """The fields of a HalfStep for the side that it holds fixed."""
    return {"fixed_blocks": blocks, "eigenvalues_D": eigenvalues_D, "basis_DD": basis_DD}


def _remove(storage: Storage, folder: str) -> None:
    """Removes a step's files; what a kill leaves behind is never read."""
    for subfolder in (folder, f"{folder}/ledger"):
        for name in storage.list_sizes(subfolder):
            storage.delete(f"{subfolder}/{name}")
