"""The stored arrays of an item matrix: blocks of rows, each in three files, and the popularity."""

from __future__ import annotations

import hashlib
import io
import os
from io import BufferedReader
from typing import Any, Literal

import numpy as np

from semrec.errors import CorruptArtefactError, InputError, MissingArtefactError
from semrec.scoring.formats import STORED_NORMS, row_norms
from semrec.scoring.halves import join_halves, split_halves
from semrec.workspace.digests import sha256_hex
from semrec.workspace.storage import Storage

__all__ = ["check_matrix", "read_popularity", "read_rows", "write_array", "write_block"]

_ARRAYS = ("high", "low", "norms")  # of a block, in the order of ItemShard
# The columns of norms whose record names none.
_UNNAMED_NORMS = ["norm", "residual_bfloat16", "scale_int8", "residual_int8"]


def write_block(storage: Storage, stem: str, block_ID: np.ndarray) -> dict[str, Any]:
    """Writes float32 rows as `<stem>.{high,low,norms}.npy`; returns their records and the digest of the rows."""
    arrays = zip(_ARRAYS, (*split_halves(block_ID), row_norms(block_ID)), strict=True)
    files = {name: write_array(storage, f"{stem}.{name}.npy", array) for name, array in arrays}
    files["norms"]["columns"] = list(STORED_NORMS)
    return {"num_rows": len(block_ID), "sha256": _npy_sha256(block_ID), **files}


def write_array(storage: Storage, path: str, array: np.ndarray) -> dict[str, Any]:
    """Writes one .npy file; returns its record."""
    sink = io.BytesIO()
    np.save(sink, np.ascontiguousarray(array))
    data = sink.getvalue()
    storage.write_bytes(path, data)
    return {"file": path, "num_rows": len(array), "num_bytes": len(data), "sha256": sha256_hex(data)}


def read_rows(storage: Storage, matrix: dict[str, Any], start: int, stop: int) -> tuple[np.ndarray, ...]:
    """Rows start:stop of the item matrix: high, low and norms, as ItemShard has them.

    Memory-mapped when one block holds them all. Raises InputError when the matrix has no such rows.
    """
    _check_range(matrix, start, stop)
    pieces, first = [], 0
    for block in matrix["blocks"]:
        rows = slice(max(start - first, 0), min(stop - first, block["num_rows"]))
        if rows.start < rows.stop:
            pieces.append(_block_rows(storage, block, rows))
        first += block["num_rows"]
    return pieces[0] if len(pieces) == 1 else tuple(map(np.concatenate, zip(*pieces, strict=True)))


def read_popularity(storage: Storage, matrix: dict[str, Any], start: int, stop: int) -> np.ndarray:
    """The popularity of rows start:stop, float32, memory-mapped. Raises InputError when the matrix has no such rows."""
    _check_range(matrix, start, stop)
    return _map_array(storage, matrix["popularity"])[start:stop]


def check_matrix(storage: Storage, matrix: dict[str, Any]) -> None:
    """Raises CorruptArtefactError naming the first stored array that is not the recorded one, byte for byte."""
    blocks = [record for block in matrix["blocks"] for record in _block_files(block)]
    for record in (*blocks, matrix["popularity"]):
        _check_array(storage, record)


def _npy_sha256(array: np.ndarray) -> str:
    """SHA-256 of the array as an .npy file. Schema 1 stored that file: so equal matrices have one fingerprint."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    digest = hashlib.sha256(header.getvalue())
    digest.update(array.data)
    return digest.hexdigest()


def _block_files(block: dict[str, Any]) -> list[dict[str, Any]]:
    """The records of a block's files; schema 1 had one file of float32 vectors."""
    return [block] if "file" in block else [block[name] for name in _ARRAYS]


def _block_rows(storage: Storage, block: dict[str, Any], rows: slice) -> tuple[np.ndarray, ...]:
    arrays = [_map_array(storage, record)[rows] for record in _block_files(block)]
    if "file" in block:
        return *split_halves(arrays[0]), row_norms(arrays[0])
    high_ID, low_ID, norms_IN = arrays
    if block["norms"].get("columns", _UNNAMED_NORMS) != list(STORED_NORMS):
        norms_IN = row_norms(join_halves(high_ID, low_ID))  # written when there were other coarse formats
    return high_ID, low_ID, norms_IN


def _check_range(matrix: dict[str, Any], start: int, stop: int) -> None:
    if not 0 <= start < stop <= matrix["num_items"]:
        raise InputError(
            f"rows {start} to {stop} of the item matrix",
            expected=f"a range within 0 to {matrix['num_items']}, not empty",
            remedy="Ask for rows that the release has.",
        )


def _check_array(storage: Storage, record: dict[str, Any]) -> None:
    with _opened(storage, record, verify_again=True) as file:
        # A store's file was hashed by its cache.
        if not storage.is_local or hashlib.file_digest(file, "sha256").hexdigest() == record["sha256"]:
            return
    raise _corrupt(record)


def _map_array(storage: Storage, record: dict[str, Any]) -> np.ndarray:
    """The array, memory-mapped. Its map holds the file's lock, so that no cache evicts it meanwhile."""
    with _opened(storage, record) as file:
        if os.fstat(file.fileno()).st_size != record["num_bytes"]:
            raise _corrupt(record)
        try:
            np.lib.format.read_magic(file)
            shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
            if dtype.hasobject:  # mapped as they are, they would be addresses that the file chose
                raise ValueError("Python objects")
            order: Literal["F", "C"] = "F" if is_fortran else "C"
            return np.memmap(file, dtype, "r", offset=file.tell(), shape=shape, order=order)
        except (ValueError, TypeError, OverflowError, OSError) as error:
            raise CorruptArtefactError(
                f"{record['file']} is not an array ({error})",
                expected="an .npy file of numbers",
                remedy="Restore the file, or remove the release's folder and build it again.",
            ) from None


def _opened(storage: Storage, record: dict[str, Any], *, verify_again: bool = False) -> BufferedReader:
    path, num_bytes, sha256 = record["file"], record["num_bytes"], record["sha256"]
    try:
        return storage.open_local(path, num_bytes=num_bytes, sha256=sha256, verify_again=verify_again)
    except MissingArtefactError:
        raise _corrupt(record) from None


def _corrupt(record: dict[str, Any]) -> CorruptArtefactError:
    return CorruptArtefactError(
        f"{record['file']} is missing or has another size or SHA-256 than recorded",
        expected=f"{record['num_bytes']} bytes with SHA-256 {record['sha256'][:12]}...",
        remedy="Restore the file, or remove the release's folder and build it again.",
    )
