"""Finds folders in the user's cache for what is costly to make and can be made again at any time."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

__all__ = ["user_cache", "writable_folder"]

_KEPT_DAYS: Final = 30  # so long a folder stays that no process has asked for


def user_cache() -> list[Path]:
    """Returns the folder of semrec's caches in the user's home, in a list: none for a user without a home."""
    with contextlib.suppress(RuntimeError):
        return [Path("~/.cache/semrec").expanduser()]
    return []


def writable_folder(name: str, roots: Iterable[Path]) -> Path | None:
    """Makes the folder `semrec-NAME` below the first of `roots` that can be written to; None where none can.

    Marks it as used, and removes its neighbours `semrec-*` that no process has asked for in 30 days.
    """
    for root in roots:
        folder = root / f"semrec-{name}"
        if _can_write(folder):
            os.utime(folder)
            _remove_old(root)
            return folder
    return None


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _remove_old(root: Path) -> None:
    oldest_s = time.time() - _KEPT_DAYS * 86_400
    for folder in root.glob("semrec-*"):
        try:
            if folder.stat().st_mtime < oldest_s:
                shutil.rmtree(folder)
        except OSError:  # another process was faster, or owns it
            continue
