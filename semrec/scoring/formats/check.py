"""Check that this machine's products keep the error that a coarse format's bound grants them, before a format is used.

The instruction that a library picks depends on the processor, on its version and on switches. One that saturates (int8 without
VNNI: pairs of products are added in 16 bits) or that rounds its inputs (float32 multiplied as bfloat16 or TF32) returns
scores beyond their bound, and lists that look right and are not. So every format is tried on known values first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache, partial
from typing import Final

import numpy as np
import torch

from semrec.errors import DeviceError
from semrec.scoring.formats import DEFAULT_FORMAT, FORMATS, get_format, panels
from semrec.scoring.formats.base import CoarseFormat, accumulation_error, vector_norms

__all__ = [
    "check_product",
    "describe_fault",
    "hard_rows",
    "measured_fault",
    "product_fault",
    "usable_format",
    "usable_formats",
]

_log = logging.getLogger(__name__)

#: Writes the products of all rows of two encoded matrices into the third, as `CoarseFormat.multiply` does.
Multiply = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None]

# Rows of both factors. Libraries have kernels of their own for one row, for a few, and for a remainder.
_SHAPES: Final = ((25, 64), (64, 16), (1, 64), (25, 1))


def usable_formats(engine: str, dimension: int) -> tuple[str, ...]:
    """Names of the formats whose products of `dimension` values are right on this machine; the others are logged."""
    faults = {name: product_fault(engine, coarse, dimension) for name, coarse in FORMATS.items()}
    for name, fault in faults.items():
        if fault:
            _say_once(f"engine {engine} does not use {name}: {fault}")
    return tuple(name for name, fault in faults.items() if not fault)


@cache
def _say_once(text: str) -> None:
    _log.warning(text)


def usable_format(engine: str, preferred: str, dimension: int) -> str:
    """`preferred` where its products are right on this machine, else another format, which is logged.

    For a choice that was made elsewhere, as by the machine that built a release: the format changes only the speed.
    Raises InputError for an unknown name, DeviceError when no format can be used.
    """
    fault = product_fault(engine, get_format(preferred), dimension)
    if not fault:
        return preferred
    for name in dict.fromkeys((DEFAULT_FORMAT, *FORMATS)):
        if not product_fault(engine, FORMATS[name], dimension):
            _log.warning("engine %s scores in %s instead of %s: %s", engine, name, preferred, fault)
            return name
    raise _wrong_product(preferred, fault)


def check_product(engine: str, coarse: CoarseFormat, dimension: int) -> None:
    """Raises DeviceError when products of `dimension` values in this format are wrong on this machine."""
    fault = product_fault(engine, coarse, dimension)
    if fault:
        raise _wrong_product(coarse.name, fault)


def product_fault(engine: str, coarse: CoarseFormat, dimension: int) -> str:
    """What is wrong with this format's products here, or an empty string. They are tried once in a process and on a GPU."""
    if engine == "cpu":
        return coarse.cpu_fault() or _cpu_fault(coarse, dimension)
    if coarse.gpu is None:
        return f"engine {engine} has no kernel for it"
    if not torch.cuda.is_available():
        return ""
    fault = coarse.gpu_fault(*torch.cuda.get_device_capability())
    return fault or _gpu_fault(coarse, dimension, torch.cuda.current_device())


def measured_fault(coarse: CoarseFormat, dimension: int, multiply: Multiply, score_kind: str = "") -> str:
    """How `multiply` errs beyond the format's bound on worst cases and random values, or an empty string.

    It gives scores in the numbers `score_kind`, else those of the format.
    """
    score_kind = score_kind or coarse.score_kind
    output_unit = coarse.output_unit if score_kind == coarse.score_kind else 0.0
    for num_left, num_right in _SHAPES:
        left, right = _encoded_queries(coarse, num_left, dimension), _encoded_items(coarse, num_right, dimension)
        left_codes_ND, right_codes_MD = left.double().numpy(), right.double().numpy()
        scores = torch.empty((num_left, num_right), dtype=getattr(torch, score_kind))
        multiply(left, right, scores)
        scores_NM = scores.double().numpy()
        exact_NM = np.einsum("nd,md->nm", left_codes_ND, right_codes_MD)  # no library's product judges another's
        allowed_NM = np.zeros(exact_NM.shape)
        if not coarse.is_exact:
            norms_NM = np.linalg.norm(left_codes_ND, axis=1)[:, None] * np.linalg.norm(right_codes_MD, axis=1)
            allowed_NM = output_unit * np.abs(scores_NM) + accumulation_error(dimension) * norms_NM
        fault = describe_fault(scores_NM, exact_NM, allowed_NM, dimension)
        if fault:
            return fault
    return ""


