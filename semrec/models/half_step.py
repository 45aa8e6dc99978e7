"""Solve one side of implicit alternating least squares, row by row, exactly.

With the other side's factors h_i, a row with entries t_i (1 for a like) in the columns S, n = |S|, gets the w that
minimises

    sum over S of (t_i - w.h_i)^2  +  a * sum over all i of (w.h_i)^2  +  l_n |w|^2,    l_n = l * (n + a * I)^v

(Rendle, Krichene, Zhang, Koren 2021, "Revisiting the performance of iALS", eq. 5 and section 4.2; unobserved weight a,
regularisation l, frequency exponent v), that is, (H_S' H_S + a G + l_n) w = H_S' t with the Gram G = H'H. I counts the columns
that have learned factors: what nobody liked has zeros and no part in the sums, so that a long catalogue of such items must not
raise the regularisation either.

Two facts make this cheap. In the eigenbasis of G, a G + l_n is a diagonal P for every row: `fixed_side` rotates the factors
there once. And then a row with n < D is solved in the dual (Woodbury): (1 + A A') z = t, w = P^-1/2 A' z with
A = H_S P^-1/2, which is n x n.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from semrec.compiled import compiled
from semrec.errors import TrainingError
from semrec.models.sparse import ROWS_PER_BLOCK, SparseRows, gram_of_rows

__all__ = ["FixedSide", "eigenbasis", "fixed_side", "rotated_side", "solve_rows"]


@dataclass(frozen=True)
class FixedSide:
    """The side of the factorisation that a half-step holds fixed.

    `factors_CD` float32, in the eigenbasis of their Gram; `eigenvalues_D` float64 of that Gram, not negative; `num_learned`
    columns have factors that are not zero, the I of the formula.
    """

    factors_CD: np.ndarray
    eigenvalues_D: np.ndarray
    num_learned: int


def fixed_side(factors_CD: np.ndarray) -> FixedSide:
    """Rotates factors (float32) into the eigenbasis of their Gram, which changes no inner product.

    Raises TrainingError when a factor is not finite.
    """
    eigenvalues_D, basis_DD = eigenbasis(gram_of_rows(factors_CD))
    blocks = [factors_CD[start : start + ROWS_PER_BLOCK] for start in range(0, len(factors_CD), ROWS_PER_BLOCK)]
    return rotated_side(blocks, eigenvalues_D, basis_DD)


def rotated_side(blocks: Iterable[np.ndarray], eigenvalues_D: np.ndarray, basis_DD: np.ndarray) -> FixedSide:
    """Blocks of factors (float32), rotated one by one: a matrix product may give a row other last bits in a larger block."""
    rotated = [(block_RD.astype(np.float64) @ basis_DD).astype(np.float32) for block_RD in blocks]
    factors_CD = np.concatenate(rotated)
    return FixedSide(factors_CD, eigenvalues_D, int(factors_CD.any(axis=1).sum()))


def eigenbasis(gram_DD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, not negative, and eigenvectors as columns, of a Gram matrix: float64 [D], float64 [D, D].

    Raises TrainingError when the Gram matrix is not finite.
    """
    if not np.isfinite(gram_DD).all():
        raise TrainingError(
            "factors that are not finite",
            expected="a training that converges",
            remedy="Raise regularization, or lower dimension: the system may be singular.",
        )
    eigenvalues_D, basis_DD = np.linalg.eigh(gram_DD)
    # LAPACK leaves the sign of an eigenvector open; the largest component is made positive.
    largest_D = basis_DD[np.abs(basis_DD).argmax(axis=0), np.arange(len(basis_DD))]
    return np.maximum(eigenvalues_D, 0.0), basis_DD * np.where(largest_D < 0, -1.0, 1.0)


def solve_rows(matrix: SparseRows, fixed: FixedSide, settings: Mapping[str, Any]) -> np.ndarray:
    """The best factors of each row of a range, given the fixed side: float32 [R, D]; zeros for a row without entries.

    `settings`: `unobserved_weight`, `regularization` and `frequency_exponent`. `fixed` may hold the factors of some columns
    only, with the numbers of all. Every row is solved alone in float64 in a fixed order, so one row gives the same bytes in
    any range and on any processor.
    """
    factors_RD = np.zeros((matrix.num_rows, fixed.factors_CD.shape[1]), np.float32)
    _solve(
        matrix.offsets,
        matrix.columns,
        matrix.values,
        fixed.factors_CD,
        fixed.eigenvalues_D,
        settings["unobserved_weight"],
        settings["regularization"],
        settings["frequency_exponent"],
        fixed.num_learned,
        factors_RD,
    )
    return factors_RD


