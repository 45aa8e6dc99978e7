"""Keeps buckets of rows that do not fit in memory: in a bounded buffer, then in local temporary files."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np
import pyarrow as pa

from semrec.errors import WorkspaceWriteError

__all__ = ["BUFFER_BYTES", "BucketSpill"]

#: Rows held before they go to disk; the sort of a full buffer needs about twice as much again for a moment.
BUFFER_BYTES = 32 << 20
_LENGTH_BYTES: Final = 8


class BucketSpill:
    """Rows by bucket, in the order in which they came.

    Text may come plain or dictionary-encoded, and is read as `schema` says; a column that it has dictionary-encoded is without
    nulls, and the dictionary read holds the texts of its bucket alone.

    Up to BUFFER_BYTES stay in memory; each time there are more, all of them are appended to one file per bucket under
    `folder`. A file is opened only while it is appended to, so thousands of buckets need one descriptor. `folder` is the
    caller's to delete.
    """

    def __init__(self, folder: Path, schema: pa.Schema, num_buckets: int) -> None:
        self.num_buckets, self.num_rows, self.on_disk = num_buckets, 0, False
        self._folder, self._schema = folder, schema
        self._tables: list[pa.Table] = []
        self._buckets: list[np.ndarray] = []
        self._num_bytes = 0
        self._sorted: tuple[pa.Table, np.ndarray, np.ndarray] | None = None
        self._lock = Lock()

    def add(self, table: pa.Table, buckets: np.ndarray) -> None:
        """Adds rows; `buckets` is int [rows]."""
        if not table.num_rows:
            return
        self._sorted = None
        buckets = buckets.astype(np.min_scalar_type(self.num_buckets))
        self._tables.append(table)
        self._buckets.append(buckets)
        self.num_rows += table.num_rows
        self._num_bytes += table.nbytes + buckets.nbytes
        if self._num_bytes > BUFFER_BYTES:
            self._flush()

    def read(self, bucket: int) -> pa.Table:
        """Reads all rows of one bucket. Several threads may read at once."""
        with self._lock:
            if self._sorted is None:
                self._sorted = self._by_bucket()
            held = self._rows_of(bucket, *self._sorted)
        return pa.concat_tables([*self._from_disk(bucket), held]).unify_dictionaries().combine_chunks()

    def read_all(self) -> pa.Table:
        """Reads all rows, for a spill that is still in memory: one table instead of many small ones."""
        return pa.concat_tables([self._schema.empty_table(), *self._tables]).combine_chunks()

    def _by_bucket(self) -> tuple[pa.Table, np.ndarray, np.ndarray]:
        """Returns the buffered rows, int64 [rows] that order them by bucket, and int64 [num_buckets + 1] where each begins in
        that order.
        """
        if not self._tables:
            return (
                self._schema.empty_table(),
                np.zeros(0, dtype=np.int64),
                np.zeros(self.num_buckets + 1, dtype=np.int64),
            )
        buckets = np.concatenate(self._buckets)
        order = np.argsort(buckets, kind="stable")  # small integers are sorted by their digits
        table = pa.concat_tables(self._tables).unify_dictionaries().combine_chunks()
        starts = np.concatenate([[0], np.cumsum(np.bincount(buckets, minlength=self.num_buckets))])
        return table, order, starts

    def _rows_of(self, bucket: int, table: pa.Table, order: np.ndarray, starts: np.ndarray) -> pa.Table:
        """Returns the rows of one bucket, their dictionaries without what none of them names. Codes of text are moved, and
        not the text; all buckets at once would need memory that is new to the process, which costs more than the move.
        """
        places = order[starts[bucket] : starts[bucket + 1]]
        if not len(places):
            return self._schema.empty_table()
        rows = table.take(pa.array(places)).cast(self._schema)
        for position, field in enumerate(rows.schema):
            if pa.types.is_dictionary(field.type):
                rows = rows.set_column(position, field, _of_used(rows.column(position).chunk(0)))
        return rows

    def _flush(self) -> None:
        table, order, starts = self._by_bucket()
        self._folder.mkdir(parents=True, exist_ok=True)
        # Without threads: the pieces are small, and handing one over takes longer than to compress it.
        options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
        for bucket in np.flatnonzero(np.diff(starts)):
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, self._schema, options=options) as writer:
                writer.write_table(self._rows_of(int(bucket), table, order, starts))
            data = sink.getvalue()
            self._append(int(bucket), data)
        self.on_disk = True
        self._tables, self._buckets, self._num_bytes, self._sorted = [], [], 0, None

    def _append(self, bucket: int, data: pa.Buffer) -> None:
        try:
            with self._path(bucket).open("ab") as file:
                file.write(len(data).to_bytes(_LENGTH_BYTES, "little"))
                file.write(data)
        except OSError as error:
            raise WorkspaceWriteError(
                f"cannot write a temporary file in {self._folder}: {error.strerror or error}",
                expected="local space for the rows that do not fit in memory, about the size of the source",
                remedy="Free space there, or set TMPDIR to a larger disk.",
            ) from error

    def _from_disk(self, bucket: int) -> list[pa.Table]:
        if not self.on_disk or not self._path(bucket).exists():
            return []
        tables, options = [], pa.ipc.IpcReadOptions(use_threads=False)
        with self._path(bucket).open("rb") as file:
            while length := file.read(_LENGTH_BYTES):
                data = file.read(int.from_bytes(length, "little"))
                tables.append(pa.ipc.open_stream(data, options=options).read_all())
        return tables

    def _path(self, bucket: int) -> Path:
        return self._folder / f"{bucket}.spill"


def _of_used(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """Returns a column with a dictionary of the texts that it names; takes time by its rows, and not by its dictionary."""
    codes, places = column.indices.to_numpy(), np.arange(len(column), dtype=np.int32)
    new_codes = np.empty(len(column.dictionary), dtype=np.int32)
    new_codes[codes] = places  # of equal codes the last place stays
    used = codes[new_codes[codes] == places]
    new_codes[used] = places[: len(used)]
    return pa.DictionaryArray.from_arrays(new_codes[codes], column.dictionary.take(pa.array(used)))