def describe_fault(scores_NM: np.ndarray, exact_NM: np.ndarray, allowed_NM: np.ndarray, dimension: int) -> str:
    """The score, float64, that errs the most beyond what is allowed, in words; an empty string where none does."""
    error_NM = np.abs(scores_NM - exact_NM)
    if (error_NM <= allowed_NM).all():  # not so where a product is NaN
        return ""
    n, m = np.unravel_index(np.argmax(np.nan_to_num(error_NM - allowed_NM, nan=np.inf)), error_NM.shape)
    return f"a product of {dimension} values is {scores_NM[n, m]:g} instead of {exact_NM[n, m]:g}"


@cache
def _cpu_fault(coarse: CoarseFormat, dimension: int) -> str:
    kind = coarse.panels
    if kind is None:
        return measured_fault(coarse, dimension, coarse.multiply)
    of_panels = measured_fault(coarse, dimension, partial(panels.multiply, kind), score_kind=kind.sums)
    return of_panels or ("" if coarse.only_panels else measured_fault(coarse, dimension, coarse.multiply))


@cache
def _gpu_fault(coarse: CoarseFormat, dimension: int, device: int) -> str:
    from semrec.scoring.cuda.product_check import kernel_fault  # knows this module

    return kernel_fault(coarse, dimension, torch.device("cuda", device))


def _wrong_product(name: str, fault: str) -> DeviceError:
    return DeviceError(
        f"coarse format {name} on this machine: {fault}",
        expected="products within the error that proves the lists exact",
        remedy="Use another format; it changes only the speed.",
    )


def _encoded_queries(coarse: CoarseFormat, num_rows: int, dimension: int) -> torch.Tensor:
    """Queries on which wrong instructions show, in the format: [num_rows, D']."""
    vectors_QD = hard_rows(num_rows, dimension, seed=1)
    scale_Q, _ = coarse.query_columns(vectors_QD, vector_norms(vectors_QD))
    return coarse.encode_queries(vectors_QD, scale_Q)


def _encoded_items(coarse: CoarseFormat, num_rows: int, dimension: int) -> torch.Tensor:
    """The same for items."""
    vectors_ID = hard_rows(num_rows, dimension, seed=2)
    scale_I, _ = coarse.row_columns(vectors_ID, vector_norms(vectors_ID))
    return coarse.encode(vectors_ID, scale_I)


def hard_rows(num_rows: int, dimension: int, seed: int) -> np.ndarray:
    """Values on which wrong instructions show, float32 [num_rows, dimension].

    They are random, but those of every fourth row have one magnitude, and one sign or alternate in pairs.

    The largest codes in all combinations of signs overflow whatever can overflow. The magnitudes lie just below halfway
    between two neighbours of bfloat16 and of TF32, so that whoever rounds to those loses the most.
    """
    rows_ND = np.random.default_rng(seed).standard_normal((num_rows, dimension)).astype(np.float32)
    pairs_D = np.where(np.arange(dimension) // 2 % 2, -1, 1)
    for row, bits in zip(range(0, num_rows, 4), (8, 8, 8, 11, 11, 11) * num_rows, strict=False):
        sign = (1, -1, pairs_D)[row // 4 % 3]
        rows_ND[row] = sign * (1 + 2.0**-bits - 2.0**-20)
    return rows_ND
