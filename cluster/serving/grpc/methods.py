"""The methods of the gRPC service on a replica: Serve looks for them by the names of the RPCs.

Each is a call of the same endpoint as over HTTP: the same keys, limits, batches, counts and log.
"""
# ruff: noqa: N802

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Final, Protocol
from urllib.parse import unquote

import grpc
import orjson

from cluster.serving.access.security import Headers
from cluster.serving.grpc import recommender_pb2 as pb
from cluster.serving.grpc.form import values_of
from cluster.serving.grpc.requests import call_of
from cluster.serving.http.dispatch import Gate
from cluster.serving.http.problems import ProblemError

__all__ = ["Context", "RecommenderMethods", "Serialised"]

_MAX_MESSAGE_BYTES: Final = 1024**2  # of a request: an empty message in a list is 2 bytes of it and 80 in memory
_MAX_REQUEST_ID: Final = 200
_CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
}


class Context(Protocol):
    """The part of ray.serve.grpc_util.RayServegRPCContext that is used."""

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]]:
        """What the client sent beside the message."""

    def trailing_metadata(self) -> Iterable[tuple[str, str]]:
        """What goes out after the message: Serve's `request_id`, which is the client's if it sent one."""

    def peer(self) -> str:
        """`ipv4:127.0.0.1:50000`"""

    def set_code(self, code: grpc.StatusCode) -> None:
        """The status."""

    def set_details(self, details: str) -> None:
        """Its text."""

    def set_trailing_metadata(self, trailing_metadata: list[tuple[str, str]]) -> None:
        """Adds to it."""


class Serialised:
    """A message that an engine thread has written already: its bytes are all that Serve asks of it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def SerializeToString(self) -> bytes:
        """The bytes."""
        return self._body


class RecommenderMethods:
    """The RPCs; `_gate` is the replica's."""

    _gate: Gate

    async def RecommendUser(self, request: bytes, grpc_context: Context) -> Serialised:
        """Recommendations for a user."""
        return Serialised(await _answer(self._gate, "recommend_user", request, grpc_context))

    async def RecommendAnonymous(self, request: bytes, grpc_context: Context) -> Serialised:
        """Recommendations from liked and disliked items and words."""
        return Serialised(await _answer(self._gate, "recommend_anonymous", request, grpc_context))

    async def SimilarItems(self, request: bytes, grpc_context: Context) -> Serialised:
        """The items most like one."""
        return Serialised(await _answer(self._gate, "similar_items", request, grpc_context))

    async def Search(self, request: bytes, grpc_context: Context) -> Serialised:
        """Items by the meaning of words."""
        return Serialised(await _answer(self._gate, "search", request, grpc_context))

    async def AnswerBatch(self, request: bytes, grpc_context: Context) -> Serialised:
        """Many queries in one request."""
        return Serialised(await _answer(self._gate, "answer_batch", request, grpc_context))

    async def Models(self, request: bytes, grpc_context: Context) -> pb.ReleaseInfo:
        """What is served."""
        body = await _answer(self._gate, "models", request, grpc_context)
        facts = orjson.loads(body) if body else {"attributes": {}}
        return pb.ReleaseInfo(**facts | {"attributes": values_of(facts["attributes"])})

    async def Ready(self, request: bytes, grpc_context: Context) -> pb.ReadyAnswer:
        """Whether a probed release is loaded."""
        body = await _answer(self._gate, "ready", request, grpc_context)
        return pb.ReadyAnswer(**orjson.loads(body)) if body else pb.ReadyAnswer()


async def _answer(gate: Gate, name: str, request: bytes, context: Context) -> bytes:
    """The bytes of the endpoint's answer; b"" with another status than OK."""
    try:
        headers = Headers((key.encode(), _raw(value)) for key, value in context.invocation_metadata())
        headers.request_id = dict(context.trailing_metadata()).get("request_id", "")[:_MAX_REQUEST_ID]
        size = len(request)
        if size > _MAX_MESSAGE_BYTES:
            raise ProblemError(413, "a larger message", f"at most {_MAX_MESSAGE_BYTES:,} bytes", "Split the request.")
        done = await gate.call(name, headers, _address(context.peer()), size, partial(call_of, name, request))
    except ProblemError as problem:
        is_late = isinstance(problem.__cause__, TimeoutError)
        code = grpc.StatusCode.DEADLINE_EXCEEDED if is_late else _CODES.get(problem.status, grpc.StatusCode.INTERNAL)
        # Set, not raised: Serve would write a stack trace into the log for every refusal.
        context.set_code(code)
        context.set_details(problem.document()["detail"])
        if "Retry-After" in problem.headers:
            context.set_trailing_metadata([("retry-after", problem.headers["Retry-After"])])
        return b""
    if done.status != 200:
        context.set_code(_CODES[done.status])
        context.set_details("no release is loaded yet")
        return b""
    return done.body


def _raw(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1", "replace")


def _address(peer: str) -> tuple[str, int] | None:
    """Host and port of `ipv4:127.0.0.1:50000` or `ipv6:%5B::1%5D:50000`; None for anything else."""
    kind, _, rest = unquote(peer).partition(":")
    host, _, port = rest.rpartition(":")
    return (host.strip("[]"), int(port)) if kind in ("ipv4", "ipv6") and port.isdigit() else None
