"""Divides work into even ranges."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

__all__ = ["even_ranges", "in_ranges"]


def even_ranges(length: int, num_ranges: int) -> list[tuple[int, int]]:
    """The edges of `num_ranges` even ranges of 0 to `length`, without the empty ones."""
    edges = np.linspace(0, length, num_ranges + 1).astype(int).tolist()
    return [(start, stop) for start, stop in pairwise(edges) if start < stop]


def in_ranges(function: Callable[[int, int], None], length: int, num_threads: int) -> None:
    """Calls a function with the edges of even ranges, each in a thread of its own; of a single one in this thread."""
    ranges = even_ranges(length, num_threads)
    if len(ranges) < 2:
        for start, stop in ranges:
            function(start, stop)
        return
    with ThreadPoolExecutor(len(ranges)) as threads:
        list(threads.map(lambda edges: function(*edges), ranges))
