"""From a request to its answer: who asks, how much, how long; then the endpoint; then the log and the counts.

`Gate` answers the endpoints of the table itself and gives everything else (the page, OpenAPI) to a FastAPI application. The
quick endpoints can be answered before Ray Serve's own work on a request (`front`), which costs several times theirs. gRPC
(`grpc`) comes in by `call`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import replace
from typing import Any, Final

from cluster.serving.access.limits import BodyStore
from cluster.serving.access.security import MAY_EXPLAIN, Guard, Headers
from cluster.serving.http.endpoints import Endpoint, endpoint_named, find_endpoint
from cluster.serving.http.handlers import Call, Done
from cluster.serving.http.problems import PROBLEM_TYPE, ProblemError, problem_of
from cluster.serving.service import Service
from semrec.errors import SemrecError
from semrec.online.telemetry import Answer

__all__ = ["Gate"]

_log = logging.getLogger(__name__)
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

_SAFE_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
_PUBLIC: Final = (b"/", b"/openapi.json")
_MAX_FIELDS: Final = 1_000  # in the query string of a request that FastAPI answers
_WITH_BODY: Final = ("POST", "PUT")


class Gate:
    """The ASGI application of a replica, and the way in for other protocols."""

    def __init__(self, service: Service, rest: Asgi) -> None:
        self._service, self._rest = service, rest
        self._guard = Guard(service.args, service.keys)
        self._timeout_s, self._bodies = service.args.timeout_s, BodyStore(service.args.max_bodies_bytes)
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._rest(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
        elif not await self._answer(scope, receive, send, only_quick=False):
            await self._answer_rest(scope, receive, send)

    async def quick(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Answers a request to a quick endpoint; False for any other, of which nothing was read or sent."""
        return await self._answer(scope, receive, send, only_quick=True)

    async def call(
        self,
        name: str,
        headers: Headers,
        client: tuple[str, int] | None,
        size: int,
        read: Callable[[], Call],
    ) -> Done:
        """What the endpoint `name` answers to a request of `size` bytes, of which `read` makes a call once it is admitted.

        Raises ProblemError, whose cause is a TimeoutError when the time was up. Counted and logged as over HTTP.
        """
        started_s, endpoint = time.perf_counter(), endpoint_named(name)
        request_id = headers.request_id or self._next_id()
        try:
            self._guard.admit({"client": client}, headers, endpoint.scope)
            if size > self._service.args.max_body_bytes:
                raise _too_large(self._service.args.max_body_bytes)
            async with asyncio.timeout(self._timeout_s):
                call = replace(await self._service.read(size, read), may_explain=headers.may_explain)
                done = await endpoint.handle(self._service, call)
        except Exception as error:
            problem = _problem(endpoint, error)
            self._count(endpoint, problem.status, started_s)
            raise problem from (None if problem is error else error)
        self._answered(endpoint, done, request_id, started_s)
        return done

    async def _answer(self, scope: Scope, receive: Receive, send: Send, *, only_quick: bool) -> bool:
        started_s = time.perf_counter()
        endpoint: Endpoint | None = None
        request_id = ""
        try:
            found = find_endpoint(scope["method"], _raw_path(scope))
            if found is None or (only_quick and not found.endpoint.quick):
                return False
            endpoint = found.endpoint
            headers = Headers(scope["headers"])
            if only_quick and headers.origin:
                return False  # CORS is decided further in
            request_id = headers.request_id or self._next_id()
            self._guard.admit(scope, headers, endpoint.scope)
            done = await self._handle(endpoint, found.name, scope, headers, receive)
        except Exception as error:
            if only_quick and endpoint is None:
                return False
            problem = _problem(endpoint, error)
            await _send_problem(scope, send, problem)
            self._count(endpoint, problem.status, started_s)
            return True
        # Behind Serve, which names requests itself, the name would stand there twice.
        named = [(b"x-request-id", request_id.encode("latin-1"))] if only_quick else ()
        await _send(send, done.status, done.media_type, done.body, named)
        self._answered(endpoint, done, request_id, started_s)
        return True

    async def _handle(self, endpoint: Endpoint, name: str, scope: Scope, headers: Headers, receive: Receive) -> Done:
        """The endpoint's answer; its time counts from before the body is read."""
        deadline_s = asyncio.get_running_loop().time() + self._timeout_s
        body = bytearray()
        try:
            if endpoint.body is not None:
                await self._read(headers, receive, body, deadline_s)
            async with asyncio.timeout_at(deadline_s):
                call = Call(name, scope["query_string"], bytes(body), headers.token, may_explain=headers.may_explain)
                return await endpoint.handle(self._service, call)
        finally:
            self._bodies.give_back(len(body))

    async def _read(self, headers: Headers, receive: Receive, body: bytearray, deadline_s: float) -> None:
        """Reads into `body`. Raises ProblemError 413, 415, 503 for no room, or 408 at the deadline."""
        most = self._service.args.max_body_bytes
        self._guard.check_body(headers, most)
        try:
            async with asyncio.timeout_at(deadline_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ProblemError(400, "the connection was closed before the end of the body")
                    chunk = message.get("body", b"")
                    if len(body) + len(chunk) > most:
                        raise _too_large(most)
                    self._bodies.take(len(chunk))
                    body += chunk
                    if not message.get("more_body", False):
                        return
        except TimeoutError:
            raise ProblemError(
                408, "the body did not arrive in time", f"{self._timeout_s:g} s", "Send it faster."
            ) from None

    async def _answer_rest(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What FastAPI answers: the page is for everybody, its data is not."""
        started_s, status = time.perf_counter(), 500
        path = _raw_path(scope)
        needs = None if path in _PUBLIC or path.startswith(b"/page/") else "read"

        async def send_safely(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _completed(message.get("headers", ()))
            await send(message)

        try:
            admitted = Headers(scope["headers"])
            self._guard.admit(scope, admitted, needs)
            if scope["query_string"].count(b"&") >= _MAX_FIELDS:
                raise ProblemError(422, "very many fields in the query", f"at most {_MAX_FIELDS:,}", "Ask for less.")
            # FastAPI takes cookies apart for every request; nothing here sets or reads one.
            headers = [pair for pair in scope["headers"] if pair[0] != b"cookie"]
            await self._rest({**scope, "headers": headers, MAY_EXPLAIN: admitted.may_explain}, receive, send_safely)
        except ProblemError as problem:
            status = problem.status
            await _send_problem(scope, send, problem)
        finally:
            self._service.stats.answered(
                "page" if status != 404 else "unknown", status, time.perf_counter() - started_s
            )

    def _next_id(self) -> str:
        return f"{self._service.stats.replica}-{next(self._numbers)}"

    def _answered(self, endpoint: Endpoint, done: Done, request_id: str, started_s: float) -> None:
        """Counts and logs an answer that went out."""
        self._count(endpoint, done.status, started_s)
        for reply in done.replies:
            self._service.stats.answered_from(reply.snapshot.served.release_id, reply.num_excluded)
        if self._service.answers:
            self._log_answers(endpoint, done, request_id, started_s)

    def _count(self, endpoint: Endpoint | None, status: int, started_s: float) -> None:
        self._service.stats.answered(endpoint.name if endpoint else "unknown", status, time.perf_counter() - started_s)

    def _log_answers(self, endpoint: Endpoint, done: Done, request_id: str, started_s: float) -> None:
        assert self._service.answers is not None
        now_s, ms = time.time(), (time.perf_counter() - started_s) * 1e3
        for reply in done.replies:
            release, overlay = reply.snapshot.served.release_id, reply.snapshot.overlay.sequence
            self._service.answers.add(
                Answer(now_s, request_id, endpoint.name, reply.user_id, reply.item_ids, release, overlay, ms)
            )


def _problem(endpoint: Endpoint | None, error: Exception) -> ProblemError:
    """What an error is answered with; the log has what the operator should know of it."""
    problem = problem_of(error)
    if not isinstance(error, ProblemError | SemrecError | TimeoutError):
        _log.error("%s failed", endpoint.name if endpoint else "a request", exc_info=error)
    elif problem.status >= 500:
        _log.warning("%s: %s: %s", endpoint.name if endpoint else "", type(error).__name__, str(error)[:500])
    return problem


def _too_large(most: int) -> ProblemError:
    return ProblemError(413, "a larger body", f"at most {most:,} bytes", "Split the request.")


def _raw_path(scope: Scope) -> bytes:
    """The undecoded path below the application's root."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    root = scope.get("root_path", "")
    return raw[len(root) :] if root and raw.startswith(root.encode()) else raw


async def _send(
    send: Send, status: int, media_type: bytes, body: bytes, more: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    # A fresh list: Serve adds to it.
    headers = [(b"content-type", media_type), (b"content-length", b"%d" % len(body)), *_SAFE_HEADERS, *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _send_problem(scope: Scope, send: Send, problem: ProblemError) -> None:
    more = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in problem.headers.items()]
    await _send(send, problem.status, PROBLEM_TYPE.encode(), problem.body(scope["path"][:200]), more)


def _completed(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers with the safe ones that are missing."""
    given = list(headers)
    names = {name.lower() for name, _ in given}
    return given + [pair for pair in _SAFE_HEADERS if pair[0] not in names]
