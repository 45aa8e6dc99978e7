"""Vector operations that numba does not generate from a loop, written as LLVM vectors; LLVM fits them to any CPU.

How to read this file. numba turns Python into LLVM's intermediate representation (IR), a typed assembler for an idealised
machine, and LLVM turns the IR into the instructions of the processor at hand. A loop that tests 64 scores and packs the
answers into the bits of one word is beyond what LLVM's vectoriser finds, so those few steps are written as IR here:

- A function decorated with `@intrinsic` runs once, while numba compiles a caller. It returns a signature (its result and
  argument types) and `generate`, which appends instructions to the caller through llvmlite's `builder` and returns the value
  that holds the result. Nothing in `generate` computes anything: `builder.fadd(a, b)` writes an addition down.
- The IR has vectors of any length. `icmp_signed(">=", keys, limits)` of two <64 x i16> gives <64 x i1>, which `bitcast`
  turns into one i64: the mask. LLVM splits that into what the processor has: four AVX2 compares whose sign bits are
  gathered, or two AVX-512 compares straight into mask registers.
- A function decorated with `@overload` stands for the empty Python function of the same name: by the type of the tile it picks
  the variant for uint16 (the bits of bfloat16), int32 (sums of int8 codes) or float32 scores.
- Addresses are integers (`uintp`): byte addresses of array elements, so that a load may begin at any element. No bounds are
  checked: whoever calls keeps the arrays alive and stays inside them. `_load` states the alignment of a single element.
- Comparisons of floats are unordered (`fcmp_unordered`): with NaN on either side they are true, so an item whose coarse score
  says nothing is never dropped.

Two tricks. bfloat16 has no arithmetic on most processors, but its bits, the lower 15 flipped where the sign is set, order
like its values as int16 (`_bfloat16_key`); a limit is turned into such a key once and 64 scores are compared as integers.
And `lanes_dot` keeps the eight float64 lanes of the canonical score in one vector: products of float32 are exact in float64,
so the order of the contract (lane l adds d = l, l + 8, ...) is all that matters, whatever LLVM fuses.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload, register_jitable

__all__ = [
    "GROUP",
    "LIMIT_KIND",
    "as_limit",
    "at_least",
    "at_least_each",
    "count_bits",
    "first_bit",
    "lanes_dot",
    "largest",
    "load_score",
    "prefetch",
]

#: Items tested at once, one bit each.
GROUP = 64
#: By the kind of number in which a product comes back: the type of what `as_limit` makes for it.
LIMIT_KIND = {"float32": np.float32, "bfloat16": np.int16, "int32": np.float32}
_NARROW = 16  # the smaller group of `largest`
_LANES = 8
_I8, _I16, _I32, _I64 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
_F32, _F64 = ir.FloatType(), ir.DoubleType()


def as_limit(tile: Any, lowest: Any) -> Any:
    """Makes what `at_least` compares with from a float64: the largest value of the tile's kind not above `lowest`."""
    raise NotImplementedError  # numba compiles the overload


@overload(as_limit)
def _as_limit(tile, lowest):  # type: ignore[no-untyped-def]
    if tile.dtype == types.uint16:
        return lambda tile, lowest: _bfloat16_key(lowest)
    return lambda tile, lowest: _round_down(lowest)


def at_least(tile: Any, address: Any, scales_address: Any, limit: Any) -> Any:
    """Compares 64 coarse scores with a limit: uint64, bit j for the score j places after `address`.

    Scores are of the type of `tile`: uint16 bits of bfloat16, float32, or int32 times the float32 scale at the same place.
    All reach a limit made of minus infinity or NaN.
    """
    raise NotImplementedError


@overload(at_least)
def _at_least(tile, address, scales_address, limit):  # type: ignore[no-untyped-def]
    if tile.dtype == types.uint16:
        return lambda tile, address, scales_address, limit: _mask_bfloat16(address, limit)
    if tile.dtype == types.int32:
        return lambda tile, address, scales_address, limit: _mask_int32(address, scales_address, limit)
    return lambda tile, address, scales_address, limit: _mask_float32(address, limit)


