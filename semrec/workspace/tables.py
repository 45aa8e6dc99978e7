"""Writes and reads Parquet tables of a workspace: deterministic bytes, digests at writing, checks at reading."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from semrec.errors import CorruptArtefactError
from semrec.workspace.digests import content_digest, sha256_hex
from semrec.workspace.records import TableFile
from semrec.workspace.storage import Storage

__all__ = ["TableFile", "parquet_bytes", "read_parts", "read_table", "read_table_by_rows", "write_table"]


def parquet_bytes(table: pa.Table, *, plain_text: bool = False) -> bytes:
    """Encodes a table as a Parquet file. The same table gives the same bytes under one pyarrow version.

    Dictionary-encoded text is written by its codes, which spares hashing each value again. With `plain_text` it is read back
    as plain text: the file then tells the reader neither Arrow's types nor the metadata of the schema, so that the other
    columns must have types that Parquet has, too.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        write_statistics=False,
        use_dictionary=_repeating(table.schema),
        store_schema=not plain_text,
    )
    return sink.getvalue().to_pybytes()


def _repeating(schema: pa.Schema) -> list[str] | bool:
    """Returns the columns to write with a dictionary of their values; True for all of them.

    A dictionary of times, which hardly repeat, makes a file of events half as large again and takes a third of its writing.
    """
    if any(pa.types.is_nested(kind) for kind in schema.types):
        return True
    return [field.name for field in schema if field.type != pa.int64()]


def write_table(
    storage: Storage, stem: str, table: pa.Table, *, digest_in_name: bool = True, plain_text: bool = False
) -> TableFile:
    """Writes `table` at `<stem>-<digest>.parquet` (or `<stem>.parquet`), atomically, and returns its record.

    The digest is that of the bytes: what another version writes of the same rows never takes the place of a live file.
    `plain_text` is that of `parquet_bytes`.
    """
    data = parquet_bytes(table, plain_text=plain_text)
    sha256 = sha256_hex(data)
    path = f"{stem}-{sha256[:12]}.parquet" if digest_in_name else f"{stem}.parquet"
    storage.write_bytes(path, data)
    return TableFile(
        file=path, num_rows=table.num_rows, num_bytes=len(data), content_digest=content_digest(table), sha256=sha256
    )


def read_table(storage: Storage, file: TableFile, columns: list[str] | None = None) -> pa.Table:
    """Reads a table, after its bytes were checked against the record.

    Raises CorruptArtefactError by name when they differ or are no table, MissingArtefactError when the file is gone.
    """
    data = storage.read_bytes(file.file)
    if sha256_hex(data) != file.sha256:
        raise CorruptArtefactError(
            f"{file.file} has {len(data)} bytes and another SHA-256 than recorded",
            expected=f"{file.num_bytes} bytes with SHA-256 {file.sha256[:12]}...",
            remedy="Restore the file, or run the stage that writes it again.",
        )
    try:
        return pq.read_table(pa.BufferReader(data), columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise CorruptArtefactError(
            f"{file.file} is not a Parquet file ({error})",
            expected="the table that its record describes",
            remedy="Restore file and record, or run the stage that writes them again.",
        ) from None


def read_parts(storage: Storage, files: Iterable[TableFile], columns: list[str]) -> pa.Table:
    """Reads some columns of several tables as `read_table` does, one after the other."""
    return pa.concat_tables(read_table(storage, file, columns) for file in files)


def read_table_by_rows(storage: Storage, file: TableFile) -> pa.Table:
    """Reads as `read_table` a file named by its rows: an import under another pyarrow may have written it again.

    Raises CorruptArtefactError where neither the bytes nor the rows are the recorded ones.
    """
    try:
        return read_table(storage, file)
    except CorruptArtefactError as error:
        try:
            table = pq.read_table(pa.BufferReader(storage.read_bytes(file.file)))
        except (pa.ArrowException, OSError):
            raise error from None
        if content_digest(table) != file.content_digest:
            raise
        return table
