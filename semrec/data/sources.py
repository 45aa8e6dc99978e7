"""Where source files are: single files, folders, lists, on a local disk or any fsspec URL, gzip included."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

import fsspec

from semrec.errors import InputError

__all__ = ["Source", "SourceFolder", "find_sources"]

_SUFFIXES: Final = {"csv": (".csv", ".tsv", ".txt"), "jsonl": (".jsonl", ".ndjson", ".json"), "parquet": (".parquet",)}
_COMPRESSED: Final = (".gz", ".bz2", ".xz", ".zst")


@dataclass(frozen=True)
class Source:
    """One source file: `name` as the quarantine calls it, `path` a local path or fsspec URL."""

    name: str
    path: str

    @contextmanager
    def open(self, *, compression: str | None = "infer") -> Iterator[IO[bytes]]:
        """Opens for reading bytes, decompressing by suffix. Raises InputError when it cannot be read."""
        try:
            with fsspec.open(self.path, "rb", compression=compression) as file:
                yield file
        except (OSError, EOFError, zlib.error) as error:
            # BadGzipFile is an OSError; a gzip cut short ends in EOFError.
            raise InputError(
                f"cannot read {self.path}: {error}",
                expected="a readable source file",
                remedy="Check the path, the permissions and that the file is whole.",
            ) from error


class SourceFolder:
    """The files directly inside a folder. Raises InputError when there is no such folder."""

    def __init__(self, uri: str | Path) -> None:
        self.uri = str(uri).rstrip("/") or "/"
        self._fs, self._root = fsspec.core.url_to_fs(self.uri)
        if not self._fs.isdir(self._root):
            raise InputError(f"no folder {self.uri}", expected="an existing folder", remedy="Check the path.")
        entries = self._fs.ls(self._root, detail=True)
        self.files = sorted(_base(e["name"]) for e in entries if e["type"] == "file")
        self.folders = sorted(_base(e["name"]) for e in entries if e["type"] == "directory")

    def source(self, name: str) -> Source | None:
        """The file `name`, or its `.gz`; None when neither is there."""
        present = next((file for file in (name, f"{name}.gz") if file in self.files), None)
        return None if present is None else Source(present, f"{self.uri}/{present}")


def find_sources(source: str | Path | Sequence[str | Path], fmt: str) -> list[Source]:
    """The files of `source`, which is a file, a folder or a list of files.

    A folder gives its files with a suffix of `fmt`, by name; names that begin with `.` or `_` are left out. A list keeps
    its order, which decides which of two rows with the same id comes first. Raises InputError when there is no file.
    """
    if isinstance(source, (str, Path)):
        fs, root = fsspec.core.url_to_fs(str(source))
        paths = _in_folder(SourceFolder(source), fmt) if fs.isdir(root) else [str(source)]
        missing = [path for path in paths if not fs.exists(root)]
    else:
        paths = [str(path) for path in source]
        missing = [path for path in paths if not _exists(path)]
    if missing or not paths:
        raise InputError(
            f"no file {missing[0]}" if missing else "an empty list of sources",
            expected=f"existing {fmt} files",
            remedy="Check the path.",
        )
    names = [_base(path) for path in paths]
    # A bare name is easier to read in the quarantine, as long as it says which file.
    return [Source(name if names.count(name) == 1 else path, path) for name, path in zip(names, paths, strict=True)]


def _in_folder(folder: SourceFolder, fmt: str) -> list[str]:
    endings = tuple(suffix + packed for suffix in _SUFFIXES[fmt] for packed in ("", *_COMPRESSED))
    files = [name for name in folder.files if name.lower().endswith(endings) and name[0] not in "._"]
    if not files:
        raise InputError(
            f"no {fmt} file among {len(folder.files)} files in {folder.uri}",
            expected=f"names that end in {', '.join(_SUFFIXES[fmt])}",
            remedy="Name the files themselves, or check the format.",
        )
    return [f"{folder.uri}/{name}" for name in files]


def _exists(path: str) -> bool:
    fs, root = fsspec.core.url_to_fs(path)
    return bool(fs.isfile(root))


def _base(path: Any) -> str:
    return PurePosixPath(str(path).rstrip("/")).name