def at_least_each(tile: Any, address: Any, scale: Any, limits_address: Any) -> Any:
    """Compares 64 coarse scores of one item with the limits of as many queries: uint64. See `at_least`.

    The limits, `as_limit` of each query, lie at `limits_address`; `scale` is the item's, float32.
    """
    raise NotImplementedError


@overload(at_least_each)
def _at_least_each(tile, address, scale, limits_address):  # type: ignore[no-untyped-def]
    if tile.dtype == types.uint16:
        return lambda tile, address, scale, limits_address: _mask_each_bfloat16(address, limits_address)
    if tile.dtype == types.int32:
        return lambda tile, address, scale, limits_address: _mask_each_int32(address, scale, limits_address)
    return lambda tile, address, scale, limits_address: _mask_each_float32(address, limits_address)


def largest(tile: Any, address: Any, scales_address: Any, mask: Any) -> Any:
    """The largest of those of 16 neighbouring coarse scores whose bit is set in uint16 `mask`, float32;
    minus infinity for none. See `at_least`.
    """
    raise NotImplementedError


@overload(largest)
def _largest(tile, address, scales_address, mask):  # type: ignore[no-untyped-def]
    if tile.dtype == types.uint16:
        return lambda tile, address, scales_address, mask: _bfloat16_of_key(_largest_bfloat16(address, mask))
    if tile.dtype == types.int32:
        return lambda tile, address, scales_address, mask: _largest_int32(address, scales_address, mask)
    return lambda tile, address, scales_address, mask: _largest_float32(address, mask)


def load_score(score: Any) -> Any:
    """A coarse score as float32: the value of bfloat16 bits, or the number itself."""
    raise NotImplementedError


@overload(load_score)
def _load_score(score):  # type: ignore[no-untyped-def]
    if score == types.uint16:
        return lambda score: np.uint32(np.uint32(score) << np.uint32(16)).view(np.float32)
    return lambda score: np.float32(score)


@register_jitable
def _round_down(value: float) -> np.float32:
    """The largest float32 that is not above `value`; minus infinity for NaN."""
    if not value > -np.inf:
        return np.float32(-np.inf)
    rounded = np.float32(value)
    return np.float32(np.nextafter(rounded, np.float32(-np.inf))) if rounded > value else rounded


@register_jitable
def _bfloat16_key(value: float) -> np.int16:
    """The key of the largest bfloat16 that is not above `value`; the least key for minus infinity and NaN.

    As int16, the bits of bfloat16 order like the numbers once the lower 15 bits of negative ones are flipped.
    """
    if not value > -np.inf:
        return np.int16(-0x8000)
    bits = np.float32(_round_down(value)).view(np.uint32)
    high = np.uint32(bits >> np.uint32(16))
    if bits & np.uint32(0x80000000):
        if bits & np.uint32(0xFFFF):
            high = np.uint32(high + np.uint32(1))  # away from zero, which is down
        high = np.uint32(high ^ np.uint32(0x7FFF))
    return np.uint16(high).view(np.int16)


@register_jitable
def _bfloat16_of_key(key: int) -> np.float32:
    """The value whose key this is; minus infinity for the least key."""
    if key == -0x8000:
        return np.float32(-np.inf)
    bits = np.uint32(np.uint16(key) ^ (np.uint16(0x7FFF) if key < 0 else np.uint16(0)))
    return np.uint32(bits << np.uint32(16)).view(np.float32)


