"""Hold interactions as a sparse matrix by rows, and multiply it with factors.

Every row's result depends on that row and the factors alone: the same bytes for any division into ranges, on any number of
threads or machines. Sums run in float64, one product after the other in ascending columns; numba neither reorders nor fuses
them without fastmath, so every kind of processor gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from semrec.compiled import compiled
from semrec.errors import InputError
from semrec.models.base import Events, TrainingData

__all__ = [
    "ROWS_PER_BLOCK",
    "SparseRows",
    "add_products",
    "block_edges",
    "gram_of_rows",
    "liked_matrix",
    "liked_of_data",
    "liked_pairs",
    "map_ranges",
    "multiply_rows",
    "row_ranges",
]

_ENTRIES_PER_RANGE = 1 << 18  # a range of rows holds about as many, so that ranges take about equally long
#: Sums over rows are sums of blocks of as many rows, in order, so that blocks may be summed by different workers.
ROWS_PER_BLOCK = 1 << 15


@dataclass(frozen=True)
class SparseRows:
    """A sparse matrix by rows (CSR).

    Row r has the values `values[offsets[r] : offsets[r + 1]]` (float32) in the columns `columns[...]` (int32, ascending,
    each once); `offsets` int64 [R + 1].
    """

    offsets: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    num_columns: int

    @classmethod
    def from_pairs(
        cls, rows: np.ndarray, columns: np.ndarray, values: np.ndarray, num_rows: int, num_columns: int
    ) -> SparseRows:
        """The matrix of entries in any order, of which none may share row and column."""
        order = np.lexsort((columns, rows))
        offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=num_rows))]).astype(np.int64)
        return cls(offsets, columns[order].astype(np.int32), values[order].astype(np.float32), num_columns)

    @property
    def num_rows(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """How many entries each row has: int64 [R]."""
        return np.diff(self.offsets)

    @property
    def column_counts(self) -> np.ndarray:
        """How many entries each column has: int64 [C]."""
        return np.bincount(self.columns, minlength=self.num_columns)

    def between(self, start: int, stop: int) -> SparseRows:
        """The rows start:stop as a matrix of their own; its arrays are views."""
        first, last = self.offsets[start], self.offsets[stop]
        offsets = self.offsets[start : stop + 1] - first
        return SparseRows(offsets, self.columns[first:last], self.values[first:last], self.num_columns)

    def transposed(self) -> SparseRows:
        """The same entries by columns."""
        rows = np.repeat(np.arange(self.num_rows, dtype=np.int32), self.lengths)
        return SparseRows.from_pairs(self.columns, rows, self.values, self.num_columns, self.num_rows)

    def scaled(self, row_factors: np.ndarray, column_factors: np.ndarray) -> SparseRows:
        """Every entry times the factors of its row and its column, computed in float64."""
        rows = np.repeat(row_factors.astype(np.float64), self.lengths)
        values = rows * self.values * column_factors.astype(np.float64)[self.columns]
        return SparseRows(self.offsets, self.columns, values.astype(np.float32), self.num_columns)


def liked_matrix(events: Events, num_users: int, num_items: int, neutral_value: float) -> SparseRows:
    """Users x items with 1 where the user's latest event with the item has a value above `neutral_value`."""
    latest = events.latest()
    liked = latest.keep(latest.value > neutral_value)
    ones = np.ones(len(liked.user), np.float32)
    return SparseRows.from_pairs(liked.user, liked.row, ones, num_users, num_items)


def liked_pairs(events: Events, neutral_value: float) -> tuple[np.ndarray, np.ndarray, int]:
    """Users and rows of the likes among the events of one part, int64 [n] each, and how many users the part has.

    Raises InputError for a value that is not finite.
    """
    if not np.isfinite(events.value).all():
        raise InputError(
            "an interaction whose value is not finite", expected="finite values", remedy="Import it again without it."
        )
    latest = events.latest()
    liked = latest.keep(latest.value > neutral_value)
    return liked.user, liked.row, 1 + int(events.user.max(initial=-1))


