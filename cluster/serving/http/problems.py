"""Errors as application/problem+json (RFC 9457), and nothing of the inside in them."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi.exceptions import RequestValidationError

from cluster.serving import errors as serving
from semrec.errors import (
    EncoderError,
    InputError,
    MissingArtefactError,
    NoWorkersError,
    SemrecError,
    WorkspaceWriteError,
)

__all__ = ["PROBLEM_TYPE", "ProblemError", "log_problem", "problem_of"]

_log = logging.getLogger(__name__)
PROBLEM_TYPE: Final = "application/problem+json"
_BASE: Final = "https://github.com/semrec/semrec#problem-"
_MAX_TEXT: Final = 500
#: The status of an error whose own words the caller is told.
_STATUS_OF: Final[Mapping[type[SemrecError], int]] = {
    serving.MalformedRequestError: 400,
    serving.UnauthenticatedError: 401,
    serving.ForbiddenError: 403,
    MissingArtefactError: 404,
    serving.TooLargeError: 413,
    serving.WrongHostError: 421,
    serving.InvalidRequestError: 422,
    InputError: 422,
    serving.RateLimitedError: 429,
    EncoderError: 501,
    serving.OverloadedError: 503,
    serving.NotReadyError: 503,
}


@dataclass(eq=False)
class ProblemError(Exception):
    """An error in HTTP's words. `detail` is what was got, `expected` and `remedy` what the caller can do.

    `headers` go into the answer. Raised for what only HTTP knows; `problem_of` makes one of every other error.
    """

    status: int
    detail: str
    expected: str = ""
    remedy: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    errors: list[dict[str, Any]] | None = None

    def document(self, instance: str = "") -> dict[str, Any]:
        """The members of the problem; texts are cut at 500 characters, as they may quote the request."""
        phrase = HTTPStatus(self.status).phrase
        body: dict[str, Any] = {
            "type": _BASE + phrase.lower().replace(" ", "-").replace("'", ""),
            "title": phrase,
            "status": self.status,
            "detail": _shown(self.detail),
        }
        if self.expected:
            body["expected"] = _shown(self.expected)
        if self.remedy:
            body["remedy"] = _shown(self.remedy)
        if self.errors:
            body["errors"] = self.errors
        if instance:
            body["instance"] = instance
        return body

    def body(self, instance: str = "") -> bytes:
        """The JSON of `document`."""
        return orjson.dumps(self.document(instance))


def problem_of(error: BaseException) -> ProblemError:
    """The problem that an error is answered with. What is not a typed error says nothing but that it happened."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, RequestValidationError):
        errors = [{"at": ".".join(map(str, detail["loc"])), "message": detail["msg"]} for detail in error.errors()[:20]]
        return ProblemError(422, "the request is not what is expected", "see /openapi.json", errors=errors)
    if isinstance(error, TimeoutError):
        return ProblemError(503, "the request took too long", remedy="Try again.", headers={"Retry-After": "1"})
    status = next((_STATUS_OF[kind] for kind in type(error).__mro__ if kind in _STATUS_OF), None)
    if isinstance(error, SemrecError) and status is not None:
        places = error.errors if isinstance(error, serving.InvalidRequestError) else None
        return ProblemError(status, error.got, error.expected, error.remedy, _headers(error), places)
    if isinstance(error, WorkspaceWriteError):  # its text names folders, as do those below
        detail, retry = "the change could not be stored", {"Retry-After": "5"}
        return ProblemError(507, detail, remedy="Try again later.", headers=retry)
    if isinstance(error, NoWorkersError):
        return ProblemError(503, "changes cannot be taken now", remedy="Try again.", headers={"Retry-After": "1"})
    if isinstance(error, SemrecError):
        return ProblemError(500, "the stored data cannot be used", remedy="The operator's log says which.")
    return ProblemError(500, "something failed here", remedy="The operator's log says what.")


def log_problem(endpoint: str, error: BaseException, problem: ProblemError) -> None:
    """Writes into the log what the operator should know of an error."""
    if not isinstance(error, ProblemError | SemrecError | TimeoutError | RequestValidationError):
        _log.error("%s failed", endpoint, exc_info=error)
    elif problem.status >= 500:
        _log.warning("%s: %s: %s", endpoint, type(error).__name__, str(error)[:500])


def _headers(error: SemrecError) -> dict[str, str]:
    if isinstance(error, serving.UnauthenticatedError):
        return {"WWW-Authenticate": "Bearer"}
    if error.transient:
        return {"Retry-After": str(math.ceil(getattr(error, "retry_after_s", 1.0)))}
    return {}


def _shown(text: str) -> str:
    """Valid Unicode without lone surrogates, which JSON requests can spell and UTF-8 cannot."""
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 3] + "..."
