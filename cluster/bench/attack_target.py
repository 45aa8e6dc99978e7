"""Sends attacks and ordinary requests to a service, each on a connection of its own."""

from __future__ import annotations

import contextlib
import http.client
import select
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import grpc

from cluster.serving.access.security import is_loopback
from semrec.bench.attacks import Attack
from semrec.errors import InputError

__all__ = ["PATIENCE_S", "Target"]

PATIENCE_S: Final = 120.0


@dataclass(frozen=True)
class Target:
    """A service, a key for it or none, and where it takes gRPC (`host:port`), if it does.

    Raises InputError for a service on another machine, unless it is attacked `anywhere`.
    """

    url: str
    key: str | None = None
    grpc: str | None = None
    anywhere: bool = False

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"the address {self.url!r}", expected="http://HOST:PORT", remedy="Mend --url.")
        hosts = {parts.hostname} | ({urlsplit(f"//{self.grpc}").hostname or ""} if self.grpc else set())
        for host in hosts:
            if not self.anywhere and not is_loopback(host):
                raise InputError(
                    f"a service on {host}",
                    expected="one on this machine",
                    remedy="Attack what is yours alone; --anywhere says that it is.",
                )

    @property
    def is_here(self) -> bool:
        """True where it is on this machine."""
        return is_loopback(urlsplit(self.url).hostname or "")

    def attack(self, attack: Attack, body: bytes | None) -> int:
        """Returns the status of the answer to an attack: HTTP's, or for gRPC the number of its code."""
        if attack.is_grpc:
            return self._call(attack.path, body or b"", with_key=attack.with_key)
        return self.ask(attack.path, attack.method, body, attack.all_headers, slow_s=attack.slow_s)[0]

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Sequence[tuple[str, str]] = (),
        *,
        slow_s: float = 0.0,
    ) -> tuple[int, bytes]:
        """Status and body of an answer; status 0 when the connection broke before one."""
        connection = self._connection()
        try:
            connection.putrequest(method, path)
            for name, value in [*headers, *self._key_header()]:
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders()
            with contextlib.suppress(OSError):  # a refusal may come, and the connection end, before all is sent
                _send(connection, body or b"", slow_s)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def _call(self, path: str, message: bytes, *, with_key: bool) -> int:
        assert self.grpc is not None
        with grpc.insecure_channel(self.grpc) as channel:
            metadata = [(name.lower(), value) for name, value in self._key_header()] if with_key else []
            try:
                channel.unary_unary(path)(message, metadata=metadata, timeout=PATIENCE_S)
            except grpc.RpcError as error:
                return int(error.code().value[0])
            return 0

    def _key_header(self) -> list[tuple[str, str]]:
        return [("Authorization", f"Bearer {self.key}")] if self.key else []

    def _connection(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        if parts.scheme == "http":
            return http.client.HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE_S)
        return http.client.HTTPSConnection(
            parts.hostname, parts.port, timeout=PATIENCE_S, context=ssl.create_default_context()
        )


def _send(connection: http.client.HTTPConnection, body: bytes, slow_s: float) -> None:
    """Sends a body over `slow_s`, and no more of it once an answer has come: how long that takes is what is measured."""
    if not slow_s:
        connection.send(body)
        return
    for number in range(len(body)):
        connection.send(body[number : number + 1])
        is_answered, _, _ = select.select([connection.sock], [], [], slow_s / len(body))
        if is_answered:
            return
