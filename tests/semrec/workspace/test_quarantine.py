"""Rejected rows are kept with file, line and reason, counted once, and limited to a stated share."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import semrec.workspace.quarantine
from semrec.contracts import QUARANTINE_SCHEMA
from semrec.errors import TooManyRejectedError
from semrec.workspace.quarantine import Quarantine
from semrec.workspace.storage import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "w"))


def rows(storage: Storage, file: str) -> list[dict[str, object]]:
    table = pq.read_table(pa.BufferReader(storage.read_bytes(f"quarantine/import/{file}")))
    assert table.schema.equals(QUARANTINE_SCHEMA)
    return table.to_pylist()  # type: ignore[no-any-return]


def test_a_rejected_row_is_kept_with_where_and_why(storage: Storage) -> None:
    found = Quarantine(storage, "import", "items")
    found.add("a.csv", 3, "bad time", "x,y", detail="'tomorrow'")
    found.add("b.parquet", None, "missing id", "z" * 600)
    found.add("a.csv", 9, "bad time", "ü\ud800")
    found.flush()
    assert found.counts == {"bad time": 2, "missing id": 1}
    assert found.num_rows == 3
    assert rows(storage, "items-00000.parquet") == [
        {"file": "a.csv", "line": 3, "reason": "bad time: 'tomorrow'", "row": "x,y"},
        {"file": "b.parquet", "line": None, "reason": "missing id", "row": "z" * 500},
        {"file": "a.csv", "line": 9, "reason": "bad time", "row": "ü?"},
    ]


def test_memory_is_bounded(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semrec.workspace.quarantine, "_ROWS_PER_FILE", 2)
    found = Quarantine(storage, "import", "items")
    for line in range(5):
        found.add("a.csv", line, "bad time", "")
        assert len(found._rows) < 2
    found.flush()
    found.flush()
    sizes = storage.list_sizes("quarantine/import")
    assert list(sizes) == ["items-00000.parquet", "items-00001.parquet", "items-00002.parquet"]
    assert [row["line"] for file in sizes for row in rows(storage, file)] == [0, 1, 2, 3, 4]


def test_a_repeated_stage_does_not_count_its_rows_twice(storage: Storage) -> None:
    for num_rows in (3, 1):
        found = Quarantine(storage, "import", "items")
        for line in range(num_rows):
            found.add("a.csv", line, "bad time", "")
            found.flush()
        assert found.num_rows == num_rows
    assert list(storage.list_sizes("quarantine/import")) == ["items-00000.parquet"]


def test_what_another_source_left_is_kept(storage: Storage) -> None:
    for name in ("items", "items-2", "users"):
        found = Quarantine(storage, "import", name)
        found.add("a.csv", 1, "bad time", "")
        found.flush()
    Quarantine(storage, "import", "items")
    assert list(storage.list_sizes("quarantine/import")) == ["items-2-00000.parquet", "users-00000.parquet"]


@pytest.mark.parametrize(("num_read", "max_share", "fails"), [(100, 0.02, False), (99, 0.02, True), (2, 1.0, False)])
def test_the_share_may_be_reached_and_not_exceeded(
    storage: Storage, num_read: int, max_share: float, fails: bool
) -> None:
    found = Quarantine(storage, "import", "items")
    found.add("a.csv", 1, "bad time", "")
    found.add("a.csv", 2, "missing id", "")
    if fails:
        with pytest.raises(TooManyRejectedError, match=r"2 of 99 rows rejected \(1 bad time, 1 missing id\)"):
            found.check_share(num_read, max_share)
    else:
        found.check_share(num_read, max_share)
    assert len(rows(storage, "items-00000.parquet")) == 2  # they can be looked at either way


def test_nothing_rejected_writes_nothing(storage: Storage) -> None:
    Quarantine(storage, "import", "items").check_share(0, 0.0)
    assert storage.list_sizes("quarantine/import") == {}
