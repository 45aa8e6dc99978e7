"""Trains a release's iALS and nSVD over the executor: each half-step is a plan whose parts are blocks of users or items."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np

from cluster.compute import Compute
from cluster.pool import WorkerSpec
from cluster.stages.parts import ProgressSink, do_parts
from semrec.models.base import model_class
from semrec.models.ials_training import BlockSums, stops_after, training_loss
from semrec.models.nsvd import subspace_width
from semrec.models.sparse import ROWS_PER_BLOCK, block_edges
from semrec.progress import NoProgress, Progress
from semrec.release.arrays import write_array
from semrec.release.factors import (
    BlockWorker,
    FactorsCheckpoint,
    HalfStep,
    LikesWorker,
    TrainingJob,
    last_checkpoint,
)
from semrec.release.ials_blocks import IalsBlockWorker, sum_half_step
from semrec.release.nsvd_blocks import NsvdBlockWorker, sum_grams
from semrec.release.plan import ReleaseJob
from semrec.workspace.digests import fingerprint
from semrec.workspace.folder import Workspace
from semrec.workspace.ledger import Ledger, PartRecord, Plan, PlannedPart
from semrec.workspace.manifests import MatrixManifest
from semrec.workspace.records import TableFile
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
    """Trains the factors of a release's iALS and nSVD, each from its last checkpoint on; the release's matrix takes them over.

    Does nothing where the matrix is there, or the interactions are few enough for one process. Raises TrainingError when the
    loss rises, and what the executor raises.
    """
    is_few = job.interactions is None or job.interactions.num_rows < min_interactions
    if is_few or MatrixManifest.exists(workspace.storage, job.release_id):
        return
    assert job.interactions is not None
    trainings = [
        _TRAININGS[spec.kind](
            workspace,
            TrainingJob(
                job.release_id, spec.kind, {**model_class(spec.kind).defaults, **spec.settings}, job.inputs, job.embedding,
                job.interactions, rows_per_block,
            ),
            compute,
            progress,
        )
        for spec in job.inputs.models
        if spec.kind in _TRAININGS
    ]  # fmt: skip
    for training in trainings:
        checkpoint = last_checkpoint(workspace.storage, job.release_id, training.job.kind)
        if checkpoint is None or not checkpoint.is_last:
            training.run(checkpoint)
    if trainings:
        _remove(workspace.storage, trainings[0].job.likes_folder)


class _Training(ABC):
    """One training: the storage of its likes, and the compute of its parts."""

    worker: ClassVar[type[BlockWorker]]

    def __init__(self, workspace: Workspace, job: TrainingJob, compute: Compute, progress: Progress) -> None:
        self.job = job
        self._workspace, self._compute, self._progress = workspace, compute, progress
        self._storage = workspace.storage
        self._devices = compute.devices(kind="cpu")

    def run(self, checkpoint: FactorsCheckpoint | None) -> None:
        """Goes on after the last checkpoint, or begins."""
        job = self.job
        self._progress.start("train", 0, "likes")
        if checkpoint:
            self._progress.note(f"{job.kind} goes on after epoch {checkpoint.epoch}")
        buckets = [part.num_events for part in job.interactions.parts]
        self._likes = self._do(job.likes_folder, buckets, LikesWorker, {})
        self._progress.finish(self.train(checkpoint))

    @abstractmethod
    def train(self, checkpoint: FactorsCheckpoint | None) -> str:
        """Takes all steps after the checkpoint's, keeps the last one as the result, and says in a line what was trained."""

    def _half_step(self, epoch: int, side: str, **fixed: Any) -> list[PartRecord]:
        """Solves all blocks of one side against the other, which the fields `fixed` of HalfStep tell."""
        job, folder = self.job, f"{self.job.folder}/epoch-{epoch:05d}/{side}"
        users_of_bucket = tuple(record.counts["users"] for record in self._likes)
        num_items = self._likes[0].counts["items"]
        num_rows = sum(users_of_bucket) if side == "users" else num_items
        rows_of_block = [stop - start for start, stop in block_edges(num_rows, job.rows_per_block)]
        step = HalfStep(
            folder,
            side,
            epoch,
            tuple(part.fingerprint for part in self._plan(folder, rows_of_block).parts),
            tuple(record.table for record in self._likes),
            users_of_bucket,
            num_items,
            **fixed,
        )
        return self._do(folder, rows_of_block, self.worker, {"step": step})

    def _do(self, folder: str, num_rows: list[int], worker: Any, arguments: dict[str, Any]) -> list[PartRecord]:
        """Does the parts of one plan that are not committed; returns all records."""
        plan, ledger = self._plan(folder, num_rows), Ledger(self._storage, folder)
        spec = WorkerSpec(
            worker, {"workspace": self._workspace, "job": self.job, **arguments}, num_cpus=self._devices.cpus
        )
        # One line for the training, not one for each half-step.
        sink = ProgressSink(NoProgress(), "likes", lambda record: record.counts["likes"])
        do_parts("train", ledger, plan, spec, self._compute, sink, num_groups=self._devices.count)
        records = ledger.finished_records(plan)
        self._progress.advance(sum(record.counts["likes"] for record in records))
        return records

    def _plan(self, folder: str, num_rows: list[int]) -> Plan:
        """Returns the plan of a step. The release's id stands for its likes; the rest of what the bytes depend on is named."""
        job = self.job
        shared: dict[str, Any] = {"release": job.release_id, "step": folder}
        if folder != job.likes_folder:  # which all models share
            shared |= {"rows_per_block": job.rows_per_block, "model": dict(job.settings)}
        parts = [PlannedPart(part, fingerprint([shared, part]), count) for part, count in enumerate(num_rows)]
        return Plan("training", shared, tuple(parts))

    def _keep(self, epoch: int, blocks: tuple[TableFile, ...], basis: np.ndarray | None = None, **fields: Any) -> None:
        """Writes the checkpoint of an epoch, then removes what it replaces."""
        job, folder = self.job, self.job.folder
        file = None if basis is None else write_array(self._storage, f"{folder}/epoch-{epoch:05d}/basis.npy", basis)
        checkpoint = FactorsCheckpoint(epoch=epoch, blocks=blocks, basis=file, **fields)
        checkpoint.write(self._storage, job.release_id, job.kind, f"{epoch:05d}")
        _remove(self._storage, f"{folder}/epoch-{epoch:05d}/users")
        if epoch > 1:  # nSVD reads the scales of pass 0 to its end
            _remove(self._storage, f"{folder}/epoch-{epoch - 1:05d}/items")


