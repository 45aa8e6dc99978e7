"""The FastAPI application of a replica: routes, problem documents, 404s and CORS."""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from functools import cache
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match

from cluster.serving.access.limits import BodyStore
from cluster.serving.access.security import Headers
from cluster.serving.http.documentation import openapi_document
from cluster.serving.http.fast_path import FastPath
from cluster.serving.http.problems import ProblemError, problem_of
from cluster.serving.http.route import problem_response
from cluster.serving.http.routes import benchmark, contents, events, graph, items, lists, operation
from cluster.serving.page import routes as page
from cluster.serving.service import Service
from semrec import __version__

__all__ = ["make_application"]

_ABOUT = (
    "Exact recommendations, similar items and search from one release. Every answer names its `release` and the "
    "`overlay` of later changes that it was made with. Errors are application/problem+json."
)
_ROUTERS = (
    lists.fast_router,
    lists.router,
    contents.router,
    items.router,
    items.write_router,
    graph.router,
    graph.write_router,
    graph.admin_router,
    events.router,
    operation.router,
    operation.admin_router,
    operation.public_router,
    benchmark.router,
    page.router,
    page.public_router,
)


def make_application(service: Service) -> FastAPI:
    """The application; `state.fast_path` is what a replica puts in front of Serve."""
    app = FastAPI(
        title="semrec",
        version=__version__,
        description=_ABOUT,
        openapi_url=None,  # a route of ours answers it, with the same care as all others
        docs_url=None,  # its page takes scripts from elsewhere: any viewer of OpenAPI shows /openapi.json
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.service = service
    app.state.bodies = BodyStore(service.args.max_bodies_bytes)
    app.state.fast_path = FastPath(service, lists.fast_router.routes)
    for router in _ROUTERS:
        app.include_router(router)
    app.openapi = cache(lambda: openapi_document(app))  # type: ignore[method-assign]
    app.add_exception_handler(HTTPException, _not_routed)
    app.add_middleware(SegmentPaths)
    if service.args.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.args.cors_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "X-API-Key"],
        )
    return app


class SegmentPaths:
    """Middleware: routes by the path as it was sent, each segment percent-encoded in one way.

    A server decodes a path as a whole, so that an id with a slash would be two segments. `route.decoded_id` decodes ids.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            raw: bytes = scope.get("raw_path") or scope["path"].encode()
            path = "/".join(quote(unquote_to_bytes(segment), safe="") for segment in raw.split(b"/"))
            scope = {**scope, "path": path, "raw_path": path.encode()}
        await self._app(scope, receive, send)


async def _not_routed(request: Request, error: Exception) -> Response:
    """Answers a path or method that no route has. A path is as secret as the routes: unknown ones need a key, too."""
    assert isinstance(error, HTTPException)
    service: Service = request.app.state.service
    started_s = time.perf_counter()
    try:
        headers = Headers(request.scope["headers"])
        if error.status_code == 405:
            allowed = ", ".join(sorted(_methods(request)))
            raise ProblemError(405, f"{request.method[:20]} here", allowed, "Use one of these.", {"Allow": allowed})
        service.guard.admit(request.scope.get("client"), headers, "read")
        raise ProblemError(error.status_code, "there is nothing here")
    except Exception as refusal:
        problem = problem_of(refusal)
    service.recorder.record("unknown", problem.status, started_s)
    return problem_response(problem, request)


def _methods(request: Request) -> set[str]:
    """The methods of all routes with the path of a request."""
    routes = [route for router in _ROUTERS for route in router.routes]
    matching = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return {method for route in matching for method in getattr(route, "methods", None) or ()}
