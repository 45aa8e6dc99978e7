"""Finds source files: files, folders, globs, archives and pipes, on a local disk or any fsspec URL, compressed or not."""

from __future__ import annotations

import hashlib
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final
from urllib.parse import unquote

import fsspec
import pyarrow as pa
from fsspec.compression import compr, register_compression

from semrec.errors import InputError
from semrec.workspace.manifests import WorkspaceManifest

__all__ = ["Source", "SourceFolder", "find_sources", "is_folder"]

_SUFFIXES: Final = {
    "csv": (".csv", ".tsv", ".txt"),
    "jsonl": (".jsonl", ".ndjson", ".json"),
    "parquet": (".parquet",),
    "lists": (".txt",),
    "ntriples": (".nt",),
    "turtle": (".ttl",),
    "documents": (".pdf", ".docx", ".html", ".htm", ".xhtml", ".md", ".markdown", ".txt"),
}
_COMPRESSED: Final = ("", ".gz", ".bz2", ".xz", ".zst")
_ARCHIVES: Final = {".zip": "zip", ".tar": "tar", ".tar.gz": "tar", ".tar.bz2": "tar", ".tar.xz": "tar", ".tgz": "tar"}
_MANY: Final = 5
register_compression("tgz", compr["gzip"], "tgz", force=True)  # an ending that fsspec does not know


@dataclass(frozen=True)
class Source:
    """One source file: `name` as the quarantine calls it, `path` a local path or fsspec URL.

    `partition` has the column values that folders named `column=value` give to all rows of the file.
    """

    name: str
    path: str
    partition: Mapping[str, str] = field(default_factory=dict)

    @contextmanager
    def open(self, *, compression: str | None = "infer") -> Iterator[IO[bytes]]:
        """Opens for reading bytes, decompressing by suffix. Raises InputError when it cannot be opened or read."""
        is_zstd = compression == "infer" and self.path.endswith(".zst")  # which fsspec knows only with a package more
        with _readable(self.path):
            opened = fsspec.open(self.path, "rb", compression=None if is_zstd else compression)
            file = opened.open()
        try:
            stream: Any = _SourceFile(pa.CompressedInputStream(file, "zstd") if is_zstd else file, self.path)
            yield stream
        finally:
            file.close()

    def identity(self) -> str:
        """Returns what tells this state of the file from another, without reading it: its size and time, or the store's tag."""
        with _readable(self.path):
            fs, root = fsspec.core.url_to_fs(self.path)
            return str(fs.ukey(root))

    def digest(self, is_unwanted: Callable[[], bool] = lambda: False) -> str:
        """Returns 32 hexadecimal digits of the SHA-256 of the file as it lies there, and its partition; reads it once.

        What it returns once `is_unwanted` says so is for nobody: it stops in the middle.
        """
        sha = hashlib.sha256(repr(sorted(self.partition.items())).encode() if self.partition else b"")
        with self.open(compression=None) as file:
            while not is_unwanted() and (chunk := file.read(1 << 20)):
                sha.update(chunk)
        return sha.hexdigest()[:32]


class _SourceFile:
    """A file whose `read` raises InputError; all else is the file's own."""

    def __init__(self, file: Any, path: str) -> None:
        self._file, self._path = file, path

    def read(self, size: int = -1) -> bytes:
        with _readable(self._path):
            return bytes(self._file.read(size))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def _readable(path: str) -> Iterator[None]:
    """Turns whatever a file system raises into InputError: fsspec has dozens of clients, each with errors of its own."""
    try:
        yield
    except InputError:
        raise
    except ImportError as error:
        raise InputError(
            f"cannot read {path}: {error}",
            expected="the client of that store",
            remedy="Install it, as in pip install 's3fs' (s3://), 'gcsfs' (gs://) or 'adlfs' (abfs://).",
        ) from error
    except (
        EOFError,
        zlib.error,
        lzma.LZMAError,
        zipfile.BadZipFile,
        tarfile.ReadError,
    ) as error:  # a bad gzip is an OSError
        raise InputError(
            f"cannot read {path}: {error}", expected="a whole, undamaged file", remedy="Fetch or pack it again."
        ) from error
    except Exception as error:
        raise InputError(
            f"cannot read {path}: {str(error) or type(error).__name__}",
            expected="a readable source file",
            remedy="Check the path, the permissions, and for a URL the host and the credentials "
            "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME).",
        ) from error


def is_folder(path: str) -> bool:
    """Returns whether a path or URL is that of a folder."""
    with _readable(path):
        fs, root = fsspec.core.url_to_fs(path)
        return bool(fs.isdir(root))


