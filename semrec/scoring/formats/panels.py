"""Panels: int8 codes laid out for the processor's own dot product of bytes, of which no product ever goes through memory.

A library's product of a block of queries and a tile of items is megabytes of scores, written and read again. Here the product
of six queries (a strip) and 64 items (a panel) is made in registers and lands in 1.5 KB, which stay in the innermost cache
while `cpu.kernels` looks at them.

How the product works. VNNI's instruction `vpdpbusd` multiplies 64 unsigned bytes with 64 signed ones and adds each four
neighbouring products to one of 16 int32. So a panel holds, for four dimensions after another, the codes of its 64 items side
by side: four vectors. A strip holds the same four dimensions of each query in one int32, which is spread over a vector. Each
of the 24 pairs of a query and a vector of items has a register of sums, and the loop over the dimensions does nothing but load
4 vectors, spread 6 numbers and call the instruction 24 times: as many as the processor can do. Items are the unsigned factor,
so 128 is added to their codes. That adds 128 times the sum of the query's codes, and the sums start from minus that. int32 may
wrap around on the way; the end is exact for D < 133,144 (see `int8`).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from semrec.compiled import compiled
from semrec.scoring.llvm_vectors import F32, I8, I16, I32, I64, load, splat, store

if TYPE_CHECKING:
    import torch

__all__ = [
    "PANEL",
    "STRIP",
    "fill_tile",
    "has_byte_products",
    "multiply",
    "multiply_strip",
    "pack_panels",
    "pack_strips",
]

PANEL: Final = 64  # items; as many as a word of the visible ones has bits
STRIP: Final = 6  # queries: 24 of 32 registers are sums, four hold items, the rest numbers of queries
_DEPTH: Final = 4  # dimensions in one step
_LANES: Final = 16
_VECTORS: Final = PANEL // _LANES
_OFFSET: Final = 128  # makes codes of items unsigned


@cache
def has_byte_products() -> bool:
    """Whether the code that is compiled here may use the instruction; NUMBA_CPU_FEATURES decides where it is set."""
    return "+avx512vnni" in cpu_target.target_context.codegen().magic_tuple()[2].split(",")


def pack_panels(codes_ID: np.ndarray) -> np.ndarray:
    """Panels of int8 codes, D a multiple of four: uint8 [P, 64 D]. Items that fill up the last one have codes of zero."""
    num_items, dimension = codes_ID.shape
    padded_ID = np.zeros((-(-num_items // PANEL) * PANEL, dimension), np.int8)
    padded_ID[:num_items] = codes_ID
    unsigned_ID = padded_ID.view(np.uint8) ^ np.uint8(_OFFSET)  # the same as adding 128
    steps_PIKB = unsigned_ID.reshape(-1, PANEL, dimension // _DEPTH, _DEPTH)
    return np.ascontiguousarray(steps_PIKB.transpose(0, 2, 1, 3)).reshape(-1, PANEL * dimension)


def pack_strips(codes_QD: np.ndarray) -> np.ndarray:
    """Strips of int8 codes, D a multiple of four: int32 [S, 1 + D / 4, 6], of which the first row are what sums start from."""
    num_queries, dimension = codes_QD.shape
    padded_QD = np.zeros((-(-num_queries // STRIP) * STRIP, dimension), np.int8)
    padded_QD[:num_queries] = codes_QD
    strips = np.empty((len(padded_QD) // STRIP, 1 + dimension // _DEPTH, STRIP), np.int32)
    strips[:, 0] = -_OFFSET * padded_QD.sum(axis=1, dtype=np.int32).reshape(-1, STRIP)
    strips[:, 1:] = padded_QD.view(np.int32).reshape(-1, STRIP, dimension // _DEPTH).transpose(0, 2, 1)
    return strips


def multiply(left_ND: torch.Tensor, right_MD: torch.Tensor, out_NM: torch.Tensor) -> None:
    """The inner products of all rows of two matrices of codes, as `CoarseFormat.multiply` has them."""
    fill_tile(pack_strips(left_ND.numpy()), pack_panels(right_MD.numpy()), out_NM.numpy())


@compiled
def fill_tile(strips, panels, tile_QT):  # type: ignore[no-untyped-def]
    """Fills int32 [Q, T] with the products of strips and panels."""
    products = np.empty((STRIP, PANEL), np.int32)
    for s in range(len(strips)):
        for p in range(len(panels)):
            multiply_strip(strips, s, panels, p, products)
            for q in range(s * STRIP, min((s + 1) * STRIP, len(tile_QT))):
                for t in range(p * PANEL, min((p + 1) * PANEL, tile_QT.shape[1])):
                    tile_QT[q, t] = products[q - s * STRIP, t - p * PANEL]


@compiled
def multiply_strip(strips, s, panels, p, products):  # type: ignore[no-untyped-def]
    """Fills int32 [6, 64] with the products of a strip and a panel."""
    strip, panel = _addresses(strips, s, panels, p)
    _multiply(strip, panel, strips.shape[1] - 1, np.uintp(products.ctypes.data))


@compiled
def compare_strip(strips, s, panels, p, scales, limit_R, mask_R, products):  # type: ignore[no-untyped-def]
    """Compares the products of a strip and a panel with limits: fills uint64 `mask_R`, bit j of query r for item j.

    The bit is set where product times scale reaches float32 `limit_R[r]`, and where one of them is NaN. `scales` is the address
    of the 64 items' scales, float32. Returns whether any bit is set; only then `products` are filled.
    """
    strip, panel = _addresses(strips, s, panels, p)
    limits, masks = np.uintp(limit_R.ctypes.data), np.uintp(mask_R.ctypes.data)
    return _compare(strip, panel, strips.shape[1] - 1, scales, limits, masks, np.uintp(products.ctypes.data)) != 0


@compiled
def _addresses(strips, s, panels, p):  # type: ignore[no-untyped-def]
    strip = np.uintp(strips.ctypes.data) + np.uintp(s * strips.shape[1] * (STRIP * 4))
    return strip, np.uintp(panels.ctypes.data) + np.uintp(p * panels.shape[1])


@intrinsic
def _multiply(typing: Any, strip: Any, panel: Any, num_steps: Any, products: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        *factors, products = arguments
        _store_sums(builder, _sums(builder, *factors), products)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.intp, types.uintp), generate


@intrinsic
def _compare(
    typing: Any, strip: Any, panel: Any, num_steps: Any, scales: Any, limits: Any, masks: Any, products: Any
) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        *factors, scales, limits, masks, products = arguments
        sums = _sums(builder, *factors)
        scales_of = [load(builder, _after(builder, scales, 4 * _LANES * v), F32, _LANES) for v in range(_VECTORS)]
        any_reaches = ir.Constant(I64, 0)
        for r in range(STRIP):
            limit = builder.extract_element(load(builder, _after(builder, limits, 4 * r), F32, 1), I32(0))
            mask = ir.Constant(I64, 0)
            for v in range(_VECTORS):
                scores = builder.fmul(builder.sitofp(sums[r][v], scales_of[v].type), scales_of[v])
                reaches = builder.fcmp_unordered(">=", scores, splat(builder, limit, _LANES))
                bits = builder.zext(builder.bitcast(reaches, I16), I64)
                mask = builder.or_(mask, builder.shl(bits, ir.Constant(I64, _LANES * v)))
            builder.store(mask, builder.inttoptr(_after(builder, masks, 8 * r), I64.as_pointer()))
            any_reaches = builder.or_(any_reaches, mask)
        with builder.if_then(builder.icmp_unsigned("!=", any_reaches, ir.Constant(I64, 0))):
            _store_sums(builder, sums, products)
        return any_reaches

    address = types.uintp
    return types.uint64(address, address, types.intp, address, address, address, address), generate


def _sums(builder: Any, strip: Any, panel: Any, num_steps: Any) -> list[list[Any]]:
    """The products of a strip and a panel: a vector of 16 items' for each of four, for each query."""
    sums_kind, bytes_kind = ir.VectorType(I32, _LANES), ir.VectorType(I8, _LANES * _DEPTH)
    kind = ir.FunctionType(sums_kind, [sums_kind, bytes_kind, bytes_kind])
    add_products = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.vpdpbusd.512")

    def query_numbers(address: Any) -> list[Any]:
        """The next number of each query of the strip, spread over a vector."""
        numbers = [load(builder, _after(builder, address, 4 * r), I32, 1) for r in range(STRIP)]
        return [splat(builder, builder.extract_element(number, I32(0)), _LANES) for number in numbers]

    # The sums live in variables, which LLVM keeps in registers.
    sums = [[cgutils.alloca_once_value(builder, start) for _ in range(_VECTORS)] for start in query_numbers(strip)]
    with cgutils.for_range(builder, num_steps) as loop:
        step_of_panel = builder.add(panel, builder.mul(loop.index, ir.Constant(loop.index.type, PANEL * _DEPTH)))
        step_of_strip = builder.add(strip, builder.mul(loop.index, ir.Constant(loop.index.type, 4 * STRIP)))
        items = [load(builder, _after(builder, step_of_panel, 64 * v), I8, _LANES * _DEPTH) for v in range(_VECTORS)]
        for r, numbers in enumerate(query_numbers(_after(builder, step_of_strip, 4 * STRIP))):
            for v in range(_VECTORS):
                codes = builder.bitcast(numbers, bytes_kind)
                builder.store(builder.call(add_products, [builder.load(sums[r][v]), items[v], codes]), sums[r][v])
    return [[builder.load(variable) for variable in row] for row in sums]


def _store_sums(builder: Any, sums: list[list[Any]], products: Any) -> None:
    for r, row in enumerate(sums):
        for v, vector in enumerate(row):
            store(builder, vector, _after(builder, products, 4 * (r * PANEL + v * _LANES)))


def _after(builder: Any, address: Any, num_bytes: int) -> Any:
    return builder.add(address, ir.Constant(address.type, num_bytes))
