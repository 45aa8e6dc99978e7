"""The same queries over gRPC and over HTTP, and the JSON that a message stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.message import Message

from cluster.serving.grpc import recommender_pb2 as pb

__all__ = ["QUESTIONS", "RankQuery", "answer_type", "json_of", "rounded"]


@dataclass(frozen=True)
class RankQuery:
    """One RPC, and the HTTP request that asks the same."""

    rpc: str
    message: Message
    path: str
    query: dict[str, Any] | None = None
    body: dict[str, Any] | None = None

    def over_http(self, client: Any) -> Any:
        """The response to an HTTP client."""
        if self.body is None:
            return client.get(self.path, params=self.query)
        return client.post(self.path, json=self.body)


_FILTERED = {"platform": ["Lumina", "Atlas"], "genre": ["Drama"], "year_min": 1991.0, "year_max": 1996.5}
_FILTERS = pb.Filters(
    attributes={"genre": pb.Filter(values=["Noir", "Drama"]), "year": pb.Filter(range=pb.NumberRange(max=1995))},
    exclude=["n03", "nobody"],
)
_FILTERS_JSON = {"genre": ["Noir", "Drama"], "year": {"max": 1995}, "exclude": ["n03", "nobody"]}
_BOTH = ["platform:Lumina", "platform:Atlas"]
_ALL_OF = pb.Filters(attributes={"platform": pb.Filter(all=["Lumina", "Atlas"])})
_ALL_OF_JSON = {"platform": {"all": ["Lumina", "Atlas"]}}
_LIKED = [pb.Weighted(item_id="n01", weight=2.5), pb.Weighted(item_id="n02")]
_LIKED_JSON = [{"item_id": "n01", "weight": 2.5}, "n02"]


def _of_user(user_id: str, **query: Any) -> RankQuery:
    message = pb.RecommendUserRequest(user_id=user_id, **query)
    return RankQuery("RecommendUser", message, f"/v1/users/{user_id}/recommendations", query)


def _of_item(item_id: str, **query: Any) -> RankQuery:
    message = pb.SimilarItemsRequest(item_id=item_id, **query)
    return RankQuery("SimilarItems", message, f"/v1/items/{item_id}/similar", query)


def _search(filters: pb.Filters = _FILTERS, filters_json: Any = _FILTERS_JSON, **asked: Any) -> RankQuery:
    body = {**asked, "filters": filters_json}
    return RankQuery("Search", pb.SearchRequest(**asked, filters=filters), "/v1/search", body=body)


QUESTIONS = {
    "user": _of_user("user-1"),
    "stranger": _of_user("nobody-knows", k=3),
    "filtered": _of_user("user-2", k=7, **_FILTERED, exclude=["n03"], where=["platform:Marquee"]),
    "explained": _of_user("user-1", k=4, explain=True, why="n40"),
    "popular explained": _of_user("nobody-knows", k=2, explain=True),
    "published": _of_user("user-3", k=4, source="batch"),
    "as released": _of_user("user-1", overlay="off"),
    "too few": _of_user("user-1", k=50, where=["genre:Noir"]),
    "none": _of_user("user-1", where=["genre:Nothing"], explain=True),
    "similar": _of_item("n10", k=6),
    "diverse": _of_item("n10", k=6, diversity=0.7, year_min=1990.5, overlay="off"),
    "liked": RankQuery(
        "RecommendAnonymous",
        pb.RecommendAnonymousRequest(
            liked=_LIKED, disliked=[pb.Weighted(item_id="n05")], k=9, filters=_FILTERS, diversity=0.2, explain=True
        ),
        "/v1/recommendations",
        body={
            "liked": _LIKED_JSON,
            "disliked": ["n05"],
            "k": 9,
            "filters": _FILTERS_JSON,
            "diversity": 0.2,
            "explain": True,
        },
    ),
    "search": _search(text="blue title of n10", k=4),
    "dense": _search(text="blue", k=4, mode="dense"),
    "all of several values": _of_item("n10", where_all=_BOTH),
    "search all of several values": _search(_ALL_OF, _ALL_OF_JSON, text="title", k=4, mode="words"),
    "words": _search(text="title n05 n10", k=4, mode="words"),
    "batch": RankQuery(
        "AnswerBatch",
        pb.BatchRequest(
            queries=[pb.BatchQuery(user_id=f"user-{n % 40}") for n in range(600)]  # several pieces of work
            + [pb.BatchQuery(item_id="n10"), pb.BatchQuery(item_id="nothing"), pb.BatchQuery(liked=_LIKED)]
            + [pb.BatchQuery(disliked=[pb.Weighted(item_id="n05")])],
            k=3,
            filters=_FILTERS,
        ),
        "/v1/batch",
        body={
            "queries": [{"user_id": f"user-{n % 40}"} for n in range(600)]
            + [{"item_id": "n10"}, {"item_id": "nothing"}, {"liked": _LIKED_JSON}]
            + [{"liked": [], "disliked": ["n05"]}],
            "k": 3,
            "filters": _FILTERS_JSON,
        },
    ),
    "models": RankQuery("Models", pb.ModelsRequest(), "/v1/models"),
    "ready": RankQuery("Ready", pb.ReadyRequest(), "/readyz"),
}


def answer_type(rpc: str) -> Any:
    """The class of the messages that an RPC answers with."""
    return getattr(pb, pb.DESCRIPTOR.services_by_name["Recommender"].methods_by_name[rpc].output_type.name)


def json_of(message: Message) -> Any:
    """A message in the words of the JSON, without what is not set."""
    if isinstance(message, pb.Values):
        return list(message.values)
    if isinstance(message, pb.SparqlRow):
        return [cell.value if cell.HasField("value") else None for cell in message.values]
    if isinstance(message, pb.Answer) and message.HasField("error"):
        return {"error": json_of(message.error)}
    found: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.message_type and field.message_type.GetOptions().map_entry:
            found[field.name] = {name: one if isinstance(one, str) else json_of(one) for name, one in value.items()}
        elif field.has_presence:
            if message.HasField(field.name):
                found[field.name] = json_of(value) if isinstance(value, Message) else value
        elif isinstance(value, str | int | float):
            found[field.name] = value
        elif value or field.name not in ("reason", "themes"):  # the JSON has none in a release without them
            found[field.name] = [json_of(one) if isinstance(one, Message) else one for one in value]
    return found


def rounded(answer: Any) -> Any:
    """The JSON of HTTP without its nulls, and the float32 of every score in full."""
    if isinstance(answer, list):
        return [rounded(one) for one in answer]
    if not isinstance(answer, dict):
        return answer
    found = {name: rounded(value) for name, value in answer.items() if value is not None}
    if "score" in found:
        found["score"] = float(np.float32(found["score"]))
    return found
