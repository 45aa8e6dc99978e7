"""Caches files of an object store on this host's disk, for all of its processes: verified at download, evicted by size.

A copy is named after the SHA-256 that its bytes were found to have, so whatever stands under such a name was verified, once
per host. An opened copy carries a shared lock of the operating system, which a memory map keeps for as long as it lives;
eviction passes over what is locked, and takes the rest by the time of last use.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path

from semrec.errors import CorruptArtefactError, WorkspaceError, WorkspaceWriteError

__all__ = ["FileCache"]

_DISK_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}
_PARTIAL = ".partial"
_LOCK = ".lock"
_PARTIAL_GRACE_S = 3600.0  # a download that nothing was added to for so long has no process
_DOWNLOADS = 2  # a transfer may be cut short without an error


class FileCache:
    """A folder of verified copies, `max_bytes` in all unless more than that is in use at once.

    By default it takes half of the file system that it lies on.
    """

    def __init__(self, folder: Path, max_bytes: int | None = None) -> None:
        self._folder, self._max_bytes = folder, max_bytes

    def open(
        self, download: Callable[[Path], None], *, num_bytes: int, sha256: str, name: str, verify_again: bool = False
    ) -> BufferedReader:
        """Opens the copy with this SHA-256 for reading, locked against eviction; downloads it if it is not there.

        `download` writes the file at the path that it is given; `name` is for messages. With `verify_again` a copy that is
        there is hashed, too, and replaced when it was damaged. Raises CorruptArtefactError when the store holds other bytes
        than recorded, WorkspaceWriteError when the disk is full, WorkspaceError when the folder is somebody else's.
        """
        self._prepare_folder()
        copy = self._folder / sha256
        with self._explained(), self._exclusively(sha256):
            file = _open_locked(copy)
            if file and os.fstat(file.fileno()).st_size == num_bytes and not (verify_again and _sha256(copy) != sha256):
                os.utime(file.fileno())  # its last use; many file systems note reads once a day
                return file
            if file:
                file.close()
            self._make_room(num_bytes)
            self._download(download, copy, sha256, name, num_bytes)
            return _open_locked(copy) or copy.open("rb")

    def _download(self, download: Callable[[Path], None], copy: Path, sha256: str, name: str, num_bytes: int) -> None:
        partial = copy.with_name(f"{sha256}{_PARTIAL}")
        try:
            for _ in range(_DOWNLOADS):
                download(partial)
                if _sha256(partial) == sha256:
                    partial.replace(copy)
                    return
        finally:
            partial.unlink(missing_ok=True)
        raise CorruptArtefactError(
            f"{name} is missing or has another SHA-256 than recorded",
            expected=f"{num_bytes} bytes with SHA-256 {sha256[:12]}...",
            remedy="Restore the file, or run the stage that writes it again.",
        )

    def _make_room(self, num_bytes: int) -> None:
        """Removes the copies that were used the longest ago until `num_bytes` fit, but none that is in use."""
        disk = shutil.disk_usage(self._folder)
        limit = disk.total // 2 if self._max_bytes is None else self._max_bytes
        entries = sorted(self._evictable(), key=lambda entry: entry[1].st_mtime)
        used = sum(status.st_size for _, status in entries)
        excess = num_bytes - min(limit - used, disk.free)
        for path, status in entries:
            if excess <= 0:
                return
            if _remove_unused(path):
                excess -= status.st_size

    def _evictable(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process evicts, too
                status = path.stat()
                is_downloading = path.suffix == _PARTIAL and time.time() - status.st_mtime < _PARTIAL_GRACE_S
                if path.suffix != _LOCK and not is_downloading:
                    yield path, status

    @contextlib.contextmanager
    def _exclusively(self, sha256: str) -> Iterator[None]:
        """Locks a digest, so that one process at a time looks for a copy and downloads it; a process that dies lets go."""
        # A lock for 1 in 256 digests: few files, which are never removed, for removing them would race.
        with (self._folder / f"{sha256[:2]}{_LOCK}").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _prepare_folder(self) -> None:
        """Makes the folder for this user alone. Raises WorkspaceError when another user has made it."""
        with self._explained():
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            status = self._folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            raise WorkspaceError(
                f"{self._folder} is not a folder of user {os.getuid()}",
                expected="a folder of this user: who can write there can change what is scored",
                remedy="Remove it, or set TMPDIR to a folder of your own.",
            )
        if stat.S_IMODE(status.st_mode) != 0o700:
            self._folder.chmod(0o700)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in _DISK_FAULTS:
                raise  # the store's
            raise WorkspaceWriteError(
                f"cannot write {self._folder}: {error.strerror or error}",
                expected="a temporary folder with room for the files that this node reads",
                remedy="Free space, or set TMPDIR to a larger disk.",
            ) from error


def _open_locked(path: Path) -> BufferedReader | None:
    """Opens the file under a shared lock; None when there is none."""
    with contextlib.suppress(FileNotFoundError):
        file = path.open("rb")
        fcntl.flock(file, fcntl.LOCK_SH)
        if os.fstat(file.fileno()).st_nlink:  # else it was evicted between opening and locking
            return file
        file.close()
    return None


def _remove_unused(path: Path) -> bool:
    """Removes a file that no process has locked; whether it did."""
    with contextlib.suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
        return True
    return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