def liked_of_data(data: TrainingData) -> SparseRows:
    """The liked matrix of all parts one after the other, users x items; users who liked nothing may be missing at the end.

    Raises InputError for a value that is not finite and when no user liked anything.
    """
    parts, num_users = [], 0
    for events in data.read_events():
        liked_user, liked_row, num_users_of_part = liked_pairs(events, data.neutral_value)
        parts.append((liked_user + num_users, liked_row))
        num_users += num_users_of_part
    nothing = np.zeros(0, np.int64)
    user = np.concatenate([nothing, *(part[0] for part in parts)])
    row = np.concatenate([nothing, *(part[1] for part in parts)])
    if not len(user):
        raise InputError(
            "no liked item",
            expected=f"interactions with a value above {data.neutral_value:g}",
            remedy="Import some, or release with the content model alone.",
        )
    return SparseRows.from_pairs(user, row, np.ones(len(user), np.float32), num_users, data.num_items)


def row_ranges(matrix: SparseRows) -> list[tuple[int, int]]:
    """Consecutive ranges of rows with about equally many entries: what threads or workers take one after the other."""
    # An empty row costs something, too: its result is written.
    work = matrix.offsets + 16 * np.arange(matrix.num_rows + 1)
    num_ranges = max(1, min(matrix.num_rows, -(-int(work[-1]) // _ENTRIES_PER_RANGE)))
    edges = np.searchsorted(work, np.linspace(0, work[-1], num_ranges + 1))
    edges[0], edges[-1] = 0, matrix.num_rows
    return [(int(start), int(stop)) for start, stop in pairwise(edges) if start < stop]


def map_ranges(
    function: Callable[[SparseRows], np.ndarray], matrix: SparseRows, dimension: int, num_threads: int = 1
) -> np.ndarray:
    """Applies a function of a range's rows to all ranges and stacks what it returns: float32 [R, dimension].

    The function must release the interpreter's lock to gain from threads; compiled ones do.
    """
    result_RD = np.zeros((matrix.num_rows, dimension), np.float32)

    def fill(edge: tuple[int, int]) -> None:
        result_RD[edge[0] : edge[1]] = function(matrix.between(*edge))

    with ThreadPoolExecutor(num_threads) as pool:
        list(pool.map(fill, row_ranges(matrix)))
    return result_RD


def multiply_rows(matrix: SparseRows, dense_CD: np.ndarray) -> np.ndarray:
    """The product of a sparse range of rows and a dense float32 matrix: float32 [R, D]."""
    product_RD = np.empty((matrix.num_rows, dense_CD.shape[1]), np.float32)
    add_products(matrix.offsets, matrix.columns, matrix.values, dense_CD, product_RD)
    return product_RD


def block_edges(num_rows: int, rows_per_block: int = ROWS_PER_BLOCK) -> list[tuple[int, int]]:
    """The first row of each block and the one behind its last."""
    return [(start, min(start + rows_per_block, num_rows)) for start in range(0, num_rows, rows_per_block)]


@compiled
def add_products(offsets, columns, values, dense_CD, product_RD):  # type: ignore[no-untyped-def]
    """Fills `product_RD`; see `multiply_rows`."""
    total_D = np.empty(dense_CD.shape[1])
    for r in range(len(offsets) - 1):
        total_D[:] = 0
        for n in range(offsets[r], offsets[r + 1]):
            value, column = np.float64(values[n]), columns[n]
            for d in range(len(total_D)):
                total_D[d] += value * np.float64(dense_CD[column, d])
        for d in range(len(total_D)):
            product_RD[r, d] = total_D[d]


def gram_of_rows(factors_RD: np.ndarray, weights_R: np.ndarray | None = None) -> np.ndarray:
    """The sum over rows of (weight times) the row's outer product with itself: float64 [D, D].

    The sum of blocks of 32,768 rows in ascending order, each multiplied in float64, so that blocks may be summed elsewhere.
    """
    dimension = factors_RD.shape[1]
    gram_DD = np.zeros((dimension, dimension))
    for start in range(0, len(factors_RD), ROWS_PER_BLOCK):
        block_RD = factors_RD[start : start + ROWS_PER_BLOCK].astype(np.float64)
        weighted_RD = block_RD if weights_R is None else block_RD * weights_R[start : start + ROWS_PER_BLOCK, None]
        gram_DD += weighted_RD.T @ block_RD
    return (gram_DD + gram_DD.T) / 2
