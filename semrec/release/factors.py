"""Trains the factors of a release by parts, in many processes, as `semrec.models` does in one.

A half-step (of iALS) or half of a pass (of nSVD) is a plan whose parts are blocks of users or items; a worker holds the other
side, reads the likes of its block, solves it and commits the result. What is left of an epoch or pass is its checkpoint. In
`releases/<id>/training`:

    likes/part-00000.npy                        int32 [2, n], rows and users of a user bucket's likes, ascending
    ials/epoch-00003/items/part-00000.npz       arrays of a block of items, see `ials_blocks` and `nsvd_blocks`
    ials/epoch-00003.json                       `FactorsCheckpoint`, written last

The same blocks give the same bytes, whoever solves them; the kind of processor may matter to the last bit.
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zipfile import BadZipFile

import numpy as np

from semrec.contracts import part_name
from semrec.errors import CorruptArtefactError
from semrec.models.sparse import ROWS_PER_BLOCK, SparseRows, block_edges, liked_pairs
from semrec.release.arrays import read_array, write_array
from semrec.release.training import part_events
from semrec.sorted_ids import SortedIds
from semrec.workspace.digests import sha256_hex
from semrec.workspace.folder import Workspace
from semrec.workspace.ledger import Ledger, PartRecord, build_info
from semrec.workspace.manifest import Manifest
from semrec.workspace.manifests import EmbeddingManifest, InteractionsManifest, ReleaseInputs
from semrec.workspace.records import ArrayFile, TableFile
from semrec.workspace.storage import Storage
from semrec.workspace.tables import read_parts

__all__ = [
    "BlockWorker",
    "FactorsCheckpoint",
    "HalfStep",
    "LikesWorker",
    "TrainingJob",
    "block_arrays",
    "last_checkpoint",
    "training_folder",
]


class FactorsCheckpoint(Manifest):
    """The state of a training after an epoch (of nSVD: a pass), or its result when it `is_last`.

    `blocks` of items as they were solved; `basis` that iALS rotates them to, [1 + D, D], whose first row are the eigenvalues,
    or the Gram of nSVD's last step, [D, D]; `loss` of iALS.
    """

    KIND = "factors"
    PATH = "releases/{}/training/{}/epoch-{}.json"
    REMEDY = "Build the release again."

    epoch: int
    loss: float = 0.0
    is_last: bool
    blocks: tuple[TableFile, ...]
    basis: ArrayFile | None = None


@dataclass(frozen=True)
class TrainingJob:
    """The inputs of the workers of one training: `kind` is the model's, `settings` are all of its settings."""

    release_id: str
    kind: str
    settings: Mapping[str, Any]
    inputs: ReleaseInputs
    embedding: EmbeddingManifest = field(repr=False)
    interactions: InteractionsManifest = field(repr=False)
    rows_per_block: int = ROWS_PER_BLOCK

    @property
    def folder(self) -> str:
        return f"{training_folder(self.release_id)}/{self.kind}"

    @property
    def likes_folder(self) -> str:
        """The folder of the likes, from which all models learn."""
        return f"{training_folder(self.release_id)}/likes"


@dataclass(frozen=True, eq=False)
class HalfStep:
    """One half-step: `side` ("users" or "items") of `epoch`, against the other side's blocks (none: where training begins).

    `likes` by user bucket, and the number of users in each; the users are numbered through all buckets. `basis`: eigenvalues
    and basis of the fixed side, for iALS; `width`: how many directions nSVD begins with.
    """

    folder: str
    side: str
    epoch: int
    fingerprints: tuple[str, ...]
    likes: tuple[TableFile, ...]
    users_of_bucket: tuple[int, ...]
    num_items: int
    fixed_blocks: tuple[TableFile, ...] = ()
    basis: tuple[np.ndarray, np.ndarray] | None = None
    width: int = 0

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
        self._ledger = Ledger(self._storage, job.likes_folder)

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
        counts["nonempty"] = len(np.unique(user))
        planned = self._ledger.plan().parts[part]
        record = PartRecord(part, planned.fingerprint, _as_table(file, len(user)), counts, build_info())
        self._ledger.commit(record)
        return record


class BlockWorker(ABC):
    """Solves blocks of one side. A subclass reads the other side, and says what the arrays of a block are."""

    def __init__(self, workspace: Workspace, job: TrainingJob, step: HalfStep) -> None:
        self._storage, self._job, self._step = workspace.storage, job, step
        self._ledger = Ledger(self._storage, step.folder)
        self._edges = block_edges(step.num_rows, job.rows_per_block)

    @abstractmethod
    def solve(self, rows: SparseRows) -> dict[str, Any]:
        """Returns what is stored of a block, from its likes: rows of this side over the other."""

    def run_part(self, part: int) -> PartRecord:
        """Solves, writes and commits one block."""
        rows, sink = self._rows(*self._edges[part]), io.BytesIO()
        arrays: dict[str, Any] = self.solve(rows)
        np.savez(sink, **arrays)
        data, path = sink.getvalue(), f"{self._step.folder}/{part_name(part)}.npz"
        self._storage.write_bytes(path, data)
        digest = sha256_hex(data)
        file = TableFile(file=path, num_rows=rows.num_rows, num_bytes=len(data), content_digest=digest, sha256=digest)
        counts = {"likes": len(rows.columns), "nonempty": int((rows.lengths > 0).sum())}
        record = PartRecord(part, self._step.fingerprints[part], file, counts, build_info())
        self._ledger.commit(record)
        return record

    def _rows(self, start: int, stop: int) -> SparseRows:
        """Reads the likes of users or items start:stop, as rows over the other side."""
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


def training_folder(release_id: str) -> str:
    """Returns the folder in which the models of a release are trained."""
    return f"releases/{release_id}/training"


def last_checkpoint(storage: Storage, release_id: str, kind: str) -> FactorsCheckpoint | None:
    """Reads the checkpoint of the newest epoch of a training, None before the first."""
    names = sorted(storage.list_sizes(f"{training_folder(release_id)}/{kind}"))
    if not names:
        return None
    return FactorsCheckpoint.read(storage, release_id, kind, names[-1].removeprefix("epoch-").removesuffix(".json"))


def block_arrays(storage: Storage, blocks: Sequence[TableFile], *names: str) -> Iterator[list[np.ndarray]]:
    """Reads the arrays of these names, of one block after the other. Raises CorruptArtefactError for other bytes."""
    for file in blocks:
        try:
            with np.load(storage.open_local(file.file, num_bytes=file.num_bytes, sha256=file.sha256)) as stored:
                arrays = [stored[name] for name in names]
        except (BadZipFile, ValueError, KeyError, EOFError) as error:
            raise CorruptArtefactError(
                f"{file.file} is no block of factors ({error})",
                expected=f"the file with SHA-256 {file.sha256[:12]}...",
                remedy="Remove the release's folder and run again: the training begins anew.",
            ) from None
        yield arrays


def _open_likes(storage: Storage, file: TableFile) -> np.ndarray:
    return read_array(storage, ArrayFile(file=file.file, num_rows=2, num_bytes=file.num_bytes, sha256=file.sha256))


def _as_table(file: ArrayFile, num_rows: int) -> TableFile:
    return TableFile(
        file=file.file, num_rows=num_rows, num_bytes=file.num_bytes, content_digest=file.sha256, sha256=file.sha256
    )
