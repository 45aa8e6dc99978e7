"""Releases under a replica: taken over whole, refused when corrupt, rolled back; never mixed in one answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.serving.execute import Ranker
from cluster.serving.watcher import ReleaseWatcher
from helpers.replica_without_ray import LocalReplica, WordEncoder
from helpers.serving_world import K, World, event_table, make_world, publish_world
from semrec.changes.overlay import OverlayView
from semrec.data import ItemRow, import_interactions, import_items
from semrec.errors import EncoderError
from semrec.online.answers import RankedList, RankQuery
from semrec.online.release import OnlineRelease
from semrec.runs.live import read_live
from semrec.runs.publish import publish, rollback
from semrec.workspace.manifests import AppliedSequences, CatalogueManifest
from semrec.workspace.storage import Storage
from semrec.workspace.tables import read_table


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[LocalReplica]:
    with LocalReplica(make_world(tmp_path / "w")) as started:
        yield started


def second_release(world: World) -> tuple[str, str]:
    """Everybody watched other things since: another release of the same items, published."""
    events = [(f"user-{user}", f"n{(user * 7 + 3) % 70:02d}", 3.0, 30_000_000 + user) for user in range(40)]
    import_interactions(world.workspace, [event_table(events)], mode="append")
    return publish_world(world.workspace)


def answer(replica: LocalReplica, user: str, **params: Any) -> dict[str, Any]:
    response = replica.client.get(f"/v1/users/{user}/recommendations", params={"k": K, **params})
    assert response.status_code == 200, response.text
    return response.json()


def expected(storage: Storage, release_id: str, run_id: str) -> dict[str, list[tuple[str, float]]]:
    """Each user's published list."""
    served = OnlineRelease(storage, release_id, run_id)
    lists = {f"user-{n}": served.published(f"user-{n}") for n in range(40)}
    return {user: [(h.item_id, h.score) for h in found.hits] for user, found in lists.items() if found}


