"""Reads and writes files of a workspace: atomic writes, exclusive creates; on a local folder or an object store by fsspec."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar, cast

import fsspec

from semrec.errors import (
    CorruptArtefactError,
    MissingArtefactError,
    StoreUnavailableError,
    WorkspaceError,
    WorkspaceWriteError,
)
from semrec.workspace.file_cache import FileCache
from semrec.workspace.retries import is_store_fault, retried, store_code

__all__ = ["Storage"]

_T = TypeVar("_T")

_WRITE_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}
_EXCLUSIVE_PROTOCOLS = {"s3", "gs", "abfs", "memory"}  # whose pipe_file(mode="create") is one conditional write
_MEMORY_LOCK = threading.Lock()  # fsspec's memory:// looks first and writes then
_CONFLICT_TRIES = 5
# The clients of stores retry by themselves: s3fs for 5 to 10 s of refused connections, gcsfs and adlfs for half a minute.
# This is on top; what takes longer is for the executor, which has other workers and more time.
_RETRY_WITHIN_S = 20.0


class Storage:
    """A folder of files, named by paths relative to it.

    A write is whole or absent: locally a temporary file in the same folder, synced, then renamed; on an object store one
    PUT. `create_exclusive` is the one operation that two processes may race on, and exactly one of them wins.

    What an object store cannot do for the moment is tried again; then every method raises StoreUnavailableError. Files that
    are mapped are cached in the temporary folder, `cache_max_bytes` of them per host (None: half of its file system).
    """

    def __init__(self, uri: str, *, cache_max_bytes: int | None = None) -> None:
        self.uri = str(uri).rstrip("/") or "/"
        self._cache_max_bytes = cache_max_bytes
        # Cached listings would hide what other processes have written since.
        self._fs, root = fsspec.core.url_to_fs(self.uri, use_listings_cache=False)
        self._root = str(root).rstrip("/")
        self._protocols = {self._fs.protocol} if isinstance(self._fs.protocol, str) else set(self._fs.protocol)
        self.is_local = "file" in self._protocols

    def __reduce__(self) -> tuple[object, ...]:
        return (functools.partial(Storage, cache_max_bytes=self._cache_max_bytes), (self.uri,))

    def full_path(self, path: str) -> str:
        """Returns the file system's own name of `path`, which may come from a manifest.

        Raises CorruptArtefactError for one that leads out of the workspace. Links within it are its owner's, and followed.
        """
        if path.startswith("/") or "\0" in path or ".." in path.split("/"):
            raise CorruptArtefactError(
                f"path {path[:200]!r} in {self.uri}",
                expected="a path below the workspace",
                remedy="Whatever names this file was changed: restore it, or run the stage that writes it again.",
            )
        return f"{self._root}/{path}" if path else self._root

    def exists(self, path: str) -> bool:
        # Not the file system's own `exists`, which takes any error for an absent file in some.
        try:
            self._ask(self._fs.info, self.full_path(path))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def modified_s(self, path: str) -> float:
        """Returns when a file was last written, in seconds since 1970 UTC."""
        return float(self._ask(self._fs.modified, self.full_path(path)).timestamp())

    def list_sizes(self, folder: str) -> dict[str, int]:
        """Names directly inside `folder` (files only) -> size in bytes. An absent folder is empty."""
        try:
            entries = self._ask(self._fs.ls, self.full_path(folder), detail=True, refresh=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        files = (e for e in entries if e["type"] == "file" and not Path(e["name"]).name.startswith("."))
        return {Path(e["name"]).name: int(e["size"]) for e in sorted(files, key=lambda e: str(e["name"]))}

    def list_folders(self, folder: str) -> list[str]:
        """Names of the folders directly inside `folder`, sorted. An absent folder is empty."""
        try:
            entries = self._ask(self._fs.ls, self.full_path(folder), detail=True, refresh=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(Path(str(e["name"]).rstrip("/")).name for e in entries if e["type"] == "directory")

    def read_bytes(self, path: str) -> bytes:
        """Reads the whole file. Raises MissingArtefactError when it is not there."""
        try:
            return cast(bytes, self._ask(self._fs.cat_file, self.full_path(path)))
        except FileNotFoundError:
            raise self._missing(path) from None

    def read_json(self, path: str) -> dict[str, Any]:
        """Reads a JSON object. Raises MissingArtefactError or CorruptArtefactError."""
        raw = self.read_bytes(path)
        try:
            value = json.loads(raw)
        except ValueError as error:
            raise CorruptArtefactError(
                f"{path} in {self.uri} is not JSON ({error})",
                expected="a JSON object written by semrec",
                remedy="Restore the file, or run the stage that writes it again.",
            ) from None
        if not isinstance(value, dict):
            raise CorruptArtefactError(
                f"{path} in {self.uri} holds a {type(value).__name__}",
                expected="a JSON object",
                remedy="Restore the file, or run the stage that writes it again.",
            )
        return value

    def write_bytes(self, path: str, data: bytes) -> None:
        """Puts `data` at `path`, replacing what was there, whole or not at all."""
        with self._explained(path):
            if self.is_local:
                with self._local_temporary(path, data) as temporary:
                    temporary.replace(self.full_path(path))
            else:
                self._ask(self._fs.pipe_file, self.full_path(path), data)

    def write_json(self, path: str, value: dict[str, Any]) -> None:
        self.write_bytes(path, json_bytes(value))

    def create_exclusive(self, path: str, data: bytes) -> bool:
        """Puts `data` at `path` only if nothing is there; True when this call made it.

        A store may lose its answer to a create that it did; tried again, that call returns False. So whoever loses reads
        what is there, which may be its own.
        """
        with self._explained(path):
            try:
                if self.is_local:
                    with self._local_temporary(path, data) as temporary:
                        # A hard link is atomic and, unlike O_EXCL, never shows a half-written file.
                        os.link(temporary, self.full_path(path))
                        _sync_folder(temporary.parent)
                else:
                    self._ask(self._create_remote, path, data)
            except FileExistsError:
                return False
        return True

    def check_exclusive(self) -> None:
        """Proves on a scratch file that the store honours an exclusive create: some imitations of S3 ignore the condition.

        Raises WorkspaceError when it does not.
        """
        path = f".exclusive-{uuid.uuid4().hex}"
        try:
            self.create_exclusive(path, b"first")
            second = self.create_exclusive(path, b"second")
            is_kept = self.read_bytes(path) == b"first"  # whatever the answer to the first was
        finally:
            self.delete(path)
        if second or not is_kept:
            raise self._no_exclusive("writes over what is there")

    def copy(self, source: str, target: str) -> None:
        """Copies a file inside the workspace, atomically at the target."""
        if self.is_local:
            self.write_bytes(target, self.read_bytes(source))
        else:
            with self._explained(target):
                self._ask(self._fs.cp_file, self.full_path(source), self.full_path(target))

    def delete(self, path: str) -> None:
        """Removes a file; one that is not there is fine."""
        with self._explained(path), contextlib.suppress(FileNotFoundError):
            self._ask(self._fs.rm_file, self.full_path(path))

    def open_local(self, path: str, *, num_bytes: int, sha256: str, verify_again: bool = False) -> BufferedReader:
        """Opens the file on a disk of this host, to be read or mapped; a remote one is downloaded once per host.

        A download is held against the recorded `num_bytes` and `sha256`; with `verify_again` so is what was there. A local
        workspace's file is not hashed. Raises MissingArtefactError or CorruptArtefactError.
        """
        if self.is_local:
            return self._open_own(path)
        folder = Path(tempfile.gettempdir()) / f"semrec-cache-{os.getuid()}"
        return FileCache(folder, self._cache_max_bytes).open(
            functools.partial(self._download, path),
            num_bytes=num_bytes,
            sha256=sha256,
            name=path,
            verify_again=verify_again,
        )

    def _open_own(self, path: str) -> BufferedReader:
        try:
            return Path(self.full_path(path)).open("rb")
        except FileNotFoundError:
            raise self._missing(path) from None

    def _download(self, path: str, target: Path) -> None:
        try:
            self._ask(self._fs.get_file, self.full_path(path), str(target))
        except FileNotFoundError:
            raise self._missing(path) from None

    def _ask(self, call: Callable[..., _T], *arguments: Any, **keywords: Any) -> _T:
        """Calls the file system; what an object store cannot do now is tried again for a while."""
        bound = functools.partial(call, *arguments, **keywords)
        if self.is_local:
            return bound()
        try:
            return retried(bound, is_store_fault, within_s=_RETRY_WITHIN_S)
        except Exception as error:
            if not is_store_fault(error):
                raise
            raise StoreUnavailableError(
                f"the store of {self.uri} cannot be reached or cannot serve: {error!r}",
                expected="a store that answers",
                remedy="Submit again when it does: what is committed stays.",
            ) from error

    def _create_remote(self, path: str, data: bytes) -> None:
        """Creates by one conditional PUT: If-None-Match on S3 and Azure, ifGenerationMatch=0 on GCS. Raises FileExistsError."""
        if not self._protocols & _EXCLUSIVE_PROTOCOLS:
            raise self._no_exclusive("has no conditional write that semrec knows")
        guard = _MEMORY_LOCK if "memory" in self._protocols else contextlib.nullcontext()
        for attempt in range(_CONFLICT_TRIES):
            try:
                with guard:
                    self._fs.pipe_file(self.full_path(path), data, mode="create")
                return
            except OSError as error:
                code = store_code(error)
                if code == "PreconditionFailed":  # s3fs knows it only from a store that also names the condition
                    raise FileExistsError(path) from error
                if code != "ConditionalRequestConflict" or attempt == _CONFLICT_TRIES - 1:
                    raise
                time.sleep(0.1 * 2**attempt)  # two creates at once: S3 wants the loser to ask again

    def _missing(self, path: str) -> MissingArtefactError:
        return MissingArtefactError(
            f"no file {path} in {self.uri}",
            expected="the file that an earlier stage wrote",
            remedy="Run that stage again, or check --workspace.",
        )

    def _no_exclusive(self, what: str) -> WorkspaceError:
        return WorkspaceError(
            f"the store of {self.uri} {what}",
            expected="a local folder, or an object store with conditional writes (S3, GCS, Azure)",
            remedy="Use such a store for --workspace, and a current s3fs, gcsfs or adlfs.",
        )

    @contextlib.contextmanager
    def _local_temporary(self, path: str, data: bytes) -> Iterator[Path]:
        target = Path(self.full_path(path))
        if not target.parent.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            _sync_folder(target.parent.parent)
        temporary = target.parent / f".{target.name}.{uuid.uuid4().hex}"
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        try:
            yield
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno in _WRITE_FAULTS or isinstance(error, (PermissionError, FileNotFoundError)):
                raise WorkspaceWriteError(
                    f"cannot write {path} in {self.uri}: {error.strerror or error}",
                    expected="a writable workspace with free space",
                    remedy="Free space, fix permissions or make the bucket, then submit again: what is committed stays.",
                ) from error
            raise


def _sync_folder(folder: Path) -> None:
    """Makes the names in a folder survive a power cut, as fsync does for the bytes of a file."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def json_bytes(value: dict[str, Any]) -> bytes:
    """Encodes JSON for people and diffs: sorted keys, two spaces, UTF-8."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()