class SourceFolder:
    """The files directly inside a folder. Raises InputError when there is no such folder."""

    def __init__(self, uri: str | Path) -> None:
        self.uri = str(uri).rstrip("/") or "/"
        with _readable(self.uri):
            fs, root = fsspec.core.url_to_fs(self.uri)
            if not fs.isdir(root):
                raise InputError(f"no folder {self.uri}", expected="an existing folder", remedy="Check the path.")
            entries = fs.ls(root, detail=True)
        self.files = sorted(_base(e["name"]) for e in entries if e["type"] == "file")
        self.folders = sorted(_base(e["name"]) for e in entries if e["type"] == "directory")

    def source(self, name: str) -> Source | None:
        """Returns the file `name`, or its `.gz`; None when neither is there."""
        present = next((file for file in (name, f"{name}.gz") if file in self.files), None)
        return None if present is None else Source(present, f"{self.uri}/{present}")


def find_sources(
    source: str | Path | Sequence[str | Path],
    fmt: str,
    *,
    scratch: Path | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> list[Source]:
    """Finds the files of `source`: one or several paths or fsspec URLs, in their order, which decides which of two rows counts.

    Each is a file; a folder, which gives all files below it with a suffix of `fmt`, by path; a glob (`*`, `?`, `[`, `**`); an
    archive (.zip, .tar and its compressed forms), which gives its members in the same way; or a pipe (`-` is standard input),
    which is copied to `scratch`. Names that begin with `.` or `_` are left out, other files too, but `note` is told of those.
    Folders `column=value` below a folder or a glob become columns (`Source.partition`).

    Raises InputError where there is no file, where one cannot be reached, and for a file named twice.
    """
    given = [source] if isinstance(source, (str, Path)) else list(source)
    sources = [file for path in given for file in _expanded(str(path), fmt, scratch, note)]
    if not sources:
        raise InputError("an empty list of sources", expected=f"existing {fmt} files", remedy="Check the path.")
    paths = [file.path for file in sources]
    if twice := next((path for path in paths if paths.count(path) > 1), None) if len(set(paths)) < len(paths) else None:
        raise InputError(f"{twice} is named twice", expected="each file once", remedy="Name it once.")
    names = [file.name for file in sources]
    # A bare name is easier to read in the quarantine, as long as it says which file.
    return [Source(f.name if names.count(f.name) == 1 else f.path, f.path, f.partition) for f in sources]


def _expanded(path: str, fmt: str, scratch: Path | None, note: Callable[[str], None]) -> list[Source]:
    """Returns the files that one path stands for."""
    path = "/dev/stdin" if path == "-" else path
    if "://" not in path and Path(path).exists() and not Path(path).is_file() and not Path(path).is_dir():
        return [_spooled(path, scratch)]
    with _readable(path):
        fs, root = fsspec.core.url_to_fs(path)
        is_folder, is_file = fs.isdir(root), fs.exists(root)
        if is_folder:
            inside = [str(name)[len(str(root)) :].lstrip("/") for name in sorted(fs.find(root))]
        elif not is_file and any(letter in path for letter in "*?["):
            fixed = len(PurePosixPath(str(root).split("*")[0].split("?")[0].split("[")[0] + "x").parent.parts)
            matches = sorted(name for name in fs.glob(root) if not fs.isdir(name))
            return [
                _source(fs.unstrip_protocol(m) if "://" in path else m, PurePosixPath(m).parts[fixed:]) for m in matches
            ]
    if not is_file:
        raise InputError(f"no file {path}", expected=f"existing {fmt} files", remedy="Check the path.")
    if not is_folder:
        protocol = _archive_protocol(path)
        return [Source(_base(path), path)] if protocol is None else _members(path, protocol, fmt, note)
    base = path.rstrip("/")
    names = _with_suffix(_outside_workspaces(inside, note), fmt, path, note)
    files: list[Source] = []
    for name in names:
        protocol = _archive_protocol(name)
        if protocol is None:
            files.append(_source(f"{base}/{name}", PurePosixPath(name).parts))
        else:
            files += _members(f"{base}/{name}", protocol, fmt, note)
    return files


def _members(path: str, protocol: str, fmt: str, note: Callable[[str], None]) -> list[Source]:
    """Returns the members of an archive, as fsspec URLs through it. One that is alone is taken whatever its name."""
    with _readable(path):
        fs, _ = fsspec.core.url_to_fs(f"{protocol}://::{path}")
        if protocol == "tar":
            _check_end(fs.tar)
        members = sorted(str(name).lstrip("/") for name in fs.find("") if not str(name).startswith("__MACOSX/"))
    visible = [name for name in members if not _is_hidden(name)]
    taken = visible if len(visible) == 1 else _with_suffix(members, fmt, path, note)
    files: list[Source] = []
    for name in taken:
        member = Source(f"{_base(path)}/{name}", f"{protocol}://{name}::{path}", _partition(PurePosixPath(name).parts))
        inner = _archive_protocol(name)
        files += [member] if inner is None else _members(member.path, inner, fmt, note)
    return files


def _check_end(archive: tarfile.TarFile) -> None:
    """Raises ReadError unless zeros end a tar, and nothing else follows: tarfile takes a damaged header for the end."""
    archive.getmembers()
    assert archive.fileobj is not None  # it is open
    archive.fileobj.seek(archive.offset)
    num_bytes = 0
    while chunk := archive.fileobj.read(1 << 20):
        num_bytes += len(chunk)
        if chunk.count(0) != len(chunk):
            raise tarfile.ReadError(f"a damaged header, or another archive, behind byte {archive.offset:,}")
    if not num_bytes:
        raise tarfile.ReadError(f"the archive is cut off behind byte {archive.offset:,}")


def _with_suffix(names: Sequence[str], fmt: str, where: str, note: Callable[[str], None]) -> list[str]:
    """Returns those of some relative paths that are of a format; says which are not, and raises InputError when none is."""
    endings = tuple(suffix + packed for suffix in _SUFFIXES[fmt] for packed in (*_COMPRESSED, *_ARCHIVES))
    visible = [name for name in names if not _is_hidden(name)]
    matching = [name for name in visible if name.lower().endswith(endings)]
    if not matching:
        raise InputError(
            f"no {fmt} file among {len(names)} files in {where}",
            expected=f"names that end in {', '.join(_SUFFIXES[fmt])}",
            remedy="Name the files themselves, or check the format.",
        )
    if others := [name for name in visible if name not in set(matching)]:
        more = f" and {len(others) - _MANY:,} more" if len(others) > _MANY else ""
        note(f"left out of {where}, not {fmt} by name: {', '.join(others[:_MANY])}{more}")
    return matching


def _outside_workspaces(names: Sequence[str], note: Callable[[str], None]) -> list[str]:
    """Returns relative paths without those in a workspace, whose own tables an import of the folder around it would take in."""
    roots = [name.removesuffix(WorkspaceManifest.PATH) for name in names if _base(name) == WorkspaceManifest.PATH]
    for root in roots:
        note(f"left out: the workspace in {root or '.'}")
    return [name for name in names if not name.startswith(tuple(roots))] if roots else list(names)


def _spooled(path: str, scratch: Path | None) -> Source:
    """Copies a pipe to a file: readers look at the beginning more than once."""
    if scratch is None:
        raise InputError(f"{path} is a pipe", expected="a file", remedy="Write it to a file first.")
    scratch.mkdir(parents=True, exist_ok=True)
    target = scratch / f"pipe-{sum(1 for _ in scratch.glob('pipe-*'))}"
    with _readable(path), Path(path).open("rb") as pipe, target.open("wb") as file:
        shutil.copyfileobj(pipe, file, 1 << 20)
    return Source("stdin" if path == "/dev/stdin" else path, str(target))


def _source(path: str, parts: Sequence[str]) -> Source:
    return Source(_base(path), path, _partition(parts))


def _partition(parts: Sequence[str]) -> dict[str, str]:
    """Returns the `column=value` folders among the parts of a relative path, as Hive, Spark and DuckDB write them."""
    pairs = [part.partition("=") for part in parts[:-1] if "=" in part]
    values = {unquote(name): unquote(value) for name, _, value in pairs}
    return {name: "" if value == "__HIVE_DEFAULT_PARTITION__" else value for name, value in values.items()}


def _archive_protocol(path: str) -> str | None:
    return next((protocol for ending, protocol in _ARCHIVES.items() if path.lower().endswith(ending)), None)


def _is_hidden(name: str) -> bool:
    """Returns whether a part of a path says that it is no data, as in `_SUCCESS`, `.crc` and `_temporary/`; `_id=7` is a
    column.
    """
    return any(part[0] in "._" and "=" not in part for part in PurePosixPath(name).parts)


def _base(path: Any) -> str:
    return PurePosixPath(str(path).rstrip("/")).name
