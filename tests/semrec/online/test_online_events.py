"""Events: what is refused and why, what a user's recent events are, and how changes become part of the next release."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cluster.compute import InProcess
from cluster.stages.release import ReleaseResult, build_release
from semrec.bench.generated import write_catalogue, write_embedding
from semrec.changes.compact import CompactionReport, compact_changes
from semrec.changes.events import Event, LiveItems, RecentEvents, check_events, event_table
from semrec.changes.overlay import ItemChange, OverlayView, change_table
from semrec.changes.state import OverlayState, event_log, item_log
from semrec.contracts import INTERACTIONS_SCHEMA, bucket_of
from semrec.data import ColumnMap, ItemRow, import_interactions, import_items, import_table
from semrec.data.known import KnownItems
from semrec.errors import CorruptArtefactError, RunBusyError
from semrec.progress import NoProgress
from semrec.release.reader import Release
from semrec.settings import ReleaseSettings
from semrec.workspace.folder import Workspace
from semrec.workspace.log import Batch, BatchToken, LogPositions
from semrec.workspace.manifests import AppliedSequences, CatalogueManifest, InteractionsManifest
from semrec.workspace.storage import Storage
from semrec.workspace.tables import read_table

NOW_S = 1_800_000_000
ITEMS = [f"i{n}" for n in range(6)]
STORED = [("u", "i0", 1.0, 100), ("v", "i1", 2.0, 200)]


def known(*item_ids: str) -> KnownItems:
    return KnownItems([pa.array(item_ids, pa.string())])


def table(*events: tuple[str, str, float, int]) -> pa.Table:
    return event_table([Event(*event) for event in events])


@pytest.fixture
def world(tmp_path: Path) -> Workspace:
    """Six items with vectors, two events, three buckets."""
    workspace = Workspace.create(str(tmp_path / "w"), num_buckets=3)
    write_catalogue(workspace, ITEMS, np.eye(6, dtype=np.float32))
    import_interactions(workspace, [table(*STORED)])
    return workspace


def release_of(workspace: Workspace, **settings: Any) -> ReleaseResult:
    vectors = {item: np.eye(6, dtype=np.float32)[n % 6] for n, item in enumerate(sorted(items_of(workspace)))}
    write_embedding(workspace, vectors)
    compute = InProcess()
    return build_release(workspace, ReleaseSettings(**settings), embedding=None, compute=compute, progress=NoProgress())


def items_of(workspace: Workspace) -> dict[str, str]:
    """item_id -> title of the catalogue."""
    tables = [read_table(workspace.storage, part) for part in CatalogueManifest.read(workspace.storage).parts]
    return {row["item_id"]: row["title"] for one in tables for row in one.to_pylist()}


def events_of(workspace: Workspace) -> list[tuple[Any, ...]]:
    tables = [read_table(workspace.storage, part) for part in InteractionsManifest.read(workspace.storage).parts]
    return sorted(tuple(row.values()) for one in tables for row in one.to_pylist())


def add_events(workspace: Workspace, *events: tuple[str, str, float, int], token: BatchToken | None = None) -> Batch:
    log = event_log(workspace.storage)
    log.open()
    return log.append([(table(*events), token)]).batches[0]


def put(workspace: Workspace, *item_ids: str, title: str = "new", deleted: bool = False) -> Batch:
    log = item_log(workspace.storage)
    log.open()
    vector = np.ones(6, np.float32)
    changes = [
        ItemChange.deletion(i) if deleted else ItemChange.put(ItemRow(i, title, f"{title} text"), vector)
        for i in item_ids
    ]
    return log.append([(change_table(changes), None)]).batches[0]


def manifest_of(workspace: Workspace, kind: str) -> dict[str, Any]:
    """The JSON as it is stored."""
    return workspace.storage.read_json(f"{kind}/manifest.json")


# checking


def test_every_bad_event_has_its_reason_and_the_good_ones_go_on() -> None:
    events: list[Any] = [
        {"user_id": "u", "item_id": "a", "value": 4.5, "timestamp": 1_700_000_000},
        {"user_id": "", "item_id": "a"},
        {"user_id": "u", "item_id": "nope"},
        {"user_id": "u", "item_id": "a", "value": float("inf")},
        {"user_id": "u", "item_id": "a", "value": "much"},
        {"user_id": "u", "item_id": "a", "value": True},
        {"user_id": "u", "item_id": "a", "timestamp": NOW_S + 86_401},
        {"user_id": "u", "item_id": "a", "timestamp": -1},
        {"user_id": "u", "item_id": "a", "timestamp": "yesterday"},
        {"user_id": 1.5, "item_id": "a"},
        {"user_id": "u\0", "item_id": "a"},
        {"user_id": "\ud800", "item_id": "a"},
        {"item_id": "a"},
        ["u", "a"],
        {"user_id": "u\u2028", "item_id": "a"},
        {"user_id": ".", "item_id": "a"},
        {"user_id": "u" * 1_025, "item_id": "a"},
        {"user_id": "u", "item_id": "a", "value": 3e38},
        {"user_id": 7, "item_id": "a", "value": None, "timestamp": None},
        {"user_id": "ü", "item_id": "a", "value": -1, "timestamp": "2024-01-01T00:00:00Z"},
    ]
    checked = check_events(events, known("a"), now_s=NOW_S)
    assert checked.accepted == [
        Event("u", "a", 4.5, 1_700_000_000),
        Event("7", "a", 1.0, NOW_S),
        Event("ü", "a", -1.0, 1_704_067_200),
    ]
    assert [(found.row, found.reason) for found in checked.refused] == [
        (1, "missing id"),
        (2, "unknown item"),
        (3, "non-finite value"),
        (4, "non-numeric value"),
        (5, "non-numeric value"),
        (6, "impossible time"),
        (7, "impossible time"),
        (8, "bad time"),
        (9, "id is not text"),
        (10, "NUL byte"),
        (11, "bad UTF-8"),
        (12, "missing id"),
        (13, "not a JSON object"),
        (14, "control character in id"),
        (15, "id is . or .."),
        (16, "id is too long"),
        (17, "value out of range"),
    ]
    assert checked.refused[1].detail == "item_id = 'nope'"


def test_a_service_may_take_less_than_an_import() -> None:
    stars = [{"user_id": "u", "item_id": "a", "value": value} for value in (5, 5.5, -6)]
    checked = check_events(stars, known("a"), now_s=NOW_S, max_value=5.0)
    assert ([event.value for event in checked.accepted], [found.row for found in checked.refused]) == ([5.0], [1, 2])
    assert len(check_events(stars, known("a"), now_s=NOW_S).accepted) == 3


def test_milliseconds_are_told_and_an_empty_batch_is_fine() -> None:
    (refused,) = check_events(
        [{"user_id": "u", "item_id": "a", "timestamp": NOW_S * 1000}], known("a"), now_s=NOW_S
    ).refused
    assert refused.reason == "impossible time" and "Divide by 1000" in refused.detail
    assert check_events([], known("a")).accepted == []


def test_items_of_the_overlay_are_known_and_deleted_ones_are_not() -> None:
    view = OverlayView.of([ItemChange(1, "a", True), ItemChange(2, "new", False, "t", vector=np.ones(2, np.float32))])
    items = LiveItems(known("a", "b"), view)
    assert items.contains(pa.array(["a", "b", "new", "c", "b"])).tolist() == [False, True, True, False, True]
    assert LiveItems(known("a"), OverlayView.empty()).contains(pa.array(["a", "b"])).tolist() == [True, False]


def test_a_value_is_what_float32_keeps_of_it_before_and_after_the_segment(tmp_path: Path) -> None:
    checked = check_events([{"user_id": "u", "item_id": "a", "value": 0.1}], known("a"), now_s=NOW_S)
    assert checked.accepted[0].value == float(np.float32(0.1)) != 0.1
    assert event_table(checked.accepted).column("value").to_pylist() == [checked.accepted[0].value]


# what is recent


def test_recent_events_are_in_order_of_time_each_once_whatever_the_order_of_arrival() -> None:
    recent = RecentEvents()
    late, early = Event("u", "b", 1.0, 50, sequence=2), Event("u", "a", 1.0, 90, sequence=1)
    repeat = Event("u", "a", 1.0, 90, sequence=3)
    recent.add([early, late, repeat, Event("v", "a", 1.0, 1, sequence=4)])
    assert recent.of("u") == (late, early)
    assert recent.of("u", applied=1) == (late,)  # the release has `early`, and with it what repeats it
    assert (recent.sequence, recent.num_users, len(recent), recent.of("nobody")) == (4, 2, 3, ())
    other = RecentEvents()
    other.add([repeat, early])  # read back from an older place
    assert other.of("u") == (early,)
    recent.drop_through(3)
    assert (recent.num_users, recent.of("u"), len(recent.of("v"))) == (1, (), 1)


def test_a_state_follows_a_switch_and_a_rollback(world: Workspace) -> None:
    add_events(world, ("u", "i1", 1.0, 300), ("new user", "i2", 1.0, 310))
    state = OverlayState(world.storage, LogPositions())
    assert [e.item_id for e in state.recent.of("new user")] == ["i2"]
    compact_changes(world)
    applied = LogPositions.of(release_of(world).manifest.applied)
    assert applied == LogPositions(0, 2)
    add_events(world, ("u", "i3", 1.0, 400))
    state.catch_up()
    assert [e.item_id for e in state.recent.of("u", applied.events)] == ["i3"]
    assert state.recent.of("new user", applied.events) == ()
    state.drop_through(applied)
    fresh = OverlayState(world.storage, applied)
    assert [s.recent.of("u") for s in (state, fresh)] == [(Event("u", "i3", 1.0, 400, 3),)] * 2
    for one in (state, fresh):
        one.load_since(LogPositions())  # the release before is live again
        assert [e.item_id for e in one.recent.of("u")] == ["i1", "i3"]
        assert [e.sequence for e in one.recent.of("new user")] == [2]


# folding


def test_a_workspace_without_changes_is_left_alone(world: Workspace) -> None:
    before = {path: world.storage.read_bytes(f"{path}/manifest.json") for path in ("catalogue", "interactions")}
    assert compact_changes(world) == CompactionReport(0, 0, 0, LogPositions())
    assert not compact_changes(world)
    assert before == {path: world.storage.read_bytes(f"{path}/manifest.json") for path in before}
    assert "folded" not in release_of(world).manifest.to_json()


def test_changes_and_events_become_part_of_the_next_release(world: Workspace) -> None:
    first = release_of(world)
    put(world, "i1", "fresh", title="old")
    put(world, "i1", title="changed")
    put(world, "i2", "i3", "never was", deleted=True)
    add_events(world, ("u", "fresh", 3.0, 300), ("u", "i2", 1.0, 310), ("w", "i1", 1.0, 50))
    found = compact_changes(world)
    assert found == CompactionReport(2, 3, 3, LogPositions(items=6, events=3))
    assert str(found) == "2 items and 3 events taken in, 3 items deleted"
    assert items_of(world) == {
        "fresh": "old", "i0": "title of i0", "i1": "changed", "i4": "title of i4", "i5": "title of i5",
    }  # fmt: skip
    assert events_of(world) == sorted([*STORED, ("u", "fresh", 3.0, 300), ("u", "i2", 1.0, 310), ("w", "i1", 1.0, 50)])
    second = release_of(world)
    assert second.manifest.to_json()["folded"] == {"items": 6, "events": 3} and second.release_id != first.release_id
    assert (
        LogPositions.of(second.manifest.applied) == LogPositions(6, 3)
        and LogPositions.of(first.manifest.applied) == LogPositions()
    )
    assert second.manifest.counts["events_of_unknown_items"] == 1  # of the deleted i2
    assert Release(world.storage, second.release_id).item_ids.to_pylist() == sorted(items_of(world))


def test_folding_again_changes_nothing_and_later_changes_come_on_top(world: Workspace) -> None:
    put(world, "fresh")
    add_events(world, ("u", "fresh", 3.0, 300))
    compact_changes(world)
    before = {kind: manifest_of(world, kind) for kind in ("catalogue", "interactions")}
    assert not compact_changes(world)
    assert before == {kind: manifest_of(world, kind) for kind in before}
    put(world, "fresh", deleted=True)
    add_events(world, ("u", "fresh", 3.0, 300), ("u", "i5", 1.0, 300))  # the first repeats what is stored
    assert compact_changes(world) == CompactionReport(0, 1, 2, LogPositions(2, 3))
    assert sorted(items_of(world)) == ITEMS
    assert events_of(world) == sorted([*STORED, ("u", "fresh", 3.0, 300), ("u", "i5", 1.0, 300)])


def test_a_release_of_the_same_content_says_how_far_it_goes_by_now(world: Workspace) -> None:
    first = release_of(world)
    put(world, "fresh")
    put(world, "fresh", deleted=True)
    assert compact_changes(world).applied == LogPositions(2, 0)
    second = release_of(world)
    assert second.release_id == first.release_id and second.manifest.applied == AppliedSequences(items=2)
    assert second.manifest.model_copy(update={"applied": AppliedSequences()}) == first.manifest


def test_an_import_of_the_segments_adds_no_event_twice(world: Workspace) -> None:
    """`semrec import parquet W/events --kind interactions --append`, before and after a fold."""
    add_events(world, ("u", "i1", 0.1, 300), ("w", "i2", 1.0, 310))
    columns = ColumnMap(value="value", timestamp="timestamp")
    source = f"{world.uri}/events"
    for _ in range(2):
        report = import_table(world, source, fmt="parquet", kind="interactions", columns=columns, mode="append")
        assert (report.num_interactions, report.num_rejected) == (4, 0)
    before = manifest_of(world, "interactions")
    assert compact_changes(world).num_events == 2
    after = manifest_of(world, "interactions")
    assert (after["fingerprint"], after["folded"], "folded" in before) == (before["fingerprint"], 2, False)
    report = import_table(world, source, fmt="parquet", kind="interactions", columns=columns, mode="append")
    assert (report.num_interactions, manifest_of(world, "interactions")["folded"]) == (4, 2)


def test_the_rule_of_the_stored_interactions_stays(world: Workspace) -> None:
    import_interactions(world, [table(*STORED)], repeats="latest", neutral_value=2.5)
    add_events(world, ("u", "i1", 5.0, 300))
    compact_changes(world)
    manifest = manifest_of(world, "interactions")
    assert (manifest["repeats"], manifest["neutral_value"], manifest["num_rows"]) == ("latest", 2.5, 3)


def test_a_workspace_that_only_ever_had_changes_gets_a_catalogue_and_interactions(tmp_path: Path) -> None:
    workspace = Workspace.create(str(tmp_path), num_buckets=2)
    put(workspace, "a", "b")
    add_events(workspace, ("u", "a", 1.0, 5))
    assert compact_changes(workspace) == CompactionReport(2, 0, 1, LogPositions(2, 1))
    assert (sorted(items_of(workspace)), events_of(workspace)) == (["a", "b"], [("u", "a", 1.0, 5)])


def test_an_import_in_between_is_not_lost(world: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    put(world, "fresh")
    read, times = Storage.read_bytes, [0]

    def with_import(self: Storage, path: str) -> bytes:
        if path == "catalogue/manifest.json":
            times[0] += 1
            if times[0] in disturbed:
                monkeypatch.setattr(Storage, "read_bytes", read)
                import_items(world, [ItemRow(f"imported-{times[0]}", "t")], mode="append")
                put(world, f"later-{times[0]}")  # newer than the import, which took in what came before it
                monkeypatch.setattr(Storage, "read_bytes", with_import)
        return read(self, path)

    monkeypatch.setattr(Storage, "read_bytes", with_import)
    disturbed: Any = range(10_000)
    with pytest.raises(RunBusyError, match=r"catalogue/manifest\.json was replaced 3 times"):
        compact_changes(world)
    times[0], disturbed = 0, {4}
    compact_changes(world)
    monkeypatch.undo()
    assert {"fresh", "imported-4"} <= items_of(world).keys()


KILLED = """
import os, sys, time
from semrec.data.staging import Staged
from semrec.changes.compact import compact_changes
from semrec.workspace.folder import Workspace
publish, stop = Staged.publish, sys.argv[2]
def stopping(self, storage):
    if stop == f"before {self.manifest.KIND}":
        os.kill(os.getpid(), 9)
    publish(self, storage)
    if stop == f"after {self.manifest.KIND}":
        os.kill(os.getpid(), 9)
