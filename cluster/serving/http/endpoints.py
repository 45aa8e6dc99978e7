"""The table of endpoints: where they are, who may use them, what they take and give. OpenAPI is made from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

from pydantic import BaseModel

from cluster.serving.http import handlers, schemas
from cluster.serving.http.handlers import Call, Done
from cluster.serving.http.problems import ProblemError
from cluster.serving.service import Service
from semrec.limits import MAX_ID_CHARS

__all__ = ["ENDPOINTS", "Endpoint", "Found", "checked_name", "endpoint_named", "find_endpoint"]


@dataclass(frozen=True, eq=False)
class Endpoint:
    """One method of one path; `{id}` in the path is percent-encoded, so it may hold any character.

    `scope` is what a key needs, None: no key. `quick`: answered before Ray Serve's own work on a request. `statuses` are
    those besides 200 and what all endpoints share.
    """

    name: str
    method: str
    path: str
    handle: Callable[[Service, Call], Awaitable[Done]]
    answer: type[BaseModel] | None
    scope: str | None = "read"
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    statuses: tuple[int, ...] = ()
    quick: bool = False
    tag: str = "answers"

    @property
    def summary(self) -> str:
        """The first line of its help."""
        return _SUMMARIES[self.name]


class Found(NamedTuple):
    """An endpoint and the id in its path."""

    endpoint: Endpoint
    name: str


ENDPOINTS: Final = (
    Endpoint(
        "recommend_user",
        "GET",
        "/v1/users/{user_id}/recommendations",
        handlers.recommend_user,
        schemas.Answer,
        query=schemas.UserQuery,
        statuses=(404,),
        quick=True,
    ),
    Endpoint(
        "similar_items",
        "GET",
        "/v1/items/{item_id}/similar",
        handlers.similar,
        schemas.Answer,
        query=schemas.SimilarQuery,
        statuses=(404,),
        quick=True,
    ),
    Endpoint(
        "recommend_anonymous",
        "POST",
        "/v1/recommendations",
        handlers.recommend_anonymous,
        schemas.Answer,
        body=schemas.RecommendBody,
        statuses=(404, 501),
    ),
    Endpoint(
        "search", "POST", "/v1/search", handlers.search, schemas.Answer, body=schemas.SearchBody, statuses=(404, 501)
    ),
    Endpoint("answer_batch", "POST", "/v1/batch", handlers.answer_batch, schemas.BatchAnswers, body=schemas.BatchBody),
    Endpoint(
        "get_item", "GET", "/v1/items/{item_id}", handlers.get_item, schemas.ItemAnswer, statuses=(404,), tag="items"
    ),
    Endpoint(
        "put_item",
        "PUT",
        "/v1/items/{item_id}",
        handlers.put_item,
        schemas.Changed,
        scope="write",
        body=schemas.ItemBody,
        statuses=(501, 507),
        tag="items",
    ),
    Endpoint(
        "delete_item",
        "DELETE",
        "/v1/items/{item_id}",
        handlers.delete_item,
        schemas.Changed,
        scope="write",
        statuses=(404, 507),
        tag="items",
    ),
    Endpoint(
        "post_events",
        "POST",
        "/v1/events",
        handlers.post_events,
        schemas.EventsAccepted,
        scope="write",
        body=schemas.EventsBody,
        statuses=(507,),
        tag="events",
    ),
    Endpoint("models", "GET", "/v1/models", handlers.models, schemas.ReleaseInfo, tag="operation"),
    Endpoint("statistics", "GET", "/v1/stats", handlers.statistics, schemas.Statistics, scope="admin", tag="operation"),
    Endpoint("metrics", "GET", "/metrics", handlers.metrics, None, scope="admin", tag="operation"),
    Endpoint("health", "GET", "/healthz", handlers.health, None, scope=None, tag="operation"),
    Endpoint("ready", "GET", "/readyz", handlers.ready, schemas.Ready, scope=None, tag="operation"),
)
_SUMMARIES: Final = {
    "recommend_user": "Recommendations for a user; an unknown one gets what is popular",
    "similar_items": "The items most like one",
    "recommend_anonymous": "Recommendations from liked and disliked items and words",
    "search": "Items by the meaning of words",
    "answer_batch": "Thousands of queries in one request",
    "get_item": "An item",
    "put_item": "Add or replace an item; it is in the answers when this returns",
    "delete_item": "Delete an item; it is gone from the answers when this returns",
    "post_events": "Interactions; durable and in the user's next answer when this returns",
    "models": "What is served, and what can be filtered by",
    "statistics": "Counts of the replica that answers",
    "metrics": "The same for Prometheus",
    "health": "Whether the process lives",
    "ready": "Whether a probed release and its text encoder are loaded",
}
Methods = dict[str, Endpoint]


def find_endpoint(method: str, raw_path: bytes) -> Found | None:
    """The endpoint of a request, by the undecoded path; None when there is none.

    Raises ProblemError 405 for another method, 400 or 422 for an impossible id.
    """
    methods, name = _FIXED.get(raw_path), b""
    if methods is None:
        segments = raw_path.split(b"/")
        if len(segments) < 4 or not segments[3]:
            return None
        methods, name = _NAMED.get((segments[2], *segments[4:])), segments[3]
        if methods is None or segments[0] or segments[1] != b"v1":
            return None
    found = methods.get(method)
    if found is None:
        allowed = ", ".join(sorted(methods))
        raise ProblemError(405, f"{method[:20]} here", allowed, "Use one of these.", {"Allow": allowed})
    return Found(found, _decoded(name) if name else "")


def endpoint_named(name: str) -> Endpoint:
    """The endpoint of a name, which must be one."""
    return _BY_NAME[name]


def checked_name(text: str) -> str:
    """An id as it may be asked for, stored ones from before the rule included. Raises ProblemError 422 for another length."""
    if not 1 <= len(text) <= MAX_ID_CHARS:
        raise ProblemError(422, f"an id of {len(text):,} characters", f"1 to {MAX_ID_CHARS:,}", "Check the id.")
    return text


def _decoded(name: bytes) -> str:
    try:
        text = unquote_to_bytes(name).decode()
    except UnicodeDecodeError:
        raise ProblemError(400, "the id in the path is not UTF-8", "percent-encoded UTF-8", "Encode it.") from None
    return checked_name(text)


def _table() -> tuple[dict[bytes, Methods], dict[tuple[bytes, ...], Methods]]:
    fixed: dict[Any, Methods] = {}
    named: dict[Any, Methods] = {}
    for endpoint in ENDPOINTS:
        segments = endpoint.path.encode().split(b"/")
        if b"{" in endpoint.path.encode():
            named.setdefault((segments[2], *segments[4:]), {})[endpoint.method] = endpoint
        else:
            fixed.setdefault(endpoint.path.encode(), {})[endpoint.method] = endpoint
    return fixed, named


_FIXED, _NAMED = _table()
_BY_NAME: Final = {endpoint.name: endpoint for endpoint in ENDPOINTS}
