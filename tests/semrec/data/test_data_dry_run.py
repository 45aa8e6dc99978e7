"""What an import says about itself: bad rows, dry runs, the quarantine, keys that come late."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.import_cases import events_in, items_in, quarantined, write
from semrec.data import ColumnMap, delimited, import_table
from semrec.errors import InputError, TooManyRejectedError
from semrec.workspace.folder import Workspace
from semrec.workspace.quarantine import rejected_rows

EVENTS = ColumnMap(user_id="u", item_id="i")


def test_the_first_bad_rows_are_shown_with_their_place_and_reason(stocked: Workspace, tmp_path: Path) -> None:
    rows = "".join(f"u{n},z{n}\n" for n in range(7))
    source = write(tmp_path / "e.csv", "u,i\nu,a\n" + rows)
    with pytest.raises(TooManyRejectedError) as caught:
        import_table(stocked, source, fmt="csv", kind="interactions", columns=EVENTS)
    lines = [f"e.csv, line {n + 3}: unknown item: i = 'z{n}': u{n},z{n}" for n in range(5)]
    assert caught.value.got.split("\n") == ["7 of 8 rows rejected (7 unknown item)", *lines]
    report = import_table(stocked, source, fmt="csv", kind="interactions", columns=EVENTS, max_rejected=1)
    assert report.examples == tuple(lines)
    assert f"  {lines[4]}" in str(report)
    assert rejected_rows(stocked.storage, "import", 2) == ([f"interactions: {line}" for line in lines[:2]], 7)
    assert rejected_rows(stocked.storage, "none", 2) == ([], 0)


def test_a_dry_run_checks_all_and_writes_nothing(stocked: Workspace, tmp_path: Path) -> None:
    source = write(tmp_path / "e.csv", "u,i\nu,a\nv,z\n")
    import_table(stocked, source, fmt="csv", kind="interactions", columns=EVENTS, max_rejected=1)
    before = {name: stocked.storage.list_sizes(name) for name in ("interactions", "quarantine/import", "catalogue")}
    other = write(tmp_path / "other.csv", "u,i\nw,b\nw,y\nw,x\n")
    report = import_table(stocked, other, fmt="csv", kind="interactions", columns=EVENTS, dry_run=True)
    assert report.is_dry_run
    assert (report.num_read, report.rejected) == ({"interactions": 3}, {"interactions": {"unknown item": 2}})
    assert "dry run: 1 rows would be imported" in str(report)
    assert report.examples[0] == "other.csv, line 3: unknown item: i = 'y': w,y"
    assert before == {name: stocked.storage.list_sizes(name) for name in before}
    assert events_in(stocked) == [("u", "a", 1.0, 0)]
    assert quarantined(stocked, "interactions") == [("e.csv", 3, "unknown item: i = 'z'")]


def test_a_key_that_comes_late_counts(workspace: Workspace, tmp_path: Path) -> None:
    rows = [{"id": str(n), "name": f"Item {n}"} for n in range(60)] + [{"id": "60", "name": "Last", "x": ["Atlas"]}]
    columns = ColumnMap("id", title="name", attributes={"x": "x"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "BLOCK_BYTES", 100)
        for lines in (rows, rows[::-1]):
            source = write(tmp_path / "i.jsonl", "\n".join(map(json.dumps, lines)))
            import_table(workspace, source, fmt="jsonl", kind="items", columns=columns)
            assert items_in(workspace)["60"]["attributes"] == [("x", ["Atlas"])]
            assert len(items_in(workspace)) == 61
        first, second = (
            write(tmp_path / "in" / "1.jsonl", "\n".join(map(json.dumps, rows[:60]))),
            tmp_path / "in" / "2.jsonl",
        )
        with pytest.raises(InputError, match=r"no column 'x' in 1\.jsonl.*'id', 'name'"):
            import_table(workspace, first, fmt="jsonl", kind="items", columns=columns)
        write(second, json.dumps(rows[60]))  # one file of several may lack it
        import_table(workspace, tmp_path / "in", fmt="jsonl", kind="items", columns=columns)
        assert len(items_in(workspace)) == 61
