"""The stored arrays of an item matrix: blocks of rows, each in three files, and the popularity."""

from __future__ import annotations

import hashlib
import io
import os
from io import BufferedReader
from typing import Literal

import numpy as np

from semrec.errors import CorruptArtefactError, InputError, MissingArtefactError
from semrec.scoring.formats import STORED_NORMS, row_norms
from semrec.scoring.halves import join_halves, split_halves
from semrec.workspace.digests import sha256_hex
from semrec.workspace.manifests import Float32Block, ItemMatrix, MatrixBlock
from semrec.workspace.records import ArrayFile, NormsFile
from semrec.workspace.storage import Storage

__all__ = ["check_matrix", "read_array", "read_popularity", "read_rows", "write_array", "write_block"]


def write_block(storage: Storage, stem: str, block_ID: np.ndarray) -> MatrixBlock:
    """Writes float32 rows as `<stem>.{high,low,norms}.npy`; returns their records and the digest of the rows."""
    high_ID, low_ID = split_halves(block_ID)
    norms = write_array(storage, f"{stem}.norms.npy", row_norms(block_ID))
    return MatrixBlock(
        num_rows=len(block_ID),
        sha256=_npy_sha256(block_ID),
        high=write_array(storage, f"{stem}.high.npy", high_ID),
        low=write_array(storage, f"{stem}.low.npy", low_ID),
        norms=NormsFile.model_validate({**norms.to_json(), "columns": STORED_NORMS}),
    )


def write_array(storage: Storage, path: str, array: np.ndarray) -> ArrayFile:
    """Writes one .npy file; returns its record. A single number counts as one row."""
    sink = io.BytesIO()
    np.save(sink, np.asarray(array, order="C"))
    data = sink.getvalue()
    storage.write_bytes(path, data)
    return ArrayFile(file=path, num_rows=len(array) if array.ndim else 1, num_bytes=len(data), sha256=sha256_hex(data))


def read_rows(storage: Storage, matrix: ItemMatrix, start: int, stop: int) -> tuple[np.ndarray, ...]:
    """Rows start:stop of the item matrix: high, low and norms, as ItemShard has them.

    Memory-mapped when one block holds them all. Raises InputError when the matrix has no such rows.
    """
    _check_range(matrix, start, stop)
    pieces, first = [], 0
    for block in matrix.blocks:
        rows = slice(max(start - first, 0), min(stop - first, block.num_rows))
        if rows.start < rows.stop:
            pieces.append(_block_rows(storage, block, rows))
        first += block.num_rows
    return pieces[0] if len(pieces) == 1 else tuple(map(np.concatenate, zip(*pieces, strict=True)))


def read_popularity(storage: Storage, matrix: ItemMatrix, start: int, stop: int) -> np.ndarray:
    """The popularity of rows start:stop, float32, memory-mapped. Raises InputError when the matrix has no such rows."""
    _check_range(matrix, start, stop)
    return _map_array(storage, matrix.popularity)[start:stop]


def read_array(storage: Storage, array: ArrayFile) -> np.ndarray:
    """A stored array, memory-mapped. Raises CorruptArtefactError for another size than recorded."""
    return _map_array(storage, array)


def check_matrix(storage: Storage, matrix: ItemMatrix) -> None:
    """Raises CorruptArtefactError naming the first stored array that is not the recorded one, byte for byte."""
    of_blocks = (file for block in matrix.blocks for file in _block_files(block))
    of_models = (file for model in matrix.models for file in model.arrays.values())
    for file in (*of_blocks, matrix.popularity, *of_models):
        _check_array(storage, file)


def _npy_sha256(array: np.ndarray) -> str:
    """SHA-256 of the array as an .npy file. Schema 1 stored that file: so equal matrices have one fingerprint."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    digest = hashlib.sha256(header.getvalue())
    digest.update(array.data)
    return digest.hexdigest()


def _block_files(block: MatrixBlock | Float32Block) -> tuple[ArrayFile, ...]:
    """The files of a block, in the order of ItemShard; schema 1 had one, of float32 vectors."""
    return (block,) if isinstance(block, Float32Block) else (block.high, block.low, block.norms)


def _block_rows(storage: Storage, block: MatrixBlock | Float32Block, rows: slice) -> tuple[np.ndarray, ...]:
    """Some rows of a block: high, low and norms."""
    arrays = [_map_array(storage, file)[rows] for file in _block_files(block)]
    if isinstance(block, Float32Block):
        return *split_halves(arrays[0]), row_norms(arrays[0])
    high_ID, low_ID, norms_IN = arrays
    if block.norms.columns != STORED_NORMS:
        norms_IN = row_norms(join_halves(high_ID, low_ID))  # written when there were other coarse formats
    return high_ID, low_ID, norms_IN


def _check_range(matrix: ItemMatrix, start: int, stop: int) -> None:
    if not 0 <= start < stop <= matrix.num_items:
        raise InputError(
            f"rows {start} to {stop} of the item matrix",
            expected=f"a range within 0 to {matrix.num_items}, not empty",
            remedy="Ask for rows that the release has.",
        )


def _check_array(storage: Storage, array: ArrayFile) -> None:
    with _opened(storage, array, verify_again=True) as file:
        # A store's file was hashed by its cache.
        if not storage.is_local or hashlib.file_digest(file, "sha256").hexdigest() == array.sha256:
            return
    raise _corrupt(array)


def _map_array(storage: Storage, array: ArrayFile) -> np.ndarray:
    """The array, memory-mapped. Its map holds the file's lock, so that no cache evicts it meanwhile."""
    with _opened(storage, array) as file:
        if os.fstat(file.fileno()).st_size != array.num_bytes:
            raise _corrupt(array)
        try:
            np.lib.format.read_magic(file)
            shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
            if dtype.hasobject:  # mapped as they are, they would be addresses that the file chose
                raise ValueError("Python objects")
            order: Literal["F", "C"] = "F" if is_fortran else "C"
            return np.memmap(file, dtype, "r", offset=file.tell(), shape=shape, order=order)
        except (ValueError, TypeError, OverflowError, OSError) as error:
            raise CorruptArtefactError(
                f"{array.file} is not an array ({error})",
                expected="an .npy file of numbers",
                remedy="Restore the file, or remove the release's folder and build it again.",
            ) from None


def _opened(storage: Storage, array: ArrayFile, *, verify_again: bool = False) -> BufferedReader:
    try:
        return storage.open_local(array.file, num_bytes=array.num_bytes, sha256=array.sha256, verify_again=verify_again)
    except MissingArtefactError:
        raise _corrupt(array) from None


def _corrupt(array: ArrayFile) -> CorruptArtefactError:
    return CorruptArtefactError(
        f"{array.file} is missing or has another size or SHA-256 than recorded",
        expected=f"{array.num_bytes} bytes with SHA-256 {array.sha256[:12]}...",
        remedy="Restore the file, or remove the release's folder and build it again.",
    )
