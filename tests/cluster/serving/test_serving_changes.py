"""Items and events that are sent to a replica, and what is kept of its answers, over HTTP and without Ray."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cluster.serving.execute import published_answer
from cluster.serving.grpc import recommender_pb2 as pb
from cluster.serving.grpc.serializer import MESSAGES
from helpers.replica_without_ray import LocalReplica, WordEncoder, bytes_of, get, listed, post, refused
from helpers.serving_world import K, make_world
from semrec.changes.events import Event
from semrec.changes.overlay import OverlayView
from semrec.online.telemetry import hashed_user, user_key
from semrec.online.users import rank_query_of
from semrec.reports.map import draw_map

EMPTY = OverlayView.empty()


def test_a_put_item_is_in_the_answers_and_a_deleted_one_is_not(fresh: LocalReplica) -> None:
    body = {"title": "Brand new", "text": "blue stars", "attributes": {"genre": ["Noir"], "platform": ["Lumina"]}}
    put = fresh.client.put("/v1/items/a%2Fnew%20one", json=body)
    assert (put.status_code, put.json()) == (200, {"item_id": "a/new one", "sequence": 1})
    vector = WordEncoder().vector("blue stars")
    # It is the first by words and by meaning.
    for mode, score in (("dense", np.linalg.norm(vector)), ("hybrid", 1.0)):
        answer = post(fresh, "/v1/search", {"text": "blue stars", "k": 70, "mode": mode})
        entry = next(item for item in answer["items"] if item["item_id"] == "a/new one")
        assert (answer["overlay"], entry["title"]) == (1, "Brand new")
        assert np.float32(entry["score"]) == pytest.approx(score, rel=1e-6)
    assert get(fresh, "/v1/items/a%2Fnew%20one/similar", k=3)["items"][0]["item_id"] != "a/new one"
    assert get(fresh, "/v1/items/a%2Fnew%20one")["attributes"] == body["attributes"]
    off = post(fresh, "/v1/search", {"text": "blue stars", "k": 70, "overlay": "off"})
    assert "a/new one" not in [item["item_id"] for item in off["items"]]
    for name, sequence in (("a%2Fnew%20one", 2), ("n05", 3)):
        gone = fresh.client.delete(f"/v1/items/{name}")
        assert (gone.status_code, gone.json()["sequence"]) == (200, sequence)
        assert get(fresh, f"/v1/items/{name}", 404)["status"] == 404
        assert fresh.client.delete(f"/v1/items/{name}").status_code == 404
    left = {item["item_id"] for item in post(fresh, "/v1/search", {"text": "blue stars", "k": 70})["items"]}
    assert left == set(fresh.world.items) - {"n05"}


def test_a_deleted_item_is_left_out_of_a_published_list_which_says_so(fresh: LocalReplica) -> None:
    path = "/v1/users/user-1/recommendations"
    before = get(fresh, path, k=K, source="batch")
    assert (len(before["items"]), before["num_deleted"], before["short_reason"]) == (K, 0, None)
    gone = [item["item_id"] for item in before["items"][1:3]]
    for item_id in gone:
        assert fresh.client.delete(f"/v1/items/{item_id}").status_code == 200
    answer = get(fresh, path, k=K, source="batch")
    assert answer["items"] == [item for item in before["items"] if item["item_id"] not in gone]
    assert answer["num_deleted"] == 2
    assert answer["short_reason"] == "the run has published 5 items for each user; 2 of them may no longer be shown"
    cut = get(fresh, path, k=2, source="batch")
    assert (cut["items"], cut["num_deleted"], cut["short_reason"]) == (answer["items"][:2], 2, None)
    assert fresh.live.now is not None
    message = pb.Answer.FromString(MESSAGES.answer(published_answer(fresh.live.now, "user-1", K)))
    assert ([item.item_id for item in message.items], message.num_deleted) == (
        [item["item_id"] for item in answer["items"]],
        2,
    )
    released = get(fresh, path, k=K, source="batch", overlay="off")
    assert (listed(released), released["num_deleted"]) == (listed(before), 0)
    assert released["items"] == before["items"]
    assert "num_deleted" not in get(fresh, path, k=K)


def test_an_item_that_its_user_may_no_longer_see_is_left_out_of_the_published_list(fresh: LocalReplica) -> None:
    path, stated = "/v1/users/user-0/recommendations", fresh.world.stated["user-0"]
    before = listed(get(fresh, path, k=K, source="batch"))
    for (item_id, _), platforms in zip(before, (["Nova"], [], ["Nova", stated[0]]), strict=False):
        body = {"title": "Moved", "text": "blue stars", "attributes": {"platform": platforms}}
        assert fresh.client.put(f"/v1/items/{item_id}", json=body).status_code == 200
    answer = get(fresh, path, k=K, source="batch")
    assert (listed(answer), answer["num_deleted"]) == (before[2:], 2)
    assert listed(get(fresh, path, k=K, source="batch", overlay="off")) == before


def test_suggestions_and_the_map_follow_the_overlay(fresh: LocalReplica) -> None:
    def titles(text: str) -> dict[str, Any]:
        return {item["title"]: item["row"] for item in get(fresh, "/v1/titles", text=text, limit=100)["items"]}

    def whole_map() -> Any:
        response = fresh.client.get("/v1/map")
        assert response.status_code == 200
        return response

    missing = fresh.client.get("/v1/map")
    assert missing.status_code == 404
    assert missing.json()["remedy"] == "Run `semrec map`."
    assert fresh.live.now is not None
    release = fresh.live.now.served.release
    assert release.storage.uri not in missing.text
    draw_map(release.storage, release.release_id)  # while the replica runs
    before = whole_map()
    assert titles("Title of n0") == {f"title of n0{n}": n for n in range(10)}
    for name, title in (("n03", "Renamed n03"), ("n035", "Title of n035")):
        assert fresh.client.put(f"/v1/items/{name}", json={"title": title, "text": "blue"}).status_code == 200
    assert whole_map().headers["etag"] == before.headers["etag"]
    assert fresh.client.delete("/v1/items/n05").status_code == 200
    left = {f"title of n0{n}": n for n in range(10) if n not in (3, 5)}
    assert titles("Title of n0") == {**left, "Title of n035": None}
    assert titles("renamed") == {"Renamed n03": 3}
    items = get(fresh, "/v1/map/items", rows="3,5", item_id=["n035", "n05"])["items"]
    assert [(item["row"], item["title"]) for item in items] == [(3, "Renamed n03"), (None, "Title of n035")]
    after = whole_map()
    assert after.headers["etag"] != before.headers["etag"]
    assert b'"gone":[5]' in after.content and b'"gone":[]' in before.content


def test_changes_survive_a_restart_and_a_named_one_is_done_once(fresh: LocalReplica) -> None:
    body = {"title": "Brand new", "text": "blue"}
    for _ in range(2):
        answer = fresh.client.put("/v1/items/new", json=body, headers={"Idempotency-Key": "once"})
        assert answer.json()["sequence"] == 1
    post(fresh, "/v1/events", {"events": [{"user_id": "somebody", "item_id": "n01", "timestamp": 5_000_000}]})
    before = get(fresh, "/v1/users/somebody/recommendations", k=6)
    with LocalReplica(fresh.world) as again:
        assert get(again, "/v1/items/new")["title"] == "Brand new"
        assert get(again, "/v1/users/somebody/recommendations", k=6) == before


def test_a_name_that_was_given_to_another_change_is_refused(fresh: LocalReplica) -> None:
    named, client = {"Idempotency-Key": "once"}, fresh.client
    body = {"title": "Brand new", "text": "blue"}
    first = client.put("/v1/items/new", json=body, headers=named)
    others = [
        client.put("/v1/items/newer", json=body, headers=named),  # another path
        client.put("/v1/items/new", json={**body, "text": "red"}, headers=named),  # another body
        client.delete("/v1/items/new", headers=named),  # another method
    ]
    for response in others:
        assert "another change" in refused(response, 422)["detail"]
    assert client.put("/v1/items/new", json=body, headers=named).json() == first.json()
    get(fresh, "/v1/items/newer", 404)
    assert get(fresh, "/v1/items/new")["title"] == "Brand new"


def test_a_repeated_change_has_its_first_answer_also_when_its_item_is_gone(fresh: LocalReplica) -> None:
    body = {"events": [{"user_id": "somebody", "item_id": "n01", "timestamp": 5_000_000}]}
    events = [fresh.client.post("/v1/events", json=body, headers={"Idempotency-Key": "seen"}).json()]
    deletions = [fresh.client.delete("/v1/items/n01", headers={"Idempotency-Key": "gone"}).json() for _ in range(2)]
    assert deletions == [{"item_id": "n01", "sequence": 1}] * 2
    events.append(fresh.client.post("/v1/events", json=body, headers={"Idempotency-Key": "seen"}).json())
    assert [(said["accepted"], said["sequence"]) for said in events] == [(1, 1)] * 2
    assert fresh.client.delete("/v1/items/n01").status_code == 404


def test_events_count_in_the_next_answer(fresh: LocalReplica) -> None:
    events = [("somebody", "n01", 2.0), ("somebody", "n02", 1.0), ("user-1", "n09", 3.0), ("somebody", "nothing", 1.0)]
    body = [{"user_id": u, "item_id": i, "value": v, "timestamp": 20_000_000} for u, i, v in events]
    taken = post(fresh, "/v1/events", {"events": body})
    assert (taken["accepted"], taken["sequence"]) == (3, 3)
    assert [(one["index"], one["reason"]) for one in taken["refused"]] == [(3, "unknown item")]
    for user in ("somebody", "user-1"):
        recent = [Event(u, i, v, 20_000_000) for u, i, v in events[:3] if u == user]
        state = fresh.served.user(user, recent)
        assert state is not None
        (expected,) = fresh.served.rank([rank_query_of(state, k=8)], EMPTY)
        answer = get(fresh, f"/v1/users/{user}/recommendations", k=8)
        assert (listed(answer), answer["source"]) == (bytes_of(expected.hits), "personal")
    assert not {"n01", "n02"} & {hit for hit, _ in listed(get(fresh, "/v1/users/somebody/recommendations", k=70))}
    problem = post(fresh, "/v1/events", {"events": body[3:]}, 422)
    assert problem["errors"][0]["reason"] == "unknown item"


def test_every_answer_is_logged_apart_from_the_response(fresh: LocalReplica, tmp_path: Path) -> None:
    first = get(fresh, "/v1/users/user-1/recommendations", k=3)
    post(fresh, "/v1/batch", {"queries": [{"user_id": "user-2"}, {"item_id": "n01"}], "k": 2})
    fresh.service.close()
    files = sorted((tmp_path / "answers").glob("*.jsonl"))
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert [line["endpoint"] for line in lines] == ["recommend_user", "answer_batch", "answer_batch"]
    assert lines[0]["items"] == [item["item_id"] for item in first["items"]]
    key = user_key(tmp_path / "answers")
    assert [line["user"] for line in lines] == [hashed_user("user-1", key), hashed_user("user-2", key), None]
    assert all(line["release"] == fresh.world.release_id and line["request_id"] for line in lines)


def test_statistics_and_metrics_count_what_was_answered(fresh: LocalReplica) -> None:
    for _ in range(3):
        get(fresh, "/v1/users/user-1/recommendations")
    get(fresh, "/v1/items/nothing", 404)
    said = get(fresh, "/v1/stats")
    assert said["endpoints"]["recommend_user"]["answers"] == {"200": 3}
    assert said["endpoints"]["get_item"]["answers"] == {"404": 1}
    assert said["events"] == {"release_switched": 1}
    families = text_string_to_metric_families(fresh.client.get("/metrics").text)
    labels = {"replica": "local", "endpoint": "recommend_user"}
    samples = [sample[:3] for family in families for sample in family.samples]
    assert ("semrec_requests_total", {**labels, "status": "200"}, 3) in samples
    assert ("semrec_request_seconds_count", labels, 3) in samples


def test_a_request_that_takes_too_long_is_answered_and_given_up(tmp_path: Path) -> None:
    with LocalReplica(make_world(tmp_path / "w"), timeout_s=0.3) as replica:
        assert replica.live.now is not None
        slow, may_go_on = replica.live.now, threading.Event()

        def rank(*arguments: Any) -> Any:
            may_go_on.wait(60)
            return slow.served.rank(*arguments)

        object.__setattr__(slow, "rank", rank)
        started_s = time.monotonic()
        response = replica.client.get("/v1/users/user-1/recommendations")
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert 0.25 < time.monotonic() - started_s < 30
        may_go_on.set()
