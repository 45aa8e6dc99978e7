"""Imports and changes made online, in every order: what came later counts, whether or not a run came in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.serving_world import event_table, make_world, publish_world
from semrec.changes.compact import CompactionReport, compact_changes
from semrec.changes.events import Event
from semrec.changes.events import event_table as segment_table
from semrec.changes.overlay import ItemChange, change_table
from semrec.changes.state import OverlayState, event_log, item_log
from semrec.data import ItemRow, import_interactions, import_items, import_movielens
from semrec.workspace.folder import Workspace
from semrec.workspace.log import LogPositions
from semrec.workspace.manifests import CatalogueManifest, InteractionsManifest
from semrec.workspace.tables import read_table


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace.create(str(tmp_path / "w"), num_buckets=2)
    import_items(workspace, [ItemRow("a", "first a"), ItemRow("b", "first b")])
    return workspace


def put(workspace: Workspace, item_id: str, title: str) -> None:
    _append(workspace, ItemChange.put(ItemRow(item_id, title, title), np.ones(2, np.float32)))


def delete(workspace: Workspace, item_id: str) -> None:
    _append(workspace, ItemChange.deletion(item_id))


def _append(workspace: Workspace, change: ItemChange) -> None:
    log = item_log(workspace.storage)
    log.open()
    log.append([(change_table([change]), None)])


def post(workspace: Workspace, *events: tuple[str, str, float, int]) -> None:
    log = event_log(workspace.storage)
    log.open()
    log.append([(segment_table([Event(*event) for event in events]), None)])


def catalogue(workspace: Workspace) -> dict[str, str]:
    """item_id -> title."""
    return {row["item_id"]: row["title"] for row in _rows(workspace, "catalogue")}


def interactions(workspace: Workspace) -> list[tuple[str, str, float, int]]:
    return sorted(tuple(row.values()) for row in _rows(workspace, "interactions"))


def _rows(workspace: Workspace, kind: str) -> list[dict[str, str]]:
    kinds = {"catalogue": CatalogueManifest, "interactions": InteractionsManifest}
    parts = [read_table(workspace.storage, part) for part in kinds[kind].read(workspace.storage).parts]
    return [row for part in parts for row in part.to_pylist()]


def online(workspace: Workspace) -> dict[str, str]:
    """item_id -> title as a replica shows a release of the present catalogue."""
    applied = CatalogueManifest.read(workspace.storage).applied_sequence
    view = OverlayState(workspace.storage, LogPositions(applied)).view(LogPositions(applied))
    there = {i: title for i, title in catalogue(workspace).items() if i not in view.changes}
    return there | {change.item_id: change.title for change in view.live}


@pytest.mark.parametrize("is_run_between", [False, True])
def test_a_later_import_replaces_what_was_changed_online(workspace: Workspace, is_run_between: bool) -> None:
    delete(workspace, "b")
    put(workspace, "a", "old a")
    put(workspace, "only online", "x")
    if is_run_between:
        compact_changes(workspace)
    report = import_items(workspace, [ItemRow("a", "newest a"), ItemRow("b", "b is back")])
    assert report.num_online_replaced == (0 if is_run_between else 3)
    assert ("3 changes and events made online before this import replaced" in str(report)) is not is_run_between
    assert compact_changes(workspace) == CompactionReport(0, 0, 0, LogPositions(3, 0))
    assert catalogue(workspace) == online(workspace) == {"a": "newest a", "b": "b is back"}


@pytest.mark.parametrize("is_run_between", [False, True])
def test_a_later_append_wins_over_its_own_items_alone(workspace: Workspace, is_run_between: bool) -> None:
    delete(workspace, "b")
    put(workspace, "a", "old a")
    put(workspace, "only online", "x")
    if is_run_between:
        compact_changes(workspace)
    import_items(workspace, [ItemRow("a", "newest a")], mode="append")
    assert online(workspace) == {"a": "newest a", "only online": "x"}
    compact_changes(workspace)
    assert catalogue(workspace) == {"a": "newest a", "only online": "x"}


@pytest.mark.parametrize("mode", ["replace", "append"])
def test_a_change_after_an_import_began_is_newer_than_it(workspace: Workspace, mode: str) -> None:
    def rows() -> Iterator[ItemRow]:
        put(workspace, "a", "while the import ran")
        yield ItemRow("a", "imported a")
        yield ItemRow("b", "imported b")

    put(workspace, "b", "before the import")
    import_items(workspace, rows(), mode=mode)  # type: ignore[arg-type]
    delete(workspace, "b")
    assert catalogue(workspace) == {"a": "imported a", "b": "imported b"}
    assert online(workspace) == {"a": "while the import ran"}
    compact_changes(workspace)
    assert catalogue(workspace) == {"a": "while the import ran"}


def test_changes_that_a_run_took_in_while_an_import_ran_are_not_lost_with_it(workspace: Workspace) -> None:
    """The import was older than the change, but is published after the run that took it in."""
    for mode in ("replace", "append"):

        def rows() -> Iterator[ItemRow]:
            put(workspace, "a", "during")
            compact_changes(workspace)
            assert catalogue(workspace)["a"] == "during"
            yield ItemRow("a", "imported a")

        import_items(workspace, rows(), mode=mode)  # type: ignore[arg-type]
        assert (catalogue(workspace)["a"], online(workspace)["a"]) == ("imported a", "during")
        compact_changes(workspace)
        assert catalogue(workspace)["a"] == "during"


@pytest.mark.parametrize("is_run_between", [False, True])
def test_events_before_an_import_that_replaces_are_replaced_and_later_ones_stay(
    workspace: Workspace, is_run_between: bool
) -> None:
    def batches() -> Iterator[pa.Table]:
        post(workspace, ("during", "a", 1.0, 20))
        yield event_table([("imported", "a", 1.0, 10)])

    post(workspace, ("before", "a", 1.0, 5))
    if is_run_between:
        compact_changes(workspace)
    report = import_interactions(workspace, batches())
    assert report.num_online_replaced == (0 if is_run_between else 1)
    import_interactions(workspace, [event_table([("appended", "a", 1.0, 15)])], mode="append")
    compact_changes(workspace)
    users = [user for user, *_ in interactions(workspace)]
    assert users == ["appended", "during", "imported"]


@pytest.mark.parametrize("is_run_between", [False, True])
def test_events_are_checked_against_the_items_that_exist_online(workspace: Workspace, is_run_between: bool) -> None:
    put(workspace, "new", "put online")
    delete(workspace, "b")
    if is_run_between:
        compact_changes(workspace)
    events = [("u", item_id, 1.0, 5) for item_id in ("a", "new", "b", "never", "new")]
    report = import_interactions(workspace, [event_table(events)], max_rejected=1.0)
    assert report.rejected["interactions"] == {"unknown item": 2}
    assert [item for _, item, *_ in interactions(workspace)] == ["a", "new", "new"]


@pytest.mark.parametrize("mode", ["replace", "append"])
def test_movielens_obeys_the_same_order(workspace: Workspace, tmp_path: Path, mode: str) -> None:
    (tmp_path / "movies.csv").write_text("movieId,title,genres\na,Imported (1990),Drama\n")
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\nu,a,4.0,100\n")
    put(workspace, "a", "before")
    put(workspace, "other", "before")
    post(workspace, ("v", "a", 1.0, 50))
    if mode == "append":
        import_interactions(workspace, [event_table([])], repeats="latest", neutral_value=2.5)
        post(workspace, ("w", "a", 1.0, 60))
    import_movielens(workspace, tmp_path, mode=mode)  # type: ignore[arg-type]
    compact_changes(workspace)
    stays = {"b": "first b", "other": "before"} if mode == "append" else {}
    assert catalogue(workspace) == {"a": "Imported (1990)", **stays}
    assert [user for user, *_ in interactions(workspace)] == (["u", "w"] if mode == "append" else ["u"])


STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "delete", "replace", "append", "run"]), st.sampled_from("abc")), max_size=12
)


@settings(deadline=None, max_examples=30)
@given(STEPS)
def test_any_order_of_imports_changes_and_runs_leaves_what_a_plain_table_holds(steps: list[tuple[str, str]]) -> None:
    plain: dict[str, str] = {}
    with TemporaryDirectory() as folder:
        workspace = Workspace.create(folder, num_buckets=1)
        import_items(workspace, [])
        actions: dict[str, Callable[[str, str], object]] = {
            "put": lambda item, title: put(workspace, item, title),
            "delete": lambda item, title: delete(workspace, item),
            "replace": lambda item, title: import_items(workspace, [ItemRow(item, title)]),
            "append": lambda item, title: import_items(workspace, [ItemRow(item, title)], mode="append"),
            "run": lambda item, title: compact_changes(workspace),
        }
        for number, (action, item_id) in enumerate(steps):
            actions[action](item_id, f"step {number}")
            if action == "replace":
                plain.clear()
            if action in ("put", "replace", "append"):
                plain[item_id] = f"step {number}"
            elif action == "delete":
                plain.pop(item_id, None)
        assert online(workspace) == plain
        compact_changes(workspace)
        assert catalogue(workspace) == plain


def test_a_release_of_unchanged_content_is_published_again_with_what_an_import_replaced(tmp_path: Path) -> None:
    world = make_world(tmp_path / "w")
    workspace, before = world.workspace, (world.release_id, world.run_id)
    _append(workspace, ItemChange.put(ItemRow("n01", "changed", "changed"), np.ones(3, np.float32)))
    live = workspace.storage.read_json("current.json")
    assert live["folded"] == {}
    rows = [
        ItemRow(
            **{k: v for k, v in row.items() if k in ("item_id", "title", "text")},
            attributes=dict(row["attributes"] or ()),
        )
        for row in _rows(workspace, "catalogue")
    ]  # type: ignore[arg-type]
    import_items(workspace, rows)
    assert publish_world(workspace) == before
    again = workspace.storage.read_json("current.json")
    assert again["folded"] == {"items": 1, "events": 0} and again["history"] == live["history"]
    assert publish_world(workspace) == before
    assert workspace.storage.read_json("current.json") == again