@intrinsic
def _mask_bfloat16(typing: Any, address: Any, limit_key: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        keys = _keys(builder, arguments[0], GROUP)
        return builder.bitcast(builder.icmp_signed(">=", keys, _splat(builder, arguments[1], GROUP)), _I64)

    return types.uint64(types.uintp, types.int16), generate


@intrinsic
def _mask_float32(typing: Any, address: Any, limit: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        scores = _load(builder, arguments[0], _F32, GROUP)
        return builder.bitcast(builder.fcmp_unordered(">=", scores, _splat(builder, arguments[1], GROUP)), _I64)

    return types.uint64(types.uintp, types.float32), generate


@intrinsic
def _mask_int32(typing: Any, address: Any, scales_address: Any, limit: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        scores = _scaled(builder, arguments[0], arguments[1], GROUP)
        return builder.bitcast(builder.fcmp_unordered(">=", scores, _splat(builder, arguments[2], GROUP)), _I64)

    return types.uint64(types.uintp, types.uintp, types.float32), generate


@intrinsic
def _mask_each_bfloat16(typing: Any, address: Any, limits_address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        keys, limits = _keys(builder, arguments[0], GROUP), _load(builder, arguments[1], _I16, GROUP)
        return builder.bitcast(builder.icmp_signed(">=", keys, limits), _I64)

    return types.uint64(types.uintp, types.uintp), generate


@intrinsic
def _mask_each_float32(typing: Any, address: Any, limits_address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        scores, limits = (_load(builder, argument, _F32, GROUP) for argument in arguments)
        return builder.bitcast(builder.fcmp_unordered(">=", scores, limits), _I64)

    return types.uint64(types.uintp, types.uintp), generate


@intrinsic
def _mask_each_int32(typing: Any, address: Any, scale: Any, limits_address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        limits = _load(builder, arguments[2], _F32, GROUP)
        products = builder.sitofp(_load(builder, arguments[0], _I32, GROUP), limits.type)
        scores = builder.fmul(products, _splat(builder, arguments[1], GROUP))
        return builder.bitcast(builder.fcmp_unordered(">=", scores, limits), _I64)

    return types.uint64(types.uintp, types.float32, types.uintp), generate


@intrinsic
def _largest_bfloat16(typing: Any, address: Any, mask: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        keys = _keys(builder, arguments[0], _NARROW)
        visible = builder.select(_bools(builder, arguments[1]), keys, _constant(keys.type, -0x8000))
        return _reduce(builder, "smax", visible)

    return types.int16(types.uintp, types.uint16), generate


@intrinsic
def _largest_float32(typing: Any, address: Any, mask: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _largest_float(builder, _load(builder, arguments[0], _F32, _NARROW), arguments[1])

    return types.float32(types.uintp, types.uint16), generate


@intrinsic
def _largest_int32(typing: Any, address: Any, scales_address: Any, mask: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _largest_float(builder, _scaled(builder, arguments[0], arguments[1], _NARROW), arguments[2])

    return types.float32(types.uintp, types.uintp, types.uint16), generate


@intrinsic
def lanes_dot(typing: Any, left_address: Any, high_address: Any, low_address: Any, dimension: Any) -> Any:
    """The canonical score of a float32 row and a row kept in halves, in float64: before it is rounded to float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        left_address, high_address, low_address, dimension = arguments
        lanes = cgutils.alloca_once_value(builder, _constant(ir.VectorType(_F64, _LANES), 0.0))
        eight = ir.Constant(dimension.type, _LANES)

        def products(first: Any, count: int) -> Any:
            """The products of `count` neighbouring dimensions, float64 and exact."""
            bytes_2 = builder.shl(first, ir.Constant(first.type, 1))
            bytes_4 = builder.shl(first, ir.Constant(first.type, 2))
            wide, exact = ir.VectorType(_I32, count), ir.VectorType(_F64, count)
            left = _load(builder, builder.add(left_address, bytes_4), _F32, count)
            high = builder.zext(_load(builder, builder.add(high_address, bytes_2), _I16, count), wide)
            low = builder.sext(_load(builder, builder.add(low_address, bytes_2), _I16, count), wide)
            bits = builder.add(builder.shl(high, _constant(wide, 16)), low)
            right = builder.bitcast(bits, left.type)
            return builder.fmul(builder.fpext(left, exact), builder.fpext(right, exact))

        with cgutils.for_range(builder, builder.sdiv(dimension, eight)) as loop:
            added = products(builder.mul(loop.index, eight), _LANES)
            builder.store(builder.fadd(builder.load(lanes), added), lanes)
        rest = builder.srem(dimension, eight)
        # A copy, because lanes picked by a variable keep a vector in memory.
        tail = cgutils.alloca_once_value(builder, _constant(ir.VectorType(_F64, _LANES), 0.0))
        builder.store(builder.load(lanes), tail)
        with cgutils.for_range(builder, rest) as loop:
            added = products(builder.add(builder.sub(dimension, rest), loop.index), 1)
            lane = builder.gep(builder.bitcast(tail, _F64.as_pointer()), [loop.index])
            builder.store(builder.fadd(builder.load(lane), builder.extract_element(added, _I32(0))), lane)
        sums = builder.load(tail)
        lane = [builder.extract_element(sums, _I32(n)) for n in range(_LANES)]
        # ((0+1)+(2+3)) + ((4+5)+(6+7)), as the contract has it.
        low = builder.fadd(builder.fadd(lane[0], lane[1]), builder.fadd(lane[2], lane[3]))
        return builder.fadd(low, builder.fadd(builder.fadd(lane[4], lane[5]), builder.fadd(lane[6], lane[7])))

    return types.float64(types.uintp, types.uintp, types.uintp, types.intp), generate


@intrinsic
def prefetch(typing: Any, address: Any) -> Any:
    """Prefetches the cache line at `address`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _I8.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, _I32, _I32, _I32])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        builder.call(function, [builder.inttoptr(arguments[0], pointer), _I32(0), _I32(3), _I32(1)])
        return context.get_dummy_value()

    return types.void(types.uintp), generate


@intrinsic
def first_bit(typing: Any, mask: Any) -> Any:
    """The place of the lowest set bit of a mask that is not zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.IntType(1)(1))

    return types.int64(types.uint64), generate


@intrinsic
def count_bits(typing: Any, mask: Any) -> Any:
    """How many bits of a mask are set."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


def _keys(builder: Any, address: Any, count: int) -> Any:
    """Keys (see `_bfloat16_key`) of neighbouring bfloat16."""
    bits = _load(builder, address, _I16, count)
    sign = builder.ashr(bits, _constant(bits.type, 15))
    return builder.xor(bits, builder.and_(sign, _constant(bits.type, 0x7FFF)))


def _scaled(builder: Any, address: Any, scales_address: Any, count: int) -> Any:
    """Neighbouring int32 times their float32 scales."""
    scales = _load(builder, scales_address, _F32, count)
    return builder.fmul(builder.sitofp(_load(builder, address, _I32, count), scales.type), scales)


def _bools(builder: Any, mask: Any) -> Any:
    return builder.bitcast(mask, ir.VectorType(ir.IntType(1), _NARROW))


def _largest_float(builder: Any, scores: Any, mask: Any) -> Any:
    visible = builder.select(_bools(builder, mask), scores, _constant(scores.type, float("-inf")))
    return _reduce(builder, "fmax", visible)


def _reduce(builder: Any, operation: str, vector: Any) -> Any:
    name = f"llvm.vector.reduce.{operation}.v{vector.type.count}{'i16' if operation == 'smax' else 'f32'}"
    kind = ir.FunctionType(vector.type.element, [vector.type])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [vector])


def _load(builder: Any, address: Any, kind: Any, count: int) -> Any:
    """`count` neighbouring elements, aligned as single ones are."""
    loaded = builder.load(builder.inttoptr(address, ir.VectorType(kind, count).as_pointer()))
    loaded.align = 2 if kind is _I16 else 4
    return loaded


def _splat(builder: Any, value: Any, count: int) -> Any:
    kind = ir.VectorType(value.type, count)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, _I32(0))
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), ir.Constant(ir.VectorType(_I32, count), None))


def _constant(kind: Any, value: float) -> Any:
    return ir.Constant(kind, [value] * kind.count)
