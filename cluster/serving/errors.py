"""Errors of a request, beside those of `semrec.errors`. `http/problems` and `grpc/methods` give them statuses."""

from __future__ import annotations

from typing import Any

from semrec.errors import InputError, SemrecError

__all__ = [
    "ForbiddenError",
    "InvalidRequestError",
    "MalformedRequestError",
    "NotReadyError",
    "OverloadedError",
    "RateLimitedError",
    "TooLargeError",
    "UnauthenticatedError",
    "WrongHostError",
]


class MalformedRequestError(SemrecError):
    """The request cannot be read: not JSON, not UTF-8, not a protobuf message, contradictory headers."""


class InvalidRequestError(InputError):
    """A readable request asks for what cannot be; `errors` says where: [{"at": "liked.3", "message": ".."}]."""

    def __init__(self, got: str, *, expected: str, remedy: str, errors: list[dict[str, Any]] | None = None) -> None:
        super().__init__(got, expected=expected, remedy=remedy)
        self.errors = errors or []


class UnauthenticatedError(SemrecError):
    """The caller has shown no valid key."""


class ForbiddenError(SemrecError):
    """The caller may not do this: the key lacks a scope, or there are no keys and the caller is on another machine."""


class WrongHostError(SemrecError):
    """A service without keys was called by a name that is not this machine's: a web page may have rebound its own."""


class RateLimitedError(SemrecError):
    """A key's requests come faster than its rate; the next may come in `retry_after_s` seconds."""

    transient = True

    def __init__(self, got: str, *, expected: str, remedy: str, retry_after_s: float = 1.0) -> None:
        super().__init__(got, expected=expected, remedy=remedy)
        self.retry_after_s = retry_after_s


class TooLargeError(SemrecError):
    """The request has more bytes than are read."""


class OverloadedError(SemrecError):
    """The replica holds as many requests as it may."""

    transient = True


class NotReadyError(SemrecError):
    """No release is loaded yet."""

    transient = True
