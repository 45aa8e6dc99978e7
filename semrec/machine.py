"""Describes this machine, on which a figure was measured, and the memory that a process takes of it."""

from __future__ import annotations

import os
import platform
import resource
import sys
from pathlib import Path

__all__ = ["machine", "resident_bytes"]


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
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    pages = Path("/proc/self/statm")
    resident = int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if pages.exists() else 0
    return {"resident_bytes": resident, "peak_resident_bytes": max(peak, resident)}
