"""From serialised request messages to typed queries.

What a message says is checked by the models of `cluster.serving.requests`, as over HTTP: names, bounds, and numbers that
are none.
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message
from pydantic import ValidationError

from cluster.serving.errors import InvalidRequestError, MalformedRequestError
from cluster.serving.grpc import recommender_pb2 as pb
from cluster.serving.queries import AnonymousQuery, QueryBatch, SearchQuery, SimilarQuery, UserQuery
from cluster.serving.requests.checks import check_id, invalid_request
from cluster.serving.requests.graph import SparqlBody
from cluster.serving.requests.lists import BatchBody, RecommendBody, SearchBody
from cluster.serving.requests.parameters import SimilarParameters, UserParameters
from cluster.serving.settings import MAX_LIST

__all__ = ["anonymous_query", "graph_query", "query_batch", "search_query", "similar_query", "user_query"]

Query = TypeVar("Query")
Listed = TypeVar("Listed", bound=Sized)


def user_query(raw: bytes) -> UserQuery:
    """The query of a RecommendUserRequest.

    As all functions here: raises MalformedRequestError for bytes that are no such message, InvalidRequestError for one that
    asks for what cannot be.
    """

    def query(members: dict[str, Any]) -> UserQuery:
        user_id = check_id(members.pop("user_id", ""))
        return UserParameters.model_validate(members).query(user_id)

    return _parsed(pb.RecommendUserRequest, raw, query)


def similar_query(raw: bytes) -> SimilarQuery:
    """The query of a SimilarItemsRequest."""

    def query(members: dict[str, Any]) -> SimilarQuery:
        item_id = check_id(members.pop("item_id", ""))
        return SimilarParameters.model_validate(members).query(item_id)

    return _parsed(pb.SimilarItemsRequest, raw, query)


def anonymous_query(raw: bytes) -> AnonymousQuery:
    """The query of a RecommendAnonymousRequest."""
    return _parsed(pb.RecommendAnonymousRequest, raw, lambda members: RecommendBody.model_validate(members).query())


def search_query(raw: bytes) -> SearchQuery:
    """The query of a SearchRequest."""
    return _parsed(pb.SearchRequest, raw, lambda members: SearchBody.model_validate(members).query())


def graph_query(raw: bytes) -> SparqlBody:
    """What a QueryGraphRequest asks."""
    return _parsed(pb.QueryGraphRequest, raw, SparqlBody.model_validate)


def query_batch(raw: bytes) -> QueryBatch:
    """The queries of a BatchRequest."""

    def queries(members: dict[str, Any]) -> QueryBatch:
        # Lists are not there or empty alike: disliked items alone are a query with no liked ones.
        each = [
            {"liked": [], **query} if list(query) == ["disliked"] else query for query in members.get("queries", [])
        ]
        return BatchBody.model_validate(members | {"queries": each}).query()

    return _parsed(pb.BatchRequest, raw, queries)


def _parsed(kind: type[Any], raw: bytes, query: Callable[[dict[str, Any]], Query]) -> Query:
    """What `query` makes of the fields that are set in a message of a kind."""
    try:
        message = kind.FromString(raw)
    except DecodeError:
        raise MalformedRequestError(
            f"bytes that are no {kind.__name__}", expected="see recommender.proto", remedy="Mend it."
        ) from None
    try:
        return query(_members(message))
    except ValidationError as error:
        raise invalid_request(error, "the message") from None


def _members(message: Message) -> dict[str, Any]:
    """The fields that are set, by name: lists, numbers, texts and bytes as Python's, messages as mappings."""
    return {field.name: _value(field.name, value) for field, value in message.ListFields()}


def _value(name: str, value: Any) -> Any:
    if isinstance(value, str | bytes | bool | int | float):
        return value
    if isinstance(value, pb.Filters):
        return _filters(value)
    return _members(value) if isinstance(value, Message) else [_value(name, item) for item in _bounded(name, value)]


def _filters(filters: pb.Filters) -> dict[str, Any]:
    members: dict[str, Any] = {
        name: _filter(name, condition) for name, condition in _bounded("attributes", filters.attributes).items()
    }
    if "exclude" in members:
        raise InvalidRequestError(
            "a filter by an attribute named exclude", expected="another", remedy="Give ids in `exclude`."
        )
    return members | {"exclude": list(_bounded("exclude", filters.exclude))}


def _filter(name: str, condition: pb.Filter) -> Any:
    asked = _members(condition)
    if len(asked) > 1:
        raise InvalidRequestError(
            f"{' and '.join(asked)} of {name}", expected="one of them", remedy="Remove the other."
        )
    if "all" in asked:
        return asked
    return asked.get("range", asked.get("values", []))


def _bounded(name: str, values: Listed) -> Listed:
    """The values. Raises InvalidRequestError where they are more than any list may have, before anything is made of each."""
    if len(values) > MAX_LIST:
        raise InvalidRequestError(
            f"{len(values):,} {name}", expected=f"at most {MAX_LIST:,}", remedy="Split the request."
        )
    return values
