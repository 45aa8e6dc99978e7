"""The class of all FastAPI routes here: admits a request, bounds its body and time, and records its response.

FastAPI itself reads and parses a body on the event loop before it looks at any dependency, keys included. So a route does
these things around it, in this order: headers, key, size and JSON's counts, the model (a large body in a thread), and then
FastAPI's own handling, which finds the body parsed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, get_type_hints
from urllib.parse import unquote

from fastapi import Depends, Path, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

from cluster.serving.access.limits import BodyStore
from cluster.serving.access.security import Caller, Headers
from cluster.serving.errors import InvalidRequestError, MalformedRequestError, TooLargeError
from cluster.serving.execute import Answer
from cluster.serving.execute import Response as ListResponse
from cluster.serving.http.documentation import documented
from cluster.serving.http.problems import PROBLEM_TYPE, ProblemError, log_problem, problem_of
from cluster.serving.requests.checks import check_id, invalid_request
from cluster.serving.service import Service
from semrec.limits import MAX_ID_CHARS
from semrec.online.json_size import check_json_size

__all__ = [
    "SAFE_HEADERS",
    "AdminRoute",
    "AnswerResponse",
    "ApiRoute",
    "ItemId",
    "PublicRoute",
    "TheCaller",
    "TheService",
    "UserId",
    "WriteRoute",
    "decoded_id",
    "problem_response",
]

SAFE_HEADERS: Final[Mapping[str, str]] = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_MAX_FIELDS: Final = 1_000  # in a query string


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


TheService = Annotated[Service, Depends(_service)]
TheCaller = Annotated[Caller, Depends(_caller)]
_ID: Final[dict[str, Any]] = {
    "min_length": 1,
    "max_length": MAX_ID_CHARS,
    "description": "Percent-encoded; any characters.",
}
UserId = Annotated[str, Path(examples=["viewer-0000001"], **_ID)]
ItemId = Annotated[str, Path(examples=["toy-story-1995"], **_ID)]


class AnswerResponse(Response):
    """A body, of JSON unless it is said, and the answers in it for the log of answers."""

    def __init__(self, body: bytes, answers: Sequence[Answer], media_type: str = "application/json") -> None:
        super().__init__(body, media_type=media_type)
        self.answers = answers

    @classmethod
    def of(cls, response: ListResponse) -> AnswerResponse:
        """The response with one answer."""
        return cls(response.body, [response.answer])


class ApiRoute(APIRoute):
    """A route that needs a key with the scope `key_scope` where the server has keys; None: it needs none.

    An endpoint is a coroutine (or a function, which FastAPI calls in a thread). A JSON body is its parameter `body`, a
    pydantic model in which every list has a `max_length`. It raises typed errors, which become problem documents.
    `recorded_as` is its name in metrics, instead of the function's.
    """

    key_scope: ClassVar[str | None] = "read"
    recorded_as: ClassVar[str | None] = None

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self.body_model: type[BaseModel] | None = get_type_hints(endpoint).get("body")
        documented(options, endpoint, key_scope=self.key_scope, has_body=self.body_model is not None)
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        call_endpoint = super().get_route_handler()

        async def handle(request: Request) -> Response:
            service: Service = request.app.state.service
            name, started_s = self.recorded_as or self.name, time.perf_counter()
            request_id, answers = "", list[Answer]()
            try:
                headers = Headers(request.scope["headers"])
                request_id = headers.request_id or service.recorder.next_request_id()
                request.state.caller = service.guard.admit(request.scope.get("client"), headers, self.key_scope)
                response = await self._handle_admitted(request, headers, service, call_endpoint)
                if isinstance(response, AnswerResponse):
                    answers = list(response.answers)
            except Exception as error:
                problem = problem_of(error)
                log_problem(name, error, problem)
                response = problem_response(problem, request)
            for header, value in SAFE_HEADERS.items():
                response.headers.setdefault(header, value)
            service.recorder.record(name, response.status_code, started_s, request_id, answers)
            return response

        return handle

    async def _handle_admitted(
        self,
        request: Request,
        headers: Headers,
        service: Service,
        call_endpoint: Callable[[Request], Coroutine[Any, Any, Response]],
    ) -> Response:
        """Reads what the request holds within its bounds, and calls the endpoint. The time counts from before the body."""
        if request.scope["query_string"].count(b"&") >= _MAX_FIELDS:
            raise InvalidRequestError(
                "very many fields in the query", expected=f"at most {_MAX_FIELDS:,}", remedy="Ask for less."
            )
        path_params = {name: decoded_id(value) for name, value in request.scope["path_params"].items()}
        # FastAPI takes cookies apart for every request; nothing here sets or reads one.
        others = [pair for pair in request.scope["headers"] if pair[0] != b"cookie"]
        scope = {**request.scope, "path_params": path_params, "headers": others}
        bodies: BodyStore = request.app.state.bodies
        raw, deadline_s = bytearray(), asyncio.get_running_loop().time() + service.args.timeout_s
        try:
            if self.body_model is not None:
                _check_declared(headers, service.args.max_body_bytes)
                await _read_body(request, raw, bodies, service, deadline_s)
            async with asyncio.timeout_at(deadline_s):
                parsed = None
                if self.body_model is not None:
                    parsed = await service.read(len(raw), lambda: _parse_body(self.body_model, bytes(raw)))
                return await call_endpoint(_ParsedRequest(scope, request.receive, bytes(raw), parsed))
        finally:
            bodies.give_back(len(raw))


class PublicRoute(ApiRoute):
    """A route for which nobody needs a key."""

    key_scope = None


class WriteRoute(ApiRoute):
    """A route that changes what others are shown."""

    key_scope = "write"


class AdminRoute(ApiRoute):
    """A route for whoever runs the service."""

    key_scope = "admin"


class _ParsedRequest(Request):
    """A request whose body was read and parsed before FastAPI asks for it."""

    def __init__(self, scope: Any, receive: Any, raw: bytes, parsed: BaseModel | None) -> None:
        super().__init__(scope, receive)
        self._raw, self._parsed = raw, parsed

    async def body(self) -> bytes:
        return self._raw

    async def json(self) -> Any:
        return self._parsed  # FastAPI passes an instance of the body's model on as it is


def problem_response(problem: ProblemError, request: Request) -> Response:
    """The response of a problem, with the safe headers."""
    body = problem.body(unquote(request.url.path)[:200])
    return Response(body, problem.status, {**SAFE_HEADERS, **problem.headers}, PROBLEM_TYPE)


def decoded_id(segment: str) -> str:
    """The id in a segment of a path, which comes percent-encoded (`application.SegmentPaths`), so it may hold a slash.

    Raises MalformedRequestError for bytes that are not UTF-8, InvalidRequestError for an empty or too long id.
    """
    try:
        return check_id(unquote(segment, errors="strict"))
    except UnicodeDecodeError:
        raise MalformedRequestError(
            "the id in the path is not UTF-8", expected="percent-encoded UTF-8", remedy="Encode it."
        ) from None


def _check_declared(headers: Headers, max_body_bytes: int) -> None:
    """Raises ProblemError 415 for a body that is not declared as JSON, TooLargeError for one announced as too large."""
    if headers.media_type != "application/json" and not headers.media_type.endswith("+json"):
        # A browser may send anything else to this machine without asking first.
        raise ProblemError(415, f"content type {headers.media_type!r}", "application/json", "Set Content-Type.")
    announced = headers.length[:20]
    if announced.isdigit() and int(announced) > max_body_bytes:
        raise TooLargeError(
            f"a body of {announced} bytes", expected=f"at most {max_body_bytes:,}", remedy="Split the request."
        )


async def _read_body(request: Request, raw: bytearray, bodies: BodyStore, service: Service, deadline_s: float) -> None:
    """Reads into `raw`, whose bytes `bodies` counts.

    Raises TooLargeError, OverloadedError where all bodies together are too large, ProblemError 408 at the deadline.
    """
    most = service.args.max_body_bytes
    try:
        async with asyncio.timeout_at(deadline_s):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ProblemError(400, "the connection was closed before the end of the body")
                chunk = message.get("body", b"")
                if len(raw) + len(chunk) > most:
                    raise TooLargeError(
                        "a larger body", expected=f"at most {most:,} bytes", remedy="Split the request."
                    )
                bodies.take(len(chunk))
                raw += chunk
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        raise ProblemError(
            408, "the body did not arrive in time", f"{service.args.timeout_s:g} s", "Send it faster."
        ) from None


def _parse_body(model: type[BaseModel] | None, raw: bytes) -> BaseModel:
    """The checked JSON body. Raises InputError for more than a body may hold, MalformedRequestError for what is not JSON,
    InvalidRequestError for another shape."""
    assert model is not None
    check_json_size(raw)
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise invalid_request(error, "the body") from None
