"""What a run has published can be asked for: the service's limits are never below those of the run and its imports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from helpers.replica_without_ray import LocalReplica, refused
from helpers.serving_world import World, event_table, publish_world
from semrec.bench.generated import write_catalogue, write_embedding
from semrec.data import ItemRow, UserRow, import_interactions, import_items, import_users
from semrec.limits import MAX_ID_CHARS, MAX_K
from semrec.online.parity import check_parity
from semrec.online.published import PublishedLists
from semrec.workspace.folder import Workspace

LONG_RUN = 1_200
LONGEST_ID = "🎬" * MAX_ID_CHARS


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalReplica]:
    """A run whose K is above what a service allows by default, of users and items with the longest ids."""
    workspace = Workspace.create(str(tmp_path_factory.mktemp("limits") / "w"), num_buckets=2)
    ids = [f"i{n:04d}" for n in range(1_299)] + [LONGEST_ID]
    vectors_ID = np.random.default_rng(2).integers(-9, 10, (len(ids), 4)).astype(np.float32)
    write_catalogue(workspace, ids, vectors_ID)
    import_interactions(workspace, [event_table([("u1", "i0000", 1.0, 5), (LONGEST_ID, LONGEST_ID, 1.0, 5)])])
    import_users(workspace, [UserRow("u1"), UserRow("newcomer"), UserRow(LONGEST_ID)])
    release_id, run_id = publish_world(workspace, LONG_RUN)
    with LocalReplica(World(workspace, release_id, run_id, {}, {})) as started:
        yield started


def recommendations(replica: LocalReplica, user_id: str, query: str) -> Any:
    return replica.client.get(f"/v1/users/{quote(user_id, safe='')}/recommendations?{query}")


def test_a_list_above_the_usual_limit_is_answered_as_it_was_published(long_run: LocalReplica) -> None:
    batch = recommendations(long_run, "u1", f"source=batch&k={LONG_RUN}")
    live = recommendations(long_run, "u1", f"k={LONG_RUN}")
    assert (batch.status_code, live.status_code) == (200, 200), batch.text
    assert len(batch.json()["items"]) == LONG_RUN
    assert batch.json()["items"] == live.json()["items"]
    said = refused(recommendations(long_run, "u1", f"k={LONG_RUN + 1}"), 422)
    assert (said["detail"], said["expected"]) == (f"k = {LONG_RUN + 1}", f"at most {LONG_RUN}")
    refused(recommendations(long_run, "u1", f"source=batch&k={MAX_K + 1}"), 422)


def test_parity_of_a_long_run_with_the_longest_ids_is_complete(long_run: LocalReplica) -> None:
    lists = PublishedLists(long_run.world.workspace.storage, long_run.world.run_id)
    query = f"source=live&overlay=off&k={lists.k}"
    report = check_parity(lists, lambda user: recommendations(long_run, user, query).json(), 3)
    assert (report.num_users, report.differences) == (3, [])
    assert LONGEST_ID in lists.sample(3)


def test_the_longest_id_is_taken_by_every_endpoint_and_one_longer_by_none(long_run: LocalReplica) -> None:
    client, longer = long_run.client, LONGEST_ID + "x"
    for name, status in ((LONGEST_ID, 200), (longer, 422)):
        path = f"/v1/items/{quote(name, safe='')}"
        event = {"user_id": name, "item_id": "i0000"}
        answers = [
            client.get(path),
            client.get(f"{path}/similar?k=1"),
            recommendations(long_run, name, "k=1"),
            recommendations(long_run, "u1", f"k=1&exclude={quote(name)}"),
            client.post("/v1/recommendations", json={"liked": [name], "k": 1}),
            client.post("/v1/events", json={"events": [event]}),
            client.put(path, json={"title": "As it was"}),
        ]
        assert [answer.status_code for answer in answers] == [status] * len(answers)


def test_ids_that_an_import_refuses_are_refused_online(long_run: LocalReplica) -> None:
    for name in ("..", ".", "a\r\nb", "a\u202eb", "a\x1b[2J"):
        encoded = "".join(f"%{byte:02X}" for byte in name.encode())  # a client would resolve plain dots itself
        said = refused(long_run.client.put(f"/v1/items/{encoded}", json={"title": "T"}), 422)
        assert "id" in said["detail"].rpartition(": ")[2]
        body = {"events": [{"user_id": name, "item_id": "i0000"}, {"user_id": "u1", "item_id": "i0001"}]}
        answer = long_run.client.post("/v1/events", json=body).json()
        assert (answer["accepted"], [one["index"] for one in answer["refused"]]) == (1, [0])


def test_what_a_workspace_holds_from_before_the_rule_stays_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_ids = ["..", "a\nb", "x" * (MAX_ID_CHARS + 1)]
    vector_of = dict(zip([*old_ids, "i", "another"], np.eye(5, dtype=np.float32) + 1, strict=True))
    workspace = Workspace.create(str(tmp_path / "w"), num_buckets=2)
    with monkeypatch.context() as before:
        before.setattr("semrec.data.rows.id_fault", lambda text: "")
        before.setattr("semrec.data.events.id_faults", lambda ids: iter(()))
        import_items(workspace, [ItemRow(item_id, f"title of {item_id}") for item_id in [*old_ids, "i"]])
        import_interactions(workspace, [event_table([(old_ids[1], "i", 1.0, 5), ("u", old_ids[0], 1.0, 5)])])
    import_items(workspace, [ItemRow("another", "An item")], mode="append")  # what is stored passes through an append
    assert workspace.storage.read_json("catalogue/manifest.json")["num_items"] == 5
    write_embedding(workspace, vector_of)
    release_id, run_id = publish_world(workspace)
    with LocalReplica(World(workspace, release_id, run_id, {}, {})) as replica:
        answer = recommendations(replica, "u", "k=5").json()
        assert {item["item_id"] for item in answer["items"]} == {"a\nb", old_ids[2], "i", "another"}
        assert recommendations(replica, "a\nb", "source=batch").status_code == 200
        assert replica.client.get("/v1/items/%2E%2E").json()["title"] == "title of .."
        assert replica.client.request("DELETE", "/v1/items/%2E%2E").status_code == 200  # so that they can be got rid of
