"""An export that came out empty does not replace a table, unless somebody says that it may."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from semrec.data import (
    ColumnMap,
    ItemRow,
    UserRow,
    import_interactions,
    import_items,
    import_movielens,
    import_table,
    import_users,
)
from semrec.errors import EmptyResultError
from semrec.workspace.folder import Workspace

COLUMNS = ColumnMap("item", "user", "name")
MANIFESTS = {
    "items": "catalogue/manifest.json",
    "users": "users/manifest.json",
    "interactions": "interactions/manifest.json",
}
EMPTY = {
    "csv": b"item,user,name\n",
    "jsonl": b"",
    "parquet": None,
}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace.create(str(tmp_path / "w"), num_buckets=2)
    import_items(made, [ItemRow("a", "Apple pie", "Apple pie", {})])
    import_users(made, [UserRow("u", {"platform": ["Atlas"]})])
    import_interactions(made, [pa.table({"user_id": ["u"], "item_id": ["a"]})])
    return made


def import_nothing(workspace: Workspace, folder: Path, kind: str, fmt: str, **options: Any) -> None:
    path = folder / f"empty.{fmt}"
    if (data := EMPTY[fmt]) is not None:
        path.write_bytes(data)
    else:
        import pyarrow.parquet as pq

        pq.write_table(pa.table({name: pa.array([], pa.string()) for name in ("item", "user", "name")}), path)
    import_table(workspace, path, fmt=fmt, kind=kind, columns=COLUMNS, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", list(MANIFESTS))
@pytest.mark.parametrize("fmt", ["csv", "parquet"])
def test_no_row_does_not_replace_a_table(workspace: Workspace, tmp_path: Path, kind: str, fmt: str) -> None:
    before = workspace.storage.read_bytes(MANIFESTS[kind])
    name = MANIFESTS[kind].partition("/")[0]
    with pytest.raises(EmptyResultError, match=rf"in the place of 1 rows of the {name}.*--allow-empty"):
        import_nothing(workspace, tmp_path, kind, fmt)
    assert workspace.storage.read_bytes(MANIFESTS[kind]) == before
    import_nothing(workspace, tmp_path, kind, fmt, mode="append")  # which takes nothing away
    assert workspace.storage.read_json(MANIFESTS[kind])["fingerprint"] in before.decode()
    import_nothing(workspace, tmp_path, kind, fmt, allow_empty=True)
    assert sum(part["num_rows"] for part in workspace.storage.read_json(MANIFESTS[kind])["parts"]) == 0
    import_nothing(workspace, tmp_path, kind, fmt)  # nothing in the place of nothing


def test_rows_in_memory_are_held_to_the_same(workspace: Workspace) -> None:
    for work in (import_items, import_users, import_interactions):
        with pytest.raises(EmptyResultError):
            work(workspace, [])  # type: ignore[operator]
        work(workspace, [], allow_empty=True)  # type: ignore[operator]


def movielens(folder: Path, *, ratings: str) -> Path:
    folder.mkdir()
    (folder / "movies.csv").write_text("movieId,title,genres\n1,Pie (2001),Drama\n")
    (folder / "ratings.csv").write_text(f"userId,movieId,rating,timestamp\n{ratings}")
    return folder


def test_a_movielens_folder_without_ratings_or_users_replaces_nothing(workspace: Workspace, tmp_path: Path) -> None:
    before = {path: workspace.storage.read_bytes(path) for path in MANIFESTS.values()}
    with pytest.raises(EmptyResultError, match="rows of the interactions"):
        import_movielens(workspace, movielens(tmp_path / "empty", ratings=""))
    full = movielens(tmp_path / "full", ratings="7,1,4.0,1000\n")
    with pytest.raises(EmptyResultError, match="rows of the users"):  # which the folder does not have
        import_movielens(workspace, full)
    assert before == {path: workspace.storage.read_bytes(path) for path in MANIFESTS.values()}
    import_movielens(workspace, full, allow_empty=True)
    assert not workspace.storage.exists(MANIFESTS["users"])
