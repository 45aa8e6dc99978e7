"""Two imports of one table at the same time: no row of one that said it was done is lost by the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.import_cases import write
from semrec.data import ColumnMap, import_table
from semrec.errors import RunBusyError
from semrec.progress import Progress
from semrec.workspace.folder import Workspace

ROWS = {
    "items": "item_id,title\n{0},t\n",
    "users": "user_id,item_id\n{0},a\n",
    "interactions": "user_id,item_id\n{0},a\n",
    "relations": "subject,predicate,object\n{0},p,a\n",
    "ontology": "subject,predicate,object\n{0},subclass_of,a\n",
}


def append(kind: str, name: str, workspace: Workspace, folder: Path, progress: Progress | None = None) -> int:
    """How many rows the table has then."""
    path, columns = (
        write(folder / f"{name}.csv", ROWS[kind].format(name)),
        ColumnMap(title="title" if kind == "items" else None),
    )
    report = import_table(workspace, path, fmt="csv", kind=kind, columns=columns, mode="append", progress=progress)  # type: ignore[arg-type]
    [manifest] = report.manifests
    return sum(part["num_rows"] for part in workspace.storage.read_json(manifest)["parts"])


@pytest.mark.parametrize("kind", ROWS)
def test_one_import_at_a_time_writes_a_table(kind: str, stocked: Workspace, tmp_path: Path) -> None:
    refused = []

    def meanwhile(num_rows: int, stage: str) -> None:
        if not refused:
            with pytest.raises(RunBusyError, match=f"imports/{kind} is being worked on") as caught:
                append(kind, "other", stocked, tmp_path)
            refused.append(caught.value)

    num_rows = append(kind, "one", stocked, tmp_path, meanwhile)
    assert refused and append(kind, "other", stocked, tmp_path) == num_rows + 1
    assert not stocked.storage.list_sizes(f"imports/{kind}")


def test_an_import_that_was_taken_over_goes_not_live(stocked: Workspace, tmp_path: Path) -> None:
    lease = "imports/users/lease.json"
    num_rows = append("users", "before", stocked, tmp_path)

    def meanwhile(num_rows: int, stage: str) -> None:
        stocked.storage.write_json(lease, {**stocked.storage.read_json(lease), "holder": "another", "pid": 1})

    with pytest.raises(RunBusyError, match="imports/users was taken over by process 1"):
        append("users", "one", stocked, tmp_path, meanwhile)
    stocked.storage.delete(lease)
    assert append("users", "other", stocked, tmp_path) == num_rows + 1
