"""What must not hurt: malformed, oversized and hostile requests. Each gets its status and a problem document."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster.serving.batcher import Batcher
from cluster.serving.errors import OverloadedError
from helpers.replica_without_ray import LocalReplica, refused
from helpers.serving_world import make_world

JSON = {"Content-Type": "application/json"}
HAS_BODY = {
    "POST /v1/recommendations": {"liked": ["n01"]},
    "POST /v1/search": {"text": "blue"},
    "POST /v1/process": {"contents": [{"text": "blue"}]},
    "POST /v1/batch": {"queries": [{"user_id": "user-1"}]},
    "PUT /v1/items/new": {"title": "New", "text": "blue"},
    "POST /v1/events": {"events": [{"user_id": "u", "item_id": "n01"}]},
}


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalReplica]:
    world = make_world(tmp_path_factory.mktemp("bad") / "w")
    with LocalReplica(world, max_body_bytes=400_000, max_k=50, max_queries=20, events_per_request=10) as started:
        yield started


@pytest.mark.parametrize("endpoint", HAS_BODY)
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, 422),
        (b"null", 422),
        (b"[]", 422),
        (b'"text"', 422),
        (b'{"surprise": 1}', 422),
        (b'{"k": "10"}', 422),
    ],
    ids=["empty", "cut", "bytes", "deep", "null", "list", "text", "unknown", "type"],
)
def test_bodies_that_are_not_what_is_expected(replica: LocalReplica, endpoint: str, body: bytes, status: int) -> None:
    method, path = endpoint.split()
    refused(replica.client.request(method, path, content=body, headers=JSON), status)


@pytest.mark.parametrize(
    ("endpoint", "change", "at"),
    [
        ("POST /v1/recommendations", {"k": 0}, "k"),
        ("POST /v1/recommendations", {"k": 1.5}, "k"),
        ("POST /v1/recommendations", {"k": True}, "k"),
        ("POST /v1/recommendations", {"k": 10**30}, "k"),
        ("POST /v1/recommendations", {"k": 51}, ""),
        ("POST /v1/recommendations", {"diversity": 1.01}, "diversity"),
        ("POST /v1/recommendations", {"liked": []}, ""),
        ("POST /v1/recommendations", {"liked": [{"item_id": "n01", "weight": -1}]}, "liked"),
        ("POST /v1/recommendations", {"liked": [{"item_id": "n01", "weight": 0}]}, "liked"),
        ("POST /v1/recommendations", {"liked": [7]}, "liked"),
        ("POST /v1/recommendations", {"filters": {"year": {"min": "x"}}}, "filters"),
        ("POST /v1/recommendations", {"filters": {"shoe": ["42"]}}, ""),
        ("POST /v1/recommendations", {"filters": {"genre": {"min": 3}}}, ""),
        ("POST /v1/recommendations", {"filters": {"genre": {"all": []}}}, "filters"),
        ("POST /v1/recommendations", {"filters": {"genre": {"all": ["Noir"], "min": 1}}}, "filters"),
        ("POST /v1/recommendations", {"filters": {"shoe": {"all": ["42"]}}}, ""),
        ("POST /v1/recommendations", {"text": ""}, "text"),
        ("POST /v1/search", {"text": 5}, "text"),
        ("POST /v1/search", {"text": "  "}, ""),
        ("POST /v1/search", {"text": "a" * 10_001}, "text"),
        ("POST /v1/batch", {"queries": []}, "queries"),
        ("POST /v1/batch", {"queries": [{}]}, "queries"),
        ("POST /v1/batch", {"queries": [{"user_id": "u", "item_id": "n01"}]}, "queries"),
        ("POST /v1/batch", {"queries": [{"user_id": "u"}] * 21}, ""),
        ("POST /v1/batch", {"filters": {"shoe": ["42"]}}, ""),
        ("PUT /v1/items/new", {"title": "", "text": ""}, ""),
        ("PUT /v1/items/new", {"attributes": {"genre": "Noir"}}, "attributes"),
        ("PUT /v1/items/new", {"attributes": {"genre": [1]}}, "attributes"),
        ("PUT /v1/items/n%00ew", {}, ""),
        ("POST /v1/events", {"events": []}, "events"),
        ("POST /v1/events", {"events": [{"user_id": "u", "item_id": "n01"}] * 11}, ""),
        ("POST /v1/events", {"events": [{"user_id": "u", "item_id": "n01", "timestamp": 9 * 10**9}]}, ""),
        ("POST /v1/events", {"events": [{"user_id": "u", "item_id": "n01", "value": "5"}]}, "events"),
    ],
)
def test_impossible_values_are_named(replica: LocalReplica, endpoint: str, change: dict[str, Any], at: str) -> None:
    method, path = endpoint.split()
    body = {**HAS_BODY.get(endpoint, {"title": "t", "text": "blue"}), **change}
    problem = refused(replica.client.request(method, path, json=body), 422)
    assert not at or any(error["at"].startswith(at) for error in problem["errors"])


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_none(replica: LocalReplica, number: str) -> None:
    event = json.dumps({"events": [{"user_id": "u", "item_id": "n01", "value": "?"}]}).replace('"?"', number)
    assert replica.client.post("/v1/events", content=event, headers=JSON).status_code in (400, 422)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("k=0", 422),
        ("k=-1", 422),
        ("k=51", 422),
        ("k=ten", 422),
        ("k=1e9", 422),
        ("k=3&k=4", 422),
        ("diversity=nan", 422),
        ("year_min=inf", 422),
        ("platfrom=Lumina", 422),
        ("where=genre", 422),
        ("where=shoe:42", 422),
        ("where_all=shoe:42", 422),
        ("&".join(["where_all=genre:Noir"] * 33), 422),
        ("explain=perhaps", 422),
        ("source=dreams", 422),
        ("source=batch&genre=Drama", 422),
        ("genre=%ff", 400),
        ("exclude=", 422),
        ("k", 422),
        ("&&&", 200),
        ("genre=", 200),
        ("genre=%F0%9F%8E%AC&exclude=%00%01", 200),
    ],
)
def test_query_strings(replica: LocalReplica, query: str, status: int) -> None:
    response = replica.client.get(f"/v1/users/user-1/recommendations?{query}")
    assert response.status_code == status, response.text
    if status != 200:
        refused(response, status)


@pytest.mark.parametrize(
    "name", ["%00", "%0a%0dSet-Cookie:x", "..%2f..%2fetc", "%F0%9F%8E%AC", "a%2Fb", "%22", "x" * 1_024]
)
def test_strange_names_are_strangers(replica: LocalReplica, name: str) -> None:
    answer = replica.client.get(f"/v1/users/{name}/recommendations?k=2")
    assert (answer.status_code, answer.json()["source"]) == (200, "popularity")
    assert answer.json()["user_id"] == httpx.URL(f"http://x/?a={name}").params["a"]
    refused(replica.client.get(f"/v1/items/{name}/similar"), 404)
    assert "set-cookie" not in answer.headers


def test_names_that_are_no_text_or_too_long(replica: LocalReplica) -> None:
    refused(replica.client.get("/v1/items/%ff%fe/similar"), 400)
    refused(replica.client.get(f"/v1/items/{'x' * 1_025}"), 422)


def test_lone_surrogates_are_refused(replica: LocalReplica) -> None:
    for endpoint, body in HAS_BODY.items():
        method, path = endpoint.split()
        raw = json.dumps(body).replace("n01", r"\ud800").replace("blue", r"\udfff").replace("user-1", r"\ud800")
        assert replica.client.request(method, path, content=raw, headers=JSON).status_code in (400, 404, 422)


def test_ten_thousand_exclusions_are_taken_and_one_more_is_not(replica: LocalReplica) -> None:
    names = [f"n{n:02d}" for n in range(68)] + [f"other-{n}" for n in range(9_932)]
    answer = replica.client.post("/v1/search", json={"text": "blue", "k": 50, "filters": {"exclude": names}}).json()
    assert {item["item_id"] for item in answer["items"]} == {"n68", "n69"}
    assert answer["short_reason"] == "2 of 70 items are eligible, not seen and pass the filters"
    body = {"text": "blue", "filters": {"exclude": [*names, "more"]}}
    assert "at most 10,000" in refused(replica.client.post("/v1/search", json=body), 422)["expected"]


def test_large_bodies_are_refused_before_they_are_read(replica: LocalReplica) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(10_000):
            yield b" " * 65_536

    announced = replica.client.post("/v1/search", content=b" " * 400_001, headers=JSON)
    assert "at most 400,000" in refused(announced, 413)["expected"]
    refused(replica.client.post("/v1/search", content=endless(), headers=JSON), 413)


def test_names_of_changes_are_checked_not_cut(replica: LocalReplica) -> None:
    for token in ("", "a b", "x" * 201, "\u00e9"):
        headers = {"Idempotency-Key": token.encode("latin-1")}
        refused(replica.client.put("/v1/items/new", json={"title": "t", "text": "blue"}, headers=headers), 400)


def test_only_json_is_taken_as_json(replica: LocalReplica) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        refused(replica.client.post("/v1/search", content=b'{"text": "x"}', headers={"Content-Type": kind}), 415)


def test_paths_and_methods_that_are_not_there(replica: LocalReplica) -> None:
    for path in ("/nothing", "/v1", "/v1/", "/v2/users/u/recommendations", "/v1/items/", "/v1/users//recommendations"):
        refused(replica.client.get(path), 404)
    for method, path, allowed in (
        ("POST", "/v1/users/u/recommendations", "GET"),
        ("PATCH", "/v1/items/n01", "DELETE, GET, PUT"),
        ("GET", "/v1/search", "POST"),
        ("OPTIONS", "/v1/search", "POST"),
    ):
        response = replica.client.request(method, path)
        refused(response, 405)
        assert response.headers["allow"] == allowed


def test_what_fails_inside_says_nothing_of_the_inside(
    replica: LocalReplica, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*arguments: Any, **keywords: Any) -> Any:
        raise ZeroDivisionError("the secret of /srv/file")

    monkeypatch.setattr(type(replica.served), "similar", broken)
    with caplog.at_level(logging.ERROR):
        problem = refused(replica.client.get("/v1/items/n01/similar"), 500)
    assert "secret" not in json.dumps(problem)
    assert "ZeroDivisionError" in caplog.text  # the operator is told
    assert replica.client.get("/v1/users/user-1/recommendations").status_code == 200


def test_a_slow_client_is_told_and_holds_nobody_up(tmp_path: Path) -> None:
    with LocalReplica(make_world(tmp_path / "w"), timeout_s=0.4) as replica:

        async def slow() -> list[dict[str, Any]]:
            sent: list[dict[str, Any]] = []

            async def receive() -> dict[str, Any]:
                await asyncio.sleep(0.15)
                return {"type": "http.request", "body": b" ", "more_body": True}

            async def send(message: Any) -> None:
                sent.append(message)

            headers = [(b"content-type", b"application/json")]
            scope = {"type": "http", "method": "POST", "path": "/v1/search", "query_string": b"", "headers": headers}
            await replica.application(scope, receive, send)
            return sent

        started_s = time.monotonic()
        start, body = asyncio.run(slow())
        assert (start["status"], json.loads(body["body"])["title"]) == (408, "Request Timeout")
        assert time.monotonic() - started_s < 30  # the body never ends


def test_too_many_waiting_requests_are_refused_at_once() -> None:
    async def crowd() -> list[Any]:
        def work(asks: list[int]) -> list[int]:
            time.sleep(0.2)
            return asks

        batcher: Batcher[int, int] = Batcher("test", work, max_batch=4, max_waiting=10)
        found = await asyncio.gather(*(batcher.do(n) for n in range(12)), return_exceptions=True)
        batcher.close()
        return found

    found = asyncio.run(crowd())
    assert found[:10] == list(range(10))
    assert all(isinstance(error, OverloadedError) for error in found[10:])
