"""The product of a strip and a panel (see `panels`), made in registers: written as LLVM vectors for each kind of codes.

How it works. Six queries meet 16 items a vector, or 8 where registers are shorter. The word of each query is spread over a
vector, and one instruction multiplies it with the words of a vector of items and adds the products to as many sums:
`vpdpbusd` four products of an unsigned and a signed byte, `vdpbf16ps` two of bfloat16, an FMA one of float32. Each pair of a
query and a vector of items has a register of sums, and the loop over the words does nothing but load vectors, spread words and
call the instruction: as many as the processor can do. With 512 bits that is 24 sums, 4 vectors of items and words in 32
registers, for all 64 items of a panel at once; with 256 bits 12 sums and 2 vectors in 16 registers, for 16 items after another.

int8: items are the unsigned factor, so 128 is added to their codes. That adds 128 times the sum of the query's codes, and the
sums start from minus that. int32 may wrap around on the way; the end is exact for D < 133,144 (see `int8`).

Without VNNI `vpmaddubsw` adds pairs of products in 16 bits, and saturates: so queries have codes up to 64 there, with which the
largest sum is 255 * 64 * 2 = 32,640. `vpmaddwd` with ones adds the pairs in 32 bits.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from semrec.compiled import compiled
from semrec.scoring.llvm_vectors import BF16, F32, I8, I16, I32, I64, constant, load, splat, store

__all__ = [
    "PANEL",
    "STRIP",
    "compare_strip",
    "group_items",
    "has_instruction",
    "largest_query_code",
    "multiply_strip",
]

PANEL: Final = 64  # items; as many as a word of the visible ones has bits
STRIP: Final = 6  # queries
_WORD: Final = 4  # bytes


@cache
def has_instruction(codes: str) -> bool:
    """Whether code compiled here may multiply codes of this numpy type; NUMBA_CPU_FEATURES decides where it is set."""
    features = _features()
    if codes == "uint8":
        return _has_vnni() or ("+avx512bw" if "+avx512f" in features else "+avx2") in features
    if codes == "uint16":
        return "+avx512bf16" in features and "+amx-bf16" not in features  # tiles, which the library uses, do far more
    return "+avx512f" in features or {"+avx2", "+fma"} <= features


@cache
def largest_query_code() -> int:
    """The largest int8 code of a query whose products with any items are exact in panels."""
    return 127 if _has_vnni() else 64


@cache
def group_items() -> int:
    """Items that are multiplied at once: 64 or 16."""
    lanes, num_vectors = _vectors()
    return lanes * num_vectors


@compiled
def multiply_strip(strips, s, panels, p, products):  # type: ignore[no-untyped-def]
    """Fills [6, 64] of the type of `strips`, int32 or float32, with the products of a strip and a panel."""
    strip, panel = _addresses(strips, s, panels, p)
    _multiply(panels, strip, panel, strips.shape[1] - 1, np.uintp(products.ctypes.data))


@compiled
def compare_strip(strips, s, num_queries, panels, p, scales, limit_R, mask_R, products):  # type: ignore[no-untyped-def]
    """`multiply_strip` for the first queries, and compares the products with limits: fills uint64 `mask_R`.

    Bit j of query r, for item j, is set where product times scale reaches float32 `limit_R[r]`, and where one of them is NaN.
    `scales` is the address of the 64 items' scales, float32. Returns whether any bit is set.
    """
    strip, panel = _addresses(strips, s, panels, p)
    limits, masks = np.uintp(limit_R.ctypes.data), np.uintp(mask_R.ctypes.data)
    mask_R[:] = 0
    num_words, products_at = strips.shape[1] - 1, np.uintp(products.ctypes.data)
    if num_queries == 1:
        _compare_one(panels, strip, panel, num_words, products_at, scales, limits, masks)
    elif num_queries <= 3:
        _compare_three(panels, strip, panel, num_words, products_at, scales, limits, masks)
    else:
        _compare_all(panels, strip, panel, num_words, products_at, scales, limits, masks)
    any_reaches = np.uint64(0)
    for r in range(STRIP):
        any_reaches |= mask_R[r]
    return any_reaches != 0


@compiled
def _addresses(strips, s, panels, p):  # type: ignore[no-untyped-def]
    strip = np.uintp(strips.ctypes.data) + np.uintp(s * strips.shape[1] * (STRIP * 4))
    return strip, np.uintp(panels.ctypes.data) + np.uintp(p * panels.shape[1] * panels.itemsize)


@intrinsic
def _multiply(typing: Any, panels: Any, strip: Any, panel: Any, num_words: Any, products: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        for _ in _groups(builder, STRIP, str(panels.dtype), *arguments[1:5]):
            pass
        return context.get_dummy_value()

    address = types.uintp
    return types.void(panels, address, address, types.intp, address), generate


def _comparison(num_rows: int) -> Any:
    """What `compare_strip` does for the first queries of a strip."""

    @intrinsic
    def compare(
        typing: Any, panels: Any, strip: Any, panel: Any, num_words: Any, products: Any, scales: Any, limits: Any, masks: Any
    ) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            for first, sums in _groups(builder, num_rows, str(panels.dtype), *arguments[1:5]):
                _mark_reaching(builder, first, sums, *arguments[5:])
            return context.get_dummy_value()

        address = types.uintp
        return types.void(panels, address, address, types.intp, address, address, address, address), generate

    return compare


_compare_one, _compare_three, _compare_all = (_comparison(num_rows) for num_rows in (1, 3, STRIP))


def _mark_reaching(builder: Any, first: Any, sums: list[list[Any]], scales: Any, limits: Any, masks: Any) -> None:
    """Sets the bits of the items from `first` on, of which these are the sums, in the masks of their queries."""
    lanes, num_vectors = _vectors()
    scales = builder.add(scales, builder.mul(first, first.type(_WORD)))
    scales_of = [load(builder, _after(builder, scales, _WORD * lanes * v), F32, lanes) for v in range(num_vectors)]
    for r in range(len(sums)):
        limit = splat(builder, _element(builder, _after(builder, limits, _WORD * r), F32), lanes)
        mask_at = builder.inttoptr(_after(builder, masks, 8 * r), I64.as_pointer())
        mask = builder.load(mask_at)
        for v in range(num_vectors):
            scores = builder.fmul(_as_float(builder, sums[r][v]), scales_of[v])
            bits = builder.bitcast(builder.fcmp_unordered(">=", scores, limit), ir.IntType(lanes))
            place = builder.add(first, first.type(lanes * v))
            mask = builder.or_(mask, builder.shl(builder.zext(bits, I64), place))
        builder.store(mask, mask_at)


def _groups(builder: Any, num_rows: int, codes: str, strip: Any, panel: Any, num_words: Any, products: Any) -> Any:
    """Multiplies the first queries of a strip with each group of items of a panel; gives the first item, and the sums.

    The products are stored. What the caller writes meanwhile is done for each group.
    """
    lanes, num_vectors = _vectors()
    words = builder.mul(num_words, num_words.type(_WORD))
    with cgutils.for_range(builder, num_words.type(PANEL // (lanes * num_vectors))) as loop:
        first = builder.mul(loop.index, num_words.type(lanes * num_vectors))
        sums = _sums(builder, num_rows, codes, strip, builder.add(panel, builder.mul(first, words)), num_words)
        for r in range(num_rows):
            for v in range(num_vectors):
                place = _after(builder, products, _WORD * (r * PANEL + v * lanes))
                store(builder, sums[r][v], builder.add(place, builder.mul(first, first.type(_WORD))))
        yield first, sums


def _sums(builder: Any, num_rows: int, codes: str, strip: Any, group: Any, num_words: Any) -> list[list[Any]]:
    """The products of a strip and a group of items: for each query a vector of sums for each vector of items."""
    lanes, num_vectors = _vectors()
    kind = I32 if codes == "uint8" else F32
    sums = []  # variables, which LLVM keeps in registers
    for r in range(num_rows):
        start = splat(builder, _element(builder, _after(builder, strip, _WORD * r), kind), lanes)
        sums.append([cgutils.alloca_once_value(builder, start) for _ in range(num_vectors)])
    with cgutils.for_range(builder, num_words) as loop:
        items_at = builder.add(group, builder.mul(loop.index, loop.index.type(_WORD * lanes * num_vectors)))
        queries_at = builder.add(strip, builder.mul(loop.index, loop.index.type(_WORD * STRIP)))
        items = [load(builder, _after(builder, items_at, _WORD * lanes * v), I32, lanes) for v in range(num_vectors)]
        for r in range(num_rows):
            word = _element(builder, _after(builder, queries_at, _WORD * (STRIP + r)), I32)
            for v in range(num_vectors):
                added = _add_products(builder, codes, builder.load(sums[r][v]), items[v], splat(builder, word, lanes))
                builder.store(added, sums[r][v])
    return [[builder.load(variable) for variable in row] for row in sums]


def _add_products(builder: Any, codes: str, sums: Any, items: Any, words: Any) -> Any:
    """Adds the products of vectors of words to sums."""
    lanes = sums.type.count
    kind = {"float32": sums.type, "uint16": ir.VectorType(BF16, 2 * lanes), "uint8": ir.VectorType(I8, 4 * lanes)}[
        codes
    ]
    items, words = builder.bitcast(items, kind), builder.bitcast(words, kind)
    if codes == "float32":
        return _call(builder, f"llvm.fma.v{lanes}f32", sums.type, items, words, sums)
    if codes == "uint16":
        return _call(builder, "llvm.x86.avx512bf16.dpbf16ps.512", sums.type, sums, items, words)
    if _has_vnni():
        return _call(builder, "llvm.x86.avx512.vpdpbusd.512", sums.type, sums, items, words)
    pairs, ones = ir.VectorType(I16, 2 * lanes), constant(ir.VectorType(I16, 2 * lanes), 1)
    if lanes == 16:
        names = ("llvm.x86.avx512.pmaddubs.w.512", "llvm.x86.avx512.pmaddw.d.512")
    else:
        names = ("llvm.x86.avx2.pmadd.ub.sw", "llvm.x86.avx2.pmadd.wd")
    of_pairs = _call(builder, names[0], pairs, items, words)
    return builder.add(sums, _call(builder, names[1], sums.type, of_pairs, ones))


def _call(builder: Any, name: str, kind: Any, *arguments: Any) -> Any:
    """Calls an instruction that gives a vector of this type."""
    function_type = ir.FunctionType(kind, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), arguments)


def _as_float(builder: Any, sums: Any) -> Any:
    return sums if sums.type.element == F32 else builder.sitofp(sums, ir.VectorType(F32, sums.type.count))


def _element(builder: Any, address: Any, kind: Any) -> Any:
    return builder.extract_element(load(builder, address, kind, 1), I32(0))


def _after(builder: Any, address: Any, num_bytes: int) -> Any:
    return builder.add(address, address.type(num_bytes))


def _has_vnni() -> bool:
    return "+avx512vnni" in _features()


@cache
def _features() -> frozenset[str]:
    return frozenset(cpu_target.target_context.codegen().magic_tuple()[2].split(","))


def _vectors() -> tuple[int, int]:
    """Lanes of a vector of items, and how many of them are multiplied at once."""
    return (16, 4) if "+avx512f" in _features() else (8, 2)
