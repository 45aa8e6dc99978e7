"""Writes and reads the stored arrays of an item matrix: ids, blocks of rows, popularity."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from io import BufferedReader
from typing import Literal

import numpy as np

from semrec.errors import CorruptArtefactError, InputError, MissingArtefactError
from semrec.models.base import ItemVectors
from semrec.scoring.formats import STORED_NORMS, row_norms
from semrec.scoring.halves import join_halves, split_halves
from semrec.sorted_ids import SortedIds
from semrec.workspace.digests import sha256_hex
from semrec.workspace.manifests import IdFiles, ItemMatrix, MatrixBlock
from semrec.workspace.records import ArrayFile, NormsFile
from semrec.workspace.storage import Storage
from semrec.workspace.tables import read_table

__all__ = [
    "StoredRows",
    "check_matrix",
    "map_ids",
    "read_array",
    "read_ids",
    "read_popularity",
    "read_rows",
    "read_words",
    "write_array",
    "write_block",
    "write_ids",
]


def write_block(storage: Storage, stem: str, block_ID: np.ndarray, words_IW: np.ndarray) -> MatrixBlock:
    """Writes float32 rows and their eligibility words, uint64, as `<stem>.{high,low,norms,words}.npy`; returns the record.

    Without a clause there are no words, and no file of them: an empty file cannot be mapped.
    """
    high_ID, low_ID = split_halves(block_ID)
    norms = write_array(storage, f"{stem}.norms.npy", row_norms(block_ID))
    return MatrixBlock(
        num_rows=len(block_ID),
        sha256=_npy_sha256(block_ID),
        high=write_array(storage, f"{stem}.high.npy", high_ID),
        low=write_array(storage, f"{stem}.low.npy", low_ID),
        norms=NormsFile.model_validate({**norms.to_json(), "columns": STORED_NORMS}),
        **({"words": write_array(storage, f"{stem}.words.npy", words_IW)} if words_IW.shape[1] else {}),
    )


def write_ids(storage: Storage, stem: str, ids: SortedIds) -> IdFiles:
    """Writes ids as `<stem>.{offsets,data}.npy`; returns their records."""
    return IdFiles(
        offsets=write_array(storage, f"{stem}.offsets.npy", ids.offsets),
        data=write_array(storage, f"{stem}.data.npy", ids.data),
    )


def read_ids(storage: Storage, matrix: ItemMatrix) -> SortedIds:
    """Reads the ids of the matrix's rows, memory-mapped; those of a matrix of schema 2 are read into memory."""
    if matrix.ids is None:
        return SortedIds.of(read_table(storage, matrix.items, ["item_id"]).column("item_id"))
    return map_ids(storage, matrix.ids)


def map_ids(storage: Storage, files: IdFiles) -> SortedIds:
    """Opens stored ids, memory-mapped."""
    return SortedIds(read_array(storage, files.offsets), read_array(storage, files.data))


def write_array(storage: Storage, path: str, array: np.ndarray) -> ArrayFile:
    """Writes one .npy file; returns its record. A single number counts as one row."""
    sink = io.BytesIO()
    np.save(sink, np.asarray(array, order="C"))
    data = sink.getvalue()
    storage.write_bytes(path, data)
    return ArrayFile(file=path, num_rows=len(array) if array.ndim else 1, num_bytes=len(data), sha256=sha256_hex(data))


def read_rows(storage: Storage, matrix: ItemMatrix, start: int, stop: int) -> tuple[np.ndarray, ...]:
    """Reads rows start:stop of the item matrix: high, low and norms, as ItemShard has them.

    Memory-mapped when one block holds them all. Raises InputError when the matrix has no such rows.
    """
    pieces = [_block_rows(storage, block, rows) for block, rows in _blocks_of(matrix, start, stop)]
    return pieces[0] if len(pieces) == 1 else tuple(map(np.concatenate, zip(*pieces, strict=True)))


