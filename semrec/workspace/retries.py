"""Retries what may succeed later, with exponential back-off and jitter, and tells such errors of object stores."""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

__all__ = ["backoff_s", "is_store_fault", "retried", "store_code"]

_T = TypeVar("_T")
_MAX_DELAY_S = 30.0

# Names of the base classes in botocore (first three), aiohttp, azure-core and requests. By name: the clients of stores are
# optional, and which one is behind a file system is not known here.
_CONNECTION_ERRORS = {
    *("HTTPClientError", "ConnectionError", "ResponseParserError"),
    *("ClientConnectionError", "ClientPayloadError"),
    *("ServiceRequestError", "ServiceResponseError"),
    *("ChunkedEncodingError", "Timeout"),
}
_CODES = {"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "Throttling", "ThrottlingException"}
_STATUSES = {408, 429, 500, 502, 503, 504}
_ERRNOS = {errno.EAGAIN, errno.EBUSY, errno.EREMOTEIO, errno.ETIMEDOUT, errno.ENETUNREACH, errno.EHOSTUNREACH}


def backoff_s(attempt: int) -> float:
    """Returns seconds to wait after failure number `attempt` (from 0): doubling from one second to thirty, half random."""
    return min(_MAX_DELAY_S, 2.0**attempt) * random.uniform(0.5, 1.0)


def retried(call: Callable[[], _T], is_transient: Callable[[Exception], bool], *, within_s: float) -> _T:
    """Calls until it succeeds. Raises what is not transient at once, and what is when `within_s` are over."""
    started_s, attempt = time.monotonic(), 0
    while True:
        try:
            return call()
        except Exception as error:
            delay_s = backoff_s(attempt)
            if not is_transient(error) or time.monotonic() + delay_s - started_s > within_s:
                raise
        time.sleep(delay_s)
        attempt += 1


def is_store_fault(error: BaseException) -> bool:
    """Returns whether an object store could not be reached, or answered that it cannot serve now."""
    return any(map(_is_fault, _chain(error)))


def _is_fault(error: BaseException) -> bool:
    if isinstance(error, (TimeoutError, ConnectionError)):
        return True
    if isinstance(error, OSError) and error.errno in _ERRNOS:
        return True
    if _CONNECTION_ERRORS & {kind.__name__ for kind in type(error).__mro__}:
        return True
    return _code(error) in _CODES or _status(error) in _STATUSES


def store_code(error: BaseException) -> str | None:
    """Returns the store's own code in an error of s3fs, or None."""
    return next((code for code in map(_code, _chain(error)) if code), None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yields an error and those that it was raised from: s3fs puts one of its own around botocore's."""
    following: BaseException | None = error
    while following is not None:
        yield following
        following = following.__cause__


def _code(error: BaseException) -> str | None:
    response = getattr(error, "response", None)
    return response.get("Error", {}).get("Code") if isinstance(response, dict) else None


def _status(error: BaseException) -> int | None:
    """Returns the HTTP status in an error of botocore, gcsfs, aiohttp or azure-core, or None."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    for name in ("status_code", "status", "code"):
        value = str(getattr(error, name, None))
        if value.isdecimal():
            return int(value)
    return None
