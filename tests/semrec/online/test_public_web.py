"""URIs that a caller names lead to the public web alone: not by address, name, redirect or a name that changes."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from semrec.encoders.contents import ContentError
from semrec.online import public_web
from semrec.online.public_web import fetch_public

PUBLIC = "public.test"


class Site(http.server.BaseHTTPRequestHandler):
    """A few pages; `asked` are their paths."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        port = self.server.server_address[1]
        elsewhere = {
            "/moved": "/file",
            "/inside": f"http://127.0.0.1:{port}/secret",
            "/other-kind": "file:///etc/passwd",
            "/round": "/round",
        }
        if self.path in elsewhere:
            self.send_response(302)
            self.send_header("Location", elsewhere[self.path])
            self.end_headers()
            return
        self.send_response(404 if self.path == "/none" else 200)
        if self.path == "/short":
            self.send_header("Content-Length", "50")
        self.end_headers()
        if self.path == "/slow":
            with contextlib.suppress(OSError):
                for _ in range(100):
                    self.wfile.write(b".")
                    time.sleep(0.05)
            return
        self.wfile.write({"/empty": b"", "/large": b"x" * 1000}.get(self.path, b"the file"))

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The base of a site that is taken for a public one by its name, though it is on this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    checked = public_web.public_address
    monkeypatch.setattr(
        public_web, "public_address", lambda host, port: "127.0.0.1" if host == PUBLIC else checked(host, port)
    )
    Site.asked = []
    yield f"http://{PUBLIC}:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def fetch(uri: str, timeout_s: float = 5.0) -> bytes:
    return fetch_public(uri, max_bytes=100, timeout_s=timeout_s)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "10.0.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "2130706433",
        "[::1]", "[fd00::1]", "[fe80::1]", "[::ffff:10.0.0.1]", "[2002:a00:1::]", "224.0.0.1",
        "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::a00:1]", "[::127.0.0.1]",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public_are_refused(host: str) -> None:
    with pytest.raises(ContentError, match=r"not on the public web|no such host"):
        fetch(f"http://{host}/")


@pytest.mark.parametrize(
    "uri",
    ["file:///etc/passwd", "ftp://example.org/a", "/etc/passwd", "http://", "http://a@example.org/", "http://[1/"],
)
def test_other_kinds_of_uris_are_refused(uri: str) -> None:
    with pytest.raises(ContentError, match=r"no http or https URI|no URI"):
        fetch(uri)


def test_a_file_is_fetched_also_where_it_has_moved(site: str) -> None:
    assert fetch(f"{site}/file") == fetch(f"{site}/moved") == b"the file"


def test_a_redirect_is_checked_as_the_uri_was(site: str) -> None:
    with pytest.raises(ContentError, match="not on the public web"):
        fetch(f"{site}/inside")
    with pytest.raises(ContentError, match="no http or https URI"):
        fetch(f"{site}/other-kind")
    assert Site.asked == ["/inside", "/other-kind"]
    with pytest.raises(ContentError, match="more than 5 redirects"):
        fetch(f"{site}/round")


@pytest.mark.parametrize(
    ("path", "reason"),
    [("none", "an answer of 404"), ("empty", "empty"), ("large", "larger than"), ("short", "ends early")],
)
def test_what_is_no_file_says_why(site: str, path: str, reason: str) -> None:
    with pytest.raises(ContentError, match=reason):
        fetch(f"{site}/{path}")


def test_a_server_that_sends_a_byte_now_and_then_is_not_waited_for(site: str) -> None:
    started_s = time.monotonic()
    with pytest.raises(ContentError, match="no answer in time"):
        fetch(f"{site}/slow", timeout_s=0.5)
    assert time.monotonic() - started_s < 3
