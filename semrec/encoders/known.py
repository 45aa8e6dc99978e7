"""Finds the vectors that earlier runs of the same embedding committed: they are taken over, never made twice."""

from __future__ import annotations

from math import gcd

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.encoders.base import encoder_class
from semrec.encoders.plan import HASH_COLUMN, EmbeddingJob, KnownRun, run_folder
from semrec.errors import CorruptArtefactError, MissingArtefactError
from semrec.workspace.digests import sha256_hex
from semrec.workspace.ledger import Ledger, PartRecord
from semrec.workspace.storage import Storage
from semrec.workspace.tables import TableFile, read_table

__all__ = ["KnownVectors"]


class KnownVectors:
    """Looks into the `known` runs of a job. Their ledgers are read once, at the first query.

    A file that is damaged or gone is passed over: that only costs the work of embedding again.
    """

    def __init__(self, storage: Storage, job: EmbeddingJob) -> None:
        self._storage, self._job = storage, job
        self._runs: list[tuple[KnownRun, dict[int, PartRecord]]] | None = None

    def whole_part(self, part: int) -> PartRecord | None:
        """Finds the record of an earlier run for this very part, when all that its bytes depend on is unchanged, every item got
        its vector and the file still has its SHA-256; else None."""
        fingerprint = self._job.plan.parts[part].fingerprint
        for _, records in self._read_runs():
            record = records.get(part)
            if record is None or record.fingerprint != fingerprint or record.counts.get("rejected", 0):
                continue  # rejected items have to stand in this run's quarantine as well
            if self._is_whole(record.table):
                return record
        return None

    def lookup(self, part: int, hashes: pa.Array) -> tuple[np.ndarray, list[str], np.ndarray]:
        """Looks up the contents of `part` by their hashes: (vectors_ND, texts, known_N).

        Vectors are float32, zeros where `known_N` is False; texts are "" there, and where the job has none.
        """
        vectors_ND, texts = np.zeros((len(hashes), self._job.identity.dimension), dtype=np.float32), [""] * len(hashes)
        known_N = np.zeros(len(hashes), dtype=bool)
        columns = ["vector", *(["text"] if self._job.has_texts else [])]
        for file in self._files(part):
            if known_N.all():
                break
            try:
                stored = read_table(self._storage, file, columns=[HASH_COLUMN])[HASH_COLUMN]
                row_of_hash = pc.index_in(hashes, value_set=stored)
                take_N = ~known_N & row_of_hash.is_valid().to_numpy(zero_copy_only=False)
                if not take_N.any():  # as of most files, where every part may share content with every other
                    continue
                table = read_table(self._storage, file, columns=columns)
            except (CorruptArtefactError, MissingArtefactError):
                continue
            rows = pc.fill_null(row_of_hash, 0).to_numpy(zero_copy_only=False)[take_N]
            vectors_ND[take_N] = _matrix(table["vector"])[rows]
            if self._job.has_texts:
                for number, row in zip(np.flatnonzero(take_N).tolist(), rows.tolist(), strict=True):
                    texts[number] = table["text"][row].as_py()
            known_N |= take_N
        return vectors_ND, texts, known_N

    def _files(self, part: int) -> list[TableFile]:
        """Parts of earlier runs that can share content with `part`: both numbers are its hash's bucket modulo their counts,
        so they agree modulo the counts' greatest common divisor. Items are not in the bucket of other content than text."""
        by_text = encoder_class(self._job.identity.kind).modality == "text"
        files: dict[str, TableFile] = {}
        for run, records in self._read_runs():
            step = gcd(run.num_parts, self._job.num_parts) if by_text else 1
            for other, record in sorted(records.items()):
                if other % step == part % step:
                    files[record.table.file] = record.table
        return list(files.values())

    def _read_runs(self) -> list[tuple[KnownRun, dict[int, PartRecord]]]:
        if self._runs is None:
            folder = self._job.folder
            self._runs = [
                (run, Ledger(self._storage, run_folder(folder, run.run_id)).records()) for run in self._job.known
            ]
        return self._runs

    def _is_whole(self, file: TableFile) -> bool:
        try:
            return sha256_hex(self._storage.read_bytes(file.file)) == file.sha256
        except MissingArtefactError:
            return False


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    """A column of vectors as float32 [rows, D]."""
    flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.concatenate(flat or [np.zeros(0, dtype=np.float32)]).reshape(-1, column.type.list_size)
