"""What the OpenAPI document says of every route, beside what FastAPI reads from its function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from cluster.serving.http.problems import PROBLEM_TYPE

__all__ = ["documented", "openapi_document", "problems"]

_EVERYWHERE: Final = (400, 401, 403, 421, 422, 429, 500, 503)
_WITH_BODY: Final = (408, 413, 415)
_MEANING: Final = {
    400: "Malformed: not JSON, not percent-encoded UTF-8.",
    401: "No valid key.",
    403: "The key lacks the scope, or there are no keys and the caller is on another machine.",
    404: "There is no such item, or the published run has no such user.",
    408: "The body did not arrive in time.",
    409: "It is being done.",
    413: "The body is too large.",
    415: "The body is not declared as application/json.",
    421: "Without keys, only names of this machine are answered.",
    422: "Well-formed, but impossible; `errors` says where.",
    429: "More requests than the key allows; see Retry-After.",
    500: "Something failed here; the operator's log says what.",
    501: "The release has no encoder of what was sent.",
    503: "Not ready, too many requests waiting, or not answered in time; see Retry-After.",
    507: "The workspace refused to store the change.",
}
_SECURITY: Final[dict[str, Any]] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these statuses, each a problem document."""
    return {status: _problem(status) for status in statuses}


def documented(options: dict[str, Any], endpoint: Callable[..., Any], *, key_scope: str | None, has_body: bool) -> None:
    """Adds to the options of a route: summary and description out of its docstring, its key, and the errors of all routes."""
    first, _, more = (inspect.getdoc(endpoint) or "").partition("\n")
    summary = first.rstrip(".")
    needs = f"Where the server has keys, one with the scope `{key_scope}` is needed." if key_scope else ""
    shared = problems(*_EVERYWHERE, *(_WITH_BODY if has_body else ()))
    options["summary"], options["response_description"] = summary, summary
    options["description"] = "\n\n".join(text for text in (more.strip(), needs) if text)
    options["responses"] = {**shared, **(options.get("responses") or {})}
    options["openapi_extra"] = {"security": [{"bearer": []}, {"key": []}, {}] if key_scope else []}


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """The document of all routes."""
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    document["components"]["securitySchemes"] = _SECURITY
    return document


def _problem(status: int) -> dict[str, Any]:
    example = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": "..."}
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    return {"description": _MEANING[status], "content": {PROBLEM_TYPE: {"schema": schema, "example": example}}}
