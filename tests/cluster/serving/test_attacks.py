"""Requests that are meant to hurt, against a replica without Ray: each is refused for its first fault or its size."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.serving.http import route
from cluster.serving.settings import MAX_LIST
from helpers.replica_without_ray import LocalReplica, refused
from helpers.serving_world import make_world
from semrec.bench.attacks import ATTACKS, Attack

BODY_BYTES = 8 * 1024**2
ALONE = [attack for attack in ATTACKS if attack.at_once == 1 and not attack.slow_s and not attack.is_grpc]


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalReplica]:
    with LocalReplica(make_world(tmp_path_factory.mktemp("attacks") / "w"), max_bodies_bytes=BODY_BYTES) as started:
        yield started


@pytest.mark.parametrize("attack", ALONE, ids=lambda attack: attack.name)
def test_an_attack_is_refused_for_its_first_fault(replica: LocalReplica, attack: Attack) -> None:
    body = attack.body(BODY_BYTES) if attack.body else None
    assert body is None or len(body) <= BODY_BYTES
    response = replica.client.request(attack.method, attack.path, content=body, headers=dict(attack.all_headers))
    assert response.status_code in attack.statuses, response.text[:1_000]
    if response.status_code != 200:
        problem = refused(response, response.status_code)
        assert len(problem.get("errors", [])) <= 2  # of a list of either texts or objects: one for each
        assert len(response.content) < 2_000


def test_the_first_fault_is_named(replica: LocalReplica) -> None:
    liked: list[Any] = ["n01"] * 5_000 + [{"item_id": "n01", "weight": -1}] + [7] * 4_000
    problem = refused(replica.client.post("/v1/recommendations", json={"liked": liked}), 422)
    assert [error["at"] for error in problem["errors"]] == ["liked.5000.Weighted.weight", "liked.5000.constrained-str"]
    assert "liked.5000" in problem["detail"]


def test_lists_may_have_their_full_length(replica: LocalReplica) -> None:
    assert replica.client.post("/v1/recommendations", json={"liked": ["n01"] * MAX_LIST}).status_code == 200
    queries = [{"user_id": f"user-{number % 40}"} for number in range(MAX_LIST)]
    answers = replica.client.post("/v1/batch", json={"queries": queries, "k": 1}).json()["answers"]
    assert len(answers) == MAX_LIST
    too_much = refused(replica.client.post("/v1/batch", json={"queries": queries, "k": 26}), 422)
    assert (too_much["detail"], too_much["expected"]) == ("260,000 items in all answers", "at most 250,000")


def test_bodies_that_are_held_at_once_have_a_bound(replica: LocalReplica) -> None:
    """A body that comes slowly keeps its room until it ends; another is refused at once, and taken afterwards."""

    async def both() -> tuple[int, int, int]:
        more = asyncio.Event()

        async def ask(body: bytes, wait: bool) -> int:
            pieces = [body[: BODY_BYTES // 2], body[BODY_BYTES // 2 :]]
            sent: list[Any] = []

            async def receive() -> dict[str, Any]:
                if len(pieces) == 1 and wait:
                    await more.wait()
                return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

            async def send(message: Any) -> None:
                sent.append(message)

            headers = [(b"content-type", b"application/json")]
            scope = {"type": "http", "method": "POST", "path": "/v1/search", "query_string": b"", "headers": headers}
            await replica.application(scope, receive, send)
            return int(sent[0]["status"])

        body = b'{"text":"%b"}' % (b"x" * (BODY_BYTES - 20))
        slow = asyncio.create_task(ask(body, wait=True))
        await asyncio.sleep(0.05)
        second = await ask(body, wait=False)
        more.set()
        return await slow, second, await ask(body, wait=False)

    assert asyncio.run(both()) == (422, 503, 422)


def test_what_a_large_body_holds_is_read_beside_the_event_loop(
    replica: LocalReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    parse = route._parse_body

    def noted(model: Any, raw: bytes) -> Any:
        names.append(threading.current_thread().name)
        return parse(model, raw)

    monkeypatch.setattr(route, "_parse_body", noted)
    for size in (100, 100_000):
        text = json.dumps({"text": "x" * size})
        replica.client.post("/v1/search", content=text, headers={"Content-Type": "application/json"})
    assert not names[0].startswith("readers") and names[1].startswith("readers")