class _IalsTraining(_Training):
    """Epochs of two half-steps, until the loss hardly falls."""

    worker = IalsBlockWorker

    def train(self, checkpoint: FactorsCheckpoint | None) -> str:
        settings, num_epochs = self.job.settings, self.job.settings["num_epochs"]
        items: dict[str, Any] = {}
        loss_before, first_epoch = math.inf, 1
        if checkpoint:
            loss_before, first_epoch = checkpoint.loss, checkpoint.epoch + 1
            _, items = self._summed(checkpoint.blocks)
        for epoch in range(first_epoch, num_epochs + 1):
            user_sums, users = self._summed(_files(self._half_step(epoch, "users", **items)))
            item_sums, items = self._summed(_files(self._half_step(epoch, "items", **users)))
            loss = training_loss(users["basis"][0], user_sums, item_sums, settings)
            is_last = stops_after(epoch, loss, loss_before, settings)
            eigenvalues_D, basis_DD = items["basis"]
            basis = np.concatenate([eigenvalues_D[None], basis_DD])
            self._keep(epoch, items["fixed_blocks"], basis, loss=loss, is_last=is_last)
            loss_before = loss
            if is_last:
                break
        return f"ials {settings['dimension']}, {epoch} epochs, loss {loss_before:.6g}"

    def _summed(self, blocks: tuple[TableFile, ...]) -> tuple[BlockSums, dict[str, Any]]:
        """Returns the sums of a half-step, and the fields of the HalfStep that holds its side fixed."""
        sums, *basis = self._compute.run(sum_half_step, self._storage, blocks)
        return sums, {"fixed_blocks": blocks, "basis": tuple(basis)}


class _NsvdTraining(_Training):
    """Passes of two products, then one more with the users, from which the singular values come."""

    worker = NsvdBlockWorker

    def train(self, checkpoint: FactorsCheckpoint | None) -> str:
        dimension, num_passes = self.job.settings["dimension"], self.job.settings["num_passes"]
        scales = self._half_step(0, "items")
        width = subspace_width(dimension, _nonempty(self._likes), _nonempty(scales))
        blocks, first_pass = _files(scales), 1
        if checkpoint:
            blocks, first_pass = checkpoint.blocks, checkpoint.epoch + 1
        for number in range(first_pass, num_passes + 1):
            users = _files(self._half_step(number, "users", fixed_blocks=blocks, width=width))
            blocks = _files(self._half_step(number, "items", fixed_blocks=users, width=width))
            self._keep(number, blocks, is_last=False)
        last = self._half_step(num_passes + 1, "users", fixed_blocks=blocks, width=width)
        gram_DD = self._compute.run(sum_grams, self._storage, _files(last))
        self._keep(num_passes, blocks, gram_DD, is_last=True)
        for step in ("epoch-00000/items", f"epoch-{num_passes + 1:05d}/users"):
            _remove(self._storage, f"{self.job.folder}/{step}")
        return f"nsvd {dimension}, {num_passes} passes"


_TRAININGS: Final[Mapping[str, type[_Training]]] = {"ials": _IalsTraining, "nsvd": _NsvdTraining}


def _files(records: list[PartRecord]) -> tuple[TableFile, ...]:
    return tuple(record.table for record in records)


def _nonempty(records: list[PartRecord]) -> int:
    return sum(record.counts["nonempty"] for record in records)


def _remove(storage: Storage, folder: str) -> None:
    """Removes a step's files; what a kill leaves behind is never read."""
    for subfolder in (folder, f"{folder}/ledger"):
        for name in storage.list_sizes(subfolder):
            storage.delete(f"{subfolder}/{name}")