def test_a_switch_under_load_fails_no_request_and_mixes_no_answer(replica: LocalReplica) -> None:
    world, storage = replica.world, replica.world.workspace.storage
    new = second_release(world)
    lists = {world.release_id: expected(storage, world.release_id, world.run_id), new[0]: expected(storage, *new)}
    publish(storage, world.run_id)
    assert lists[new[0]] != lists[world.release_id]
    found: list[tuple[str, dict[str, Any]]] = []
    stop = threading.Event()

    def hammer(first: int) -> None:
        n = first
        while not stop.is_set():
            user = f"user-{n % 40}"
            found.append((user, answer(replica, user)))
            n += 1

    threads = [threading.Thread(target=hammer, args=(n * 11,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for run in (new[1], world.run_id, new[1]):
        before = len(found)
        publish(storage, run)
        assert replica.live.check_live()
        while len(found) < before + 60:
            assert all(thread.is_alive() for thread in threads)
            stop.wait(0.01)
    stop.set()
    for thread in threads:
        thread.join()
    seen = set()
    for user, one in found:
        items = [(item["item_id"], np.float32(item["score"])) for item in one["items"]]
        assert items == lists[one["release"]][user]
        seen.add(one["release"])
    assert seen == set(lists)
    assert replica.stats.events["release_switched"] == 4


def test_a_corrupt_release_is_refused_and_the_old_one_stays(replica: LocalReplica) -> None:
    world, storage = replica.world, replica.world.workspace.storage
    new = second_release(world)
    block = next(name for name in storage.list_sizes(f"releases/{new[0]}/matrix") if ".low." in name)
    path = Path(storage.full_path(f"releases/{new[0]}/matrix/{block}"))
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert not replica.live.check_live()
    assert not replica.live.check_live()  # and is not hashed again every half second
    assert answer(replica, "user-1")["release"] == world.release_id
    ready = replica.client.get("/readyz").json()
    assert (ready["status"], ready["release"]) == ("ready", world.release_id)
    assert ready["refused"] == {f"{new[0]}/{new[1]}": "CorruptArtefactError"}
    assert block in json.dumps(replica.client.get("/v1/stats").json()["refused"])
    assert "semrec_serving_release_refused_total" in replica.client.get("/metrics").text
    assert replica.stats.events["release_refused"] == 1
    path.write_bytes(good)
    replica.live._refused_s -= 60  # half a minute later
    assert replica.live.check_live()
    assert replica.client.get("/readyz").json()["refused"] == {}
    assert answer(replica, "user-1")["release"] == new[0]


def test_a_release_that_answers_otherwise_than_its_run_is_refused(
    replica: LocalReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    second_release(replica.world)
    plain = OnlineRelease.rank
    monkeypatch.setattr(OnlineRelease, "rank", lambda *a: [type(r)(r.hits[::-1], r.short_reason) for r in plain(*a)])
    assert not replica.live.check_live()
    monkeypatch.undo()
    assert "answers user" in next(iter(replica.live.refused.values()))
    assert answer(replica, "user-1")["release"] == replica.world.release_id


def test_a_broken_pointer_changes_nothing(replica: LocalReplica) -> None:
    storage = replica.world.workspace.storage
    good = storage.read_bytes("current.json")
    for bad in (b"", b"{", b"[]", good.replace(b'"release"', b'"relaese"')):
        storage.write_bytes("current.json", bad)
        assert not replica.live.check_live()
        assert answer(replica, "user-1")["release"] == replica.world.release_id
    storage.write_bytes("current.json", good)
    assert replica.client.get("/readyz").status_code == 200


def test_rollback_and_events_that_only_the_older_release_lacks(replica: LocalReplica) -> None:
    world, storage = replica.world, replica.world.workspace.storage
    event = {"user_id": "user-1", "item_id": "n11", "value": 3.0, "timestamp": 30_000_000}
    assert replica.client.post("/v1/events", json={"events": [event]}).status_code == 200
    with_event = answer(replica, "user-1")
    assert with_event["items"] != answer(replica, "user-1", overlay="off")["items"]
    new = second_release(world)
    assert replica.live.check_live()
    assert answer(replica, "user-1")["release"] == new[0]
    rollback(storage)
    assert replica.live.check_live()
    assert answer(replica, "user-1") == with_event
    live = read_live(storage)
    assert live is not None
    assert live.release == world.release_id


def test_before_anything_is_live_nothing_is_ready(tmp_path: Path) -> None:
    world = make_world(tmp_path / "w")
    storage = world.workspace.storage
    pointer = storage.read_bytes("current.json")
    Path(storage.full_path("current.json")).unlink()
    with LocalReplica(world) as replica:
        assert replica.client.get("/readyz").status_code == 503
        assert replica.client.get("/readyz").json()["status"] == "loading"
        assert replica.client.get("/healthz").status_code == 200
        early = replica.client.get("/v1/users/user-1/recommendations")
        assert (early.status_code, early.headers["retry-after"]) == (503, "1")
        storage.write_bytes("current.json", pointer)
        replica.live._refused_s -= 60
        assert replica.live.check_live()
        assert replica.client.get("/readyz").status_code == 200


class LateEncoder(WordEncoder):
    """Takes until it is `loaded`, or fails; `probed` is set when the release beside it has answered."""

    def __init__(self, error: Exception | None = None) -> None:
        self.loaded, self.probed, self._error = threading.Event(), threading.Event(), error

    def warm(self) -> None:
        assert self.loaded.wait(30)
        if self._error:
            raise self._error


def followed(world: World, encoder: LateEncoder) -> ReleaseWatcher:
    def opened(storage: Storage, release_id: str, run_id: str) -> tuple[OnlineRelease, Ranker]:
        served = OnlineRelease(storage, release_id, run_id)

        def rank(rank_queries: Sequence[RankQuery], overlay: OverlayView) -> list[RankedList]:
            encoder.probed.set()
            return served.rank(rank_queries, overlay)

        return served, rank

    return ReleaseWatcher(world.workspace.storage, opened, lambda release: encoder)


def test_nothing_is_ready_before_its_text_encoder_is(tmp_path: Path) -> None:
    encoder = LateEncoder()
    live = followed(make_world(tmp_path / "w"), encoder)
    looking = threading.Thread(target=live.check_live)
    looking.start()
    assert encoder.probed.wait(30)
    looking.join(0.5)  # what is left to do takes a hundredth of that
    assert live.now is None
    encoder.loaded.set()
    looking.join(30)
    assert live.now is not None


def test_a_release_whose_text_encoder_is_absent_or_late_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(tmp_path / "w")
    absent = LateEncoder(EncoderError("no weights", expected="weights", remedy="Install them."))
    absent.loaded.set()
    live = followed(world, absent)
    assert live.check_live() and live.now is not None
    late = LateEncoder()
    monkeypatch.setattr("cluster.serving.watcher._WARM_S", 0.1)
    live = followed(world, late)
    assert live.check_live() and live.now is not None
    late.loaded.set()


def test_an_import_of_the_same_content_ends_older_changes_without_opening_the_release_again(
    replica: LocalReplica,
) -> None:
    world, storage = replica.world, replica.world.workspace.storage
    assert replica.client.delete("/v1/items/n05").status_code == 200
    assert replica.client.get("/v1/items/n05").status_code == 404
    import_again(world)
    assert publish_world(world.workspace) == (world.release_id, world.run_id)
    assert replica.client.delete("/v1/items/n06").status_code == 200  # newer than the import
    served = replica.served
    assert not replica.live.check_live()
    assert replica.served is served
    assert replica.client.get("/v1/items/n05").status_code == 200
    assert replica.client.get("/v1/items/n06").status_code == 404
    with LocalReplica(world) as fresh:
        assert fresh.client.get("/v1/items/n05").status_code == 200
        assert fresh.client.get("/v1/items/n06").status_code == 404
    live = read_live(storage)
    assert live is not None
    assert live.applied == AppliedSequences(items=1)


def import_again(world: World) -> None:
    """The catalogue as it is, from its source once more."""
    storage = world.workspace.storage
    parts = [read_table(storage, part) for part in CatalogueManifest.read(storage).parts]
    rows = [row for part in parts for row in part.to_pylist()]
    import_items(
        world.workspace, [ItemRow(r["item_id"], r["title"], r["text"], dict(r["attributes"] or ())) for r in rows]
    )
