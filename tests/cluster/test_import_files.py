"""An import whose files are parts gives what one process reads, also after it was stopped in between."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.compute import InProcess
from cluster.stages.import_files import import_files
from semrec.data import ColumnMap, ItemRow, delimited, import_items, import_table
from semrec.data.file_parts import ReadFileWorker
from semrec.errors import InputError, TooManyRejectedError
from semrec.progress import NoProgress
from semrec.workspace.folder import Workspace

EVENTS = ColumnMap(user_id="u", item_id="i", value="v", timestamp="t")
ON_PARTS: dict[str, Any] = {"compute": InProcess(), "progress": NoProgress()}


@pytest.fixture
def workspaces(tmp_path: Path) -> list[Workspace]:
    """Two alike, each with the items a, b and c."""
    both = [Workspace.create(str(tmp_path / name), num_buckets=4) for name in ("one", "parts")]
    for workspace in both:
        import_items(workspace, [ItemRow(item, item) for item in "abc"])
    return both


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Six files of events in milliseconds, with folders as columns, bad rows, and one file without rows and one empty."""
    folder = tmp_path / "in"
    for part in range(4):
        (folder / f"v={part}").mkdir(parents=True)
        rows = [f"u{n % 7},{'abc'[n % 3]},{1_600_000_000_000 + n * 1_000 * part}" for n in range(50)]
        rows[part] = f"u1,unknown-{part},5"
        (folder / f"v={part}" / "e.csv").write_text("\n".join(["u,i,t", *rows, "torn"]) + "\n")
    (folder / "v=0" / "header.csv").write_text("u,i,t\n")
    (folder / "v=1" / "empty.csv").write_text("")
    return folder


def stored(
    workspace: Workspace, kind: str = "interactions", table: str = "interactions"
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The manifest of a kind's table, and the rows in quarantine."""
    folder = "quarantine/import"
    names = [name for name in workspace.storage.list_sizes(folder) if name.startswith(kind)]
    tables = [pq.read_table(pa.BufferReader(workspace.storage.read_bytes(f"{folder}/{name}"))) for name in names]
    return workspace.storage.read_json(f"{table}/manifest.json"), [row for table in tables for row in table.to_pylist()]


def test_files_as_parts_give_the_bytes_of_one_process(workspaces: list[Workspace], files: Path) -> None:
    one, parts = workspaces
    for mode, repeats in (("replace", "latest"), ("append", "latest"), ("replace", "sum")):
        rules: dict[str, Any] = {"mode": mode, "repeats": repeats, "max_rejected": 0.1}
        expected = import_table(one, files, fmt="csv", kind="interactions", columns=EVENTS, **rules)
        report = import_files(parts, files, fmt="csv", kind="interactions", columns=EVENTS, **ON_PARTS, **rules)
        assert stored(parts) == stored(one)
        assert sorted(report.notes) == sorted(expected.notes)
        assert (report.num_interactions, report.num_repeats) == (expected.num_interactions, expected.num_repeats)
        assert (report.num_read, report.rejected, report.examples) == (
            expected.num_read, expected.rejected, expected.examples,
        )  # fmt: skip
    for folder in ("rows", "rejected", "ledger"):
        assert not [
            run for run in parts.storage.list_folders("imports") if parts.storage.list_sizes(f"imports/{run}/{folder}")
        ]
    with pytest.raises(TooManyRejectedError):
        import_files(parts, files, fmt="csv", kind="interactions", columns=EVENTS, **ON_PARTS)


def test_items_of_several_json_files_too(workspaces: list[Workspace], tmp_path: Path) -> None:
    rows = [{"id": f"{n % 9}", "name": f"Item {n}"} for n in range(12)]
    rows[11]["shelf"] = "late"
    for part in range(3):
        (tmp_path / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows[part::3])) + "\n[]\n")
    columns = ColumnMap(item_id="id", title="name", attributes={"shelf": "shelf"})
    rules: dict[str, Any] = {"fmt": "jsonl", "kind": "items", "columns": columns, "max_rejected": 0.5}
    import_table(workspaces[0], tmp_path / "*.jsonl", **rules)
    import_files(workspaces[1], tmp_path / "*.jsonl", **ON_PARTS, **rules)
    assert stored(workspaces[0], "items", "catalogue") == stored(workspaces[1], "items", "catalogue")
    with pytest.raises(InputError, match=r"no column 'rack' in 0\.jsonl"):
        import_files(
            workspaces[1], tmp_path / "*.jsonl", **ON_PARTS, **{**rules, "columns": ColumnMap("id", title="rack")}
        )


def test_an_import_that_was_stopped_reads_only_the_files_that_are_missing(
    workspaces: list[Workspace], files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, parts = workspaces
    rules: dict[str, Any] = {"fmt": "csv", "kind": "interactions", "columns": EVENTS, "max_rejected": 0.1}
    read, done = ReadFileWorker.run_part, list[int]()

    def run_part(self: ReadFileWorker, part: int) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(part)
        return read(self, part)

    monkeypatch.setattr(ReadFileWorker, "run_part", run_part)
    with pytest.raises(KeyboardInterrupt):
        import_files(parts, files, **ON_PARTS, **rules)
    assert not parts.storage.exists("interactions/manifest.json")
    # A file that became another meanwhile is another import, which takes nothing over.
    monkeypatch.setattr(ReadFileWorker, "run_part", lambda self, part: done.append(part) or read(self, part))
    import_files(parts, files, **ON_PARTS, **rules)
    assert done == list(range(6))
    import_table(one, files, **rules)
    assert stored(parts) == stored(one)
    changed = files / "v=0" / "e.csv"
    changed.write_text(changed.read_text() + "u9,a,1600000000000\n")
    import_files(parts, files, **ON_PARTS, **rules)
    assert done[6:] == list(range(6))


def test_files_that_disagree_on_the_unit_of_times_are_refused(
    workspaces: list[Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 500)
    for name, digits in (("1.csv", "1600000000000"), ("2.csv", "1600000000")):
        (tmp_path / name).write_text("u,i,v,t\n" + "u,a,1,2019-01-01\n" * 100 + f"u,a,1,{digits}\n")
    with pytest.raises(InputError, match=r"digits of t in several units: .*'ms': '1\.csv', 's': '2\.csv'"):
        import_files(workspaces[1], tmp_path, fmt="csv", kind="interactions", columns=EVENTS, **ON_PARTS)
