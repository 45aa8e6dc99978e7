"""Errors as application/problem+json (RFC 9457), and nothing of the inside in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import orjson

from semrec.errors import (
    EncoderError,
    InputError,
    MissingArtefactError,
    NoWorkersError,
    SemrecError,
    WorkspaceWriteError,
)

__all__ = ["PROBLEM_TYPE", "ProblemError", "needs_explain", "problem_of"]

PROBLEM_TYPE: Final = "application/problem+json"
_BASE: Final = "https://github.com/semrec/semrec#problem-"
_MAX_TEXT: Final = 500


@dataclass(eq=False)
class ProblemError(Exception):
    """One refusal. `detail` is what was got, `expected` and `remedy` what the caller can do; `headers` go into the answer."""

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


def needs_explain(asked: str, otherwise: str) -> ProblemError:
    """The refusal of a question whose answer tells of users, to a key without that scope."""
    remedy = f"{otherwise}, or have the operator make a key with --scope read --scope explain."
    return ProblemError(403, f"{asked} by a key without the scope explain", "a key with explain", remedy)


def problem_of(error: BaseException) -> ProblemError:
    """The problem that an error is answered with. What is not a typed error says nothing but that it happened."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, TimeoutError):
        return ProblemError(503, "the request took too long", remedy="Try again.", headers={"Retry-After": "1"})
    if isinstance(error, InputError):
        return ProblemError(422, error.got, error.expected, error.remedy)
    if isinstance(error, MissingArtefactError):
        return ProblemError(404, error.got, error.expected, error.remedy)
    if isinstance(error, EncoderError):
        return ProblemError(501, error.got, error.expected, error.remedy)
    if isinstance(error, WorkspaceWriteError):
        return ProblemError(
            507, "the change could not be stored", remedy="Try again later.", headers={"Retry-After": "5"}
        )
    if isinstance(error, NoWorkersError):
        return ProblemError(503, "changes cannot be taken now", remedy="Try again.", headers={"Retry-After": "1"})
    if isinstance(error, SemrecError):  # its text may name files
        return ProblemError(500, "the stored data cannot be used", remedy="The operator's log says which.")
    return ProblemError(500, "something failed here", remedy="The operator's log says what.")


def _shown(text: str) -> str:
    """Valid Unicode without lone surrogates, which JSON requests can spell and UTF-8 cannot."""
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 3] + "..."
