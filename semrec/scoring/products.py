"""Multiply in a coarse format on the CPU, and check that this machine's products keep the error that `coarse` grants them.

The instruction that a library picks depends on the processor, on its version and on switches. One that saturates (int8 without
VNNI: pairs of products are added in 16 bits) or that rounds its inputs (float32 multiplied as bfloat16 or TF32) returns
scores beyond their bound, and lists that look right and are not. So every format is tried on known values before it is used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Final

import numpy as np
import torch

from semrec.errors import DeviceError
from semrec.scoring.coarse import (
    COARSE_FORMATS,
    UNIT_BFLOAT16,
    CoarseFormat,
    accumulation_error,
    high_halves,
    int8_codes,
)

__all__ = [
    "SCORE_KIND",
    "check_product",
    "float32_fault_on_gpu",
    "measured_fault",
    "multiply",
    "product_fault",
    "usable_format",
    "usable_formats",
]

_log = logging.getLogger(__name__)

Multiply = Callable[[CoarseFormat, torch.Tensor, torch.Tensor, torch.Tensor], None]

#: The kind of number in which a product of each format is returned.
SCORE_KIND: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int32}

# Rows of both factors. Libraries have kernels of their own for one row, for a few, and for a remainder.
_SHAPES: Final = ((25, 64), (64, 16), (1, 64), (25, 1))
_FULL_PRECISION: Final = ("none", "ieee")  # what torch calls a float32 product of float32 values


def multiply(coarse: CoarseFormat, left_ND: torch.Tensor, right_MD: torch.Tensor, out_NM: torch.Tensor) -> None:
    """Writes the inner products of all rows of two matrices of one format, in the numbers of `SCORE_KIND`."""
    product = torch._int_mm if coarse == "int8" else torch.mm
    product(left_ND, right_MD.T, out=out_NM)


def usable_formats(engine: str, dimension: int) -> tuple[CoarseFormat, ...]:
    """The formats whose products of `dimension` values are right on this machine; the others are logged."""
    faults = {coarse: product_fault(engine, coarse, dimension) for coarse in COARSE_FORMATS}
    for coarse, fault in faults.items():
        if fault:
            _log.warning("engine %s does not use %s: %s", engine, coarse, fault)
    return tuple(coarse for coarse, fault in faults.items() if not fault)


def usable_format(engine: str, preferred: CoarseFormat, dimension: int) -> CoarseFormat:
    """`preferred` where its products are right on this machine, else another format, which is logged.

    For a choice that was made elsewhere, as by the machine that built a release: the format changes only the speed.
    Raises DeviceError when no format can be used.
    """
    fault = product_fault(engine, preferred, dimension)
    if not fault:
        return preferred
    for coarse in ("bfloat16", "float32", "int8"):
        if not product_fault(engine, coarse, dimension):
            _log.warning("engine %s scores in %s instead of %s: %s", engine, coarse, preferred, fault)
            return coarse
    raise _wrong_product(preferred, fault)


def check_product(engine: str, coarse: CoarseFormat, dimension: int) -> None:
    """Raises DeviceError when products of `dimension` values in this format are wrong on this machine."""
    fault = product_fault(engine, coarse, dimension)
    if fault:
        raise _wrong_product(coarse, fault)


def product_fault(engine: str, coarse: CoarseFormat, dimension: int) -> str:
    """What is wrong with this format's products here, or an empty string. The CPU's are tried once in a process."""
    if engine == "cpu":
        return (_precision_fault() if coarse == "float32" else "") or _cpu_fault(coarse, dimension)
    if engine == "cuda" and coarse == "float32" and torch.cuda.is_available():
        return float32_fault_on_gpu(*torch.cuda.get_device_capability())
    return ""


def float32_fault_on_gpu(major: int, minor: int) -> str:
    """What Triton 3.6 does to a float32 product on GPUs of this compute capability, if it is wrong; else an empty string."""
    if major != 10:
        return ""
    return f"on a GPU of compute capability {major}.{minor} Triton multiplies float32 as TF32, whatever it is told"


def _wrong_product(coarse: CoarseFormat, fault: str) -> DeviceError:
    return DeviceError(
        f"coarse format {coarse} on this machine: {fault}",
        expected="products within the error that proves the lists exact",
        remedy="Use another format; it changes only the speed.",
    )


def _precision_fault() -> str:
    """torch may be told at any time to multiply float32 values in fewer bits, so this is asked before each use."""
    precision = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
    if precision in _FULL_PRECISION:
        return ""
    return f"torch is set to multiply float32 as {precision} (see torch.set_float32_matmul_precision)"


@cache
def _cpu_fault(coarse: CoarseFormat, dimension: int) -> str:
    return measured_fault(coarse, dimension, multiply)


def measured_fault(coarse: CoarseFormat, dimension: int, product: Multiply) -> str:
    """How `product` errs beyond its bound on worst cases and random values, or an empty string."""
    for num_left, num_right in _SHAPES:
        left, left_values_ND = _probe(coarse, num_left, dimension, seed=1)
        right, right_values_MD = _probe(coarse, num_right, dimension, seed=2)
        scores_NM = torch.empty((num_left, num_right), dtype=SCORE_KIND[coarse])
        product(coarse, left, right, scores_NM)
        exact_NM = np.einsum("nd,md->nm", left_values_ND, right_values_MD)  # no library's product judges another's
        allowed_NM = _allowed_error(coarse, left_values_ND, right_values_MD, scores_NM.double().numpy())
        error_NM = np.abs(scores_NM.double().numpy() - exact_NM)
        if not (error_NM <= allowed_NM).all():  # also where a product is NaN
            n, m = np.unravel_index(np.argmax(np.nan_to_num(error_NM - allowed_NM, nan=np.inf)), error_NM.shape)
            return f"a product of {dimension} values is {scores_NM[n, m].item():g} instead of {exact_NM[n, m]:g}"
    return ""


def _allowed_error(
    coarse: CoarseFormat, left_ND: np.ndarray, right_MD: np.ndarray, scores_NM: np.ndarray
) -> np.ndarray:
    """What the bound in `coarse` grants to products of values that the format holds exactly: float64 [N, M]."""
    if coarse == "int8":
        return np.zeros(scores_NM.shape)
    norms_NM = np.linalg.norm(left_ND, axis=1)[:, None] * np.linalg.norm(right_MD, axis=1)
    rounding = UNIT_BFLOAT16 if coarse == "bfloat16" else 0.0
    return rounding * np.abs(scores_NM) + accumulation_error(left_ND.shape[1]) * norms_NM


def _probe(coarse: CoarseFormat, num_rows: int, dimension: int, *, seed: int) -> tuple[torch.Tensor, np.ndarray]:
    """Rows on which wrong instructions show, in the format and as float64 [num_rows, dimension]."""
    vectors_ND = _hard_rows(num_rows, dimension, seed)
    if coarse == "int8":
        scale_N = np.abs(vectors_ND).max(axis=1) / np.float32(127)
        codes_ND = int8_codes(vectors_ND, scale_N)
        return torch.from_numpy(codes_ND), codes_ND[:, :dimension].astype(np.float64)
    if coarse == "bfloat16":
        tensor = torch.from_numpy(high_halves(vectors_ND)).view(torch.bfloat16)
        return tensor, tensor.double().numpy()
    return torch.from_numpy(vectors_ND), vectors_ND.astype(np.float64)


def _hard_rows(num_rows: int, dimension: int, seed: int) -> np.ndarray:
    """float32 [num_rows, dimension]: random values; every fourth row of one magnitude and sign, or of alternating pairs.

    The largest codes in all combinations of signs overflow whatever can overflow. The magnitudes lie just below halfway
    between two neighbours of bfloat16 and of TF32, so that whoever rounds to those loses the most.
    """
    rows_ND = np.random.default_rng(seed).standard_normal((num_rows, dimension)).astype(np.float32)
    pairs_D = np.where(np.arange(dimension) // 2 % 2, -1, 1)
    for row, bits in zip(range(0, num_rows, 4), (8, 8, 8, 11, 11, 11) * num_rows, strict=False):
        sign = (1, -1, pairs_D)[row // 4 % 3]
        rows_ND[row] = sign * (1 + 2.0**-bits - 2.0**-20)
    return rows_ND
