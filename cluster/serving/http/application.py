"""The web application of a replica: the gate in front, behind it FastAPI with the page, OpenAPI and what nobody knows."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from cluster.serving.http.dispatch import Gate
from cluster.serving.http.openapi import openapi_document
from cluster.serving.http.problems import PROBLEM_TYPE, ProblemError
from cluster.serving.page.routes import router
from cluster.serving.service import Service
from semrec import __version__

__all__ = ["make_application"]

_log = logging.getLogger(__name__)
_ABOUT = (
    "Exact recommendations, similar items and search from one release. Every answer names its `release` and the "
    "`overlay` of later changes that it was made with. Errors are application/problem+json."
)


def make_application(service: Service) -> tuple[Gate, Any]:
    """The gate, and the ASGI application around it, which is the gate itself unless browsers elsewhere may call."""
    app = FastAPI(
        title="semrec",
        version=__version__,
        description=_ABOUT,
        docs_url=None,  # its page takes scripts from elsewhere: any viewer of OpenAPI shows /openapi.json
        redoc_url=None,
    )
    app.include_router(router)
    app.state.snapshot = service.snapshot
    app.openapi = cache(lambda: openapi_document(app))  # type: ignore[method-assign]
    handlers = {
        HTTPException: _http_problem,
        RequestValidationError: _validation_problem,
        ProblemError: _own_problem,
        Exception: _unknown_problem,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
    gate = Gate(service, app)
    if not service.args.cors_origins:
        return gate, gate
    allowed = {
        "allow_origins": service.args.cors_origins,
        "allow_methods": ["GET", "POST", "PUT", "DELETE"],
        "allow_headers": ["Authorization", "Content-Type", "Idempotency-Key", "X-API-Key"],
    }
    return gate, CORSMiddleware(gate, **allowed)  # type: ignore[arg-type]


def _own_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return _response(request, error)


def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = "there is nothing here" if error.status_code == 404 and error.detail == "Not Found" else str(error.detail)
    return _response(request, ProblemError(error.status_code, detail, headers=error.headers or {}))


def _validation_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [{"at": ".".join(map(str, one["loc"])), "message": one["msg"]} for one in error.errors()[:20]]
    return _response(
        request, ProblemError(422, "the request is not what is expected", "see /openapi.json", errors=errors)
    )


def _unknown_problem(request: Request, error: Exception) -> Response:
    _log.error("%s failed", request.url.path, exc_info=error)
    return _response(request, ProblemError(500, "something failed here", remedy="The operator's log says what."))


def _response(request: Request, problem: ProblemError) -> Response:
    body = problem.body(request.url.path[:200])
    return Response(body, problem.status, dict(problem.headers), PROBLEM_TYPE)
