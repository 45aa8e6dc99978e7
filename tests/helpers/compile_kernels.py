"""Compiles what the CUDA engine launches, without a GPU, and prints what the machine code is made of: a line of JSON each.

Triton compiles for any GPU without having one, but not in a process that interprets its kernels. So that nothing is listed
twice, an engine runs without a device, and what it would launch is noted.

    python compile_kernels.py 90 80      # compute capabilities without their dot; for all but the first the largest products
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.tools.tensor_descriptor import TensorDescriptor

from semrec.bench.gpu_host import engine_without_device
from semrec.scoring.cuda import candidate_kernels, coarse_kernels, resident_kernel
from semrec.scoring.cuda.block import PassMode
from semrec.scoring.cuda.launches import GROUP
from semrec.scoring.cuda.products import Products, TiledProduct, resident_products
from semrec.scoring.formats import FORMATS
from semrec.scoring.types import ItemShard, Queries, Targets

_TYPES = {
    torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.int8: "*i8", torch.int16: "*i16", torch.int32: "*i32",
    torch.int64: "*i64",
}  # fmt: skip
_TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
_OPTIONS = ("num_warps", "num_stages")
_MODULES = coarse_kernels, resident_kernel, candidate_kernels
_LARGEST_SHARED_BYTES = 227 << 10
#: What SASS calls a product on tensor cores: from Ampere on, on Hopper, and on Blackwell.
_TENSOR = re.compile(r"\b(HMMA|IMMA|HGMMA|IGMMA|UTC\w*MMA)\b")

Launch = tuple[str, tuple[tuple[str, str], ...], tuple[tuple[str, Any], ...], tuple[tuple[str, int], ...]]


def _type_of(argument: Any) -> str:
    if isinstance(argument, TensorDescriptor):
        return f"tensordesc<{_TYPES[argument.base.dtype][1:]}{list(argument.block_shape)}>".replace(" ", "")
    if isinstance(argument, torch.Tensor):
        return _TYPES[argument.dtype]
    return "i32" if abs(argument) < 2**31 else "i64"


def noted_launches() -> dict[Launch, Any]:
    """What the engine launches on a GPU, with every kernel, in every format and mode, for 384 dimensions."""
    launches: dict[Launch, Any] = {}

    def note(name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        kernel = next(getattr(module, name) for module in _MODULES if hasattr(module, name))
        options = tuple((option, named.pop(option)) for option in _OPTIONS if option in named)
        given = dict(zip((p.name for p in kernel.params), arguments, strict=False)) | named
        types = tuple((p.name, _type_of(given[p.name])) for p in kernel.params if not p.is_constexpr)
        constants = tuple((p.name, given[p.name]) for p in kernel.params if p.is_constexpr)
        launches[name, types, constants, options] = kernel

    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((9_000, 384)).astype(np.float32)
    words = np.ones((len(vectors), 1), np.uint64)
    shard = ItemShard.from_vectors(vectors, words, (0,))
    queries = Queries(vectors[:3], words[:3], np.array([0, 1, 1, 1]), np.array([7]))
    for coarse in FORMATS.values():
        if coarse.gpu is None:
            continue
        tiled = TiledProduct(coarse.gpu.tile)
        for product in (tiled, *resident_products(coarse.gpu, vectors.shape[1], _LARGEST_SHARED_BYTES)):
            engine = engine_without_device(shard, 10, note, coarse, Products(product, product, tiled))
            for k in (10, 300, 4_000):
                engine.top_k(queries, k)
        engine.count_before(queries, Targets(np.arange(4), np.arange(3), np.zeros(3, np.float32)))
    return launches


def compiled(launch: Launch, kernel: Any, capability: int) -> dict[str, Any]:
    """What became of a launch: its kernel, constants, shared bytes, registers, spills and what instructions it has."""
    name, types, constants, options = launch
    signature = {p.name: dict(types).get(p.name, "constexpr") for p in kernel.params}
    places = {p.name: n for n, p in enumerate(kernel.params)}
    source = ASTSource(
        kernel, signature, {(places[name],): value for name, value in constants},
        {(places[name],): [["tt.divisibility", 16]] for name, kind in types if kind.startswith("*")},
    )  # fmt: skip
    built = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=dict(options))
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(built.asm["cubin"])
        file.flush()
        usage = _tool("cuobjdump", "-res-usage", file.name)
        sass = _tool("nvdisasm", "-c", file.name)
    return {
        "capability": capability, "kernel": name, "constants": dict(constants), "shared": built.metadata.shared,
        "registers": int(re.search(r"REG:(\d+)", usage)[1]), "stack": int(re.search(r"STACK:(\d+)", usage)[1]),
        "spills": len(re.findall(r"\b(?:LDL|STL)\b", sass)), "tensor": sorted(set(_TENSOR.findall(sass))),
        "instructions": len(re.findall(r"^\s+/\*[0-9a-f]{4,}\*/", sass, re.MULTILINE)), "copies_tensors": "UTMALDG" in sass,
        "tf32": "tf32" in built.asm["ptx"],
    }  # fmt: skip


def _tool(name: str, *arguments: str) -> str:
    return subprocess.run([_TOOLS / name, *arguments], capture_output=True, text=True, check=True).stdout


def is_looked_at(launch: Launch, capability: int, is_first: bool) -> bool:
    """Of the first capability all launches; of others the largest products, and what ranks candidates."""
    name, constants = launch[0], dict(launch[2])
    if is_first or name == "rank_candidates":
        return True
    if name == "resident_pass" and capability // 10 != 10:
        return False
    if constants.get("JOIN_HALVES"):
        return constants["MODE"] == PassMode.MAXIMA and constants["G"] == GROUP
    return constants.get("MODE") == PassMode.COLLECT and constants["WITH_MAXIMA"]


if __name__ == "__main__":
    LAUNCHES = noted_launches()
    for place, capability in enumerate(map(int, sys.argv[1:])):
        for launch, kernel in LAUNCHES.items():
            if is_looked_at(launch, capability, not place):
                print(json.dumps(compiled(launch, kernel, capability)), flush=True)
