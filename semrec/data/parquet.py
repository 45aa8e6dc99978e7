"""Reads Parquet files in record batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from semrec.data.delimited import check_columns, one_array
from semrec.data.rejects import RowBlock, RowStats
from semrec.data.sources import Source
from semrec.errors import InputError

__all__ = ["check_id_type", "open_parquet", "read_parquet", "table_block"]

_BATCH_ROWS = 65_536
_BATCH_BYTES = 8 << 20


def read_parquet(source: Source, wanted: Sequence[str], *, ids: Sequence[str], stats: RowStats) -> Iterator[RowBlock]:
    """Reads the rows of a Parquet file, columns `wanted` as Arrow arrays of the types they have, without line numbers.

    Raises InputError for a file that is not Parquet, a missing column, or a column among `ids` that is neither text nor
    integer: a float would turn "7" into "7.0".
    """
    wanted = list(dict.fromkeys(wanted))
    with source.open(compression=None) as stream:
        file = open_parquet(stream, source.path)
        schema = file.schema_arrow
        check_columns(wanted, schema.names, source.name)
        for name in ids:
            check_id_type(schema.field(name).type, name, source.name)
        first = 1
        for batch in _batches(file, wanted, source.path):
            stats.count(batch.num_rows)
            rows = np.arange(first, first + batch.num_rows)
            is_readable = _readable(batch, rows, source.name, stats)
            yield table_block(
                batch if is_readable.all() else batch.filter(pa.array(is_readable)), source.name, rows[is_readable]
            )
            first += batch.num_rows


def table_block(table: pa.Table | pa.RecordBatch, name: str, rows: np.ndarray) -> RowBlock:
    """Makes a block of Arrow rows; `rows` int64 [rows] numbers them, from 1, for the excerpts."""
    columns = {field: one_array(table.column(field)) for field in table.schema.names}
    return RowBlock(name, columns, table.num_rows, None, lambda i: f"row {rows[i]}: {table.slice(i, 1).to_pylist()[0]}")


def _readable(batch: pa.RecordBatch, rows: np.ndarray, name: str, stats: RowStats) -> np.ndarray:
    """Returns which rows are UTF-8: bool [rows]. Parquet does not check that its text is; the others are rejected."""
    is_text = np.ones(batch.num_rows, dtype=bool)
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid:
        for i, row in enumerate(rows.tolist()):
            try:
                batch.slice(i, 1).to_pylist()
            except UnicodeDecodeError as error:
                is_text[i] = False
                stats.reject(name, None, "bad UTF-8", f"row {row}", detail=f"byte 0x{error.object[error.start]:02x}")
    return is_text


def check_id_type(kind: pa.DataType, name: str, file: str) -> None:
    """Raises InputError unless values of `kind` can be ids: text, integers, dictionaries of those, or nothing at all."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if not (is_text or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise InputError(
            f"column {name!r} of {file} has type {kind}",
            expected="ids as text or integers",
            remedy="Write the column as text: a float or a decimal does not keep an id as it was.",
        )


def open_parquet(stream: Any, path: str) -> pq.ParquetFile:
    """Opens Parquet; pages with a checksum are held against it. Raises InputError for what is not Parquet."""
    try:
        return pq.ParquetFile(stream, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{path} is not Parquet ({error})", expected="a Parquet file", remedy="Check the format and the file."
        ) from error


def _batches(file: pq.ParquetFile, columns: list[str], path: str) -> Iterator[pa.RecordBatch]:
    # What Arrow has read ahead of a call's row groups it keeps until the next call: all of them would be the whole file.
    batches = chain.from_iterable(
        file.iter_batches(batch_size=_BATCH_ROWS, columns=columns, row_groups=groups) for groups in _read_together(file)
    )
    while True:
        try:
            batch = next(batches, None)
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"cannot read {path}: {error}", expected="a whole, undamaged file", remedy="Write or fetch it again."
            ) from error
        if batch is None:
            return
        yield batch


def _read_together(file: pq.ParquetFile) -> Iterator[list[int]]:
    """Yields neighbouring row groups that make one batch, or one that is larger: a stream may write thousands of tiny ones."""
    together: list[int] = []
    num_rows = num_bytes = 0
    for number in range(file.num_row_groups):
        group = file.metadata.row_group(number)
        num_rows, num_bytes = num_rows + group.num_rows, num_bytes + group.total_byte_size
        if together and (num_rows > _BATCH_ROWS or num_bytes > _BATCH_BYTES):
            yield together
            together, num_rows, num_bytes = [], group.num_rows, group.total_byte_size
        together.append(number)
    if together:
        yield together
