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
  checked: whoever calls keeps the arrays alive and stays inside them. `llvm_vectors` holds what such functions share.
- Comparisons of floats are unordered (`fcmp_unordered`): with NaN on either side they are true, so an item whose coarse score
  says nothing is never dropped.

bfloat16 has no arithmetic on most processors, but its bits, the lower 15 flipped where the sign is set, order like its values
as int16 (`_bfloat16_key`); a limit is turned into such a key once and 64 scores are compared as integers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload, register_jitable

from semrec.scoring.llvm_vectors import F32, I8, I16, I32, I64, constant, load, splat, store

__all__ = [
    "GROUP",
    "LIMIT_KIND",
    "MAXIMA",
    "as_limit",
    "at_least",
    "at_least_each",
    "count_at_least",
    "count_bits",
    "first_bit",
    "load_score",
    "prefetch",
    "raise_maxima",
]

#: Items tested at once, one bit each.
GROUP = 64
#: By the kind of number in which a product comes back: the type of what `as_limit` makes for it.
LIMIT_KIND = {"float32": np.float32, "bfloat16": np.int16, "int32": np.float32}
#: Maxima of `raise_maxima`.
MAXIMA = 16


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


def raise_maxima(tile: Any, address: Any, scales_address: Any, mask: Any, maxima_address: Any) -> Any:
    """Raises 16 float32 to those of 64 coarse scores whose bit is set in uint64 `mask`; score j raises number j % 16.

    Scores that are NaN raise nothing. See `at_least`.
    """
    raise NotImplementedError


@overload(raise_maxima)
def _raise_maxima(tile, address, scales_address, mask, maxima_address):  # type: ignore[no-untyped-def]
    if tile.dtype == types.uint16:
        return lambda tile, address, scales_address, mask, maxima_address: _raise_bfloat16(
            address, mask, maxima_address
        )
    if tile.dtype == types.int32:
        return lambda tile, address, scales_address, mask, maxima_address: _raise_int32(
            address, scales_address, mask, maxima_address
        )
    return lambda tile, address, scales_address, mask, maxima_address: _raise_float32(address, mask, maxima_address)


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


