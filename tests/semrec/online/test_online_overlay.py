"""The overlay's views: items as they now are; and the state of a replica, which keeps them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semrec.changes.overlay import OVERLAY_SCHEMA, ItemChange, OverlayView, change_table, changes_of, checked_item
from semrec.changes.relations import RelationChange
from semrec.changes.state import OverlayState, Update
from semrec.data import ItemRow, import_items
from semrec.errors import InputError
from semrec.sorted_ids import SortedIds
from semrec.workspace.folder import Workspace
from semrec.workspace.log import LogPositions, SegmentLog
from semrec.workspace.manifests import CatalogueManifest
from semrec.workspace.storage import Storage
from semrec.workspace.tables import read_table


def put(item_id: str, *vector: float, sequence: int = 0, encoder: str = "e", **attributes: list[str]) -> ItemChange:
    row = ItemRow(item_id, f"title of {item_id}", "text", attributes)
    change = ItemChange.put(row, np.array(vector or (1, 0), np.float32), encoder)
    return ItemChange(**{**change.__dict__, "sequence": sequence})


def gone(item_id: str, sequence: int) -> ItemChange:
    return ItemChange(sequence, item_id, True)


def test_a_view_has_the_latest_change_of_each_item_in_order() -> None:
    changes = [put("b", 1, 0, sequence=1), put("ä", 0, 1, sequence=2), put("a", 3, 4, sequence=3, genre=["Drama"])]
    view = OverlayView.of([*changes, gone("b", 4), put("a", 4, 3, sequence=5)])
    assert (view.sequence, len(view.changes), view.ids) == (5, 3, ("a", "ä"))
    assert view.vectors_OD.tolist() == [[4, 3], [0, 1]] and view.vectors_OD.dtype == np.float32
    assert view.attributes == [{}, {}]
    assert view.with_changes([put("a", 9, 9, sequence=3)]).vectors_OD.tolist() == [
        [4, 3],
        [0, 1],
    ]  # late: no longer counts
    assert OverlayView.of(reversed([*changes, gone("b", 4)])).ids == ("a", "ä")


def test_rows_hidden_are_those_of_changed_and_deleted_items() -> None:
    item_ids = SortedIds.of(pa.array(["a", "b", "c", "d"]))
    view = OverlayView.of([gone("d", 1), put("b", sequence=2), put("new", sequence=3), gone("never", 4)])
    assert view.rows_hidden(item_ids).tolist() == [1, 3]
    assert view.rows_hidden(item_ids) is view.rows_hidden(item_ids)  # kept
    assert view.rows_hidden(SortedIds.of(pa.array(["d"]))).tolist() == [0]
    empty = OverlayView.empty()
    assert (bool(empty), empty.ids, empty.vectors_OD.shape, empty.rows_hidden(item_ids).tolist()) == (
        False,
        (),
        (0, 0),
        [],
    )


def test_a_release_that_folded_changes_has_its_overlay_begin_after_them() -> None:
    view = OverlayView.of([put("a", sequence=1), put("b", sequence=2), gone("a", 3)])
    assert {name: c.deleted for name, c in view.after(2).changes.items()} == {"a": True}
    assert (view.after(3).sequence, len(view.after(3).changes)) == (3, 0)
    assert view.after(0) is view


def test_changes_of_items_and_of_relations_leave_what_is_made_of_the_other(tmp_path: Path) -> None:
    applied = LogPositions(items=1, relations=1)
    state = OverlayState(Workspace.create(str(tmp_path / "w"), num_buckets=1).storage, applied)
    state.apply(Update([put("a", sequence=2)], relations=[RelationChange("a", "near", "b", sequence=2)]))
    first = state.view(applied)
    state.apply(Update([put("b", sequence=3)]))
    second = state.view(applied)
    assert second.relations is first.relations and second.items_key != first.items_key
    state.apply(Update(relations=[RelationChange("b", "near", "c", sequence=3)]))
    third = state.view(applied)
    assert third.items_key is second.items_key and len(third.relations.changes) == 2


def test_vectors_of_another_encoder_or_size_are_told_and_replaced() -> None:
    changes = [put("a", 1, 0, sequence=1), put("b", 1, 0, 0, sequence=2, encoder="other"), gone("c", 3)]
    view = OverlayView.of([*changes, put("d", 1, 0, 0, sequence=4)])
    assert [change.item_id for change in view.foreign("e", 2)] == ["b", "d"]
    mended = view.with_vectors({"b": np.array([0, 1], np.float32), "d": np.array([1, 1], np.float32)}, "e")
    assert mended.foreign("e", 2) == () and mended.vectors_OD.tolist() == [[1, 0], [0, 1], [1, 1]]
    assert (mended.sequence, mended.num_without_vector) == (4, 0)


def test_an_item_without_a_vector_is_in_no_answer_and_its_older_self_stays_hidden() -> None:
    view = OverlayView.of([put("a", 1, 0, sequence=1), put("b", 1, 0, 0, sequence=2)])
    lacking = view.with_vectors({"b": None}, "e")
    assert (lacking.ids, lacking.num_without_vector, lacking.foreign("e", 2)) == (("a",), 1, ())
    assert lacking.rows_hidden(SortedIds.of(pa.array(["b", "z"]))).tolist() == [0]
    assert lacking.changes["b"].title == "title of b"


@pytest.mark.parametrize(
    ("deleted", "vector"),
    [
        (False, None),
        (True, np.ones(2, np.float32)),
        (False, np.ones(2)),
        (False, np.array([np.nan], np.float32)),
        (False, np.ones((1, 2), np.float32)),
    ],
)
def test_a_change_has_a_finite_float32_vector_or_is_a_deletion(deleted: bool, vector: np.ndarray | None) -> None:
    with pytest.raises(InputError, match="a change of item 'i'"):
        ItemChange(0, "i", deleted, vector=vector)


def test_changes_come_back_from_a_segment_as_they_were() -> None:
    given = [put("é", 0.1, -0.2, sequence=7, b=["2", "1"], a=["x"]), gone("", 8), put("z", 1e-30, 3e38, sequence=9)]
    found = changes_of(7, change_table(given))
    for before, after in zip(given, found, strict=True):
        assert {**before.__dict__, "vector": None} == {**after.__dict__, "vector": None}
        assert (before.vector is None) == (after.vector is None)
        assert before.vector is None or before.vector.tobytes() == after.vector.tobytes()
    assert change_table(given).schema == OVERLAY_SCHEMA


def test_an_item_is_checked_and_made_as_an_import_would() -> None:
    attributes = {"genre": [" Drama ", "Drama", "", "Noir\t"], "empty": [], "blank": [" ", "\u200b"]}
    row = checked_item("i", "  A title ", "\u200b", attributes)
    assert (row.title, row.text, row.attributes) == ("A title", "A title", {"genre": ["Drama", "Noir"]})
    for item_id, title, text, reason in [
        ("", "t", "", "missing id"),
        ("i", " ", "", "no title and no text"),
        ("i", "\u200b", "\u2060\ufeff", "no title and no text"),
        ("i", "a\0b", "", "NUL byte"),
        ("..", "t", "", "id is . or .."),
        ("a\r\nb", "t", "", "control character in id"),
        ("a\u202eb", "t", "", "control character in id"),
        ("i" * 1_025, "t", "", "id is too long"),
        ("i", "\ud800", "", "bad UTF-8"),
    ]:
        with pytest.raises(InputError, match=reason):
            checked_item(item_id, title, text, {})


def test_attributes_that_an_older_version_stored_with_blanks_are_read_clean() -> None:
    stored = change_table([put("i", genre=[" Drama ", ""], blank=[" "])])
    assert changes_of(1, stored)[0].attributes == {"genre": ["Drama"]}


@settings(deadline=None, max_examples=40)
@given(
    st.dictionaries(st.sampled_from("ab"), st.lists(st.text("xy \t\u200b", max_size=3), max_size=4), max_size=2),
    st.text("t \u200b", max_size=2),
)
def test_a_put_and_an_import_store_the_same_item(attributes: dict[str, list[str]], text: str) -> None:
    with TemporaryDirectory() as folder:
        workspace = Workspace.create(folder, num_buckets=1)
        import_items(workspace, [ItemRow("i", "title", text, attributes)])
        manifest = CatalogueManifest.read(workspace.storage)
        (stored,) = read_table(workspace.storage, manifest.parts[0]).to_pylist()
    row = checked_item("i", "title", text, attributes)
    assert (row.text, list(row.attributes.items())) == (stored["text"], stored["attributes"])


def test_a_state_reads_what_its_release_lacks_and_reaches_back(storage: Storage) -> None:
    log = SegmentLog(storage, "overlay", OVERLAY_SCHEMA)
    log.open()
    log.append([(change_table([put("a", 1, 0), put("b", 0, 1)]), None)])
    log.append([(change_table([ItemChange.deletion("a"), put("c", 1, 1)]), None)])
    state = OverlayState(storage, LogPositions(items=3))
    assert (state.last_applied, state.view(LogPositions(items=3)).ids) == (LogPositions(4), ("c",))
    assert state.view(LogPositions(items=3)) is state.view(LogPositions(items=3))
    older = LogPositions()
    state.load_since(older)  # the release before goes live again
    view = state.view(older)
    assert (view.ids, sorted(view.changes), view.sequence) == (("b", "c"), ["a", "b", "c"], 4)
    assert state.view(LogPositions(items=3)).ids == ("c",)
    state.apply(Update([put("c", 5, 5, sequence=5)]))
    assert state.view(older).vectors_OD.tolist() == [[0, 1], [5, 5]] and state.last_applied == LogPositions(5)
    state.drop_through(LogPositions(items=5))
    assert (bool(state.view(LogPositions(items=5))), state.last_applied) == (False, LogPositions(5))
    log.append([(change_table([put("d", 1, 0), put("e", 1, 0)]), None)])  # sequences 5 and 6
    state.catch_up()
    assert state.view(LogPositions(items=5)).ids == ("e",)