@compiled
def _solve(  # type: ignore[no-untyped-def]
    offsets, columns, values, factors_CD, eigenvalues_D, unobserved, regularization, exponent, num_learned, out_RD
):
    dimension = factors_CD.shape[1]
    scale_D, solution_D = np.empty(dimension), np.empty(dimension)
    primal_DD = np.empty((dimension, dimension))
    column_N = np.empty(dimension + 1)
    for r in range(len(offsets) - 1):
        liked, targets = columns[offsets[r] : offsets[r + 1]], values[offsets[r] : offsets[r + 1]]
        n = len(liked)
        if n == 0:
            continue
        ridge = regularization * (n + unobserved * num_learned) ** exponent
        if n < dimension:
            for d in range(dimension):
                scale_D[d] = 1.0 / np.sqrt(unobserved * eigenvalues_D[d] + ridge)
            scaled_DN = np.empty((dimension, n))  # A', so that the inner loops below run along n
            for j in range(n):
                for d in range(dimension):
                    scaled_DN[d, j] = scale_D[d] * np.float64(factors_CD[liked[j], d])
            dual_NN, weights_N = np.zeros((n, n)), np.empty(n)
            for j in range(n):
                dual_NN[j, j], weights_N[j] = 1.0, np.float64(targets[j])
            _add_gram(scaled_DN, dual_NN)
            _solve_in_place(dual_NN, weights_N, column_N)
            for d in range(dimension):
                total = 0.0
                for j in range(n):
                    total += scaled_DN[d, j] * weights_N[j]
                out_RD[r, d] = scale_D[d] * total
        else:
            primal_DD[:] = 0
            solution_D[:] = 0
            rows_ND = np.empty((n, dimension))
            for j in range(n):
                for d in range(dimension):
                    rows_ND[j, d] = np.float64(factors_CD[liked[j], d])
                    solution_D[d] += np.float64(targets[j]) * rows_ND[j, d]
            for d in range(dimension):
                primal_DD[d, d] = unobserved * eigenvalues_D[d] + ridge
            _add_gram(rows_ND, primal_DD)
            _solve_in_place(primal_DD, solution_D, column_N)
            for d in range(dimension):
                out_RD[r, d] = solution_D[d]


@compiled
def _add_gram(rows_ND, gram_DD):  # type: ignore[no-untyped-def]
    """Adds rows' outer products to the lower triangle of `gram_DD`, in order of the rows.

    Four rows at a time, so that an entry is loaded and stored once for four products; the inner loop is one vector
    instruction after the other, without reordering a sum.
    """
    num_rows, dimension = rows_ND.shape
    whole = num_rows - num_rows % 4
    for first in range(0, whole, 4):
        a, b, c, e = rows_ND[first], rows_ND[first + 1], rows_ND[first + 2], rows_ND[first + 3]
        for i in range(dimension):
            into, at, bt, ct, et = gram_DD[i], a[i], b[i], c[i], e[i]
            for j in range(i + 1):
                into[j] = (((into[j] + at * a[j]) + bt * b[j]) + ct * c[j]) + et * e[j]
    for row in range(whole, num_rows):
        a = rows_ND[row]
        for i in range(dimension):
            into, at = gram_DD[i], a[i]
            for j in range(i + 1):
                into[j] += at * a[j]


@compiled
def _solve_in_place(matrix_NN, right_N, column_N):  # type: ignore[no-untyped-def]
    """Replaces `right_N` by the solution of a positive definite system, of which the lower triangle is given and lost.

    Cholesky by outer products: unlike inner products their loops are vector instructions in a fixed order. `column_N` is
    scratch of at least N.
    """
    size = len(right_N)
    for k in range(size):
        pivot = np.sqrt(matrix_NN[k, k])
        matrix_NN[k, k] = pivot
        inverse = 1.0 / pivot
        for i in range(k + 1, size):
            matrix_NN[i, k] *= inverse
            column_N[i] = matrix_NN[i, k]
        for i in range(k + 1, size):
            into, factor = matrix_NN[i], column_N[i]
            for j in range(k + 1, i + 1):
                into[j] -= factor * column_N[j]
        right_N[k] *= inverse
        for i in range(k + 1, size):
            right_N[i] -= column_N[i] * right_N[k]
    for k in range(size - 1, -1, -1):
        right_N[k] /= matrix_NN[k, k]
        for j in range(k):
            right_N[j] -= matrix_NN[k, j] * right_N[k]