Staged.publish = stopping
compact_changes(Workspace.open(sys.argv[1]))
"""


@pytest.mark.parametrize("moment", ["before catalogue", "after catalogue", "before interactions", "after interactions"])
def test_a_fold_that_is_killed_is_done_again_with_the_same_result(world: Workspace, moment: str) -> None:
    put(world, "fresh")
    put(world, "i0", deleted=True)
    add_events(world, ("u", "fresh", 1.0, 300))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", KILLED, world.uri, moment], env=environment, timeout=180)
    assert done.returncode == -9
    compact_changes(world)
    assert sorted(items_of(world)) == ["fresh", "i1", "i2", "i3", "i4", "i5"]
    assert events_of(world) == sorted([*STORED, ("u", "fresh", 1.0, 300)])
    assert (manifest_of(world, "catalogue")["folded"], manifest_of(world, "interactions")["folded"]) == (2, 1)


def test_the_schema_of_a_segment_is_that_of_interactions() -> None:
    assert event_table([]).schema == INTERACTIONS_SCHEMA


def test_parts_without_new_events_keep_their_files(world: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {part["part"]: part for part in manifest_of(world, "interactions")["parts"]}
    add_events(world, ("u", "i1", 1.0, 300))
    changed = bucket_of("u", world.num_buckets)
    read, paths = Storage.read_bytes, []
    monkeypatch.setattr(Storage, "read_bytes", lambda self, path: paths.append(path) or read(self, path))
    compact_changes(world)
    assert [path for path in paths if path.startswith("interactions/part")] == [before[changed]["file"]]
    after = {part["part"]: part for part in manifest_of(world, "interactions")["parts"]}
    assert {part for part in after if after[part] != before[part]} == {changed}


def test_interactions_that_cannot_be_read_may_be_replaced_with_all_that_came_before(world: Workspace) -> None:
    add_events(world, ("u", "i1", 1.0, 300))
    compact_changes(world)
    world.storage.write_bytes("interactions/manifest.json", b"{")
    with pytest.raises(CorruptArtefactError):
        import_interactions(world, [table(*STORED)], mode="append")
    import_interactions(world, [table(*STORED)])
    assert manifest_of(world, "interactions")["folded"] == 1
    assert compact_changes(world).num_events == 0 and len(events_of(world)) == 2