def read_words(storage: Storage, matrix: ItemMatrix, start: int, stop: int) -> np.ndarray:
    """Reads the eligibility words of rows start:stop, uint64 [stop - start, W], memory-mapped when one block holds them all.

    Raises InputError when the matrix has no such rows.
    """
    blocks = list(_blocks_of(matrix, start, stop))
    if matrix.ids is None:
        words = read_table(storage, matrix.items, ["words"]).column("words").combine_chunks().flatten()
        return words.to_numpy(zero_copy_only=False).reshape(matrix.num_items, -1)[start:stop]
    pieces = [read_array(storage, block.words)[rows] for block, rows in blocks if block.words]
    if not pieces:
        return np.zeros((stop - start, 0), np.uint64)
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


class StoredRows:
    """Reads single rows of a stored item matrix; each block is memory-mapped as it lies, and only the rows are copied."""

    def __init__(self, storage: Storage, matrix: ItemMatrix) -> None:
        self._edges, self._dimension = np.cumsum([0, *(block.num_rows for block in matrix.blocks)]), matrix.dimension
        self._halves = [(read_array(storage, block.high), read_array(storage, block.low)) for block in matrix.blocks]

    def items(self, rows: np.ndarray) -> ItemVectors:
        """Returns the items at some rows, int64, in that order; they know which rows they are."""
        high_ND, low_ND = (np.empty((len(rows), self._dimension), dtype) for dtype in (np.uint16, np.int16))
        owner = np.searchsorted(self._edges, rows, side="right") - 1  # "right": empty blocks own no row
        for number in np.unique(owner).tolist():
            in_block = owner == number
            block_rows = rows[in_block] - self._edges[number]
            high_ID, low_ID = self._halves[number]
            high_ND[in_block], low_ND[in_block] = high_ID[block_rows], low_ID[block_rows]
        return ItemVectors(high_ND, low_ND, rows)

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Returns the vectors of some rows, float32 [len(rows), D], in a new array."""
        return self.items(rows).vectors()


def read_popularity(storage: Storage, matrix: ItemMatrix, start: int, stop: int) -> np.ndarray:
    """Reads the popularity of rows start:stop, float32, memory-mapped. Raises InputError when the matrix has no such rows."""
    _check_range(matrix, start, stop)
    return read_array(storage, matrix.popularity)[start:stop]


def check_matrix(storage: Storage, matrix: ItemMatrix) -> None:
    """Raises CorruptArtefactError naming the first stored array that is not the recorded one, byte for byte."""
    ids = (matrix.ids.offsets, matrix.ids.data) if matrix.ids else ()
    of_blocks = (file for block in matrix.blocks for file in (block.high, block.low, block.norms, block.words) if file)
    of_models = (file for model in matrix.models for file in model.arrays.values())
    of_graph = matrix.graph.files if matrix.graph else ()
    of_words = matrix.word_index.files if matrix.word_index else ()
    for file in (*ids, *of_blocks, matrix.popularity, *of_models, *of_graph, *of_words):
        _check_array(storage, file)


def _npy_sha256(array: np.ndarray) -> str:
    """Returns the SHA-256 of the array as an .npy file."""
    # Of the float32 rows and not of the stored halves: the identity of a release does not depend on how rows are stored.
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    digest = hashlib.sha256(header.getvalue())
    digest.update(array.data)
    return digest.hexdigest()


def _blocks_of(matrix: ItemMatrix, start: int, stop: int) -> Iterator[tuple[MatrixBlock, slice]]:
    """Yields the blocks that hold rows start:stop, and which of their own rows these are. Raises InputError for rows beyond."""
    _check_range(matrix, start, stop)
    first = 0
    for block in matrix.blocks:
        rows = slice(max(start - first, 0), min(stop - first, block.num_rows))
        if rows.start < rows.stop:
            yield block, rows
        first += block.num_rows


def _block_rows(storage: Storage, block: MatrixBlock, rows: slice) -> tuple[np.ndarray, ...]:
    """Returns some rows of a block: high, low and norms."""
    high_ID, low_ID, norms_IN = (read_array(storage, file)[rows] for file in (block.high, block.low, block.norms))
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


def read_array(storage: Storage, array: ArrayFile) -> np.ndarray:
    """Opens a stored array, memory-mapped. Its map holds the file's lock, so that no cache evicts it meanwhile.

    Raises CorruptArtefactError for another size than recorded, or no array of numbers.
    """
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
