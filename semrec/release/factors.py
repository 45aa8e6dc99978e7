"""Train the factors of a release's iALS in a workspace, by parts: what one process does in `models.ials_training`, by many.

A half-step is a plan whose parts are blocks of users or items; a worker holds the other side's factors, reads the likes of its
block, solves it and commits factors and sums. What is left of an epoch is its checkpoint. In `releases/<id>/training/ials`:

    likes/part-00000.npy                   int32 [2, n], rows and users of a user bucket's likes, ascending
    epoch-00003/items/part-00000.npz       factors_RD, gram_DD and losses of a block of items
    epoch-00003.json                       `FactorsCheckpoint`, written last

The same blocks give the same bytes, whoever solves them; the kind of processor may matter to the last bit.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from semrec.contracts import part_name
from semrec.models.half_step import FixedSide, eigenbasis, fixed_side, rotated_side
from semrec.models.ials_training import BlockSums, block_edges, initial_factors, solve_block
from semrec.models.sparse import ROWS_PER_BLOCK, SparseRows, liked_pairs
from semrec.release.arrays import read_array, write_array
from semrec.release.training import part_events
from semrec.sorted_ids import SortedIds
from semrec.workspace.digests import sha256_hex
from semrec.workspace.folder import Workspace
from semrec.workspace.ledger import Ledger, PartRecord, build_info
from semrec.workspace.manifests import EmbeddingManifest, InteractionsManifest, Manifest, ReleaseInputs
from semrec.workspace.records import ArrayFile, TableFile
from semrec.workspace.storage import Storage
from semrec.workspace.tables import read_parts

__all__ = [
    "FactorsCheckpoint",
    "HalfStep",
    "HalfStepWorker",
    "LikesWorker",
    "TrainingJob",
    "read_trained",
    "sum_half_step",
    "training_folder",
]


class FactorsCheckpoint(Manifest):
    """Item factors after an epoch: the blocks as they were solved, and the basis that they are rotated to, [1 + D, D], whose
    first row are the eigenvalues. `is_last`: the training is done."""

    KIND = "factors"
    PATH = "releases/{}/training/ials/epoch-{}.json"
    REMEDY = "Build the release again."

    epoch: int
    loss: float
    is_last: bool
    blocks: tuple[TableFile, ...]
    basis: ArrayFile


@dataclass(frozen=True)
class TrainingJob:
    """What the workers of one training need to know."""

    release_id: str
    settings: Mapping[str, Any]
    inputs: ReleaseInputs
    embedding: EmbeddingManifest = field(repr=False)
    interactions: InteractionsManifest = field(repr=False)
    rows_per_block: int = ROWS_PER_BLOCK

    @property
    def folder(self) -> str:
        return training_folder(self.release_id)


@dataclass(frozen=True, eq=False)
class HalfStep:
    """One half-step: `side` ("users" or "items") of `epoch`, against the other side's blocks (none: its initial factors).

    `likes` by user bucket, and the number of users in each; the users are numbered through all buckets.
    """

    folder: str
    side: str
    epoch: int
    fingerprints: tuple[str, ...]
    likes: tuple[TableFile, ...]
    users_of_bucket: tuple[int, ...]
    num_items: int
    fixed_blocks: tuple[TableFile, ...] = ()
    eigenvalues_D: np.ndarray | None = None
    basis_DD: np.ndarray | None = None

    @property
    def num_rows(self) -> int:
        return sum(self.users_of_bucket) if self.side == "users" else self.num_items

    @property
    def num_columns(self) -> int:
        return self.num_items if self.side == "users" else sum(self.users_of_bucket)


class LikesWorker:
    """Writes the likes of each user bucket by row of the release."""

    def __init__(self, workspace: Workspace, job: TrainingJob) -> None:
        self._storage, self._job = workspace.storage, job
        ids = read_parts(self._storage, job.embedding.parts, ["item_id"])
        self._item_ids = SortedIds.of(ids.sort_by("item_id").column("item_id"))
        self._ledger = Ledger(self._storage, f"{job.folder}/likes")

    def run_part(self, part: int) -> PartRecord:
        """Writes and commits the likes of one bucket."""
        job = self._job
        events = part_events(self._storage, job.inputs, job.interactions.parts[part], self._item_ids)
        user, row, num_users = liked_pairs(events, job.inputs.neutral_value)
        order = np.lexsort((user, row))
        file = write_array(
            self._storage,
            f"{self._ledger.folder}/{part_name(part)}.npy",
            np.stack([row[order], user[order]]).astype(np.int32),
        )
        counts = {"users": num_users, "likes": len(user), "items": len(self._item_ids)}
        planned = self._ledger.plan().parts[part]
        record = PartRecord(part, planned.fingerprint, _as_table(file, len(user)), counts, build_info())
        self._ledger.commit(record)
        return record


class HalfStepWorker:
    """Solves blocks of one side against the whole other side, which it holds in memory."""

    def __init__(self, workspace: Workspace, job: TrainingJob, step: HalfStep) -> None:
        self._storage, self._job, self._step = workspace.storage, job, step
        self._ledger = Ledger(self._storage, step.folder)
        self._edges = block_edges(step.num_rows, job.rows_per_block)
        if step.eigenvalues_D is None or step.basis_DD is None:
            self._fixed = fixed_side(initial_factors(step.num_columns, job.settings))
        else:
            self._fixed = _read_side(self._storage, step.fixed_blocks, step.eigenvalues_D, step.basis_DD)

    def run_part(self, part: int) -> PartRecord:
        """Solves, writes and commits one block."""
        rows = self._rows(*self._edges[part])
        factors_RD, sums = solve_block(rows, self._fixed, self._job.settings)
        sink = io.BytesIO()
        losses = np.array([sums.observed_loss, sums.penalty])
        np.savez(sink, factors_RD=factors_RD, gram_DD=sums.gram_DD, losses=losses)
        data, path = sink.getvalue(), f"{self._step.folder}/{part_name(part)}.npz"
        self._storage.write_bytes(path, data)
        digest = sha256_hex(data)
        file = TableFile(file=path, num_rows=rows.num_rows, num_bytes=len(data), content_digest=digest, sha256=digest)
        record = PartRecord(part, self._step.fingerprints[part], file, {"likes": len(rows.columns)}, build_info())
        self._ledger.commit(record)
        return record

    def _rows(self, start: int, stop: int) -> SparseRows:
        """The likes of users or items start:stop, as rows over the other side."""
        step, first_user, pairs = self._step, 0, []
        for file, num_users in zip(step.likes, step.users_of_bucket, strict=True):
            if step.side == "items" or (first_user < stop and first_user + num_users > start):
                row, user = np.asarray(_open_likes(self._storage, file))
                if step.side == "items":
                    some = slice(*np.searchsorted(row, [start, stop]))
                    pairs.append((row[some].astype(np.int64), user[some].astype(np.int64) + first_user))
                else:
                    pairs.append((user.astype(np.int64) + first_user, row.astype(np.int64)))
            first_user += num_users
        rows, columns = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
        is_mine = (rows >= start) & (rows < stop)
        rows, columns = rows[is_mine] - start, columns[is_mine]
        ones = np.ones(len(rows), np.float32)
        return SparseRows.from_pairs(rows, columns, ones, stop - start, step.num_columns)


def sum_half_step(storage: Storage, blocks: Sequence[TableFile]) -> tuple[BlockSums, np.ndarray, np.ndarray]:
    """The sums of a half-step in the order of its blocks, with eigenvalues and eigenvectors of their Gram. Reads no factors."""
    sums = []
    for file in blocks:
        with _opened(storage, file) as stored:
            observed_loss, penalty = stored["losses"].tolist()
            sums.append(BlockSums(stored["gram_DD"], observed_loss, penalty))
    total = BlockSums.total(sums)
    return total, *eigenbasis(total.gram_DD)


def read_trained(storage: Storage, release_id: str) -> dict[str, Callable[[], FixedSide]]:
    """What reads the trained factors of a release, as `TrainingData.trained` has it; empty where no training is done."""
    for name in storage.list_sizes(training_folder(release_id)):
        checkpoint = FactorsCheckpoint.read(storage, release_id, name.removeprefix("epoch-").removesuffix(".json"))
        if checkpoint.is_last:
            basis = np.asarray(read_array(storage, checkpoint.basis))
            return {"ials": partial(_read_side, storage, checkpoint.blocks, basis[0], basis[1:])}
    return {}


def training_folder(release_id: str) -> str:
    """Where the factors of a release are trained."""
    return f"releases/{release_id}/training/ials"


def _read_side(
    storage: Storage, blocks: Sequence[TableFile], eigenvalues_D: np.ndarray, basis_DD: np.ndarray
) -> FixedSide:
    factors = []
    for file in blocks:
        with _opened(storage, file) as stored:
            factors.append(stored["factors_RD"])
    return rotated_side(factors, eigenvalues_D, basis_DD)


def _opened(storage: Storage, file: TableFile) -> Any:
    return np.load(storage.open_local(file.file, num_bytes=file.num_bytes, sha256=file.sha256))


def _open_likes(storage: Storage, file: TableFile) -> np.ndarray:
    return read_array(storage, ArrayFile(file=file.file, num_rows=2, num_bytes=file.num_bytes, sha256=file.sha256))


def _as_table(file: ArrayFile, num_rows: int) -> TableFile:
    return TableFile(
        file=file.file, num_rows=num_rows, num_bytes=file.num_bytes, content_digest=file.sha256, sha256=file.sha256
    )
