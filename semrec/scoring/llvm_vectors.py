"""Vectors in LLVM's intermediate representation, as intrinsics write them: load, spread and state them. See `cpu.llvm`."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

__all__ = ["BF16", "F32", "F64", "I8", "I16", "I32", "I64", "constant", "load", "splat", "store"]

I8, I16, I32, I64 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
F32, F64 = ir.FloatType(), ir.DoubleType()


class _BFloat(ir.Type):
    """LLVM's bfloat, which llvmlite (0.50) has no name for."""

    def _to_string(self) -> str:
        return "bfloat"


BF16 = _BFloat()


def load(builder: Any, address: Any, kind: Any, count: int) -> Any:
    """`count` neighbouring elements, aligned as single ones are."""
    loaded = builder.load(builder.inttoptr(address, ir.VectorType(kind, count).as_pointer()))
    loaded.align = 1 if kind is I8 else 2 if kind is I16 else 4
    return loaded


def store(builder: Any, vector: Any, address: Any) -> None:
    """Writes a vector of elements of 32 bits or more, aligned as single ones of 32 are."""
    builder.store(vector, builder.inttoptr(address, vector.type.as_pointer())).align = 4


def splat(builder: Any, value: Any, count: int) -> Any:
    """A vector of `count` times the same value."""
    kind = ir.VectorType(value.type, count)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, I32(0))
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), ir.Constant(ir.VectorType(I32, count), None))


def constant(kind: Any, value: float) -> Any:
    """A vector of the type `kind` with the same number everywhere."""
    return ir.Constant(kind, [value] * kind.count)
