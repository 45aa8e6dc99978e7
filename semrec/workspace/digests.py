"""Computes digests of bytes, of logical rows and of plans."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["content_digest", "fingerprint", "sha256_hex"]


def sha256_hex(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()


def fingerprint(value: Any) -> str:
    """Returns the SHA-256 of the canonical JSON of `value`: sorted keys, no white space, no NaN."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return sha256_hex(text.encode())


def content_digest(table: pa.Table) -> str:
    """Returns the SHA-256 of a table's logical rows, in order.

    It covers column names, values and nulls; it does not depend on chunking, dictionary encoding, the file format or the
    build that wrote it. Column types are those of the table after dictionaries are decoded.
    """
    digest = hashlib.sha256(str(table.num_rows).encode())
    for name in table.column_names:
        digest.update(b"\0" + name.encode() + b"\0")
        _add_column(digest, _plain(table.column(name)))
    return digest.hexdigest()


def _plain(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # combine_chunks of zero chunks keeps the wrapper in some builds
        array = array.chunk(0) if array.num_chunks else pa.array([], array.type)
    return array


def _add_column(digest: Any, array: pa.Array) -> None:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    digest.update(np.packbits(_numpy(pc.is_valid(array)).astype(bool)).tobytes())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
        digest.update(b"s")
        full = pc.fill_null(array, "" if not pa.types.is_binary(kind) else b"")
        digest.update(_numpy(pc.binary_length(full)).astype("<i8").tobytes())
        digest.update(_utf8_bytes(full))
    elif pa.types.is_map(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        digest.update(b"l")
        digest.update(_numpy(pc.fill_null(_list_lengths(array), 0)).astype("<i8").tobytes())
        _add_column(digest, array.flatten() if not pa.types.is_map(kind) else _map_entries(array))
    elif pa.types.is_fixed_size_list(kind):
        digest.update(f"f{kind.list_size}".encode())
        _add_column(digest, array.flatten())
    elif pa.types.is_struct(kind):
        digest.update(b"r")
        children = array.flatten()  # unlike field(), null where the struct is null, whatever lies beneath
        for index in range(kind.num_fields):
            digest.update(kind.field(index).name.encode() + b"\0")
            _add_column(digest, children[index])
    elif pa.types.is_boolean(kind) or pa.types.is_primitive(kind):
        digest.update(str(kind).encode())
        values = pc.fill_null(array, False if pa.types.is_boolean(kind) else 0) if array.null_count else array
        numbers = _numpy(values)
        digest.update(np.ascontiguousarray(numbers, dtype=numbers.dtype.newbyteorder("<")).view(np.uint8))
    else:
        raise TypeError(f"content_digest knows no {kind}")


def _numpy(array: Any) -> np.ndarray:
    return np.asarray(array.to_numpy(zero_copy_only=False))


def _list_lengths(array: pa.Array) -> pa.Array:
    if pa.types.is_map(array.type):
        return pa.array(np.where(_numpy(array.is_valid()), np.diff(_numpy(array.offsets)), 0))
    return pc.list_value_length(array)


def _map_entries(array: pa.Array) -> pa.Array:
    array = array.drop_null()  # a null map may have entries beneath
    offsets = _numpy(array.offsets)
    first, count = int(offsets[0]), int(offsets[-1] - offsets[0])
    fields = [pa.field("key", array.type.key_type), pa.field("value", array.type.item_type)]
    return pa.StructArray.from_arrays([array.keys.slice(first, count), array.items.slice(first, count)], fields=fields)


def _utf8_bytes(array: pa.Array) -> bytes | memoryview:
    width = np.dtype("<i8" if pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type) else "<i4")
    _, offset_buffer, data = array.buffers()
    if data is None or len(array) == 0:
        return b""
    offsets = np.frombuffer(offset_buffer, dtype=width)[array.offset : array.offset + len(array) + 1]
    return memoryview(data)[int(offsets[0]) : int(offsets[-1])]
