"""Loops that are compiled for the machine they run on.

What is kept on disk is renewed when the file of the loop changes, not when a file that it calls does: after an edit of one of
these modules by hand, touch those that use it (or remove `__pycache__`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

__all__ = ["compiled"]


def compiled(function: Callable[..., Any]) -> Any:
    """Compiled on first use without the interpreter's lock; kept on disk where there is a place to write."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba found no folder that it may write to
        return numba.njit(nogil=True)(function)
