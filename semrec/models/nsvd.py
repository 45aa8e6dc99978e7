"""Factorise the degree-normalised interactions by a truncated SVD (nSVD), and fold users in by its low-pass filter.

With R the liked matrix (users x items of 0 and 1), Du and Di the numbers of likes of users and items, and b an exponent:

    Du^-b R Di^-b  =  U S V'  (truncated)        user u scores by  f(S) V' Di^-b r_u  times  V' Di^b

which for b = 1/2 and f = 1 is the ideal low-pass part of GF-CF (Shen et al. 2021, "How powerful is graph convolution for
recommendation?", eq. 12). The item side holds V Di^b; a user's vector is a sum over the own likes, so it is exact for new
users and events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Self

import numpy as np

from semrec.errors import InputError, TrainingError
from semrec.models.base import TrainingData
from semrec.models.learned import LearnedModel
from semrec.models.sparse import (
    ROWS_PER_BLOCK,
    SparseRows,
    block_edges,
    gram_of_rows,
    liked_of_data,
    map_ranges,
    multiply_rows,
)

__all__ = [
    "FILTERS",
    "NsvdModel",
    "check_filter",
    "degree_scales",
    "orthonormal",
    "ritz_vectors",
    "spectral_gains",
    "start_columns",
    "subspace_width",
    "truncated_svd",
]

#: Spectral filters f(s), with s relative to the largest singular value: "smooth" is s^2 / (s^2 + cutoff).
FILTERS: Final = ("ideal", "linear", "smooth")

_OVERSAMPLING: Final = 16
_SMALLEST_SHARE: Final = 1e-4  # singular values below this share of the largest are rounding errors


class NsvdModel(LearnedModel):
    """Truncated SVD of the degree-normalised likes.

    Settings: `dimension`; `degree_exponent` b; `spectral_filter` and, of the smooth one, `cutoff`; `num_passes` over the
    data; `seed`. Too large a dimension with the ideal filter ruins dense data, so they are searched together. There are
    fewer dimensions where fewer users or items have a like: further ones would hold nothing.
    """

    kind = "nsvd"
    compares_items = False
    defaults: ClassVar[Mapping[str, Any]] = {
        "dimension": 128, "degree_exponent": 0.4, "spectral_filter": "ideal", "cutoff": 0.1, "num_passes": 4, "seed": 0,
    }  # fmt: skip
    search_grid: ClassVar[Sequence[Mapping[str, tuple[Any, ...]]]] = (
        {"degree_exponent": (0.3, 0.4, 0.5)},
        {"dimension": (64, 128, 256)},
        {"spectral_filter": ("ideal", "smooth")},
    )

    @classmethod
    def fit(cls, data: TrainingData, settings: Mapping[str, Any]) -> tuple[Self, np.ndarray]:
        """See `VectorModel.fit`. Raises InputError for an unknown filter and when nobody liked anything."""
        model = cls({"neutral_value": data.neutral_value, **settings}, 0)
        chosen = model.settings
        check_filter(chosen["spectral_filter"])
        if chosen["num_passes"] < 1:
            raise InputError(
                f"{chosen['num_passes']} passes of nsvd", expected="at least 1", remedy="Set nsvd's num_passes."
            )
        liked = liked_of_data(data)
        exponent = chosen["degree_exponent"]
        trained = data.trained.get(cls.kind)
        if trained:
            basis_CD, gram_DD = trained()
            singular_D, vectors_ID = ritz_vectors(basis_CD, gram_DD, chosen["dimension"])
        else:
            normalised = liked.scaled(
                degree_scales(liked.lengths, exponent), degree_scales(liked.column_counts, exponent)
            )
            singular_D, vectors_ID = truncated_svd(
                normalised, chosen["dimension"], num_passes=chosen["num_passes"], seed=chosen["seed"]
            )
        items_ID = (vectors_ID * _power(liked.column_counts, exponent)[:, None]).astype(np.float32)
        model.dimension = len(singular_D)
        model._arrays = {
            "gains_D": spectral_gains(singular_D, chosen["spectral_filter"], chosen["cutoff"]),
            # V Di^-b is the item vector V Di^b times this.
            "like_scales_I": _power(np.maximum(liked.column_counts, 1), -2 * exponent),
        }
        return model, model.finish_fit(items_ID, liked, data)

    def raw_users(self, liked: SparseRows, vectors_ND: np.ndarray, matrix_rows_N: np.ndarray) -> np.ndarray:
        """See `LearnedModel.raw_users`. The number of a user's likes scales the vector, which unit variance undoes."""
        scaled = liked.scaled(np.ones(liked.num_rows), self._like_scales(matrix_rows_N))
        return multiply_rows(scaled, vectors_ND) * self._arrays["gains_D"]

    def term_vectors(self, liked: SparseRows, vectors_ND: np.ndarray, matrix_rows_N: np.ndarray) -> np.ndarray:
        """See `LearnedModel.term_vectors`."""
        scales_L = self._like_scales(matrix_rows_N)[liked.columns]
        return vectors_ND[liked.columns].astype(np.float64) * scales_L[:, None] * self._arrays["gains_D"]

    def _like_scales(self, matrix_rows_N: np.ndarray) -> np.ndarray:
        """Di^-2b of items, float64 [N]; an item that the release does not have counts as liked once."""
        scales_N = self._arrays["like_scales_I"][np.maximum(matrix_rows_N, 0)]
        return np.where(matrix_rows_N < 0, 1.0, scales_N)


