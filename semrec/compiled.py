"""Compile loops for the machine they run on, and keep the code on disk for the next process.

numba compiles the functions that a loop calls into the loop, but looks only at the loop's own file to see whether kept code is
still true. Code of a changed callee would live on. So the folder of what is kept is named after a hash of all our files that
hold compiled code, and of the compiler: after any change, all of it is compiled anew.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import llvmlite
import numba

__all__ = ["compiled", "compiled_sources"]

_PACKAGE: Final = Path(__file__).parent
_IMPORTS_COMPILER: Final = re.compile(rb"^(from|import) (numba|semrec\.compiled)\b", re.MULTILINE)
_KEPT_DAYS: Final = 30  # so long code stays that no process has asked for
_LOCK: Final = threading.Lock()  # numba takes its folder from a setting of the process


def compiled(function: Callable[..., Any]) -> Any:
    """Compiled on first use without the interpreter's lock; kept on disk where there is a place to write."""
    folder = _cache_folder()
    if folder is None:
        return numba.njit(nogil=True)(function)
    with _LOCK:
        before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(folder)
        try:
            return numba.njit(nogil=True, cache=True)(function)
        finally:
            numba.config.CACHE_DIR = before


def compiled_sources() -> list[Path]:
    """The files of this package that hold compiled code, in order of their paths."""
    return [path for path in sorted(_PACKAGE.rglob("*.py")) if _IMPORTS_COMPILER.search(path.read_bytes())]


@cache
def _cache_folder() -> Path | None:
    """The folder for the code of these sources, or None where nothing can be written."""
    digest = hashlib.sha256(f"numba {numba.__version__} llvmlite {llvmlite.__version__}".encode())
    for path in compiled_sources():
        digest.update(str(path.relative_to(_PACKAGE)).encode() + b"\0" + path.read_bytes() + b"\0")
    for root in _cache_roots():
        folder = root / f"semrec-{digest.hexdigest()[:16]}"
        if _can_write(folder):
            os.utime(folder)
            _remove_old(root)
            return folder
    return None


def _cache_roots() -> Iterator[Path]:
    """Where numba is told to keep code; else beside the source or, where that is read-only, in the user's cache."""
    if numba.config.CACHE_DIR:
        yield Path(numba.config.CACHE_DIR)
        return
    yield _PACKAGE / "__pycache__"
    try:
        yield Path("~/.cache/semrec").expanduser()
    except RuntimeError:  # a user without a home
        return


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _remove_old(root: Path) -> None:
    """Removes the code of other sources that no process has asked for in a while."""
    oldest_s = time.time() - _KEPT_DAYS * 86_400
    for folder in root.glob("semrec-*"):
        try:
            if folder.stat().st_mtime < oldest_s:
                shutil.rmtree(folder)
        except OSError:  # another process was faster, or owns it
            continue
