"""Admit requests: keys, scopes and rates; without keys only this machine, and only by its own name."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from cluster.serving.access.keys import KeyRing, StoredKey
from cluster.serving.access.limits import RateLimiter
from cluster.serving.errors import (
    ForbiddenError,
    MalformedRequestError,
    RateLimitedError,
    UnauthenticatedError,
    WrongHostError,
)
from cluster.serving.settings import ServeArgs
from semrec.errors import InputError

__all__ = ["Caller", "Guard", "Headers", "check_binding", "is_loopback"]

_TOKEN: Final = re.compile(r"[A-Za-z0-9_.:-]{1,200}")
_MAX_REQUEST_ID: Final = 200
_FORWARDED: Final = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip"})
_ONCE: Final = frozenset(
    {
        b"authorization", b"content-length", b"content-type", b"host", b"idempotency-key", b"origin", b"x-api-key",
        b"x-request-id",
    }
)  # fmt: skip


class Headers:
    """The headers that matter, read in one pass.

    Raises MalformedRequestError where one of them comes twice: which one counts is not for a proxy and a replica to differ
    on.
    """

    __slots__ = ("has_origin", "host", "is_forwarded", "key", "length", "media_type", "request_id", "token")

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        values: dict[bytes, str] = {}
        self.is_forwarded = False
        for name, value in headers:
            if name in _FORWARDED:
                self.is_forwarded = True
            elif name in _ONCE:
                if name in values:
                    raise MalformedRequestError(
                        f"several headers {name.decode()}", expected="one", remedy="Remove the others."
                    )
                values[name] = value.decode("latin-1")
        self.host, self.length = values.get(b"host", ""), values.get(b"content-length", "")
        self.media_type = values.get(b"content-type", "").partition(";")[0].strip().lower()
        self.request_id = values.get(b"x-request-id", "")[:_MAX_REQUEST_ID]
        self.token, self.has_origin = values.get(b"idempotency-key"), b"origin" in values
        self.key = _presented_key(values)


class Caller(NamedTuple):
    """Who was admitted: whether they may be told what users have seen, and their name for the change they ask for."""

    may_explain: bool = False
    token: str | None = None


class Guard:
    """Admits requests. With keys, each needs one with the endpoint's scope and a token in its bucket."""

    def __init__(self, args: ServeArgs, keys: KeyRing | None) -> None:
        self._keys, self._limiter = keys, RateLimiter()
        self._names = {"localhost", *(origin.rpartition("/")[2] for origin in args.cors_origins)}

    def admit(self, client: tuple[str, int] | None, headers: Headers, needed: str | None) -> Caller:
        """Admits a request from `client` (host and port). `needed` is the scope that a key must have, None: no key.

        The caller's own name for a change is made the key's: another key cannot take it. Raises MalformedRequestError,
        UnauthenticatedError, ForbiddenError, WrongHostError or RateLimitedError.
        """
        if headers.token is not None and not _TOKEN.fullmatch(headers.token):
            raise MalformedRequestError(
                "an impossible Idempotency-Key",
                expected="up to 200 letters, digits and . _ : -",
                remedy="Send another, or none.",
            )
        if self._keys is None:
            self._admit_openly(client, headers)
            return Caller(may_explain=True, token=headers.token)
        if needed is None:
            return Caller()
        key = self._find(headers.key, self._keys)
        if not key.may(needed):
            raise ForbiddenError(
                f"a key without the scope {needed}",
                expected=f"a key with {needed}",
                remedy="Ask the operator for one.",
            )
        if key.rate_per_s is not None:
            wait_s = self._limiter.wait_s(key.id, key.rate_per_s)
            if wait_s > 0:
                raise RateLimitedError(
                    "too many requests with this key",
                    expected=f"{key.rate_per_s:g} per second",
                    remedy="Wait.",
                    retry_after_s=wait_s,
                )
        return Caller(key.may("explain"), f"{key.id}:{headers.token}" if headers.token else None)

    def _find(self, presented: str, keys: KeyRing) -> StoredKey:
        if not presented:
            raise UnauthenticatedError(
                "no API key",
                expected="Authorization: Bearer KEY, or X-API-Key: KEY",
                remedy="Ask the operator for a key.",
            )
        key = keys.find(presented)
        if key is None:
            raise UnauthenticatedError(
                "an unknown or expired API key", expected="a valid key", remedy="Ask the operator for one."
            )
        return key

    def _admit_openly(self, client: tuple[str, int] | None, headers: Headers) -> None:
        """Without keys: callers on this machine, by a name of this machine (a web page elsewhere could rebind its own)."""
        if headers.is_forwarded:
            # The server believes such a header of this machine, or of whom it was told to: a caller could name any address.
            raise ForbiddenError(
                "a request that a proxy has forwarded",
                expected="callers on this machine",
                remedy="Serve with --keys-file behind a proxy.",
            )
        if client and not is_loopback(client[0]):
            raise ForbiddenError(
                "a caller from elsewhere", expected="callers on this machine", remedy="Serve with --keys-file."
            )
        host = headers.host.lower()
        name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
        if name and name not in self._names and not is_loopback(name):
            raise WrongHostError(
                f"host {name!r}", expected="localhost", remedy="Serve with --keys-file to be called by other names."
            )


def _presented_key(values: Mapping[bytes, str]) -> str:
    """The key of `Authorization: Bearer` or of X-API-Key. Raises MalformedRequestError for two different ones."""
    kind, _, bearer = values.get(b"authorization", "").partition(" ")
    keys = {bearer.strip() if kind.lower() == "bearer" else "", values.get(b"x-api-key", "")} - {""}
    if len(keys) > 1:
        raise MalformedRequestError("two API keys", expected="one", remedy="Leave out Authorization or X-API-Key.")
    return keys.pop() if keys else ""


def check_binding(args: ServeArgs, host: str, *, has_grpc: bool) -> None:
    """Raises InputError for a service without keys on an address, or with gRPC, that other machines could reach."""
    if args.keys_file is None and has_grpc:
        raise InputError(
            "gRPC without API keys",
            expected="keys, as Serve's replicas listen to gRPC on all interfaces",
            remedy="Make a key with `semrec serve --make-key ID --keys-file FILE` and serve with that file, or leave gRPC "
            "out (--grpc-port, or grpc_options in a config file).",
        )
    if args.keys_file is None and not is_loopback(host):
        raise InputError(
            f"HTTP on {host} without API keys",
            expected="a loopback address, or keys",
            remedy="Make a key with `semrec serve --make-key ID --keys-file FILE` and serve with that file, or bind "
            "127.0.0.1 (--host, or http_options.host in a config file).",
        )


def is_loopback(host: str) -> bool:
    """Whether a name or address is of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
