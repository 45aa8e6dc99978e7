"""Relations over HTTP and gRPC: related items, paths, and the reason in an explanation."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from cluster.serving.grpc import recommender_pb2 as pb
from cluster.serving.grpc.serializer import MESSAGES
from cluster.serving.http.routes import graph
from cluster.serving.queries import ListOptions, UserQuery
from helpers.grpc_methods import Called
from helpers.grpc_questions import json_of
from helpers.replica_without_ray import LocalReplica
from helpers.serving_world import import_relations, make_world, publish_world
from semrec.changes.overlay import OverlayView
from semrec.data import ColumnMap, import_table
from semrec.online.relations import related_items
from semrec.owl import SUBCLASS_OF

_USER = "user-1"


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalReplica]:
    folder = tmp_path_factory.mktemp("relations")
    world = make_world(folder / "w")
    import_relations(world.workspace, folder)
    release_id, run_id = publish_world(world.workspace, relations_from=("genre",))
    with LocalReplica(replace(world, release_id=release_id, run_id=run_id)) as started:
        yield started


def test_related_items_and_paths_are_those_of_the_release(replica: LocalReplica) -> None:
    served = replica.served
    answer = replica.client.get("/v1/items/n07/related", params={"k": 3}).json()
    expected = related_items(served, "n07", 3, OverlayView.empty())
    assert [item["item_id"] for item in answer["items"]] == [one.item_id for one in expected]
    assert answer["items"][0] == {
        "item_id": "n03",
        "title": served.item("n03", OverlayView.empty()).title,
        "path": [{"start": "n07", "predicate": "sequel_of", "end": "n03", "is_inverse": False, "inferred_by": None}],
    }
    query = {"start": "n01", "end": "n03", "k": 2, "predicate": ["directed_by", "sequel_of"]}
    (path,) = replica.client.get("/v1/graph/path", params=query).json()["paths"]
    assert [(step["predicate"], step["is_inverse"]) for step in path["path"]] == [
        ("directed_by", False),
        ("directed_by", True),
        ("sequel_of", False),
    ]


def test_searches_take_turns_and_hold_nobody_else_up(replica: LocalReplica, monkeypatch: pytest.MonkeyPatch) -> None:
    num_at_once, most_at_once, go_on = 0, 0, threading.Event()

    def slow(*_: Any, **__: Any) -> list[Any]:
        nonlocal num_at_once, most_at_once
        num_at_once += 1
        most_at_once = max(most_at_once, num_at_once)
        go_on.wait(30)
        num_at_once -= 1
        return []

    monkeypatch.setattr(graph, "paths_between", slow)
    with ThreadPoolExecutor(40) as clients:  # more than the threads that others share
        searches = [clients.submit(replica.client.get, "/v1/graph/path?start=n01&end=n03") for _ in range(40)]
        try:
            assert replica.client.get(f"/v1/users/{_USER}/recommendations?source=batch").status_code == 200
        finally:
            go_on.set()
        assert {search.result().status_code for search in searches} == {200}
    assert most_at_once == 1


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/v1/items/nothing/related", 404, "nothing"),
        ("/v1/items/n07/related?k=101", 422, "k"),
        ("/v1/items/n07/related?predicate=directedBy", 422, "no relation has the predicate 'directedBy'"),
        ("/v1/graph/path?start=n01", 422, "end"),
        ("/v1/graph/path?start=n01&end=Kaye", 422, "no relation names 'Kaye'"),
        ("/v1/graph/path?start=n01&end=kaye&k=11", 422, "k"),
    ],
)
def test_what_cannot_be_answered_is_refused(replica: LocalReplica, path: str, status: int, said: str) -> None:
    response = replica.client.get(path)
    assert response.status_code == status, response.text
    assert said in response.text


@pytest.mark.skipif(find_spec("pyoxigraph") is None, reason="NOT TESTED: pyoxigraph is not installed")
def test_sparql_is_answered_from_the_release(replica: LocalReplica) -> None:
    def ask(query: str, **more: int) -> Any:
        return replica.client.post("/v1/graph/query", json={"query": query, **more})

    answer = ask("SELECT ?item { ?item <directed_by> <kaye> } ORDER BY ?item", max_rows=1).json()
    assert answer == {"release": replica.served.release_id, "columns": ["item"], "rows": [["n01"]], "truncated": True}
    query = "SELECT ?item ?nothing { ?item <directed_by> <kaye> } ORDER BY ?item"
    called = Called(replica, "QueryGraph", pb.QueryGraphRequest(query=query, max_rows=2))
    assert json_of(called.answer) == ask(query, max_rows=2).json() and called.code == StatusCode.OK
    assert [len(row.values) for row in called.answer.rows] == [2, 2]
    refused = ask("SELECT ?item { ?item <directed_by> }")
    assert (refused.status_code, "SPARQL" in refused.json()["detail"]) == (422, True)
    assert ask("ASK {}", max_rows=10_001).status_code == 422


def test_an_explanation_gives_its_reason_in_both_protocols(replica: LocalReplica) -> None:
    answer = replica.client.get(f"/v1/users/{_USER}/recommendations", params={"k": 5, "explain": True}).json()
    reasons = [one.get("reason") for one in answer["explain"]["items"]]
    assert any(reasons)
    query = UserQuery(_USER, ListOptions(5), explain=True)
    response = replica.client.portal.call(partial(replica.service.answer, query, MESSAGES, may_explain=True))
    message = pb.Answer.FromString(response.body)
    for one, reason in zip(message.explain.items, reasons, strict=True):
        steps = [(step.start, step.predicate, step.end, step.is_inverse) for step in one.reason]
        assert steps == [
            tuple(step[name] for name in ("start", "predicate", "end", "is_inverse")) for step in reason or []
        ]


def test_relations_change_at_once_and_once(tmp_path: Path) -> None:
    world = make_world(tmp_path / "w")
    import_relations(world.workspace, tmp_path)
    release_id, run_id = publish_world(world.workspace)
    with LocalReplica(replace(world, release_id=release_id, run_id=run_id)) as fresh:
        change = {
            "add": [{"subject": "n20", "predicate": "directed_by", "object": "kaye", "weight": 2}],
            "delete": [{"subject": "n07", "predicate": "sequel_of", "object": "n03"}],
        }
        for _ in range(2):  # under its key it is done once: done again, the deletion would fail
            done = fresh.client.post("/v1/relations", json=change, headers={"Idempotency-Key": "mine"})
            assert (done.status_code, done.json()) == (200, {"num_changed": 2, "sequence": 2})
        related = fresh.client.get("/v1/items/n20/related").json()["items"]
        assert [item["item_id"] for item in related] == ["n01", "n07"]
        assert fresh.client.get("/v1/items/n03/related").json()["items"] == []
        assert fresh.client.post("/v1/relations", json=change).status_code == 404
        other = fresh.client.post("/v1/relations", json={"add": change["add"]}, headers={"Idempotency-Key": "mine"})
        assert other.status_code == 422 and "another change" in other.text
        assert fresh.client.post("/v1/relations", json={}).status_code == 422


@pytest.mark.skipif(find_spec("pyoxigraph") is None, reason="NOT TESTED: pyoxigraph is not installed")
def test_a_hierarchy_grows_in_filters_at_once(tmp_path: Path) -> None:
    world = make_world(tmp_path / "w")
    (tmp_path / "genres.ttl").write_text(f"@prefix genre: <genre=> . genre:Noir <{SUBCLASS_OF}> genre:Drama .")
    import_table(world.workspace, tmp_path / "genres.ttl", fmt="turtle", kind="ontology", columns=ColumnMap())
    release_id, run_id = publish_world(world.workspace)
    with LocalReplica(replace(world, release_id=release_id, run_id=run_id)) as fresh:

        def shown(*genres: str) -> list[str]:
            asked = {"k": 50, "genre": list(genres)}
            listed = fresh.client.get(f"/v1/users/{_USER}/recommendations", params=asked).json()["items"]
            return [item["item_id"] for item in listed]

        horror, all_three = shown("Horror"), shown("Horror", "Drama")
        assert 0 < len(horror) < len(all_three)  # Noir is a Drama
        below = {"subject": "genre=Drama", "predicate": SUBCLASS_OF, "object": "genre=Horror"}
        for change, expected in (("add", all_three), ("delete", horror)):
            assert fresh.client.post("/v1/relations", json={change: [below]}).status_code == 200
            assert shown("Horror") == expected
