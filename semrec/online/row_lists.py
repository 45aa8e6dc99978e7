"""Lists of matrix rows that queries must not be answered with, and how many queries are ranked together for their sake."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np

__all__ = ["blocks_of", "concatenated", "merged"]

_NO_ROWS: Final = np.zeros(0, np.int64)


def concatenated(lists: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Lists of rows side by side: offsets int64 [len(lists) + 1] and the rows, int64."""
    offsets = np.zeros(len(lists) + 1, np.int64)
    np.cumsum([len(rows) for rows in lists], out=offsets[1:])
    return offsets, np.concatenate(lists) if lists else _NO_ROWS


def merged(rows: np.ndarray, more_rows: np.ndarray) -> np.ndarray:
    """Merges two ascending lists of rows; a row may stand in the result twice."""
    if not len(more_rows):
        return rows
    return np.sort(np.concatenate([rows, more_rows]), kind="stable")  # two ascending runs are merged, not sorted


def blocks_of(lengths: Sequence[int], most: int) -> list[slice]:
    """Consecutive blocks of lists whose lengths add up to at most `most`; a longer list is a block by itself."""
    starts: list[int] = []
    total = 0
    for place, length in enumerate(lengths):
        total += length
        if not starts or total > most:
            starts.append(place)
            total = length
    return [slice(start, stop) for start, stop in pairwise([*starts, len(lengths)])]
