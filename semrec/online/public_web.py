"""Fetches what a caller names by URI, from the public web alone: never from this machine or the networks behind it.

Who may name a URI to a service could otherwise read what only the service can reach: its cloud's credentials, its
neighbours, its own files (server-side request forgery, OWASP A10:2021).
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

from semrec.encoders.contents import ContentError

__all__ = ["fetch_public", "public_address"]

_MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = (301, 302, 303, 307, 308)
#: Addresses of version 6 whose last 32 bits are one of version 4, to which a gateway or the kernel leads (RFC 6052, 4291).
_WITH_VERSION_4: Final = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))
_LOCAL_TRANSLATION: Final = ipaddress.IPv6Network("64:ff9b:1::/48")  # RFC 8215, which Python 3.11 takes for global


@dataclass(frozen=True)
class _Fetched:
    """The bytes of an answer, or where it sends on to."""

    data: bytes
    location: str | None = None


def fetch_public(uri: str, *, max_bytes: int, timeout_s: float) -> bytes:
    """Fetches an http or https URI and at most five redirects. `timeout_s` are for all of it.

    Every address that is connected to was looked at first: of the URI itself and of each redirect, so neither a redirect nor
    a name whose address changes leads elsewhere. Raises ContentError for another kind of URI, an address that is not public,
    an answer other than 200, one that is empty or larger than `max_bytes`, and for one that does not come in time.
    """
    deadline_s = time.monotonic() + timeout_s
    for _ in range(1 + _MAX_REDIRECTS):
        fetched = _fetch(_checked_uri(uri), max_bytes, deadline_s)
        if fetched.location is None:
            return fetched.data
        uri = urljoin(uri, fetched.location)
    raise ContentError(f"more than {_MAX_REDIRECTS} redirects")


def public_address(host: str, port: int) -> str:
    """An address of a host, where all that it has are public. Raises ContentError otherwise, and for an unknown host."""
    try:
        resolved = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ContentError("no such host", is_unread=True) from None
    addresses = [str(address[0]) for *_, address in resolved]
    if not all(_is_public(address) for address in addresses):
        raise ContentError("a host that is not on the public web")
    return addresses[0]


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed in _LOCAL_TRANSLATION:
            return False
        # An address of version 4 within one of version 6 leads to the former.
        if any(parsed in network for network in _WITH_VERSION_4):
            parsed = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        else:
            parsed = parsed.ipv4_mapped or parsed.sixtofour or parsed
    return parsed.is_global and not parsed.is_multicast


def _checked_uri(uri: str) -> SplitResult:
    try:
        parts = urlsplit(uri)
        port, host = parts.port, parts.hostname
    except ValueError:
        raise ContentError("no URI") from None
    if parts.scheme not in ("http", "https") or not host or parts.username is not None or port == 0:
        raise ContentError("no http or https URI of a host, without user name")
    return parts


def _fetch(parts: SplitResult, max_bytes: int, deadline_s: float) -> _Fetched:
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = public_address(host, port)
    try:
        with (
            socket.create_connection((address, port), timeout=_left_s(deadline_s)) as plain,
            _ended_at(deadline_s, plain),
        ):
            is_secure = parts.scheme == "https"
            stream = ssl.create_default_context().wrap_socket(plain, server_hostname=host) if is_secure else plain
            connection = http.client.HTTPConnection(host, port)
            connection.sock = stream
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", path, headers={"Accept-Encoding": "identity", "User-Agent": "semrec"})
            answer = connection.getresponse()
            location = answer.getheader("Location")
            if answer.status in _REDIRECTS and location:
                return _Fetched(b"", location)
            if answer.status != http.client.OK:
                raise ContentError(f"an answer of {answer.status}", is_unread=True)
            return _Fetched(_read(answer, max_bytes, deadline_s))
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = (
            "no answer in time" if isinstance(error, TimeoutError) else f"cannot be fetched: {type(error).__name__}"
        )
        raise ContentError(reason, is_unread=True) from None


def _read(answer: http.client.HTTPResponse, max_bytes: int, deadline_s: float) -> bytes:
    data = answer.read(max_bytes + 1)
    _left_s(deadline_s)  # a connection that was ended looks like one that has said all
    if len(data) > max_bytes:
        raise ContentError(f"larger than {max_bytes:,} bytes")
    if len(data) <= max_bytes and answer.length:
        raise ContentError("an answer that ends early", is_unread=True)
    if not data:
        raise ContentError("empty")
    return data


@contextlib.contextmanager
def _ended_at(deadline_s: float, plain: socket.socket) -> Iterator[None]:
    """Ends a connection at the deadline: a server that sends a byte now and then would never run into a timeout."""

    def end() -> None:
        with contextlib.suppress(OSError):
            plain.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(_left_s(deadline_s), end)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _left_s(deadline_s: float) -> float:
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s
