"""Compiles loops for the machine they run on, and keeps the code on disk for the next process.

numba's own cache looks at the file of a loop alone to see whether kept code is still true, so code of a changed callee would
live on; it compiles anew for each place that the same sources are unpacked at, as every submitted job is; and two processes
that write at once may exchange the code of two signatures. Here the folder of what is kept is named after a hash of all our
files that hold compiled code, and each piece of code has a file of its own, named after what it was compiled for.
"""

from __future__ import annotations

import hashlib
import pickle
import re
import sys
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import llvmlite
import numba
from numba.core.caching import FunctionCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from semrec.user_cache import user_cache, writable_folder

__all__ = ["compiled", "compiled_sources"]

_PACKAGE: Final = Path(__file__).parent
_IMPORTS_COMPILER: Final = re.compile(rb"^(from|import) (numba|llvmlite|semrec\.compiled)\b", re.MULTILINE)


def compiled(function: Callable[..., Any] | None = None, *, nogil: bool = True) -> Any:
    """Compiles a function on first use, to run without the interpreter's lock; keeps the code where a folder is writable.

    `nogil=False` is for what takes microseconds on an event loop: there, who lets go of the lock waits for it, often for the
    five milliseconds after which Python has another thread give it back.
    """
    if function is None:
        return partial(compiled, nogil=nogil)
    dispatcher = numba.njit(nogil=nogil)(function)
    folder = _cache_folder()
    if folder is not None:
        dispatcher._cache = _CodeFiles(function, folder)
    return dispatcher


class _CodeFiles(FunctionCache):
    """Keeps the machine code of one function: a file per signature and processor, replaced as a whole."""

    def __init__(self, function: Callable[..., Any], folder: Path) -> None:
        self._py_func = function
        self._folder = folder

    @property
    def cache_path(self) -> str:
        return str(self._folder)

    def flush(self) -> None:
        """Forgets the code of all signatures."""
        for path in self._folder.glob(f"{self._name}-*"):
            path.unlink(missing_ok=True)

    def _load_overload(self, signature: Any, target_context: Any) -> Any:
        key = self._index_key(signature, target_context.codegen())
        try:
            kept_key, code = pickle.loads(self._path_of(key).read_bytes())
        except OSError:
            return None
        return CompileResult._rebuild(target_context, *code) if kept_key == key else None

    def _save_overload(self, signature: Any, result: Any) -> None:
        if result.lifted or result.library.has_dynamic_globals:  # holds addresses of this process
            return
        key = self._index_key(signature, result.codegen)
        with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
            file.write(dumps((key, result._reduce())))
        Path(file.name).replace(self._path_of(key))

    @property
    def _name(self) -> str:
        return f"{self._py_func.__module__}.{self._py_func.__qualname__}".replace("<", "").replace(">", "")

    def _path_of(self, key: Any) -> Path:
        """Returns the file for a signature, a processor with its instruction set, and the bytes of function and closure."""
        return self._folder / f"{self._name}-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.code"


def compiled_sources() -> list[Path]:
    """Returns the files of this package that hold compiled code, in order of their paths."""
    return [path for path in sorted(_PACKAGE.rglob("*.py")) if _IMPORTS_COMPILER.search(path.read_bytes())]


@cache
def _cache_folder() -> Path | None:
    """Returns the folder for the code of these sources, or None where nothing can be written."""
    build = f"{sys.implementation.cache_tag} numba {numba.__version__} llvmlite {llvmlite.__version__}"
    digest = hashlib.sha256(build.encode())
    for path in compiled_sources():
        digest.update(str(path.relative_to(_PACKAGE)).encode() + b"\0" + path.read_bytes() + b"\0")
    return writable_folder(digest.hexdigest()[:16], _cache_roots())


def _cache_roots() -> list[Path]:
    """Returns the folder in which numba is told to keep code; else one in the user's cache, or beside the source for a user
    without a writable home.
    """
    if numba.config.CACHE_DIR:
        return [Path(numba.config.CACHE_DIR)]
    return [*user_cache(), _PACKAGE / "__pycache__"]
