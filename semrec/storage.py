"""Files of a workspace: atomic writes, exclusive creates, reads, on a local folder or an object store through fsspec."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import fsspec

from semrec.errors import CorruptArtefactError, MissingArtefactError, WorkspaceError, WorkspaceWriteError

__all__ = ["Storage"]

_WRITE_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}
_EXCLUSIVE_PROTOCOLS = {"s3", "gs", "abfs", "memory"}  # whose pipe_file(mode="create") is one conditional write
_MEMORY_LOCK = threading.Lock()  # fsspec's memory:// looks first and writes then
_CONFLICT_TRIES = 5


class Storage:
    """A folder of files, named by paths relative to it.

    A write is whole or absent: locally a temporary file in the same folder, synced, then renamed; on an object store one
    PUT. `create_exclusive` is the one operation that two processes may race on, and exactly one of them wins.
    """

    def __init__(self, uri: str) -> None:
        self.uri = str(uri).rstrip("/") or "/"
        # Cached listings would hide what other processes have written since.
        self._fs, root = fsspec.core.url_to_fs(self.uri, use_listings_cache=False)
        self._root = str(root).rstrip("/")
        self._protocols = {self._fs.protocol} if isinstance(self._fs.protocol, str) else set(self._fs.protocol)
        self.is_local = "file" in self._protocols

    def __reduce__(self) -> tuple[object, ...]:
        return (Storage, (self.uri,))

    def full_path(self, path: str) -> str:
        """The file system's own name of `path`."""
        return f"{self._root}/{path}" if path else self._root

    def exists(self, path: str) -> bool:
        return bool(self._fs.exists(self.full_path(path)))

    def size_bytes(self, path: str) -> int | None:
        """Size of a file, or None when there is none."""
        try:
            return int(self._fs.size(self.full_path(path)))
        except FileNotFoundError:
            return None

    def modified_s(self, path: str) -> float:
        """When a file was last written, seconds since 1970 UTC."""
        return float(self._fs.modified(self.full_path(path)).timestamp())

    def list_sizes(self, folder: str) -> dict[str, int]:
        """Names directly inside `folder` (files only) -> size in bytes. An absent folder is empty."""
        try:
            entries = self._fs.ls(self.full_path(folder), detail=True, refresh=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        files = (e for e in entries if e["type"] == "file" and not Path(e["name"]).name.startswith("."))
        return {Path(e["name"]).name: int(e["size"]) for e in sorted(files, key=lambda e: str(e["name"]))}

    def list_folders(self, folder: str) -> list[str]:
        """Names of the folders directly inside `folder`, sorted. An absent folder is empty."""
        try:
            entries = self._fs.ls(self.full_path(folder), detail=True, refresh=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(Path(str(e["name"]).rstrip("/")).name for e in entries if e["type"] == "directory")

    def read_bytes(self, path: str) -> bytes:
        """The whole file. Raises MissingArtefactError when it is not there."""
        try:
            return cast(bytes, self._fs.cat_file(self.full_path(path)))
        except FileNotFoundError:
            raise MissingArtefactError(
                f"no file {path} in {self.uri}",
                expected="the file that an earlier stage wrote",
                remedy="Run that stage again, or check --workspace.",
            ) from None

    def read_json(self, path: str) -> dict[str, Any]:
        """A JSON object. Raises MissingArtefactError or CorruptArtefactError."""
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
                self._fs.pipe_file(self.full_path(path), data)

    def write_json(self, path: str, value: dict[str, Any]) -> None:
        self.write_bytes(path, json_bytes(value))

    def create_exclusive(self, path: str, data: bytes) -> bool:
        """Puts `data` at `path` only if nothing is there; True when this call made it."""
        with self._explained(path):
            try:
                if self.is_local:
                    with self._local_temporary(path, data) as temporary:
                        # A hard link is atomic and, unlike O_EXCL, never shows a half-written file.
                        os.link(temporary, self.full_path(path))
                        _sync_folder(temporary.parent)
                else:
                    self._create_remote(path, data)
            except FileExistsError:
                return False
        return True

    def check_exclusive(self) -> None:
        """Proves on a scratch file that the store honours an exclusive create: some imitations of S3 ignore the condition.

        Raises WorkspaceError when it does not.
        """
        path = f".exclusive-{uuid.uuid4().hex}"
        try:
            made = [self.create_exclusive(path, b"probe"), self.create_exclusive(path, b"probe")]
        finally:
            self.delete(path)
        if made != [True, False]:
            raise self._no_exclusive("writes over what is there")

    def copy(self, source: str, target: str) -> None:
        """Copies a file inside the workspace, atomically at the target."""
        if self.is_local:
            self.write_bytes(target, self.read_bytes(source))
        else:
            with self._explained(target):
                self._fs.cp_file(self.full_path(source), self.full_path(target))

    def delete(self, path: str) -> None:
        """Removes a file; one that is not there is fine."""
        with self._explained(path), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self.full_path(path))

    def local_copy(self, path: str, *, num_bytes: int) -> Path:
        """A local path with the file's content, to be memory-mapped; downloaded once per host when it is remote.

        `num_bytes` is the recorded size; a cached copy of another size is fetched again.
        """
        if self.is_local:
            return Path(self.full_path(path))
        cached = (
            Path(tempfile.gettempdir())
            / f"semrec-cache-{os.getuid()}"
            / sha256(f"{self.uri}/{path}".encode()).hexdigest()
        )
        if not cached.exists() or cached.stat().st_size != num_bytes:
            cached.parent.mkdir(parents=True, exist_ok=True)
            partial = cached.with_suffix(f".{uuid.uuid4().hex}")
            self._fs.get_file(self.full_path(path), str(partial))
            partial.replace(cached)
        return cached

    def _create_remote(self, path: str, data: bytes) -> None:
        """One conditional PUT: If-None-Match on S3 and Azure, ifGenerationMatch=0 on GCS. Raises FileExistsError."""
        if not self._protocols & _EXCLUSIVE_PROTOCOLS:
            raise self._no_exclusive("has no conditional write that semrec knows")
        guard = _MEMORY_LOCK if "memory" in self._protocols else contextlib.nullcontext()
        for attempt in range(_CONFLICT_TRIES):
            try:
                with guard:
                    self._fs.pipe_file(self.full_path(path), data, mode="create")
                return
            except OSError as error:
                code = _error_code(error)
                if code == "PreconditionFailed":  # s3fs knows it only from a store that also names the condition
                    raise FileExistsError(path) from error
                if code != "ConditionalRequestConflict" or attempt == _CONFLICT_TRIES - 1:
                    raise
                time.sleep(0.1 * 2**attempt)  # two creates at once: S3 wants the loser to ask again

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


def _error_code(error: OSError) -> str | None:
    """The store's own code beneath an error of s3fs, or None."""
    response = getattr(error.__cause__, "response", None)
    return response.get("Error", {}).get("Code") if isinstance(response, dict) else None


def json_bytes(value: dict[str, Any]) -> bytes:
    """JSON for people and diffs: sorted keys, two spaces, UTF-8."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()
