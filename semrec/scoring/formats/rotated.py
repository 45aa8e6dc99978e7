"""int8 of rotated vectors: a rotation spreads what a few large dimensions hold over all of them.

One scale for a row serves its largest value, so a row with a few large dimensions has coarse codes everywhere else. The
vectors of several models side by side are such rows: popularity is one dimension, and the factors of a model are large in
front. A rotation R changes no inner product, (Ru).(Ri) = u.i, and no norm, so the bound of `base` holds with the residual
r = Rx - x^ of the rotated row.

R is H S / sqrt(n): S are signs, and H is a matrix of n rows of 1 and -1 of which any two are orthogonal (Hadamard). It is the
product of a power of two (Sylvester) with one of 1, 12 or 20 rows (Paley, On orthogonal matrices, Journal of Mathematics and
Physics 1933), so a row is rotated by additions alone, and n is seldom much larger than D. R is the same on every machine and in
every version: columns that are stored by one are read by another.

Rotated rows are computed in float64. Each value is a sum of D terms in at most 20 + log2(n) additions, so the error of a whole
row is below 32 2^-53 sqrt(n) |x|, less than 2^-40 |x| for n up to 16,384; that is added to the residual.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Final

import numpy as np

from semrec.compiled import compiled
from semrec.scoring.formats.base import TINY
from semrec.scoring.formats.int8 import Int8

__all__ = ["RotatedInt8"]

_PRIMES: Final = (11, 19)  # of Paley's matrices, which have one row more; both are 3 modulo 4
_ROTATION_ERROR: Final = 2.0**-40
_LANES: Final = 8  # rows that are rotated at once


class RotatedInt8(Int8):
    """As large as int8, and the tightest of the small formats where dimensions differ in size, as in learned vectors."""

    name = "int8_rotated"
    scale_column = "scale_int8_rotated"
    residual_column = "residual_int8_rotated"
    gpu = None

    def coded_columns(
        self, vectors_ND: np.ndarray, norm_N: np.ndarray, largest_code: int
    ) -> tuple[np.ndarray, np.ndarray]:
        scale_N, residual_N = super().coded_columns(vectors_ND, norm_N, largest_code)
        return scale_N, self.with_rotation_error(residual_N, norm_N)

    def with_rotation_error(self, residual_N: np.ndarray, norm_N: np.ndarray) -> np.ndarray:
        """Residuals of computed rotated rows as those of the exact ones, rounded up: float32 [N]."""
        with np.errstate(invalid="ignore"):
            whole_N = (residual_N + norm_N.astype(np.float64) * _ROTATION_ERROR) * (1 + 2.0**-20)
        return np.where(norm_N > 0, np.maximum(whole_N, TINY), 0).astype(np.float32)

    def code_width(self, dimension: int) -> int:
        return _rotation(dimension)[1]

    def coded_rows(self, vectors_ND: np.ndarray) -> np.ndarray:
        paley_MM, size = _rotation(vectors_ND.shape[1])
        rotated_ND = np.empty((len(vectors_ND), size), np.float64)
        _rotate(np.ascontiguousarray(vectors_ND, dtype=np.float32), _signs(vectors_ND.shape[1]), paley_MM, rotated_ND)
        return rotated_ND


@cache
def _signs(dimension: int) -> np.ndarray:
    """1 and -1 for each dimension, float64; those of a longer row begin with those of a shorter one."""
    digest = hashlib.shake_256(b"semrec int8_rotated").digest(-(-dimension // 8))
    return 1.0 - 2.0 * np.unpackbits(np.frombuffer(digest, np.uint8))[:dimension]


@cache
def _rotation(dimension: int) -> tuple[np.ndarray, int]:
    """Paley's factor of H, float64 [M, M], and the size n of H: the smallest that is M times a power of two from 8 on."""
    factors = [np.ones((1, 1)), *map(_paley, _PRIMES)]
    return min(((factor, _size(len(factor), dimension)) for factor in factors), key=lambda found: found[1])


def _size(num_rows: int, dimension: int) -> int:
    size = num_rows * 8
    while size < dimension:
        size *= 2
    return size


def _paley(prime: int) -> np.ndarray:
    """A matrix of `prime` + 1 orthogonal rows of 1 and -1, for a prime that is 3 modulo 4."""
    squares = {n * n % prime for n in range(1, prime)}
    character = np.array([0] + [1 if n in squares else -1 for n in range(1, prime)])
    n = np.arange(prime)
    skew = np.zeros((prime + 1, prime + 1))
    skew[0, 1:], skew[1:, 0] = 1, -1
    skew[1:, 1:] = character[(n[None, :] - n[:, None]) % prime]
    return skew + np.eye(prime + 1)


@compiled
def _rotate(vectors_ND, sign_D, paley_MM, rotated_ND):  # type: ignore[no-untyped-def]
    """Fills float64 [N, n] with the rotated rows, eight at a time, whose values lie side by side meanwhile."""
    size, num_factors = rotated_ND.shape[1], len(paley_MM)
    length = size // num_factors
    values, sums = np.empty((size, _LANES), np.float64), np.empty((num_factors, _LANES), np.float64)
    factor = 1.0 / np.sqrt(np.float64(size))
    for first in range(0, len(vectors_ND), _LANES):
        num_rows = min(_LANES, len(vectors_ND) - first)
        values[:] = 0.0
        for r in range(num_rows):
            for d in range(vectors_ND.shape[1]):
                values[d, r] = np.float64(vectors_ND[first + r, d]) * sign_D[d]
        half = 1
        while half < length:  # Sylvester: sums and differences of halves
            for start in range(0, size, 2 * half):
                for n in range(start, start + half):
                    for r in range(_LANES):
                        left, right = values[n, r], values[n + half, r]
                        values[n, r], values[n + half, r] = left + right, left - right
            half *= 2
        if num_factors > 1:
            for n in range(length):
                for m in range(num_factors):
                    sums[m] = 0.0
                    for other in range(num_factors):
                        sign = paley_MM[m, other]
                        for r in range(_LANES):
                            sums[m, r] += sign * values[other * length + n, r]
                for m in range(num_factors):
                    for r in range(_LANES):
                        values[m * length + n, r] = sums[m, r]
        for r in range(num_rows):
            for n in range(size):
                rotated_ND[first + r, n] = values[n, r] * factor
