"""The fast path in front of a server says what the same routes say behind it, and leaves everything else alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from cluster.serving.http.middleware import install_fast_path, middlewares, remove_fast_path
from helpers.replica_without_ray import LocalReplica
from helpers.serving_world import make_world

USER = "/v1/users/user-1/recommendations"


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalReplica]:
    world = make_world(tmp_path_factory.mktemp("fast") / "w")
    with LocalReplica(world, cors_origins="https://shop.example") as started:
        yield started


@pytest.fixture(scope="module")
def in_front(replica: LocalReplica) -> Iterator[TestClient]:
    """A client of a second replica, whose server asks the fast path first, as Serve's do."""
    (middleware,) = middlewares()
    with LocalReplica(replica.world, cors_origins="https://shop.example") as second:
        fast_path = second.application.state.fast_path
        install_fast_path(fast_path)
        server = middleware.cls(second.application)
        with TestClient(server, base_url="http://localhost", client=("127.0.0.1", 50_000)) as client:
            yield client
        remove_fast_path(fast_path)


@pytest.mark.parametrize(
    "path",
    [
        f"{USER}?k=7&platform=Lumina&platform=Atlas&year_min=1991&exclude=n03&where=genre:Noir",
        f"{USER}?k=3&explain=true&why=n40&diversity=0.3",
        f"{USER}?k=4&source=batch",
        "/v1/users/a%2Fb%20c/recommendations",
        "/v1/items/n10/similar?k=6&overlay=off",
        "/v1/items/nothing/similar",
        "/v1/items/%ff/similar",
        f"{USER}?k=0",
        f"{USER}?k=1&k=2",
    ],
)
def test_a_request_is_answered_as_behind_the_server(replica: LocalReplica, in_front: TestClient, path: str) -> None:
    front, behind = in_front.get(path), replica.client.get(path)
    assert (front.status_code, front.content) == (behind.status_code, behind.content)
    named = {name: value for name, value in front.headers.items() if name != "x-request-id"}
    assert named == {name: value for name, value in behind.headers.items() if name != "vary"}  # which CORS adds
    assert front.headers["x-request-id"] and "x-request-id" not in behind.headers


def test_what_is_not_of_the_fast_path_is_passed_on(replica: LocalReplica, in_front: TestClient) -> None:
    requests: list[tuple[str, str, dict[str, str]]] = [
        ("GET", "/v1/models", {}),
        ("POST", USER, {}),
        ("GET", f"{USER}/more", {}),
        ("GET", USER, {"Origin": "https://shop.example"}),  # CORS is decided further in
    ]
    for method, path, headers in requests:
        responses: list[Any] = [client.request(method, path, headers=headers) for client in (in_front, replica.client)]
        assert (responses[0].status_code, responses[0].content) == (responses[1].status_code, responses[1].content)
        assert "x-request-id" not in responses[0].headers
    assert responses[0].headers["access-control-allow-origin"] == "https://shop.example"


def test_a_name_that_the_caller_gave_is_said_again(in_front: TestClient) -> None:
    assert in_front.get(USER, headers={"X-Request-Id": "mine"}).headers["x-request-id"] == "mine"
