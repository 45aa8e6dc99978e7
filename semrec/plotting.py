"""Checks a path that a picture is drawn to."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from semrec.errors import InputError

__all__ = ["check_plot_path"]

_SUFFIXES: Final = (".png", ".svg")


def check_plot_path(path: str) -> None:
    """Raises InputError when nothing could be drawn there: before minutes of measuring, not after."""
    if Path(path).suffix not in _SUFFIXES:
        raise InputError(f"the plot {path}", expected=" or ".join(_SUFFIXES), remedy="Name the file so.")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise InputError(
            "matplotlib is not installed",
            expected="it, to draw --plot",
            remedy='Run `pip install "semrec[bench]"`, or leave --plot out.',
        ) from None
