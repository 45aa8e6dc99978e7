"""Coarse formats: the fast products from which the engines prove an exact top K. One file is one format.

To add one, write its class in a file of its own (`base.CoarseFormat` says what it must give; `float32` is the smallest) and
add a line to `FORMATS`, or to `COMPRESSED_FORMATS`. Stored columns of `FORMATS` are then written with every new release; of
older releases they are computed when the matrix is read. No engine names a format: whoever scores asks these objects.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from semrec.errors import InputError
from semrec.scoring.formats.base import CoarseFormat, vector_norms
from semrec.scoring.formats.bfloat16 import BFloat16
from semrec.scoring.formats.float32 import Float32
from semrec.scoring.formats.int8 import Int8
from semrec.scoring.formats.pq import ProductQuantized
from semrec.scoring.formats.rotated import RotatedInt8

__all__ = [
    "COMPRESSED_FORMATS",
    "DEFAULT_FORMAT",
    "FORMATS",
    "NORM",
    "STORED_NORMS",
    "CoarseFormat",
    "get_format",
    "matrix_bytes",
    "row_norms",
]

#: Every coarse format that is measured when a release is built, by name, in the order in which they are shown.
FORMATS: Final[dict[str, CoarseFormat]] = {
    coarse.name: coarse
    for coarse in (
        Float32(),
        BFloat16(),
        Int8(),
        RotatedInt8(),
    )
}
#: Formats that are chosen by name alone, because they save memory and no time. No release stores their columns.
COMPRESSED_FORMATS: Final[dict[str, CoarseFormat]] = {coarse.name: coarse for coarse in (ProductQuantized(),)}
#: The format of a release that was not measured.
DEFAULT_FORMAT: Final = BFloat16.name

#: Name of the column that every format needs: the norm of the vector itself.
NORM: Final = "norm"
#: The columns that are stored beside the items of a new release, in this order.
STORED_NORMS: Final[tuple[str, ...]] = (NORM, *(column for coarse in FORMATS.values() for column in coarse.columns))

_CHUNK_ROWS: Final = 2_048  # read once for each column, so they should stay in a cache


def get_format(name: str) -> CoarseFormat:
    """The coarse format of this name. Raises InputError when there is none."""
    formats = {**FORMATS, **COMPRESSED_FORMATS}
    if name not in formats:
        raise InputError(f"coarse format {name!r}", expected=" or ".join(formats), remedy="Choose one of these.")
    return formats[name]


def row_norms(vectors_ND: np.ndarray) -> np.ndarray:
    """The columns `STORED_NORMS` of float32 rows: float32 [N, len(STORED_NORMS)].

    A row that is too large for float32 products, or not finite, has infinite norms and scale 0.
    """
    norms_NC = np.empty((len(vectors_ND), len(STORED_NORMS)), np.float32)
    for start in range(0, len(vectors_ND), _CHUNK_ROWS):
        vectors = np.ascontiguousarray(vectors_ND[start : start + _CHUNK_ROWS], dtype=np.float32)
        norm_N = vector_norms(vectors)
        columns = {NORM: norm_N}
        for coarse in FORMATS.values():
            columns[coarse.scale_column], columns[coarse.residual_column] = coarse.row_columns(vectors, norm_N)
        for c, name in enumerate(STORED_NORMS):
            norms_NC[start : start + len(vectors), c] = columns[name]
    return norms_NC


def matrix_bytes(num_items: int, dimension: int) -> int:
    """Size of an item matrix: two halves of 16 bits per value, and the norms."""
    return num_items * (dimension + len(STORED_NORMS)) * 4
