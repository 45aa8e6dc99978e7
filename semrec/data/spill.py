"""Keeps buckets of rows that do not fit in memory: in a bounded buffer, then in local temporary files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from semrec.errors import WorkspaceWriteError

__all__ = ["BUFFER_BYTES", "MAX_FILES", "BucketSpill"]

#: Rows held before they go to disk; the sort of a full buffer needs about twice as much again for a moment.
BUFFER_BYTES = 32 << 20
MAX_FILES = 256
_LENGTH_BYTES: Final = 8
_BUCKET: Final = "bucket of the spill"


class _Grouped(NamedTuple):
    """Rows with a column _BUCKET, int64 [rows] that order them by it, and int64 [buckets + 1] where each bucket begins in that
    order; the first is bucket `first`.
    """

    first: int
    table: pa.Table
    order: np.ndarray
    starts: np.ndarray


class BucketSpill:
    """Rows by bucket, in the order in which they came.

    Text may come plain or dictionary-encoded, and is read as `schema` says; a column that it has dictionary-encoded is without
    nulls, and the dictionary read holds the texts of its bucket alone.

    Up to BUFFER_BYTES stay in memory; each time there are more, all of them are appended to at most MAX_FILES files under
    `folder`, each of neighbouring buckets: many small pieces would cost more than their rows. A file is opened only while it
    is appended to, so they need one descriptor. Reading a bucket reads its file, which is kept for the next ones: read them
    in ascending order. `folder` is the caller's to delete.
    """

    def __init__(self, folder: Path, schema: pa.Schema, num_buckets: int) -> None:
        self.num_buckets, self.num_rows, self.on_disk = num_buckets, 0, False
        self._folder, self._schema = folder, schema
        self._per_file = -(-num_buckets // MAX_FILES)
        self._spilled_schema = schema.append(pa.field(_BUCKET, pa.from_numpy_dtype(np.min_scalar_type(num_buckets))))
        self._tables: list[pa.Table] = []
        self._num_bytes = 0
        self._held: _Grouped | None = None
        self._of_file: dict[int, _Grouped] = {}
        self._lock = Lock()

    def add(self, table: pa.Table, buckets: np.ndarray) -> None:
        """Adds rows; `buckets` is int [rows]."""
        if not table.num_rows:
            return
        self._held, self._of_file = None, {}
        field = self._spilled_schema.field(_BUCKET)
        table = table.append_column(field, pa.array(buckets, field.type))
        self._tables.append(table)
        self.num_rows += table.num_rows
        self._num_bytes += table.nbytes
        if self._num_bytes > BUFFER_BYTES:
            self._flush()

    def read(self, bucket: int) -> pa.Table:
        """Reads all rows of one bucket. Several threads may read at once."""
        with self._lock:
            if not self.on_disk or self._per_file == 1:
                grouped = self._of_memory()
            else:
                file = bucket // self._per_file
                if file not in self._of_file:
                    before = dict(list(self._of_file.items())[-1:])  # another thread may still be there
                    self._of_file = {**before, file: self._read_file(file)}
                grouped = self._of_file[file]
        rows = self._rows_of(grouped, bucket, bucket + 1)
        if self.on_disk and self._per_file == 1:
            rows = _joined([*self._from_disk(bucket), rows])
        return rows.select(self._schema.names)

    def read_all(self) -> pa.Table:
        """Reads all rows, for a spill that is still in memory: one table instead of many small ones."""
        return (
            pa.concat_tables([self._spilled_schema.empty_table(), *self._tables])
            .select(self._schema.names)
            .combine_chunks()
        )

    def _of_memory(self) -> _Grouped:
        if self._held is None:
            self._held = _grouped(self._tables or [self._spilled_schema.empty_table()], 0, self.num_buckets)
        return self._held

    def _read_file(self, file: int) -> _Grouped:
        """Reads the rows of a file, and those in memory that would come behind them."""
        first, last = file * self._per_file, min((file + 1) * self._per_file, self.num_buckets)
        held = self._rows_of(self._of_memory(), first, last)
        return _grouped([*self._from_disk(file), held], first, last)

    def _rows_of(self, grouped: _Grouped, first: int, last: int) -> pa.Table:
        """Returns the rows of the buckets first:last, their dictionaries without what none of them names. Codes of text are
        moved, and not the text; all buckets at once would need memory that is new to the process, which costs more.
        """
        start, stop = grouped.starts[[first - grouped.first, last - grouped.first]]
        if start == stop:
            return self._spilled_schema.empty_table()
        rows = grouped.table.take(pa.array(grouped.order[start:stop])).cast(self._spilled_schema).combine_chunks()
        for position, field in enumerate(rows.schema):
            if pa.types.is_dictionary(field.type):
                rows = rows.set_column(position, field, _of_used(rows.column(position).chunk(0)))
        return rows

    def _flush(self) -> None:
        grouped = self._of_memory()
        self._folder.mkdir(parents=True, exist_ok=True)
        # Without threads: the pieces are small, and handing one over takes longer than to compress it.
        options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
        for file, first in enumerate(range(0, self.num_buckets, self._per_file)):
            rows = self._rows_of(grouped, first, min(first + self._per_file, self.num_buckets))
            if not rows.num_rows:
                continue
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, rows.schema, options=options) as writer:
                writer.write_table(rows)
            self._append(file, sink.getvalue())
        self.on_disk = True
        self._tables, self._num_bytes, self._held, self._of_file = [], 0, None, {}

    def _append(self, number: int, data: pa.Buffer) -> None:
        try:
            with self._path(number).open("ab") as file:
                file.write(len(data).to_bytes(_LENGTH_BYTES, "little"))
                file.write(data)
        except OSError as error:
            raise WorkspaceWriteError(
                f"cannot write a temporary file in {self._folder}: {error.strerror or error}",
                expected="local space for the rows that do not fit in memory, about the size of the source",
                remedy="Free space there, or set TMPDIR to a larger disk.",
            ) from error

    def _from_disk(self, number: int) -> list[pa.Table]:
        if not self._path(number).exists():
            return []
        tables, options = [], pa.ipc.IpcReadOptions(use_threads=False)
        with self._path(number).open("rb") as file:
            while length := file.read(_LENGTH_BYTES):
                data = file.read(int.from_bytes(length, "little"))
                tables.append(pa.ipc.open_stream(data, options=options).read_all())
        return tables

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.spill"


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()


def _grouped(tables: Sequence[pa.Table], first: int, last: int) -> _Grouped:
    """Groups the rows of tables with a column _BUCKET from `first` to `last` - 1."""
    table = _joined(tables)
    buckets = (table.column(_BUCKET).to_numpy() - first).astype(np.min_scalar_type(last - first))
    order = np.argsort(buckets, kind="stable")  # small integers are sorted by their digits
    starts = np.concatenate([[0], np.cumsum(np.bincount(buckets, minlength=last - first))])
    return _Grouped(first, table, order, starts)


def _of_used(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """Returns a column with a dictionary of the texts that it names; takes time by its rows, and not by its dictionary."""
    codes, places = column.indices.to_numpy(), np.arange(len(column), dtype=np.int32)
    new_codes = np.empty(len(column.dictionary), dtype=np.int32)
    new_codes[codes] = places  # of equal codes the last place stays
    used = codes[new_codes[codes] == places]
    new_codes[used] = places[: len(used)]
    return pa.DictionaryArray.from_arrays(new_codes[codes], column.dictionary.take(pa.array(used)))
