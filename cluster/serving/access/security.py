"""Who may ask: keys, scopes and rates; without keys only this machine, and only by its own name."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from cluster.serving.access.keys import KeyRing, StoredKey
from cluster.serving.access.limits import RateLimiter
from cluster.serving.http.problems import ProblemError
from cluster.serving.settings import ServeArgs
from semrec.errors import InputError

__all__ = ["MAY_EXPLAIN", "Guard", "Headers", "check_binding", "is_loopback"]

#: Where a route finds in its scope whether the caller may be told what users have seen; absent: no.
MAY_EXPLAIN: Final = "semrec.may_explain"
_CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}
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
    """The headers that matter, found in one pass.

    Raises ProblemError 400 where one of them comes twice: which one counts is not for a proxy and a replica to differ on.
    """

    __slots__ = ("host", "is_forwarded", "key", "length", "may_explain", "media_type", "origin", "request_id", "token")

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        values: dict[bytes, str] = {}
        self.is_forwarded = self.may_explain = False
        for name, value in headers:
            if name in _FORWARDED:
                self.is_forwarded = True
            elif name in _ONCE:
                if name in values:
                    raise ProblemError(400, f"several headers {name.decode()}", "one", "Remove the others.")
                values[name] = value.decode("latin-1")
        self.host, self.length = values.get(b"host", ""), values.get(b"content-length", "")
        self.media_type = values.get(b"content-type", "").partition(";")[0].strip().lower()
        self.request_id = values.get(b"x-request-id", "")[:_MAX_REQUEST_ID]
        self.token, self.origin = values.get(b"idempotency-key"), b"origin" in values
        self.key = _presented_key(values)


class Guard:
    """Admits requests. With keys, each needs one with the endpoint's scope and a token in its bucket."""

    def __init__(self, args: ServeArgs, keys: KeyRing | None) -> None:
        self._keys, self._limiter = keys, RateLimiter()
        self._names = {"localhost", *(origin.rpartition("/")[2] for origin in args.cors_origins)}

    def admit(self, scope: Mapping[str, Any], headers: Headers, needed: str | None) -> None:
        """Raises ProblemError 400, 401, 403, 421 or 429. `needed` is the scope that a key must have, None: no key is needed.

        The caller's own name for a batch of changes is made the key's: another key cannot take it. Whether the caller may
        be told what users have seen is noted in `headers.may_explain`.
        """
        if headers.token is not None and not _TOKEN.fullmatch(headers.token):
            expected = "up to 200 letters, digits and . _ : -"
            raise ProblemError(400, "an impossible Idempotency-Key", expected, "Send another, or none.")
        if self._keys is None:
            self._admit_openly(scope, headers)
            headers.may_explain = True
            return
        if needed is None:
            return
        key = self._find(headers.key)
        if not key.may(needed):
            raise ProblemError(
                403, f"a key without the scope {needed}", f"a key with {needed}", "Ask the operator for one."
            )
        if key.rate_per_s is not None:
            wait_s = self._limiter.wait_s(key.id, key.rate_per_s)
            if wait_s > 0:
                after = {"Retry-After": str(math.ceil(wait_s))}
                raise ProblemError(
                    429, "too many requests with this key", f"{key.rate_per_s:g} per second", "Wait.", after
                )
        headers.may_explain = key.may("explain")
        if headers.token:
            headers.token = f"{key.id}:{headers.token}"

    def check_body(self, headers: Headers, most: int) -> None:
        """Raises ProblemError 413 for a body that is announced as too large, 415 for one that is not JSON."""
        if headers.media_type != "application/json" and not headers.media_type.endswith("+json"):
            # A browser may send anything else to this machine without asking first.
            raise ProblemError(415, f"content type {headers.media_type!r}", "application/json", "Set Content-Type.")
        if headers.length.isdigit() and int(headers.length[:20]) > most:
            raise ProblemError(413, f"a body of {headers.length[:20]} bytes", f"at most {most:,}", "Split the request.")

    def _find(self, presented: str) -> StoredKey:
        if not presented:
            expected = "Authorization: Bearer KEY, or X-API-Key: KEY"
            raise ProblemError(401, "no API key", expected, "Ask the operator for a key.", _CHALLENGE)
        assert self._keys is not None
        found = self._keys.find(presented)
        if found is None:
            raise ProblemError(
                401, "an unknown or expired API key", "a valid key", "Ask the operator for one.", _CHALLENGE
            )
        return found

    def _admit_openly(self, scope: Mapping[str, Any], headers: Headers) -> None:
        """Without keys: callers on this machine, by a name of this machine (a web page elsewhere could rebind its own)."""
        if headers.is_forwarded:
            # The server believes such a header of this machine, or of whom it was told to: a caller could name any address.
            remedy = "Serve with --keys-file behind a proxy."
            raise ProblemError(403, "a request that a proxy has forwarded", "callers on this machine", remedy)
        client = scope.get("client")
        if client and not is_loopback(client[0]):
            raise ProblemError(403, "a caller from elsewhere", "callers on this machine", "Serve with --keys-file.")
        host = headers.host.lower()
        name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
        if name and name not in self._names and not is_loopback(name):
            raise ProblemError(
                421, f"host {name!r}", "localhost", "Serve with --keys-file to be called by other names."
            )


def _presented_key(values: Mapping[bytes, str]) -> str:
    """The key of `Authorization: Bearer` or of X-API-Key. Raises ProblemError 400 for two different ones."""
    kind, _, bearer = values.get(b"authorization", "").partition(" ")
    keys = {bearer.strip() if kind.lower() == "bearer" else "", values.get(b"x-api-key", "")} - {""}
    if len(keys) > 1:
        raise ProblemError(400, "two API keys", "one", "Leave out Authorization or X-API-Key.")
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
