"""Answer the two most frequent queries without FastAPI, and before Ray Serve's own work on a request.

Their routes (`FastRoute`) are documented by FastAPI like all others, but their query strings are parsed and their answers
sent here; `middleware` has a replica's server ask here first. Measured with an empty answer at 32 connections on two cores:
16,300 requests/s here, 6,000 in an ASGI application behind Serve's handling, 3,300 in a FastAPI route, 420 through Serve's
default proxy. What is answered here does not appear in Serve's own request metrics and counts of ongoing requests, so the
replica counts it (/metrics); a replica that is stopped still finishes it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, MutableMapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple, get_type_hints
from urllib.parse import parse_qsl, unquote

from fastapi import Request, Response
from pydantic import ValidationError
from starlette.routing import BaseRoute

from cluster.serving.access.security import Caller, Headers
from cluster.serving.errors import InvalidRequestError, MalformedRequestError
from cluster.serving.execute import Answer
from cluster.serving.execute import Response as ListResponse
from cluster.serving.http.problems import PROBLEM_TYPE, log_problem, problem_of
from cluster.serving.http.route import SAFE_HEADERS, ApiRoute, decoded_id
from cluster.serving.requests.checks import invalid_request
from cluster.serving.requests.parameters import ListParameters
from cluster.serving.service import Service
from cluster.serving.settings import MAX_LIST

__all__ = ["FastPath", "FastRoute", "parse_query"]

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
#: An endpoint: id in the path, parsed query string, service, caller.
Endpoint = Callable[[str, Any, Service, Caller], Awaitable[ListResponse]]

_CACHED_BYTES: Final = 2_048  # a longer query string is parsed each time
_MAX_FIELDS: Final = MAX_LIST + 1_000
_MAX_NAMES: Final = 64  # different names in a query string, each of which may be an error
_SAFE: Final = [(name.encode(), value.encode()) for name, value in SAFE_HEADERS.items()]


class FastRoute(ApiRoute):
    """A GET route `/v1/{kind}/ID/{what}` of the fast path: FastAPI documents it, `FastPath` calls its function.

    The function takes an id, `parameters` (a model derived from ListParameters), the service and the caller.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        async def handle(request: Request) -> Response:
            fast_path: FastPath = request.app.state.fast_path
            sent = await fast_path.respond(request.scope)
            assert sent is not None  # the router has matched the same path
            return Response(
                sent.body, sent.status, {name.decode(): value.decode("latin-1") for name, value in sent.headers}
            )

        return handle


@dataclass(frozen=True, slots=True)
class _Endpoint:
    name: str
    key_scope: str | None
    function: Endpoint
    parameters: type[ListParameters]


class _Sent(NamedTuple):
    """A response; `request_id` is empty where the request could not be read so far."""

    status: int
    body: bytes
    headers: list[tuple[bytes, bytes]]
    request_id: str


class FastPath:
    """The fast endpoints of a replica, as raw ASGI."""

    def __init__(self, service: Service, routes: Iterable[BaseRoute]) -> None:
        self._service = service
        self._endpoints: dict[tuple[bytes, bytes], _Endpoint] = {}
        for route in routes:
            assert isinstance(route, FastRoute)
            _, _, kind, _, what = route.path.encode().split(b"/")
            parameters = get_type_hints(route.endpoint)["parameters"]
            self._endpoints[kind, what] = _Endpoint(route.name, route.key_scope, route.endpoint, parameters)

    async def answer(self, scope: Scope, send: Send) -> bool:
        """Answers a request in front of Serve; False for one of another path or method, of which nothing was sent."""
        if any(name == b"origin" for name, _ in scope["headers"]):
            return False  # CORS is decided further in
        sent = await self.respond(scope)
        if sent is None:
            return False
        # A fresh list: Serve adds to it. Behind Serve, which names requests itself, the name would stand there twice.
        headers = [*sent.headers, (b"x-request-id", sent.request_id.encode("latin-1"))]
        await send({"type": "http.response.start", "status": sent.status, "headers": headers})
        await send({"type": "http.response.body", "body": sent.body})
        return True

    async def respond(self, scope: Scope) -> _Sent | None:
        """The response to a request, which is recorded; None for one of another path or method."""
        started_s = time.perf_counter()
        segments = _raw_path(scope).split(b"/")
        if len(segments) != 5 or segments[1] != b"v1" or not segments[3] or scope["method"] != "GET":
            return None
        endpoint = self._endpoints.get((segments[2], segments[4]))
        if endpoint is None:
            return None
        service, request_id = self._service, ""
        answers: list[Answer] = []
        more: list[tuple[bytes, bytes]] = []
        try:
            headers = Headers(scope["headers"])
            request_id = headers.request_id or service.recorder.next_request_id()
            caller = service.guard.admit(scope.get("client"), headers, endpoint.key_scope)
            name, query = decoded_id(segments[3].decode("latin-1")), scope["query_string"]
            async with asyncio.timeout(service.args.timeout_s):
                parameters = await service.read(len(query), partial(parse_query, endpoint.parameters, query))
                response = await endpoint.function(name, parameters, service, caller)
            status, media_type, body = 200, b"application/json", response.body
            answers = [response.answer]
        except Exception as error:
            problem = problem_of(error)
            log_problem(endpoint.name, error, problem)
            status, media_type = problem.status, PROBLEM_TYPE.encode()
            body = problem.body(unquote(scope["path"])[:200])
            more = [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
        service.recorder.record(endpoint.name, status, started_s, request_id, answers)
        about = [(b"content-type", media_type), (b"content-length", b"%d" % len(body))]
        return _Sent(status, body, [*about, *_SAFE, *more], request_id)


def parse_query(model: type[ListParameters], raw: bytes) -> ListParameters:
    """The checked query string; short ones are parsed once. Raises MalformedRequestError or InvalidRequestError."""
    return _parsed_once(model, raw) if len(raw) <= _CACHED_BYTES else _parsed(model, raw)


def _parsed(model: type[ListParameters], raw: bytes) -> ListParameters:
    if raw.count(b"&") >= _MAX_FIELDS:
        raise InvalidRequestError(
            "very many fields in the query", expected=f"at most {_MAX_FIELDS:,}", remedy="Split the request."
        )
    try:
        # Lists by name, as a name may come several times; a blank value is a value.
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict")
    except (UnicodeDecodeError, ValueError):
        raise MalformedRequestError(
            "the query string is not percent-encoded UTF-8", expected="?name=value&name=value", remedy="Encode it."
        ) from None
    values: dict[str, Any] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    if len(values) > _MAX_NAMES:
        raise InvalidRequestError(
            f"{len(values):,} names in the query", expected="see /openapi.json", remedy="Remove those not listed."
        )
    fields = model.model_fields
    for name, given in values.items():
        if name in fields and not isinstance(fields[name].default, list):
            if len(given) > 1:
                raise InvalidRequestError(
                    f"{name} is given {len(given)} times", expected="once", remedy="Remove the others."
                )
            values[name] = given[0]
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise invalid_request(error, "the query") from None


_parsed_once = lru_cache(maxsize=4_096)(_parsed)


def _raw_path(scope: Scope) -> bytes:
    """The undecoded path below the application's root."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    root = scope.get("root_path", "")
    return raw[len(root) :] if root and raw.startswith(root.encode()) else raw
