"""Embeds one part of the catalogue: takes over the vectors that are known, makes the others, writes, commits."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.contracts import contents_of, part_name
from semrec.encoders.base import Encoder, encoder_class
from semrec.encoders.known import KnownVectors
from semrec.encoders.plan import EmbeddingJob, embedding_schema
from semrec.encoders.settings import EmbedSettings
from semrec.workspace.folder import Workspace
from semrec.workspace.ledger import Ledger, PartRecord, build_info
from semrec.workspace.quarantine import Quarantine
from semrec.workspace.tables import TableFile, read_table, write_table

__all__ = ["EmbedWorker"]


class EmbedWorker:
    """Does the parts of an embedding run.

    The encoder is loaded for the first content that has no known vector, so a run in which nothing changed never loads it. The
    device is that of `settings`; auto stands for the kind that the job was planned for. Raises EncoderError or DeviceError
    when this machine has another model or no such device.
    """

    def __init__(
        self, workspace: Workspace, job: EmbeddingJob, settings: EmbedSettings, *, num_threads: int | None = None
    ) -> None:
        self._storage, self._job, self._settings, self._num_threads = workspace.storage, job, settings, num_threads
        self._ledger = Ledger(workspace.storage, job.run_folder)
        self._known = KnownVectors(workspace.storage, job)
        self._encoder_class = encoder_class(job.identity.kind)
        self._encoder: Encoder | None = None

    def run_part(self, part: int) -> PartRecord:
        """Embeds catalogue part `part`, or takes an unchanged one over as it stands, and commits it.

        `counts`: items and rejected are items; embedded and reused are distinct contents; halved_calls are calls of the
        encoder that did not fit into device memory; unread are rejected contents whose bytes were not had. Raises
        CorruptArtefactError or MissingArtefactError, by name, when the catalogue's part is not the one planned.
        """
        whole = self._known.whole_part(part)
        if whole is not None:
            reused = whole.counts.get("embedded", 0) + whole.counts.get("reused", 0)
            return self._commit(part, whole.table, _counts(whole.counts["items"], reused=reused))
        source = self._job.sources[part]
        items = self._read_items(source)
        hashes, first_rows, content_of_row = _distinct(items["hash"])
        vectors_ND, texts, known_N = self._known.lookup(part, hashes)
        missing = np.flatnonzero(~known_N)
        halved_before, unread_before = self._encoder_counts()
        reasons = self._embed(items["content"].take(first_rows[missing]).to_pylist(), missing, vectors_ND, texts)
        halved, unread = self._encoder_counts()
        rejected_rows = self._quarantine(part, items, content_of_row, reasons)
        table = _embedding_table(
            items, vectors_ND, texts if self._job.has_texts else None, content_of_row, rejected_rows
        )
        stored = write_table(self._storage, f"{self._job.folder}/{part_name(part)}", table)
        counts = _counts(
            source.num_rows,
            embedded=len(missing) - len(reasons),
            reused=int(known_N.sum()),
            rejected=len(rejected_rows),
            halved_calls=halved - halved_before,
            unread=unread - unread_before,
        )
        return self._commit(part, stored, counts)

    def _commit(self, part: int, stored: TableFile, counts: dict[str, int]) -> PartRecord:
        device = self._encoder.device_name if self._encoder and counts["embedded"] else "none: every vector was known"
        made_by = {**build_info(), "device": device}
        record = PartRecord(part, self._job.plan.parts[part].fingerprint, stored, counts, made_by)
        self._ledger.commit(record)
        return record

    def _read_items(self, source: TableFile) -> pa.Table:
        """The part's items that have content of the encoder's modality: item_id, content and hash, strings."""
        if self._encoder_class.modality != "text":
            return contents_of(read_table(self._storage, source), self._encoder_class.modality)
        columns = ["item_id", "text", "text_hash"]
        items = read_table(self._storage, source, columns=columns).select(columns)
        return items.rename_columns(["item_id", "content", "hash"])

    def _embed(
        self, contents: list[str], missing: np.ndarray, vectors_ND: np.ndarray, texts: list[str]
    ) -> dict[int, str]:
        """Fills the rows `missing` of `vectors_ND`, and of `texts` where the job has them; returns the rows that have no
        vector, with the reason.
        """
        if not contents:
            return {}
        if self._encoder is None:
            self._encoder = self._encoder_class.load(self._job.identity, self._settings, num_threads=self._num_threads)
        if self._job.has_texts:
            vectors_ND[missing], rejected, read = self._encoder.embed_and_read(contents)
            for row, text in zip(missing.tolist(), read, strict=True):
                texts[row] = text
        else:
            vectors_ND[missing], rejected = self._encoder.embed(contents)
        return {int(missing[index]): reason for index, reason in rejected}

    def _encoder_counts(self) -> tuple[int, int]:
        """(halved calls, unread contents) since the encoder was loaded."""
        return (self._encoder.halved_calls, self._encoder.num_unread) if self._encoder else (0, 0)

    def _quarantine(
        self, part: int, items: pa.Table, content_of_row: np.ndarray, reasons: dict[int, str]
    ) -> np.ndarray:
        """Writes the rows whose content has no vector to the quarantine and returns their numbers."""
        quarantine = Quarantine(self._storage, "embed", f"{self._job.plan.run_id}-{part_name(part)}")
        rows = np.flatnonzero(np.isin(content_of_row, list(reasons)))
        for row in rows.tolist():
            item_id, content = items["item_id"][row].as_py(), items["content"][row].as_py()
            quarantine.add(
                self._job.sources[part].file, None, reasons[int(content_of_row[row])], f"{item_id}: {content}"
            )
        quarantine.flush()
        return rows


def _counts(
    items: int, *, embedded: int = 0, reused: int = 0, rejected: int = 0, halved_calls: int = 0, unread: int = 0
) -> dict[str, int]:
    own = {"items": items, "embedded": embedded, "reused": reused}
    return {**own, "rejected": rejected, "halved_calls": halved_calls, "unread": unread}


def _distinct(column: pa.ChunkedArray) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    """(hashes, first_rows, content_of_row): distinct values in order of appearance, where each stands first, and for every
    row the number of its value."""
    encoded = _array(column).dictionary_encode()
    content_of_row = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    _, first_rows = np.unique(content_of_row, return_index=True)
    return encoded.dictionary, first_rows, content_of_row


def _embedding_table(
    items: pa.Table,
    vectors_ND: np.ndarray,
    texts: list[str] | None,
    content_of_row: np.ndarray,
    rejected_rows: np.ndarray,
) -> pa.Table:
    """The part's table: items that have a vector, ascending in the bytes of item_id; without a column of texts for None."""
    with_vector = np.setdiff1d(np.arange(items.num_rows), rejected_rows, assume_unique=True)
    ids = _array(items["item_id"]).cast(pa.binary())
    order = with_vector[pc.sort_indices(ids.take(pa.array(with_vector))).to_numpy()]
    dimension = vectors_ND.shape[1]
    flat = pa.array(vectors_ND[content_of_row[order]].reshape(-1), pa.float32())
    vectors = pa.FixedSizeListArray.from_arrays(flat, dimension)
    columns = [items["item_id"].take(pa.array(order)), items["hash"].take(pa.array(order)), vectors]
    if texts is not None:
        columns.append(pa.array([texts[content] for content in content_of_row[order].tolist()], pa.large_string()))
    return pa.table(columns, schema=embedding_schema(dimension, has_texts=texts is not None))


def _array(column: pa.ChunkedArray) -> pa.Array:
    """The column as one array, also when it has no chunk at all."""
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
