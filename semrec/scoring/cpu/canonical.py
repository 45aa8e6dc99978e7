"""The canonical score as vectors of LLVM. `llvm` says how such functions are read.

The eight float64 lanes of the score are one vector. Products of float32 are exact in float64, so the order of the contract
(lane l adds d = l, l + 8, ...) is all that matters, whatever LLVM fuses.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from semrec.scoring.llvm_vectors import F32, F64, I16, I32, constant, load, store

__all__ = ["lanes_dot", "wide_lanes_dot", "widen"]

_LANES = 8


@intrinsic
def lanes_dot(typing: Any, left_address: Any, high_address: Any, low_address: Any, dimension: Any) -> Any:
    """The canonical score of a float32 row and a row kept in halves, in float64: before it is rounded to float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        left_address, high_address, low_address, dimension = arguments

        def right(first: Any, count: int) -> Any:
            return _joined(builder, high_address, low_address, first, count)

        return _canonical(builder, left_address, right, dimension)

    return types.float64(types.uintp, types.uintp, types.uintp, types.intp), generate


@intrinsic
def wide_lanes_dot(typing: Any, left_address: Any, right_address: Any, dimension: Any) -> Any:
    """`lanes_dot` of a float32 row and a row that `widen` made."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        left_address, right_address, dimension = arguments

        def right(first: Any, count: int) -> Any:
            return load(builder, _element(builder, right_address, first, 8), F64, count)

        return _canonical(builder, left_address, right, dimension)

    return types.float64(types.uintp, types.uintp, types.intp), generate


@intrinsic
def widen(typing: Any, high_address: Any, low_address: Any, dimension: Any, to_address: Any) -> Any:
    """Writes a row kept in halves as float64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        high_address, low_address, dimension, to_address = arguments

        def write(first: Any, count: int) -> None:
            values = _joined(builder, high_address, low_address, first, count)
            store(builder, values, _element(builder, to_address, first, 8))

        eight = ir.Constant(dimension.type, _LANES)
        with cgutils.for_range(builder, builder.sdiv(dimension, eight)) as loop:
            write(builder.mul(loop.index, eight), _LANES)
        rest = builder.srem(dimension, eight)
        with cgutils.for_range(builder, rest) as loop:
            write(builder.add(builder.sub(dimension, rest), loop.index), 1)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.intp, types.uintp), generate


def _canonical(builder: Any, left_address: Any, right: Any, dimension: Any) -> Any:
    """The canonical score of a float32 row and a row of which `right(first, count)` gives neighbouring values in float64."""
    lanes = cgutils.alloca_once_value(builder, constant(ir.VectorType(F64, _LANES), 0.0))
    eight = ir.Constant(dimension.type, _LANES)

    def products(first: Any, count: int) -> Any:
        """The products of `count` neighbouring dimensions, float64 and exact."""
        left = load(builder, _element(builder, left_address, first, 4), F32, count)
        return builder.fmul(builder.fpext(left, ir.VectorType(F64, count)), right(first, count))

    with cgutils.for_range(builder, builder.sdiv(dimension, eight)) as loop:
        added = products(builder.mul(loop.index, eight), _LANES)
        builder.store(builder.fadd(builder.load(lanes), added), lanes)
    rest = builder.srem(dimension, eight)
    # A copy, because lanes picked by a variable keep a vector in memory.
    tail = cgutils.alloca_once_value(builder, constant(ir.VectorType(F64, _LANES), 0.0))
    builder.store(builder.load(lanes), tail)
    with cgutils.for_range(builder, rest) as loop:
        added = products(builder.add(builder.sub(dimension, rest), loop.index), 1)
        lane = builder.gep(builder.bitcast(tail, F64.as_pointer()), [loop.index])
        builder.store(builder.fadd(builder.load(lane), builder.extract_element(added, I32(0))), lane)
    sums = builder.load(tail)
    lane = [builder.extract_element(sums, I32(n)) for n in range(_LANES)]
    # ((0+1)+(2+3)) + ((4+5)+(6+7)), as the contract has it.
    low = builder.fadd(builder.fadd(lane[0], lane[1]), builder.fadd(lane[2], lane[3]))
    return builder.fadd(low, builder.fadd(builder.fadd(lane[4], lane[5]), builder.fadd(lane[6], lane[7])))


def _joined(builder: Any, high_address: Any, low_address: Any, first: Any, count: int) -> Any:
    """Neighbouring values of a row kept in halves, float64."""
    wide = ir.VectorType(I32, count)
    high = builder.zext(load(builder, _element(builder, high_address, first, 2), I16, count), wide)
    low = builder.sext(load(builder, _element(builder, low_address, first, 2), I16, count), wide)
    bits = builder.add(builder.shl(high, constant(wide, 16)), low)
    return builder.fpext(builder.bitcast(bits, ir.VectorType(F32, count)), ir.VectorType(F64, count))


def _element(builder: Any, address: Any, index: Any, num_bytes: int) -> Any:
    """The address of an element of so many bytes."""
    return builder.add(address, builder.mul(index, ir.Constant(index.type, num_bytes)))
