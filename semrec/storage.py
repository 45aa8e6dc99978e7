"""Files of a workspace: atomic writes, exclusive creates, reads, on a local folder or an object store through fsspec."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import fsspec

from semrec.errors import CorruptArtefactError, MissingArtefactError, WorkspaceWriteError

__all__ = ["Storage"]

_WRITE_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}


class Storage:
    """A folder of files, named by paths relative to it.

    A write is whole or absent: locally a temporary file in the same folder, synced, then renamed; on an object store one
    PUT. `create_exclusive` is the one operation that two processes may race on, and exactly one of them wins.
    """

    def __init__(self, uri: str) -> None:
        self.uri = str(uri).rstrip("/") or "/"
        self._fs, root = fsspec.core.url_to_fs(self.uri)
        self._root = str(root).rstrip("/")
        protocol = self._fs.protocol
        self.is_local = "file" in ((protocol,) if isinstance(protocol, str) else protocol)

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
                else:
                    self._fs.pipe_file(self.full_path(path), data, mode="create")
            except FileExistsError:
                return False
        return True

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
        cached = Path(tempfile.gettempdir()) / f"semrec-cache-{os.getuid()}" / self.full_path(path).replace("/", "_")
        if not cached.exists() or cached.stat().st_size != num_bytes:
            cached.parent.mkdir(parents=True, exist_ok=True)
            partial = cached.with_suffix(f".{uuid.uuid4().hex}")
            self._fs.get_file(self.full_path(path), str(partial))
            partial.replace(cached)
        return cached

    @contextlib.contextmanager
    def _local_temporary(self, path: str, data: bytes) -> Iterator[Path]:
        target = Path(self.full_path(path))
        target.parent.mkdir(parents=True, exist_ok=True)
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
            if error.errno in _WRITE_FAULTS or isinstance(error, PermissionError):
                raise WorkspaceWriteError(
                    f"cannot write {path} in {self.uri}: {error.strerror or error}",
                    expected="a writable workspace with free space",
                    remedy="Free space or fix permissions, then submit again: what is committed stays.",
                ) from error
            raise


def json_bytes(value: dict[str, Any]) -> bytes:
    """JSON for people and diffs: sorted keys, two spaces, UTF-8."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()