@intrinsic
def _mask_bfloat16(typing: Any, address: Any, limit_key: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        keys = _keys(builder, arguments[0], GROUP)
        return builder.bitcast(builder.icmp_signed(">=", keys, splat(builder, arguments[1], GROUP)), I64)

    return types.uint64(types.uintp, types.int16), generate


@intrinsic
def _mask_float32(typing: Any, address: Any, limit: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        scores = load(builder, arguments[0], F32, GROUP)
        return builder.bitcast(builder.fcmp_unordered(">=", scores, splat(builder, arguments[1], GROUP)), I64)

    return types.uint64(types.uintp, types.float32), generate


@intrinsic
def _mask_int32(typing: Any, address: Any, scales_address: Any, limit: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        scores = _scaled(builder, arguments[0], arguments[1], GROUP)
        return builder.bitcast(builder.fcmp_unordered(">=", scores, splat(builder, arguments[2], GROUP)), I64)

    return types.uint64(types.uintp, types.uintp, types.float32), generate


@intrinsic
def _mask_each_bfloat16(typing: Any, address: Any, limits_address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        keys, limits = _keys(builder, arguments[0], GROUP), load(builder, arguments[1], I16, GROUP)
        return builder.bitcast(builder.icmp_signed(">=", keys, limits), I64)

    return types.uint64(types.uintp, types.uintp), generate


@intrinsic
def _mask_each_float32(typing: Any, address: Any, limits_address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        scores, limits = (load(builder, argument, F32, GROUP) for argument in arguments)
        return builder.bitcast(builder.fcmp_unordered(">=", scores, limits), I64)

    return types.uint64(types.uintp, types.uintp), generate


@intrinsic
def _mask_each_int32(typing: Any, address: Any, scale: Any, limits_address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        limits = load(builder, arguments[2], F32, GROUP)
        products = builder.sitofp(load(builder, arguments[0], I32, GROUP), limits.type)
        scores = builder.fmul(products, splat(builder, arguments[1], GROUP))
        return builder.bitcast(builder.fcmp_unordered(">=", scores, limits), I64)

    return types.uint64(types.uintp, types.float32, types.uintp), generate


@intrinsic
def _raise_bfloat16(typing: Any, address: Any, mask: Any, maxima_address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = ir.VectorType(I32, GROUP)
        bits = builder.shl(builder.zext(load(builder, arguments[0], I16, GROUP), wide), constant(wide, 16))
        return _raise_to(context, builder, builder.bitcast(bits, ir.VectorType(F32, GROUP)), *arguments[1:])

    return types.void(types.uintp, types.uint64, types.uintp), generate


@intrinsic
def _raise_float32(typing: Any, address: Any, mask: Any, maxima_address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _raise_to(context, builder, load(builder, arguments[0], F32, GROUP), *arguments[1:])

    return types.void(types.uintp, types.uint64, types.uintp), generate


@intrinsic
def _raise_int32(typing: Any, address: Any, scales_address: Any, mask: Any, maxima_address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _raise_to(context, builder, _scaled(builder, arguments[0], arguments[1], GROUP), *arguments[2:])

    return types.void(types.uintp, types.uintp, types.uint64, types.uintp), generate


@register_jitable
def count_at_least(keys: Any, pivot: Any) -> Any:
    """How many of an array of int32 are not below the pivot."""
    address, count = np.uintp(keys.ctypes.data), 0
    num_groups = len(keys) // GROUP
    for g in range(num_groups):
        count += _count_of_group(address + np.uintp(g * GROUP * 4), pivot)
    for n in range(num_groups * GROUP, len(keys)):
        count += keys[n] >= pivot
    return count


@intrinsic
def _count_of_group(typing: Any, address: Any, pivot: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        keys = load(builder, arguments[0], I32, GROUP)
        reaching = builder.icmp_signed(">=", keys, splat(builder, arguments[1], GROUP))
        return builder.ctpop(builder.bitcast(reaching, I64))

    return types.int64(types.uintp, types.int32), generate


@intrinsic
def prefetch(typing: Any, address: Any) -> Any:
    """Prefetches the cache line at `address`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = I8.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, I32, I32, I32])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        builder.call(function, [builder.inttoptr(arguments[0], pointer), I32(0), I32(3), I32(1)])
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
    bits = load(builder, address, I16, count)
    sign = builder.ashr(bits, constant(bits.type, 15))
    return builder.xor(bits, builder.and_(sign, constant(bits.type, 0x7FFF)))


def _scaled(builder: Any, address: Any, scales_address: Any, count: int) -> Any:
    """Neighbouring int32 times their float32 scales."""
    scales = load(builder, scales_address, F32, count)
    return builder.fmul(builder.sitofp(load(builder, address, I32, count), scales.type), scales)


def _raise_to(context: Any, builder: Any, scores: Any, mask: Any, maxima_address: Any) -> Any:
    """Raises the maxima at an address to the scores, 64 float32, whose bit is set."""
    bits = builder.bitcast(mask, ir.VectorType(ir.IntType(1), GROUP))
    visible = builder.select(bits, scores, constant(scores.type, float("-inf")))
    maxima = load(builder, maxima_address, F32, MAXIMA)
    for first in range(0, GROUP, MAXIMA):
        places = ir.Constant(ir.VectorType(I32, MAXIMA), list(range(first, first + MAXIMA)))
        part = builder.shuffle_vector(visible, ir.Constant(visible.type, ir.Undefined), places)
        maxima = builder.select(builder.fcmp_ordered(">", part, maxima), part, maxima)
    store(builder, maxima, maxima_address)
    return context.get_dummy_value()