def truncated_svd(
    matrix: SparseRows,
    dimension: int,
    *,
    num_passes: int = 4,
    seed: int = 0,
    num_threads: int = 1,
    rows_per_block: int = ROWS_PER_BLOCK,
) -> tuple[np.ndarray, np.ndarray]:
    """The largest singular values and right singular vectors of a sparse matrix: float64 [D], float64 [C, D].

    Randomised subspace iteration with 16 more directions (Halko, Martinsson, Tropp 2011, algorithm 4.4) and Cholesky-QR. Both
    products of a pass run row by row, over ranges of rows and of columns, and Grams are sums of blocks in a fixed order: so
    it can be divided among workers and gives the same bytes for the same blocks. D is smaller than asked for where the
    matrix has fewer non-empty rows or columns, or no more singular values above rounding.
    """
    by_column = matrix.transposed()
    width = subspace_width(dimension, int((matrix.lengths > 0).sum()), int((by_column.lengths > 0).sum()))
    basis_CD = orthonormal(start_columns(matrix.num_columns, width, seed))

    def multiplied(rows: SparseRows, dense: np.ndarray) -> np.ndarray:
        return map_ranges(lambda some: multiply_rows(some, dense), rows, width, num_threads)

    for _ in range(num_passes):
        basis_CD = orthonormal(multiplied(by_column, multiplied(matrix, basis_CD)))
    image_RD = multiplied(matrix, basis_CD)
    grams = [gram_of_rows(image_RD[start:stop]) for start, stop in block_edges(len(image_RD), rows_per_block)]
    return ritz_vectors(basis_CD, sum(grams[1:], grams[0]), dimension)


def subspace_width(dimension: int, num_nonempty_rows: int, num_nonempty_columns: int) -> int:
    """How many directions are iterated for as many dimensions."""
    return max(1, min(dimension + _OVERSAMPLING, num_nonempty_rows, num_nonempty_columns))


def start_columns(num_columns: int, width: int, seed: int) -> np.ndarray:
    """Normal directions to begin with, float32 [C, D]; `orthonormal` makes a basis of them."""
    return np.random.default_rng(seed).standard_normal((num_columns, width), np.float32)


def ritz_vectors(basis_CD: np.ndarray, gram_DD: np.ndarray, dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """The singular values within the span of a basis, and the directions that belong to them, largest first (Rayleigh-Ritz).

    `gram_DD` float64, of the products of the matrix with the basis. float64 [D], float64 [C, D], as `truncated_svd` has them.
    """
    squares_D, rotation_DD = np.linalg.eigh(gram_DD)
    singular_D = np.sqrt(np.maximum(squares_D[::-1], 0))
    keep = min(dimension, len(singular_D), int((singular_D > _SMALLEST_SHARE * singular_D[0]).sum()))
    vectors_CD = basis_CD.astype(np.float64) @ rotation_DD[:, ::-1][:, :keep]
    largest_D = vectors_CD[np.abs(vectors_CD).argmax(axis=0), np.arange(keep)]
    return singular_D[:keep], vectors_CD * np.where(largest_D < 0, -1.0, 1.0)


def orthonormal(columns_CD: np.ndarray) -> np.ndarray:
    """An orthonormal basis of the columns' span, float32 [C, D], by shifted Cholesky-QR, three times.

    The shift (Fukaya et al. 2020) keeps the factorisation possible where columns nearly depend on each other; the repeats
    take the error it makes away.
    """
    import torch  # a second, which who only reads a trained model need not wait for

    basis_CD = columns_CD.astype(np.float32)
    for repeat in range(3):
        gram = torch.from_numpy(gram_of_rows(basis_CD))
        shift = float(gram.diagonal().sum()) * (1e-11 if repeat == 0 else 1e-15)
        lower, failed = torch.linalg.cholesky_ex(gram + shift * torch.eye(len(gram), dtype=torch.float64))
        if int(failed):
            raise TrainingError(
                f"a subspace of {len(gram)} directions that depend on each other",
                expected="as many independent directions as dimensions",
                remedy="Lower the dimension: the interactions do not hold as many.",
            )
        for start in range(0, len(basis_CD), ROWS_PER_BLOCK):
            block_DR = torch.from_numpy(basis_CD[start : start + ROWS_PER_BLOCK].astype(np.float64).T)
            solved_DR = torch.linalg.solve_triangular(lower, block_DR, upper=False)
            basis_CD[start : start + ROWS_PER_BLOCK] = solved_DR.numpy().T
    return basis_CD


def spectral_gains(singular_D: np.ndarray, spectral_filter: str, cutoff: float) -> np.ndarray:
    """f(s) of each singular value, descending, by one of `FILTERS`: float64 [D]. Raises InputError for another filter."""
    check_filter(spectral_filter)
    relative_D = singular_D / singular_D[0]
    if spectral_filter == "linear":
        return relative_D
    if spectral_filter == "smooth":
        return relative_D**2 / (relative_D**2 + cutoff)
    return np.ones_like(relative_D)


def check_filter(name: str) -> str:
    """The name itself. Raises InputError when there is no such filter."""
    if name not in FILTERS:
        raise InputError(f"spectral filter {name!r}", expected=" or ".join(FILTERS), remedy="Choose one of these.")
    return name


def degree_scales(counts: np.ndarray, exponent: float) -> np.ndarray:
    """counts ** -exponent, by which rows or columns are normalised; 0 where the count is 0: float64."""
    return _power(counts, -exponent)


def _power(counts: np.ndarray, exponent: float) -> np.ndarray:
    """counts ** exponent, with 0 where the count is 0: float64."""
    return np.where(counts > 0, np.maximum(counts, 1).astype(np.float64) ** exponent, 0.0)
