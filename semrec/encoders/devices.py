"""Chooses the device and the number type of an encoder: what was asked for against what torch sees.

torch is imported where it is asked: a second, which who only opens a release need not wait for.
"""

from __future__ import annotations

from typing import Literal

from semrec.errors import DeviceError

__all__ = [
    "DeviceKind",
    "Dtype",
    "device_kind_of",
    "device_name",
    "multiplies_bfloat16",
    "resolve_device",
    "resolve_device_of_kind",
    "resolve_dtype",
]

DeviceKind = Literal["cpu", "cuda"]
Dtype = Literal["float32", "bfloat16"]


def resolve_device(device: str) -> str:
    """Resolves a device: `auto` becomes `cuda` where torch sees a GPU, else `cpu`.

    A named device must exist: raises DeviceError.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        return device
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    kind, _, number = device.partition(":")
    if kind != "cuda" or int(number or 0) >= num_gpus:
        raise DeviceError(
            f"device {device!r}, and torch {torch.__version__} sees {num_gpus} CUDA devices",
            expected="cpu" + (f" or cuda:0 to cuda:{num_gpus - 1}" if num_gpus else ""),
            remedy="Use device auto or cpu, or install the CUDA build of torch on a machine with a GPU.",
        )
    return device


def resolve_device_of_kind(device: str, kind: DeviceKind, encoder: str) -> str:
    """Resolves the device of an encoder planned for a kind of device. Raises DeviceError for one of another kind."""
    resolved = resolve_device(kind if device == "auto" else device)
    if device_kind_of(resolved) != kind:
        raise DeviceError(
            f"device {resolved} for encoder {encoder}",
            expected=f"a {kind} device, for which the run was planned",
            remedy="Plan the run for this kind of device: its vectors go to a folder of their own.",
        )
    return resolved


def device_kind_of(device: str) -> DeviceKind:
    """Returns `cuda` for every CUDA device, else `cpu`."""
    return "cuda" if device.startswith("cuda") else "cpu"


def resolve_dtype(dtype: str, device_kind: DeviceKind) -> Dtype:
    """Resolves a number type: `auto` becomes `bfloat16` on GPUs and on a CPU that multiplies it natively, else `float32`."""
    if dtype == "auto":
        return "bfloat16" if device_kind == "cuda" or multiplies_bfloat16() else "float32"
    return "bfloat16" if dtype == "bfloat16" else "float32"


def multiplies_bfloat16() -> bool:
    """Returns whether this CPU has AMX tiles or AVX-512 BF16; elsewhere bfloat16 is emulated and slower than float32."""
    import torch

    # Private names of torch: a build without them is taken for a CPU without the instructions.
    checks = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return any(check is not None and bool(check()) for check in checks)


def device_name(device: str) -> str:
    """Describes the device in words, for the record of who made a part."""
    import torch

    return (
        torch.cuda.get_device_name(device) if device.startswith("cuda") else f"cpu, {torch.get_num_threads()} threads"
    )
