"""The matrix kernels that a peer's library can be told to take; who measures a peer takes the fastest of them.

OpenBLAS, which faiss-cpu bundles, and scipy for implicit, chooses by the processor's model. A build that is older than the
processor falls back to kernels for far older ones and is then several times slower than it could be, so its choice alone is
not the peer at its best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

__all__ = ["LIBRARY_CHOICE", "kernel_choices", "with_kernels"]

LIBRARY_CHOICE: Final = "its own choice"
_VARIABLE: Final = "OPENBLAS_CORETYPE"
#: OpenBLAS core type -> the instructions (flags of /proc/cpuinfo) that its single-precision products use.
_CORE_TYPES: Final[Mapping[str, frozenset[str]]] = {
    "Haswell": frozenset({"avx2", "fma"}),
    "Zen": frozenset({"avx2", "fma"}),
    "SkylakeX": frozenset({"avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl"}),
    "Cooperlake": frozenset({"avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16"}),
}


def kernel_choices(engine: str) -> list[str]:
    """Names of the kernels that `engine` can be told to take and this processor can run, the library's own choice first."""
    if engine not in ("faiss-cpu", "implicit"):
        return [LIBRARY_CHOICE]  # torch offers none that keeps float32, ScaNN none at all
    flags = _processor_flags()
    return [LIBRARY_CHOICE, *(name for name, needed in _CORE_TYPES.items() if needed <= flags)]


def with_kernels(choice: str, command: Sequence[str]) -> list[str]:
    """The command of a process that is to take a choice, whatever the environment of this one says; see env(1)."""
    chosen = [] if choice == LIBRARY_CHOICE else [f"{_VARIABLE}={choice}"]
    return ["env", "-u", _VARIABLE, *chosen, *command]


def _processor_flags() -> frozenset[str]:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))
