"""Makes temporary folders, and removes those that killed processes left: on a machine where workers are killed they add up."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import platform
import shutil
import tempfile
import time
import weakref
from pathlib import Path
from typing import Final

__all__ = ["ScratchFolder"]

_NOT_LOCKED: Final = ".not-locked"
_YOUNG_S: Final = 60.0  # so long a folder stays without a lock, which its process takes just after it has made it


class ScratchFolder(tempfile.TemporaryDirectory[str]):
    """A temporary folder (under $TMPDIR), removed with this object or at the end of a `with`.

    Before it is made, those for the same purpose are removed that processes of this machine left: a folder is locked as long
    as its process lives, and the system takes the lock back however that ends.
    """

    def __init__(self, purpose: str) -> None:
        prefix = f"semrec-scratch-{platform.node()}-{purpose}-"
        for folder in Path(tempfile.gettempdir()).glob(f"{glob.escape(prefix)}*"):
            _remove_if_left(folder)
        super().__init__(prefix=prefix)
        self._unlock = weakref.finalize(self, os.close, _locked(self.name))

    def cleanup(self) -> None:
        """Removes the folder."""
        super().cleanup()
        self._unlock()


def _locked(folder: str) -> int:
    """Opens a folder and locks it; where its file system cannot, a file says so, and no other process removes it."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        Path(folder, _NOT_LOCKED).touch()
    return opened


def _remove_if_left(folder: Path) -> None:
    with contextlib.suppress(OSError):  # a process has it, removes it just now, or is another user's
        if time.time() - folder.stat().st_mtime < _YOUNG_S or (folder / _NOT_LOCKED).exists():
            return
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
        finally:
            os.close(opened)
