"""The methods of the gRPC service on a replica: Serve looks for them by the names of the RPCs.

Each is the same operation of the service as over HTTP, with the same keys, limits, batches, counts and log.
"""
# ruff: noqa: N802

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol
from urllib.parse import unquote

import grpc

from cluster.serving import errors as serving
from cluster.serving.access.security import Caller, Headers
from cluster.serving.execute import Answer
from cluster.serving.grpc import queries
from cluster.serving.grpc import recommender_pb2 as pb
from cluster.serving.grpc.serializer import BATCH_MESSAGES, MESSAGES, attribute_values, sparql_table
from cluster.serving.http.problems import log_problem, problem_of
from cluster.serving.queries import Query
from cluster.serving.service import Service
from semrec.errors import EncoderError, InputError, MissingArtefactError, NoWorkersError

__all__ = ["Context", "RecommenderMethods", "Serialised"]

_MAX_MESSAGE_BYTES: Final = 1024**2  # of a request: an empty message in a list is 2 bytes of it and 80 in memory
_MAX_REQUEST_ID: Final = 200
_CODE_OF: Final[dict[type[BaseException], grpc.StatusCode]] = {
    TimeoutError: grpc.StatusCode.DEADLINE_EXCEEDED,
    serving.MalformedRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    InputError: grpc.StatusCode.INVALID_ARGUMENT,
    serving.UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    serving.ForbiddenError: grpc.StatusCode.PERMISSION_DENIED,
    serving.WrongHostError: grpc.StatusCode.PERMISSION_DENIED,
    MissingArtefactError: grpc.StatusCode.NOT_FOUND,
    serving.TooLargeError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    serving.RateLimitedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    EncoderError: grpc.StatusCode.UNIMPLEMENTED,
    serving.OverloadedError: grpc.StatusCode.UNAVAILABLE,
    serving.NotReadyError: grpc.StatusCode.UNAVAILABLE,
    NoWorkersError: grpc.StatusCode.UNAVAILABLE,
}
#: What an RPC answers with: serialised, and the answers in it for the log.
Sent = tuple[bytes, Sequence[Answer]]


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
    """The RPCs; `service` is the replica's. A method is given a message's bytes and answers with a message, or none."""

    service: Service

    async def RecommendUser(self, request: bytes, grpc_context: Context) -> Serialised:
        """Recommendations for a user."""
        return await self._list("recommend_user", queries.user_query, request, grpc_context)

    async def RecommendAnonymous(self, request: bytes, grpc_context: Context) -> Serialised:
        """Recommendations from liked and disliked items and words."""
        return await self._list("recommend_anonymous", queries.anonymous_query, request, grpc_context)

    async def SimilarItems(self, request: bytes, grpc_context: Context) -> Serialised:
        """The items most like one."""
        return await self._list("similar_items", queries.similar_query, request, grpc_context)

    async def Search(self, request: bytes, grpc_context: Context) -> Serialised:
        """Items by the meaning of words, or by how an image looks."""
        return await self._list("search", queries.search_query, request, grpc_context)

    async def AnswerBatch(self, request: bytes, grpc_context: Context) -> Serialised:
        """Many queries in one request."""

        async def answer(caller: Caller) -> Sent:
            batch = await self.service.read(len(request), lambda: queries.query_batch(request))
            return await self.service.answer_batch(batch, BATCH_MESSAGES)

        return await _respond(self.service, "answer_batch", "read", request, grpc_context, answer)

    async def QueryGraph(self, request: bytes, grpc_context: Context) -> Serialised:
        """SPARQL over the relations."""

        async def answer(caller: Caller) -> Sent:
            asked = await self.service.read(len(request), lambda: queries.graph_query(request))
            table = await self.service.query_graph(asked.query, asked.max_rows)
            return sparql_table(table).SerializeToString(), ()

        return await _respond(self.service, "query_graph", "admin", request, grpc_context, answer)

    async def Models(self, request: bytes, grpc_context: Context) -> Serialised:
        """What is served."""

        async def answer(caller: Caller) -> Sent:
            release = self.service.describe_release()
            attributes = attribute_values(release["attributes"])
            return pb.ReleaseInfo(**release | {"attributes": attributes}).SerializeToString(), ()

        return await _respond(self.service, "models", "read", request, grpc_context, answer)

    async def Ready(self, request: bytes, grpc_context: Context) -> Serialised:
        """Whether a probed release is loaded: UNAVAILABLE until then."""

        async def answer(caller: Caller) -> Sent:
            self.service.snapshot()
            return pb.ReadyAnswer(**self.service.readiness()).SerializeToString(), ()

        return await _respond(self.service, "ready", None, request, grpc_context, answer)

    async def _list(self, endpoint: str, parse: Callable[[bytes], Query], raw: bytes, context: Context) -> Serialised:
        """One list, asked for by a message that `parse` reads."""

        async def answer(caller: Caller) -> Sent:
            query = await self.service.read(len(raw), lambda: parse(raw))
            response = await self.service.answer(query, MESSAGES, may_explain=caller.may_explain)
            return response.body, [response.answer]

        return await _respond(self.service, endpoint, "read", raw, context, answer)


async def _respond(
    service: Service,
    endpoint: str,
    key_scope: str | None,
    request: bytes,
    context: Context,
    answer: Callable[[Caller], Awaitable[Sent]],
) -> Serialised:
    """The message of `answer`, which is called once the sender is admitted; an empty one with another status than OK."""
    started_s, request_id = time.perf_counter(), ""
    answers: Sequence[Answer] = ()
    try:
        headers = Headers((key.encode(), _raw(value)) for key, value in context.invocation_metadata())
        named = dict(context.trailing_metadata()).get("request_id", "")[:_MAX_REQUEST_ID]
        request_id = named or service.recorder.next_request_id()
        caller = service.guard.admit(_address(context.peer()), headers, key_scope)
        for what, most in (("message", _MAX_MESSAGE_BYTES), ("body", service.args.max_body_bytes)):
            if len(request) > most:
                raise serving.TooLargeError(
                    f"a larger {what}", expected=f"at most {most:,} bytes", remedy="Split the request."
                )
        async with asyncio.timeout(service.args.timeout_s):
            body, answers = await answer(caller)
        status = 200
    except Exception as error:
        body, status = b"", _refuse(endpoint, error, context)
    service.recorder.record(endpoint, status, started_s, request_id, answers)
    return Serialised(body)


def _refuse(endpoint: str, error: Exception, context: Context) -> int:
    """Sets the status of an error, its text, and when to try again. Returns the status that HTTP would have."""
    problem = problem_of(error)
    log_problem(endpoint, error, problem)
    known = (_CODE_OF[kind] for kind in type(error).__mro__ if kind in _CODE_OF)
    # Set, not raised: Serve would write a stack trace into the log for every refusal.
    context.set_code(next(known, grpc.StatusCode.INTERNAL))
    context.set_details(problem.document()["detail"])
    if "Retry-After" in problem.headers:
        context.set_trailing_metadata([("retry-after", problem.headers["Retry-After"])])
    return problem.status


def _raw(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1", "replace")


def _address(peer: str) -> tuple[str, int] | None:
    """Host and port of `ipv4:127.0.0.1:50000` or `ipv6:%5B::1%5D:50000`; None for anything else."""
    kind, _, rest = unquote(peer).partition(":")
    host, _, port = rest.rpartition(":")
    return (host.strip("[]"), int(port)) if kind in ("ipv4", "ipv6") and port.isdigit() else None
