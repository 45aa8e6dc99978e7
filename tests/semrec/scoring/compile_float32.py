"""Prints for each compute capability that is named whether Triton multiplies the engine's float32 product as TF32.

Triton compiles for any GPU without having one, but not in a process that interprets its kernels.
"""

from __future__ import annotations

import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from semrec.scoring.cuda import coarse_kernels as kernels
from semrec.scoring.cuda.items import gpu_form
from semrec.scoring.formats.float32 import Float32

_SIZES = {"D": 384, "BQ": 64, "BI": 64, "BD": 64, "G": 32, "WITH_MAXIMA": True, "WIDEN": False}
_FORM = gpu_form(Float32())
_STEPS = {"JOIN_HALVES": _FORM.join_halves, "INTEGER": _FORM.integer, "SCALED": _FORM.scaled}
_CONSTANTS = {**_SIZES, **_STEPS, "MODE": kernels.MAXIMA.value}
_TYPES = {
    "items_ID": "*i16", "lows_ID": "*i16", "visible_QW": "*i32", "visible_stride": "i32", "candidates_QW": "*i32",
    "count_Q": "*i32", "num_rows": "i32", "num_words": "i32", "num_query_tiles": "i32", "stride": "i32",
}  # fmt: skip


def multiplies_as_tf32(capability: int) -> bool:
    params = kernels.coarse_pass.params
    signature = {p.name: "constexpr" if p.is_constexpr else _TYPES.get(p.name, "*fp32") for p in params}
    constants = {(n,): _CONSTANTS[p.name] for n, p in enumerate(params) if p.is_constexpr}
    aligned = {(n,): [["tt.divisibility", 16]] for n, p in enumerate(params) if signature[p.name].startswith("*")}
    source = ASTSource(kernels.coarse_pass, signature, constants, aligned)
    target = GPUTarget("cuda", capability, 32)
    return "tf32" in triton.compile(source, target=target, options={"num_warps": 8, "num_stages": 3}).asm["ptx"]


if __name__ == "__main__":
    for capability in sys.argv[1:]:
        print(capability, multiplies_as_tf32(int(capability)))
