"""Reads the content that a catalogue names by URI: one whole file or object, no larger than stated.

A URI is a path from the root, or one of file://, s3://, gs://, abfs://, http(s)://. It may end in `#sha256=` and the SHA-256 of
the bytes, as imports of folders write it: a changed file then has another URI, so its vector is made again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import Any, Final, TypeVar

import fsspec

from semrec.errors import EncoderError, StoreUnavailableError
from semrec.workspace.digests import sha256_hex
from semrec.workspace.retries import is_store_fault, retried

__all__ = ["ContentError", "read_ahead", "read_content", "uri_with_digest"]

_PROTOCOLS: Final = {"file", "s3", "gs", "gcs", "abfs", "abfss", "az", "http", "https", "memory"}
_DIGEST: Final = "#sha256="
# The clients of stores retry by themselves; this is on top, and the executor has more time.
_RETRY_WITHIN_S: Final = 20.0
# Of a web server, in seconds: of a whole file, and of what it may be silent. It keeps a thread of its reader for so long.
_WEB_TIMEOUTS: Final = {"total": 60.0, "sock_connect": 10.0, "sock_read": 10.0}

_Result = TypeVar("_Result")


class ContentError(Exception):
    """Content that gives no vector, with the reason as the quarantine states it.

    `is_unread` says that its bytes were not had, which another time may bring: it is then tried again by the next submission.
    """

    def __init__(self, reason: str, *, is_unread: bool = False) -> None:
        super().__init__(reason, is_unread)
        self.reason, self.is_unread = reason, is_unread


def uri_with_digest(uri: str, data: bytes) -> str:
    """Returns a URI that holds for these bytes alone."""
    return f"{uri}{_DIGEST}{sha256_hex(data)}"


def read_ahead(
    pool: Executor, read: Callable[[str], _Result], names: Iterable[str], num_ahead: int
) -> Iterator[_Result]:
    """Yields what `read` gives for each name, in order, while the `num_ahead` next are read by the pool."""
    ahead: deque[Future[_Result]] = deque()
    for name in names:
        ahead.append(pool.submit(read, name))
        if len(ahead) > num_ahead:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()


def read_content(uri: str, *, max_bytes: int) -> bytes:
    """Reads what `uri` names.

    Raises ContentError for what is not there, too large, empty, not as its digest says, or no URI; StoreUnavailableError when
    an object store cannot serve now, and EncoderError when its client is not installed: neither is the content's fault.
    """
    location, _, digest = uri.partition(_DIGEST)
    protocol = location.partition("://")[0] if "://" in location else "file"
    is_absolute = "://" in location or location.startswith("/")
    if protocol not in _PROTOCOLS or "::" in location or not is_absolute:  # fsspec would chain protocols by ::
        raise ContentError(f"no URI of a file: expected /path or one of {', '.join(sorted(_PROTOCOLS))} and ://")
    data = _read(location, protocol, max_bytes + 1)
    if not data:
        raise ContentError("empty file")
    if len(data) > max_bytes:
        raise ContentError(f"file larger than {max_bytes >> 20} MiB")
    if digest and sha256_hex(data) != digest:
        raise ContentError("file changed since it was imported")
    return data


def _read(location: str, protocol: str, num_bytes: int) -> bytes:
    """The first `num_bytes` bytes of a file."""
    is_web = protocol in ("http", "https")
    # A web server is not asked how much there is, which few answer truly, but for so many bytes at most.
    options = {"size": num_bytes} if is_web else {}

    def read() -> bytes:
        fs, path = fsspec.core.url_to_fs(location, **(_web_options() if is_web else {}))
        with fs.open(path, "rb", cache_type="none", **options) as file:
            return bytes(file.read(num_bytes))

    try:
        return read() if is_web else retried(read, is_store_fault, within_s=_RETRY_WITHIN_S)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise ContentError("no such file", is_unread=True) from None
    except ImportError as error:
        raise EncoderError(
            f"cannot read {location[:200]!r}: {error}",
            expected="the client of that store",
            remedy="Install it, as in pip install 's3fs' (s3://), 'gcsfs' (gs://) or 'adlfs' (abfs://).",
        ) from error
    except Exception as error:  # of whichever client is behind the file system
        # One of many web hosts may be gone for ever; a store that does not answer would reject a whole catalogue.
        if is_store_fault(error) and not is_web:
            raise StoreUnavailableError(
                f"the store of {location[:200]!r} cannot be reached or cannot serve: {error!r}",
                expected="a store that answers",
                remedy="Submit again when it does: what is committed stays.",
            ) from error
        status = getattr(error, "status", None)  # of HTTP
        reason = "no such file" if status in (404, 410) else f"file cannot be read: {status or type(error).__name__}"
        raise ContentError(reason, is_unread=True) from None


def _web_options() -> dict[str, Any]:
    """What fsspec's client of the web is made with: its own timeout is five minutes."""
    import aiohttp

    return {"client_kwargs": {"timeout": aiohttp.ClientTimeout(**_WEB_TIMEOUTS)}}
