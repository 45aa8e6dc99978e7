"""Coarse formats: what an item or user vector becomes for the fast product, and how far that product may stray.

A float32 matrix is kept as two 16-bit halves. The high half is the nearest bfloat16; the low half is the difference of the
bit patterns, so that both together give the float32 back, bit for bit: the coarse copy costs no memory. int8 is derived
from it: one scale per row, codes of -127 to 127.

The bound. Let x^ be the coarse form of x and r = x - x^. For a user u and an item i

    |u.i - u^.i^| <= |r_u| |i| + |u^| |r_i|                              (Cauchy-Schwarz, twice)
    |fl(u^.i^) - u^.i^| <= gamma_D |u^| |i^|                             (Higham, Accuracy and Stability of Numerical
                                                                          Algorithms, 2nd ed., eq. 3.5, and Cauchy-Schwarz)
    |c - fl(u^.i^)| <= eta |c|                                           (ibid., eq. 2.5: rounding of the output)

where gamma_n = n w / (1 - n w) for any order of summation, fused or not, with unit roundoff w. Tensor cores add in float32
with truncation and align a few products before they add (Fasi, Higham, Mikaitis, Pranesh: Numerical behavior of NVIDIA tensor
cores, PeerJ Computer Science 2021), so w = 2^-22 is taken for every format: small beside what bfloat16 loses. An int8
product is exact. `products` tries on each machine whether its products keep to this. The canonical score itself errs by a
float64 sum and one rounding to float32. Each product, sum or input that underflows loses at most the smallest normal number,
also where denormals are flushed. All of it is

    |c - score(u, i)| <= eta |c| + a_u |i| + b_u |r_i| + c_u

with norms of items and residuals kept with the release and a_u, b_u, c_u computed here, rounded up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np

from semrec.compiled import compiled
from semrec.errors import InputError

__all__ = [
    "COARSE_FORMATS",
    "DEFAULT_COARSE",
    "NORM",
    "NORM_COLUMNS",
    "RESIDUAL_BFLOAT16",
    "RESIDUAL_INT8",
    "SCALE_INT8",
    "UNIT_BFLOAT16",
    "CoarseFormat",
    "QueryBounds",
    "accumulation_error",
    "check_format",
    "code_width",
    "high_halves",
    "int8_codes",
    "join_halves",
    "matrix_bytes",
    "query_bounds",
    "row_norms",
    "split_halves",
]

CoarseFormat = Literal["float32", "bfloat16", "int8"]
COARSE_FORMATS: Final[tuple[CoarseFormat, ...]] = get_args(CoarseFormat)
DEFAULT_COARSE: Final[CoarseFormat] = "bfloat16"

#: Unit roundoff of bfloat16.
UNIT_BFLOAT16: Final = 2.0**-8

#: Columns of `row_norms`.
NORM, RESIDUAL_BFLOAT16, SCALE_INT8, RESIDUAL_INT8 = range(4)
NORM_COLUMNS: Final = 4

_CHUNK_ROWS: Final = 16_384
_UNIT_SUM: Final = 2.0**-22  # unit roundoff granted to the accumulation of a coarse product
_UNIT_32: Final = 2.0**-24
_UNIT_64: Final = 2.0**-53
_TINY: Final = 2.0**-126  # smallest normal number of float32 and bfloat16
_UP: Final = 1 + 2.0**-20  # makes up for the rounding of a norm to float32
_LARGEST_TAME: Final = 2.0**62  # beyond it products may leave float32: such a row's bound is infinite
_INT8_MAX: Final = 127


def check_format(name: str) -> CoarseFormat:
    """The name itself. Raises InputError when there is no such coarse format."""
    for known in COARSE_FORMATS:
        if name == known:
            return known
    raise InputError(f"coarse format {name!r}", expected=" or ".join(COARSE_FORMATS), remedy="Choose one of these.")


def high_halves(vectors_ND: np.ndarray) -> np.ndarray:
    """The nearest bfloat16 of float32 [N, D], as uint16 bits; halfway goes away from zero."""
    bits = np.ascontiguousarray(vectors_ND, dtype=np.float32).view(np.uint32)
    return ((bits + np.uint32(0x8000)) >> np.uint32(16)).astype(np.uint16)


def split_halves(vectors_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(high, low) of float32 [N, D]: uint16 bits of the nearest bfloat16, and int16 differences."""
    vectors = np.ascontiguousarray(vectors_ND, dtype=np.float32)
    high, low = np.empty(vectors.shape, np.uint16), np.empty(vectors.shape, np.int16)
    for start in range(0, len(vectors), _CHUNK_ROWS):
        rows = slice(start, start + _CHUNK_ROWS)
        high[rows] = high_halves(vectors[rows])
        low[rows] = (vectors[rows].view(np.uint32) - (high[rows].astype(np.uint32) << np.uint32(16))).astype(np.int32)
    return high, low


def join_halves(high_ND: np.ndarray, low_ND: np.ndarray) -> np.ndarray:
    """`split_halves` undone: float32 [N, D]."""
    bits = high_ND.astype(np.uint32)
    bits <<= np.uint32(16)
    bits += low_ND.astype(np.int32).view(np.uint32)
    return bits.view(np.float32)


def matrix_bytes(num_items: int, dimension: int) -> int:
    """Size of an item matrix: two halves of 16 bits per value, and the norms."""
    return num_items * (dimension + NORM_COLUMNS) * 4


