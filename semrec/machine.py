"""Describes this machine, on which a figure was measured, and the memory that a process takes of it."""

from __future__ import annotations

import os
import platform
import resource
import sys
from pathlib import Path
from typing import Final

__all__ = ["machine", "resident_bytes", "status_bytes"]

_STATUS: Final = Path("/proc/self/status")


def machine() -> str:
    """Returns processor, cores, memory, GPU and the builds that matter, in one line."""
    import torch  # seconds, which only who asks should wait for

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpu = f", {torch.cuda.get_device_name(0)}" if torch.cuda.is_available() else ""
    return f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GiB{gpu}, torch {torch.__version__}"


def resident_bytes() -> dict[str, int]:
    """Returns the memory that this process has in use, and the most it had: `resident_bytes` and `peak_resident_bytes`.

    Linux tells both; elsewhere the first is 0.
    """
    if _STATUS.exists():
        resident = status_bytes("VmRSS")
        return {"resident_bytes": resident, "peak_resident_bytes": max(status_bytes("VmHWM"), resident)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"resident_bytes": 0, "peak_resident_bytes": peak}


def status_bytes(name: str) -> int:
    """Returns a size that Linux tells of this process, such as VmRSS: proc(5).

    VmHWM is the peak of this program alone; that of getrusage begins with what the process had that started it.
    """
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
