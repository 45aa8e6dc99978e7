"""From request messages to calls of the endpoints: the query strings and bodies that say the same.

So everything is checked where HTTP's requests are: names, bounds, and numbers that are none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sized
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from google.protobuf.message import DecodeError, Message

from cluster.serving.grpc import recommender_pb2 as pb
from cluster.serving.grpc.form import MESSAGES
from cluster.serving.http.endpoints import checked_name
from cluster.serving.http.handlers import Call
from cluster.serving.http.problems import ProblemError
from cluster.serving.http.schemas import MAX_LIST

__all__ = ["call_of"]

Listed = TypeVar("Listed", bound=Sized)


def call_of(name: str, raw: bytes) -> Call:
    """The call of the endpoint `name` that a serialised message asks for. Raises ProblemError 400 for what is no message of its
    kind, 422 for one that no request can say."""
    kind, make = _CALLS[name]
    try:
        message = kind.FromString(raw)
    except DecodeError:
        raise ProblemError(400, f"bytes that are no {kind.__name__}", "see recommender.proto", "Mend it.") from None
    return make(message)


def _recommend_user(request: pb.RecommendUserRequest) -> Call:
    return Call(checked_name(request.user_id), _query(request, "user_id"), form=MESSAGES)


def _similar_items(request: pb.SimilarItemsRequest) -> Call:
    return Call(checked_name(request.item_id), _query(request, "item_id"), form=MESSAGES)


def _with_body(request: Message) -> Call:
    return Call(body=_body(_members(request)), form=MESSAGES)


def _search(request: pb.SearchRequest) -> Call:
    return Call(body=_body({"text": request.text} | _members(request)), form=MESSAGES)


def _answer_batch(request: pb.BatchRequest) -> Call:
    queries = [_batch_query(query) for query in _few("queries", request.queries)]
    return Call(body=_body(_members(request) | {"queries": queries}), form=MESSAGES)


def _bare(request: Message) -> Call:
    return Call()


#: Name of an endpoint -> its message, and what makes its call of one.
_CALLS: Final[dict[str, tuple[type[Any], Callable[[Any], Call]]]] = {
    "recommend_user": (pb.RecommendUserRequest, _recommend_user),
    "recommend_anonymous": (pb.RecommendAnonymousRequest, _with_body),
    "similar_items": (pb.SimilarItemsRequest, _similar_items),
    "search": (pb.SearchRequest, _search),
    "answer_batch": (pb.BatchRequest, _answer_batch),
    "models": (pb.ModelsRequest, _bare),
    "ready": (pb.ReadyRequest, _bare),
}


def _query(request: Message, named: str) -> bytes:
    """The query string of all fields that are set, but for the one in the path."""
    return urlencode([pair for pair in _pairs(request) if pair[0] != named]).encode()


def _pairs(request: Message) -> Iterator[tuple[str, str]]:
    for field, value in request.ListFields():
        for one in [value] if isinstance(value, str | bool | int | float) else _few(field.name, value):
            yield field.name, one if isinstance(one, str) else json.dumps(one)


def _members(message: Message) -> dict[str, Any]:
    """The JSON object of all fields that are set."""
    return {field.name: _plain(field.name, value) for field, value in message.ListFields()}


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, pb.Filters):
        return _filters(value)
    return _members(value) if isinstance(value, Message) else [_plain(name, one) for one in _few(name, value)]


def _filters(filters: pb.Filters) -> dict[str, Any]:
    found: dict[str, Any] = {name: _filter(name, one) for name, one in _few("attributes", filters.attributes).items()}
    if "exclude" in found:
        raise ProblemError(422, "a filter by an attribute named exclude", "another", "Give ids in `exclude`.")
    return found | {"exclude": list(_few("exclude", filters.exclude))}


def _filter(name: str, one: pb.Filter) -> Any:
    if one.values and one.HasField("range"):
        raise ProblemError(422, f"values and a range of {name}", "one of them", "Remove the other.")
    return _members(one.range) if one.HasField("range") else list(_few(name, one.values))


def _batch_query(query: pb.BatchQuery) -> dict[str, Any]:
    """Repeated fields are not there or empty alike: disliked items alone are a query with no liked ones."""
    members = _members(query)
    return {"liked": [], **members} if list(members) == ["disliked"] else members


def _body(members: dict[str, Any]) -> bytes:
    return json.dumps(members).encode()  # not orjson, which writes a NaN as null, as if nothing had been asked


def _few(name: str, values: Listed) -> Listed:
    """The values. Raises ProblemError 422 where they are more than any list may have, before something is made of each."""
    if len(values) > MAX_LIST:
        raise ProblemError(422, f"{len(values):,} {name}", f"at most {MAX_LIST:,}", "Split the request.")
    return values
