"""Files that are one JSON array of objects, and lists of items by line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.import_cases import events_in, items_in, quarantined, write
from semrec.data import ColumnMap, delimited, import_table
from semrec.data.inspection import inspect
from semrec.data.jsonl import json_objects
from semrec.data.rejects import ReadStats
from semrec.data.sources import Source
from semrec.errors import InputError
from semrec.workspace.folder import Workspace
from semrec.workspace.storage import Storage

COLUMNS = ColumnMap("id", title="name")
ARRAY = b"""[
  {"id": "1", "name": "Pot, [blue] {x}"},
  {
    "id": 2, "name": "Pan \\" ]"
  },
  {"id": "3", "name": },
  {"id": "4", "name": "bad \xff"},
  "5", {"id": "6", "name": "Mug"}
]
[]
[{"id": "7", "name": "caf\xc3\xa9"}]
"""


@pytest.mark.parametrize("block_bytes", [1, 3, 50, 1 << 20])
def test_an_array_is_read_by_element(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    monkeypatch.setattr(delimited, "BLOCK_BYTES", block_bytes)
    source = write(tmp_path / "items.json", b"\xef\xbb\xbf" + ARRAY)
    report = import_table(workspace, source, fmt="jsonl", kind="items", columns=COLUMNS, max_rejected=1)
    titles = {item: row["title"] for item, row in items_in(workspace).items()}
    assert titles == {"1": "Pot, [blue] {x}", "2": 'Pan " ]', "6": "Mug", "7": "café"}
    assert report.num_read == {"items": 7}
    rejected = [(line, reason.partition(": E")[0]) for _, line, reason in quarantined(workspace, "items")]
    assert rejected == [(6, "not a JSON object"), (7, "bad UTF-8: byte 0xff"), (8, "not a JSON object: a str")]
    assert quarantined(workspace, "items")[0][2].startswith("not a JSON object: Expecting value")


@pytest.mark.parametrize(
    ("content", "line"),
    [('[{"id": 1}', 1), ('[\n{"id": 1},\n{"id": "2}\n]', 3), ('[{"id": 1}]\n{"id": 2}', 2), ("[\n\n{", 3)],
)
def test_an_array_whose_elements_cannot_be_told_is_refused(
    workspace: Workspace, tmp_path: Path, content: str, line: int
) -> None:
    with pytest.raises(InputError, match=rf"JSON array of items\.json is broken at line {line}"):
        import_table(workspace, write(tmp_path / "items.json", content), fmt="jsonl", kind="items", columns=COLUMNS)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def test_an_array_and_its_lines_give_the_same_objects(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=3), max_size=6), st.sampled_from([None, 1]))
    def check(rows: list[dict[str, Any]], indent: int | None) -> None:
        path.write_text(json.dumps(rows, indent=indent))
        stats = ReadStats(Storage(str(tmp_path)), "items", max_rejected=1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(delimited, "BLOCK_BYTES", 7)
            objects = [row for _, _, batch in json_objects(Source("rows.json", str(path)), stats) for row in batch]
        assert len(objects) + sum(stats.rejected.values()) == len(rows) == stats.num_read
        assert [row for row in rows if row in objects] == objects
        escapes = json.dumps(rows)
        assert "\\u0000" in escapes or "\\ud" in escapes or len(objects) == len(rows)  # what no text has is rejected

    check()


def test_an_array_is_inspected(tmp_path: Path) -> None:
    seen = inspect(write(tmp_path / "items.json", ARRAY))
    assert (seen.fmt, seen.kind, [column.name for column in seen.columns]) == ("jsonl", "items", ["id", "name"])


def test_lists_of_items_keep_their_lines(stocked: Workspace, tmp_path: Path) -> None:
    source = write(tmp_path / "train.txt", b"u1 a b\r\n\nu2\tc\n3\n\xff a\nu4 z a\n")
    report = import_table(stocked, source, fmt="lists", kind="interactions", columns=ColumnMap(), max_rejected=1)
    assert [event[:2] for event in events_in(stocked)] == [("u1", "a"), ("u1", "b"), ("u2", "c"), ("u4", "a")]
    rejected = [(line, reason) for _, line, reason in quarantined(stocked, "interactions")]
    assert rejected == [(5, "bad UTF-8: byte 0xff"), (6, "unknown item: item_id = 'z'")]
    assert (report.num_read, report.notes) == ({"interactions": 6}, ("train.txt: 1 users without an item",))
    with pytest.raises(InputError, match="no column 'u'"):
        import_table(stocked, source, fmt="lists", kind="interactions", columns=ColumnMap(user_id="u"))
