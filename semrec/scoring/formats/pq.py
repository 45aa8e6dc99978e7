"""pq: product quantization (Jégou, Douze, Schmid, IEEE TPAMI 2011) in 4 bits per dimension, an eighth of float32.

A row is rotated as in `rotated`, cut into pairs of values, and each pair is stored as the number of the nearest of 256
pairs, the codebook. One codebook serves every pair of every catalogue: the values of a rotated row, divided by their root mean
square, are distributed much like normal ones. It was trained on those (faiss, k-means of 131,072 pairs), so nothing is trained
for a release, an item that comes online has the codes that it will have in the next release, and they are the same on every
machine. Codebooks trained for each pair of a catalogue alone would leave residuals a few percent smaller.

The codebook is int8, so a tile is decoded to int8 codes when it is read, and multiplied as those are. The scale of a row is
the one that leaves the smallest residual. Queries are encoded as in `rotated`.

The bound of `base` holds, and is wide: |u| |r_i| is far above the error itself, so ten times as many candidates as with int8
are scored canonically, from the stored matrix. This format saves memory and costs time, so it is chosen by name alone.
`semrec bench compression` shows both. Who takes approximate lists has the rows fetched by `CodeScores`, without a bound.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

import numpy as np

from semrec.compiled import compiled
from semrec.scoring.formats.base import (
    LARGEST_BOUNDED,
    TINY,
    CoarseFormat,
    ItemPanels,
    ItemTiles,
    QueryBounds,
    upper_norm,
)
from semrec.scoring.formats.rotated import RotatedInt8

if TYPE_CHECKING:
    import torch

    from semrec.scoring.types import ItemShard

__all__ = ["CODEBOOK", "CODE_UNIT", "CodeScores", "ProductQuantized"]

_ENCODED_ROWS: Final = 2_048
_LARGEST_QUERY_CODE: Final = 64  # what every processor multiplies in panels, so that code scores are the same on all
_ROUNDINGS: Final = 2.0**-20  # more than a code score is rounded by, which limits that pass over many items make up for

#: What a value of the codebook is multiplied with to be one of a normal variable.
CODE_UNIT: Final = 0.02612074
#: The pairs of values that codes stand for: int8 [256, 2].
CODEBOOK: Final = np.frombuffer(
    base64.b64decode(
        "gdWDDZXqliqbApxOoKqlzqUSqvOr4K4hrjWwAba8thC3SbrRuuO6870dviq/BMJiwznEq8X5xRLGwsbdx+zKCcvRyx/LTswtz5XPANDl0PbQ"
        "FNK40j7T3NPu0wnVyNZ/1ybYHNg02f3a09vn2/LbBtsQ3KvcTN3d4Bjhu+HI4S3i9uL/4iPiYePt40Dk0+QJ5eTlEefb6BvoNen66QPq8eug"
        "6yrsy+xP7bLtwO3o7QvtEu6L7iLv3+//8NXx9/FA8hnz7vMF9A/0NPXk9vz2KffM99r49Pgg+Qj5Fvqo+sH66fu3+1r7dfzT/AH8SP3v/fr9"
        "Dv7h/jD+O/8cAAYAJgLJAtkC9QIVA+cD/gQNBe4HvgffBwUHGwidCNAI9ggxCf4JJAqxChML5wsLCz8MTg3XDe0OhA4EDl8Pxw/7EN8Q9BAd"
        "ECkRDBIVE9ET5xM1FO4U/xe9F9oX+BcGGCEZrhkPGSoa4hrzG8kb6xsYG0McAB3UHjMeVB8IIPkh8SERIp4i3SLnIx0jJyQBJHImwSbQJzko"
        "7ygLKbMp+SrmKhUs3C0CLS4tRy8hMMkx8DENMtUyWjOINPk15TYDNhY4OTq9Oio83TzyPB49pz3OPgxA/0PoRUlGFUnaSfZJM0vKSwdMIk5n"
        "UulWvFj8WRJa1lwmXkBgoWTrbAh1znYqfPU="
    ),
    np.int8,
).reshape(256, 2)

# The nearest pair of the codebook is looked up by the cell of a grid, whose centre decides: 1 % more residual, and 256
# times fewer comparisons.
_CELL: Final = 2
_NUM_CELLS: Final = 256 // _CELL


class ProductQuantized(RotatedInt8):
    """The smallest format: half a byte a dimension in memory. Exact as the others, and slow: see the file's text."""

    name = "pq"
    scale_column = "scale_pq"
    residual_column = "residual_pq"

    @property
    def code_scores(self) -> CoarseFormat | None:
        return _CODE_SCORES

    def row_columns(self, vectors_ND: np.ndarray, norm_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scale_N, residual_N = np.empty((2, len(vectors_ND)), np.float32)
        rows_ND = self.coded_rows(vectors_ND)
        _fill_columns(rows_ND, self._numbers(rows_ND), CODEBOOK, norm_N, scale_N, residual_N)
        return scale_N, self.with_rotation_error(residual_N, norm_N)

    def item_bytes(self, dimension: int) -> int:
        return self.code_width(dimension) // 2

    def encode(self, vectors_ND: np.ndarray, scale_N: np.ndarray) -> torch.Tensor:
        import torch

        return torch.from_numpy(_decoded(self._numbers(self.coded_rows(vectors_ND))))

    def encode_queries(self, vectors_QD: np.ndarray, scale_Q: np.ndarray) -> torch.Tensor:
        return super().encode(vectors_QD, scale_Q)

    def item_tiles(self, shard: ItemShard, scale_I: np.ndarray) -> ItemTiles:
        """Keeps the numbers of all items; a tile of them is decoded when it is read."""
        import torch

        numbers_IM = np.empty((shard.num_items, self.code_width(shard.dimension) // 2), np.uint8)
        for start in range(0, shard.num_items, _ENCODED_ROWS):
            rows = slice(start, start + _ENCODED_ROWS)
            numbers_IM[rows] = self._numbers(self.coded_rows(shard.vectors(rows)))
        return lambda start, stop: torch.from_numpy(_decoded(numbers_IM[start:stop]))

    def item_panels(self, shard: ItemShard, scale_I: np.ndarray) -> ItemPanels:
        """Keeps no panels, other than int8: they are packed when they are read."""
        return CoarseFormat.item_panels(self, shard, scale_I)

    def _numbers(self, rows_ND: np.ndarray) -> np.ndarray:
        """The pairs of the codebook near the pairs of rotated rows, float64 [N, D]: uint8 [N, D / 2]."""
        numbers_NM = np.empty((len(rows_ND), rows_ND.shape[1] // 2), np.uint8)
        _fill_numbers(rows_ND, _NEAREST, numbers_NM)
        return numbers_NM


class CodeScores(ProductQuantized):
    """The score of codes: the exact inner product of the codes, rounded to float32, times the item's and the query's scale.

    Each product is rounded to float32, and -0.0 becomes 0.0. Codes of queries go up to 64 everywhere, so a score depends on the
    two vectors alone. A row or a query without a bound has scale 0, and so the score 0.
    """

    name = "pq_codes"
    is_score = True

    def query_columns(self, vectors_QD: np.ndarray, norm_Q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.coded_columns(vectors_QD, norm_Q, _LARGEST_QUERY_CODE)

    def query_bounds(
        self, norm_Q: np.ndarray, residual_Q: np.ndarray, dimension: int, *, rounded_output: bool
    ) -> QueryBounds:
        zeros_Q = np.zeros(len(norm_Q), np.float32)
        return QueryBounds(zeros_Q, zeros_Q, np.full(len(norm_Q), TINY, np.float32), _ROUNDINGS)


_CODE_SCORES: Final = CodeScores()


def _decoded(numbers_NM: np.ndarray) -> np.ndarray:
    """The pairs of the codebook with these numbers: int8 [N, 2 M]."""
    return CODEBOOK.view(np.int16)[:, 0][numbers_NM].view(np.int8)


def _nearest_of_cells() -> np.ndarray:
    """The number of the pair of the codebook nearest to the centre of each cell: uint8 [cells, cells]."""
    centres = (np.arange(_NUM_CELLS) + 0.5) * _CELL - 128
    first, second = (CODEBOOK[:, axis].astype(np.float64) for axis in (0, 1))
    squares = (centres[:, None, None] - first) ** 2 + (centres[None, :, None] - second) ** 2
    return squares.argmin(axis=2).astype(np.uint8)


_NEAREST: Final = _nearest_of_cells()


@compiled
def _cell(value):  # type: ignore[no-untyped-def]
    if not value > -128.0:  # NaN as well
        return 0
    return min(np.int64((value + 128.0) / _CELL), _NUM_CELLS - 1) if value < 128.0 else _NUM_CELLS - 1


@compiled
def _fill_numbers(rows_ND, nearest, numbers_NM):  # type: ignore[no-untyped-def]
    for n in range(len(rows_ND)):
        squares = 0.0
        for d in range(rows_ND.shape[1]):
            squares += rows_ND[n, d] * rows_ND[n, d]
        unit = np.sqrt(squares / rows_ND.shape[1]) * CODE_UNIT
        factor = 1.0 / unit if unit > 0 else 0.0
        for m in range(numbers_NM.shape[1]):
            numbers_NM[n, m] = nearest[_cell(rows_ND[n, 2 * m] * factor), _cell(rows_ND[n, 2 * m + 1] * factor)]


@compiled
def _fill_columns(rows_ND, numbers_NM, codebook, norm_N, scale_N, residual_N):  # type: ignore[no-untyped-def]
    for n in range(len(rows_ND)):
        if not norm_N[n] < np.inf:
            scale_N[n], residual_N[n] = 0, np.inf
            continue
        product, squares = 0.0, 0.0
        for d in range(rows_ND.shape[1]):
            code = np.float64(codebook[numbers_NM[n, d // 2], d % 2])
            product += rows_ND[n, d] * code
            squares += code * code
        scale = np.float32(product / squares)  # no pair of the codebook is zero
        # A subnormal scale may be flushed to zero by the product's scaling: such a row is all residual instead.
        if not (scale >= TINY and scale <= LARGEST_BOUNDED):
            scale = np.float32(0)
        squares, exact_scale = 0.0, np.float64(scale)
        for d in range(rows_ND.shape[1]):
            rest = rows_ND[n, d] - np.float64(codebook[numbers_NM[n, d // 2], d % 2]) * exact_scale
            squares += rest * rest
        scale_N[n], residual_N[n] = scale, upper_norm(squares)