def code_width(dimension: int) -> int:
    """The columns of int8 codes: a multiple of eight, because torch (2.13) multiplies int8 matrices of one column wrongly."""
    return -(-dimension // 8) * 8


def int8_codes(vectors_ND: np.ndarray, scale_N: np.ndarray) -> np.ndarray:
    """int8 [N, code_width(D)]: the multiples of each row's scale nearest to its values; zeros where the scale is zero."""
    codes = np.zeros((len(vectors_ND), code_width(vectors_ND.shape[1])), np.int8)
    _fill_codes(np.ascontiguousarray(vectors_ND, dtype=np.float32), np.ascontiguousarray(scale_N), codes)
    return codes


def row_norms(vectors_ND: np.ndarray) -> np.ndarray:
    """Per row: norm, norm of the bfloat16 residual, int8 scale, norm of the int8 residual. float32 [N, 4], norms rounded up.

    A row that is too large for float32 products, or not finite, has the norm infinity.
    """
    norms = np.empty((len(vectors_ND), NORM_COLUMNS), np.float32)
    for start in range(0, len(vectors_ND), _CHUNK_ROWS):
        rows = slice(start, start + _CHUNK_ROWS)
        vectors = np.ascontiguousarray(vectors_ND[rows], dtype=np.float32)
        _fill_norms(vectors, norms[rows])
    return norms


@compiled
def _code(value, scale):  # type: ignore[no-untyped-def]
    return max(-_INT8_MAX, min(_INT8_MAX, np.rint(np.float64(value) / scale))) if scale > 0 else 0.0


@compiled
def _fill_codes(vectors_ND, scale_N, codes_ND):  # type: ignore[no-untyped-def]
    for n in range(len(vectors_ND)):
        scale = np.float64(scale_N[n])
        for d in range(vectors_ND.shape[1]):
            codes_ND[n, d] = _code(vectors_ND[n, d], scale)


@compiled
def _fill_norms(vectors_ND, norms_NC):  # type: ignore[no-untyped-def]
    for n in range(len(vectors_ND)):
        largest = np.float32(0)
        for d in range(vectors_ND.shape[1]):
            largest = max(largest, abs(vectors_ND[n, d]))
        scale = np.float32(largest / np.float32(_INT8_MAX))
        if not (scale >= _TINY and scale <= _LARGEST_TAME):
            scale = np.float32(0)
        exact, exact_scale = 0.0, np.float64(scale)
        bfloat16, int8 = 0.0, 0.0
        for d in range(vectors_ND.shape[1]):
            value = np.float64(vectors_ND[n, d])
            bits = np.uint32(np.float32(vectors_ND[n, d]).view(np.uint32) + np.uint32(0x8000))
            rounded = np.float64(np.uint32(bits & np.uint32(0xFFFF0000)).view(np.float32))
            rest = value - _code(value, exact_scale) * exact_scale
            exact += value * value
            bfloat16 += (value - rounded) * (value - rounded)
            int8 += rest * rest
        norms_NC[n, 0], norms_NC[n, 1] = _upper_norm(exact), _upper_norm(bfloat16)
        norms_NC[n, 2], norms_NC[n, 3] = scale, _upper_norm(int8)
        if not norms_NC[n, 0] <= _LARGEST_TAME:
            norms_NC[n, 0], norms_NC[n, 1], norms_NC[n, 2], norms_NC[n, 3] = np.inf, np.inf, 0, np.inf


@compiled
def _upper_norm(squares):  # type: ignore[no-untyped-def]
    """A norm from its sum of squares, not below the true one; the smallest normal number at least, or 0."""
    return max(np.sqrt(squares) * _UP, _TINY) if squares > 0 else squares


@dataclass(frozen=True)
class QueryBounds:
    """How far coarse products of these queries may stray: eta |c| + a |i| + b |r_i| + c. float32 [Q] each, not negative."""

    a_Q: np.ndarray
    b_Q: np.ndarray
    c_Q: np.ndarray
    eta: float


def accumulation_error(dimension: int) -> float:
    """gamma_D: the error granted to a coarse product of D values, as a share of |u^| |i^|."""
    return dimension * _UNIT_SUM / (1 - dimension * _UNIT_SUM)


def query_bounds(norms_QN: np.ndarray, dimension: int, coarse: CoarseFormat, *, rounded_output: bool) -> QueryBounds:
    """The bounds of queries with these `row_norms`. `rounded_output`: the product is returned as bfloat16, not as float32."""
    norm = norms_QN[:, NORM].astype(np.float64)
    residual = {
        "float32": np.zeros(len(norm)),
        "bfloat16": norms_QN[:, RESIDUAL_BFLOAT16].astype(np.float64),
        "int8": norms_QN[:, RESIDUAL_INT8].astype(np.float64),
    }[coarse]
    gamma = accumulation_error(dimension)
    # The canonical score's own error, and the roundings of whoever scales a product and adds a bound to it in float32.
    rest = dimension * _UNIT_64 / (1 - dimension * _UNIT_64) + 8 * _UNIT_32
    with np.errstate(invalid="ignore"):
        coarse_norm = norm + residual
        a = residual + (gamma + rest) * coarse_norm + np.sqrt(dimension) * _TINY
        b = (1 + gamma + rest) * coarse_norm
        c = (2 * dimension + 8) * _TINY + np.sqrt(dimension) * _TINY * coarse_norm
    up = 1 + 2.0**-16
    a_Q, b_Q, c_Q = ((x * up).astype(np.float32) for x in (a, b, c))
    return QueryBounds(a_Q, b_Q, c_Q, UNIT_BFLOAT16 if rounded_output else 0.0)
