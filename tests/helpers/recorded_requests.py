"""Requests to every endpoint, and what a replica answered to them when they were recorded.

    PYTHONPATH=.:tests python tests/helpers/recorded_requests.py

writes `recorded/openapi.json` and `recorded/answers.json` anew: for a change of the API that is meant.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any, Final

from helpers.grpc_questions import QUESTIONS
from helpers.replica_without_ray import LocalReplica
from helpers.serving_world import make_world

__all__ = ["read_recorded", "record_answers", "record_document", "replica_for_recording"]

_FOLDER: Final = Path(__file__).parents[1] / "cluster/serving/recorded"
_LONGEST: Final = 3_000  # characters of an answer that are kept; of a longer one there is a digest beside them
_HEADERS: Final = ("allow", "cache-control", "content-type", "retry-after", "www-authenticate")
_JSON: Final = {"Content-Type": "application/json"}
_EVENT: Final = {"user_id": "user-1", "item_id": "n11", "value": 3.0, "timestamp": 20_000_000}
_NEW: Final = {"title": "Brand new", "text": "blue stars", "attributes": {"genre": ["Noir"], "platform": ["Lumina"]}}
_NAMED: Final = {"Idempotency-Key": "once"}
_USER, _RECOMMEND, _SEARCH = "/v1/users/user-1/recommendations", "/v1/recommendations", "/v1/search"

#: Method, path with its query string, body (an object is sent as JSON), headers. Order counts: some change the answers.
_REQUESTS: Final[list[tuple[str, str, Any, dict[str, str]]]] = [
    # What is answered.
    ("GET", f"{_USER}?k=3&platform=Lumina&platform=Atlas&year_min=1991&year_max=1996.5&exclude=n03&where=genre:Noir", None, {}),
    ("GET", f"{_USER}?k=3&genre=%F0%9F%8E%AC&exclude=%00%01", None, {}),
    ("GET", f"{_USER}?&&&", None, {}),
    ("GET", "/v1/users/a%2Fb%22%20c/recommendations?k=2", None, {}),
    ("GET", "/v1/items/n07", None, {}),
    ("GET", "/v1/models", None, {}),
    ("GET", "/healthz", None, {}),
    ("GET", "/readyz", None, {}),
    ("GET", "/v1/users?limit=3", None, {}),
    ("GET", "/v1/us%65rs?limit=3", None, {}),
    ("GET", "/v1/titles?text=TITLE%20of%20n0&limit=2", None, {}),
    ("GET", "/v1/map/items?rows=1,2&item_id=n05&item_id=nothing", None, {}),
    # What is refused: query strings and ids.
    *[("GET", f"{_USER}?{query}", None, {}) for query in (
        "k=0", "k=51", "k=ten", "k=3&k=4", "diversity=nan", "year_min=inf", "platfrom=Lumina", "where=genre", "where=shoe:42",
        "explain=perhaps", "source=dreams", "source=batch&genre=Drama", "genre=%ff", "exclude=", "k", "why=nothing", "why=",
        "overlay=perhaps&k=0", "exclude=" + "x" * 1_025,
    )],
    ("GET", "/v1/users/nobody/recommendations?source=batch", None, {}),
    ("GET", "/v1/items/%ff%fe/similar", None, {}),
    ("GET", f"/v1/items/{'x' * 1_025}", None, {}),
    ("GET", "/v1/items/n%20othing", None, {}),
    ("GET", "/v1/items/nothing/similar", None, {}),
    # Paths and methods.
    *[("GET", path, None, {}) for path in (
        "/nothing", "/v1", "/v1/", "/v2/users/u/recommendations", "/v1/items/", "/v1/users//recommendations", "/page/nothing",
        "/v1/users/u/recommendations/", "/healthz/", _SEARCH,
    )],
    ("POST", _USER, {}, {}),
    ("PATCH", "/v1/items/n01", None, {}),
    ("HEAD", "/v1/models", None, {}),
    ("OPTIONS", _SEARCH, None, {}),
    ("POST", "/v1/users", {}, {}),
    # Bodies.
    *[("POST", path, body, _JSON) for path in (_RECOMMEND, _SEARCH, "/v1/batch", "/v1/events") for body in (
        "", "{", '{"a":' * 40 + "1" + "}" * 40, "null", "[]", '"text"', '{"surprise": 1}', '{"k": "10"}',
    )],
    *[("POST", _RECOMMEND, {"liked": ["n01"], **change}, {}) for change in (
        {"k": 0}, {"k": 1.5}, {"k": True}, {"k": 51}, {"diversity": 1.01}, {"liked": []}, {"liked": [7]}, {"text": ""},
        {"liked": [{"item_id": "n01", "weight": -1}]}, {"filters": {"year": {"min": "x"}}}, {"filters": {"shoe": ["42"]}},
        {"filters": {"genre": {"min": 3}}}, {"liked": ["nothing"]}, {"overlay": "perhaps"}, {"disliked": ["n01"] * 10_001},
    )],
    ("POST", _SEARCH, {"text": "  "}, {}),
    ("POST", _SEARCH, '{"text": "\\ud800"}', _JSON),
    ("POST", _SEARCH, '{"text": "blue"}', {"Content-Type": "text/plain"}),
    ("POST", _SEARCH, "x" * 400_001, _JSON),
    ("POST", "/v1/batch", {"queries": [{}]}, {}),
    ("POST", "/v1/batch", {"queries": [{"user_id": "u"}] * 611}, {}),
    ("POST", "/v1/batch", {"queries": [{"user_id": "u"}], "filters": {"shoe": ["42"]}}, {}),
    ("PUT", "/v1/items/new", {"title": "", "text": ""}, {}),
    ("PUT", "/v1/items/new", {"title": "t", "attributes": {"genre": "Noir"}}, {}),
    ("PUT", "/v1/items/n%00ew", {"title": "t"}, {}),
    ("PUT", "/v1/items/new", {"title": "t"}, {"Idempotency-Key": "a b"}),
    ("POST", "/v1/events", {"events": [{**_EVENT, "value": "5"}]}, {}),
    ("POST", "/v1/events", {"events": [{**_EVENT, "item_id": "nothing"}]}, {}),
    ("POST", "/v1/events", {"events": [_EVENT] * 11}, {}),
    ("GET", "/v1/models", None, {"Host": "evil.example"}),
    ("GET", "/v1/models", None, {"X-Forwarded-For": "127.0.0.1"}),
    ("GET", "/v1/titles", None, {}),
    ("GET", "/v1/users?limit=0", None, {}),
    ("GET", "/v1/map/items?rows=a", None, {}),
    # Changes, and what they change.
    ("PUT", "/v1/items/a%2Fnew%20one", _NEW, _NAMED),
    ("PUT", "/v1/items/a%2Fnew%20one", _NEW, _NAMED),
    ("PUT", "/v1/items/another", _NEW, _NAMED),
    ("DELETE", "/v1/items/n05", None, {}),
    ("DELETE", "/v1/items/n05", None, {}),
    ("POST", "/v1/events", {"events": [_EVENT, {**_EVENT, "item_id": "nothing"}]}, {}),
    ("GET", "/v1/items/a%2Fnew%20one", None, {}),
    ("GET", "/v1/items/n05", None, {}),
    ("POST", _SEARCH, {"text": "blue stars", "k": 3}, {}),
    ("GET", f"{_USER}?k=4&explain=true&why=n05", None, {}),
    ("GET", f"{_USER}?k=4&source=batch", None, {}),
    ("GET", "/v1/archetypes", None, {}),
    ("POST", "/v1/graph/query", {"query": "ASK {}"}, {}),
    ("POST", "/v1/graph/query", {"query": ""}, {}),
    ("POST", "/v1/relations", {"add": [{"subject": "n11", "predicate": "near", "object": "n12", "weight": 2}]}, {}),
    ("POST", "/v1/relations", {"delete": [{"subject": "n12", "predicate": "near", "object": "n11"}]}, {}),
    ("POST", "/v1/relations", {}, {}),
    ("GET", "/v1/items/n11/related", None, {}),
    ("POST", "/v1/process", {"contents": [{"text": "blue stars"}, {"uri": "http://127.0.0.1/poster.png"}], "k": 2}, {}),
]  # fmt: skip


def replica_for_recording(folder: Path) -> LocalReplica:
    """The replica that the requests are sent to."""
    return LocalReplica(
        make_world(folder / "w"), max_k=50, max_queries=610, max_body_bytes=400_000, events_per_request=10
    )


def record_answers(replica: LocalReplica) -> dict[str, Any]:
    """The request in words -> status, headers and body of its answer, with names in place of release and run."""
    answers: dict[str, Any] = {}
    for name, rank_query in QUESTIONS.items():
        answers[f"query: {name}"] = _recorded(replica, rank_query.over_http(replica.client))
    for number, (method, path, body, headers) in enumerate(_REQUESTS):
        sent = {"json": body} if isinstance(body, dict) else {"content": body}
        response = replica.client.request(method, path, headers=headers, **sent)
        said = "" if body is None else f" {body if isinstance(body, str) else json.dumps(body)}"
        answers[f"{number} {method} {path}{said}"[:200]] = _recorded(replica, response)
    return answers


def _recorded(replica: LocalReplica, response: Any) -> list[Any]:
    text = response.text.replace(replica.world.release_id, "RELEASE").replace(replica.world.run_id, "RUN")
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}... {len(text)} characters, SHA-256 {hashlib.sha256(text.encode()).hexdigest()}"
    headers = {name: response.headers[name] for name in _HEADERS if name in response.headers}
    return [response.status_code, headers, text]


def record_document(replica: LocalReplica) -> dict[str, Any]:
    """The OpenAPI document by operation ("GET /v1/models") and schema ("#Answer"), and what else it has ("")."""
    document = replica.client.get("/openapi.json").json()
    operations = {
        f"{method.upper()} {path}": operation
        for path, methods in document.pop("paths").items()
        for method, operation in methods.items()
    }
    schemas = {f"#{name}": schema for name, schema in document["components"].pop("schemas").items()}
    return {"": document, **operations, **schemas}


def read_recorded(name: str) -> dict[str, Any]:
    """`answers` or `openapi`, as recorded."""
    recorded: dict[str, Any] = json.loads((_FOLDER / f"{name}.json").read_text())
    return recorded


def _write() -> None:
    with tempfile.TemporaryDirectory() as folder, replica_for_recording(Path(folder)) as replica:
        documents = {"openapi": record_document(replica), "answers": record_answers(replica)}
    for name, entries in documents.items():
        lines = [f"{json.dumps(key)}: {json.dumps(entry, sort_keys=True)}" for key, entry in entries.items()]
        (_FOLDER / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    _write()
