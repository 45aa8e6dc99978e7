"""Starts threads in which torch computes alone: work is shared out by call, and each call has one thread."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

__all__ = ["single_threads"]


def single_threads(count: int, name: str) -> ThreadPoolExecutor:
    """Starts threads in which torch computes without threads of its own; those of the rest of the process stay as they are."""
    import torch

    before, all_started = torch.get_num_threads(), threading.Barrier(count)
    pool = ThreadPoolExecutor(count, name, initializer=_compute_alone)
    list(pool.map(lambda _: all_started.wait(), range(count)))
    torch.set_num_threads(before)
    return pool


def _compute_alone() -> None:
    import torch

    torch.get_num_threads()  # a thread's first look takes the process's number over, and would undo the next line
    torch.set_num_threads(1)
