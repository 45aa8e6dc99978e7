"""Content is read by URI from where a catalogue may have it, or has a reason why not."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import fsspec
import pytest

from semrec.encoders import contents
from semrec.encoders.contents import ContentError, read_content, uri_with_digest
from semrec.errors import StoreUnavailableError

MIB = 1 << 20


class Answers(BaseHTTPRequestHandler):
    """A web server with one file; all else is what its path says."""

    files: ClassVar[dict[str, bytes]] = {"/a.jpg": b"pixels", "/large": bytes(3 * MIB)}

    def do_GET(self) -> None:
        if self.path == "/silent":
            time.sleep(1)
        body = self.files.get(self.path)
        self.send_response(200 if body is not None else int(self.path.strip("/")))
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # who has enough does not read on
            self.wfile.write(body or b"")

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def reason_of(uri: str, max_bytes: int = MIB) -> tuple[str, bool]:
    with pytest.raises(ContentError) as caught:
        read_content(uri, max_bytes=max_bytes)
    return caught.value.reason, caught.value.is_unread


def test_files_stores_and_the_web_are_read(tmp_path: Path, web: str) -> None:
    path = tmp_path / "a poster #1.jpg"
    path.write_bytes(b"pixels")
    fsspec.filesystem("memory").pipe("/posters/1.jpg", b"pixels")
    for uri in (str(path), f"file://{path}", "memory://posters/1.jpg", f"{web}/a.jpg"):
        assert read_content(uri, max_bytes=6) == b"pixels"


def test_a_uri_with_a_digest_holds_for_its_bytes_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"pixels")
    uri = uri_with_digest(f"file://{path}", b"pixels")
    assert read_content(uri, max_bytes=MIB) == b"pixels"
    path.write_bytes(b"others")
    assert reason_of(uri) == ("file changed since it was imported", False)


def test_what_cannot_be_had_has_a_reason(tmp_path: Path, web: str) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "large").write_bytes(bytes(MIB + 1))
    assert reason_of(f"file://{tmp_path}/empty") == ("empty file", False)
    assert reason_of(f"file://{tmp_path}/large") == ("file larger than 1 MiB", False)
    assert reason_of(f"file://{tmp_path}/none") == ("no such file", True)
    assert reason_of(str(tmp_path)) == ("no such file", True)
    assert reason_of(f"{web}/large") == ("file larger than 1 MiB", False)
    assert reason_of("http://127.0.0.1:9/") == ("file cannot be read: ClientConnectorError", True)
    assert reason_of(f"{web}/404") == ("no such file", True)
    assert reason_of(f"{web}/403") == ("file cannot be read: 403", True)
    assert reason_of(f"{web}/503") == ("file cannot be read: 503", True)  # one host of many


@pytest.mark.parametrize("limit", ["total", "sock_read"])
def test_a_silent_host_is_given_up(web: str, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setitem(contents._WEB_TIMEOUTS, limit, 0.1)
    reason, is_unread = reason_of(f"{web}/silent")
    assert "Timeout" in reason and is_unread


@pytest.mark.parametrize("uri", ["posters/1.jpg", "", "zip://1.jpg::/posters.zip", "github://a:b@c/1.jpg", "/a::b"])
def test_what_is_no_uri_of_a_file_is_not_opened(uri: str) -> None:
    assert reason_of(uri)[0].startswith("no URI of a file")


def test_a_store_that_cannot_serve_rejects_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "_RETRY_WITHIN_S", 0)

    def fails(self: object, path: str, *arguments: object, **options: object) -> bytes:
        raise ConnectionResetError("gone")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "open", fails)
    with pytest.raises(StoreUnavailableError, match=r"memory://posters/1\.jpg"):
        read_content("memory://posters/1.jpg", max_bytes=MIB)
