"""Two imports of one table at the same time: no row of one that said it was done is lost by the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.import_cases import write
from semrec.data import ColumnMap, import_table
from semrec.errors import RunBusyError
from semrec.workspace.folder import Workspace

ROWS = {
    "items": "item_id,title\n{0},t\n",
    "users": "user_id,item_id\n{0},a\n",
    "interactions": "user_id,item_id\n{0},a\n",
    "relations": "subject,predicate,object\n{0},p,a\n",
    "ontology": "subject,predicate,object\n{0},subclass_of,a\n",
}


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("is_first", [True, False])
def test_an_append_takes_the_place_of_no_other(kind: str, is_first: bool, stocked: Workspace, tmp_path: Path) -> None:
    def append(name: str, progress: object = None) -> int:
        path = write(tmp_path / f"{name}.csv", ROWS[kind].format(name))
        columns = ColumnMap(title="title" if kind == "items" else None)
        report = import_table(
            stocked,
            path,
            fmt="csv",
            kind=kind,
            columns=columns,
            mode="append",
            progress=progress,  # type: ignore[arg-type]
        )
        [path] = report.manifests
        return sum(part["num_rows"] for part in stocked.storage.read_json(path)["parts"])

    num_before = 6 if kind == "items" else 0
    if not is_first:
        num_before = append("before")
    others: list[int] = []

    def meanwhile(num_rows: int, stage: str) -> None:
        if stage.startswith("read") and not others:
            others.append(append("other"))

    with pytest.raises(RunBusyError, match=r"manifest\.json was replaced while .* run this one again"):
        append("one", meanwhile)
    assert (others, append("one")) == ([num_before + 1], num_before + 2)
