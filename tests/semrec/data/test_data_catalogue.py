from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from helpers.import_cases import items_in, manifest, quarantined, write
from semrec.changes.compact import compact_changes
from semrec.changes.overlay import ItemChange, change_table
from semrec.changes.state import item_log
from semrec.contracts import bucket_of, text_hash
from semrec.data import ColumnMap, ItemRow, import_items, import_table, spill
from semrec.data.catalogue import num_parts_for
from semrec.errors import InputError, TooManyRejectedError
from semrec.workspace.folder import Workspace


def items(count: int, *, start: int = 0) -> list[ItemRow]:
    return [ItemRow(str(n), f"Title {n}", f"Text {n}", {"shelf": [str(n % 7)]}) for n in range(start, start + count)]


@pytest.mark.parametrize(
    ("num_items", "present", "expected"),
    [
        (0, None, 1),
        (2_048, None, 1),
        (2_049, None, 2),
        (9_742, None, 8),
        (86_537, None, 64),
        (2_048 * 8, 1, 1),  # a factor of 8 is still fine
        (2_048 * 8 + 1, 1, 16),
        (1, 8, 8),
        (1, 16, 1),
    ],
)
def test_number_of_parts(num_items: int, present: int | None, expected: int) -> None:
    assert num_parts_for(num_items, present) == expected


def test_items_lie_in_the_part_of_their_text_in_order_of_id(workspace: Workspace) -> None:
    import_items(workspace, items(5_000))
    body = manifest(workspace, "catalogue")
    assert (body["num_items"], body["num_parts"], [part["part"] for part in body["parts"]]) == (5_000, 4, [0, 1, 2, 3])
    for part in body["parts"]:
        assert part["file"].startswith(f"catalogue/items-0000{part['part']}-")
        rows = pq.read_table(workspace.storage.full_path(part["file"])).to_pylist()
        ids = [row["item_id"].encode() for row in rows]
        assert ids == sorted(ids)
        assert {bucket_of(row["text_hash"], 4) for row in rows} == {part["part"]}


def test_order_of_rows_and_spilling_change_nothing(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = items(3_000)
    import_items(workspace, rows)
    before = manifest(workspace, "catalogue")
    random.Random(1).shuffle(rows)
    monkeypatch.setattr(spill, "BUFFER_BYTES", 20_000)
    import_items(workspace, rows)
    assert manifest(workspace, "catalogue") == before


@pytest.mark.parametrize("buffer_bytes", [1, 1 << 30], ids=["spilled", "in memory"])
def test_the_first_of_a_duplicate_id_wins_over_the_whole_source(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, buffer_bytes: int
) -> None:
    monkeypatch.setattr(spill, "BUFFER_BYTES", buffer_bytes)
    rows = [*items(10_000), ItemRow("3", "Late", file="f", line=7), ItemRow("3", "Later", file="f", line=8)]
    report = import_items(workspace, rows)
    assert (report.num_items, report.rejected) == (10_000, {"items": {"duplicate id": 2}})
    assert items_in(workspace)["3"]["title"] == "Title 3"
    assert quarantined(workspace, "items") == [
        ("f", 7, "duplicate id: item_id = '3'"),
        ("f", 8, "duplicate id: item_id = '3'"),
    ]


def test_too_many_duplicates_leave_the_stored_catalogue_live(workspace: Workspace) -> None:
    import_items(workspace, items(10))
    before = manifest(workspace, "catalogue")
    with pytest.raises(TooManyRejectedError, match="2 of 102 rows"):
        import_items(workspace, [*items(100), *items(2)])
    assert manifest(workspace, "catalogue") == before


def test_append_puts_new_rows_over_stored_ones(workspace: Workspace) -> None:
    import_items(workspace, items(3_000))
    report = import_items(workspace, [ItemRow("3", "New", "New text"), *items(2, start=3_000)], mode="append")
    assert (report.num_items, report.num_rejected) == (3_002, 0)
    found = items_in(workspace)
    assert (found["3"]["text"], found["3"]["attributes"]) == ("New text", [])
    assert (found["4"]["text"], found["4"]["attributes"]) == ("Text 4", [("shelf", ["4"])])
    appended = manifest(workspace, "catalogue")
    full = [ItemRow("3", "New", "New text"), *(row for row in items(3_002) if row.item_id != "3")]
    import_items(workspace, full)
    assert manifest(workspace, "catalogue") == appended


def test_growth_keeps_the_parts_of_texts_that_stayed(workspace: Workspace) -> None:
    import_items(workspace, items(2_000))
    assert manifest(workspace, "catalogue")["num_parts"] == 1
    import_items(workspace, items(2_048 * 8))
    assert manifest(workspace, "catalogue")["num_parts"] == 1
    import_items(workspace, items(2_048 * 8 + 1))
    assert manifest(workspace, "catalogue")["num_parts"] == 16


def test_content_beside_the_text_is_imported_by_modality_and_outlives_other_changes(
    workspace: Workspace, tmp_path: Path
) -> None:
    source = write(tmp_path / "items.csv", "item_id,name,image\na,First,s3://a.png\nb,Second,\n")
    columns = ColumnMap(title="name", text=("name",), content={"poster": "image"})
    import_table(workspace, source, fmt="csv", kind="items", columns=columns)
    stored = [("poster", {"value": "s3://a.png", "hash": text_hash("s3://a.png")})]
    assert {item_id: row["content"] for item_id, row in items_in(workspace).items()} == {"a": stored, "b": None}
    log = item_log(workspace.storage)
    log.open()
    put = ItemChange(1, "a", False, "First, again", "", {}, np.ones(2, np.float32))
    log.append([(change_table([put]), None)])  # made online, where nothing is said of posters
    compact_changes(workspace)
    import_items(workspace, [ItemRow("c", "Third")], mode="append")
    now = items_in(workspace)
    assert (now["a"]["title"], now["a"]["content"], now["c"]["content"]) == ("First, again", stored, None)


@pytest.mark.parametrize("content", [{"text": "blurb"}, {"poster": ""}, {"": "image"}])
def test_content_without_a_name_or_named_as_the_text_is_refused(content: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"content text|an empty name"):
        ColumnMap(title="name", content=content)
