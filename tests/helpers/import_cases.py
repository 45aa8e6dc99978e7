"""What the tests of importing share: small sources, and what a workspace holds after an import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from semrec.data.event_files import read_interactions
from semrec.workspace.folder import Workspace
from semrec.workspace.manifests import CatalogueManifest, InteractionsManifest, RelationsManifest, UsersManifest
from semrec.workspace.records import EventFiles
from semrec.workspace.tables import read_table

NOW_S = 1_700_000_000


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def movielens(folder: Path, *, movies: str | None = None, ratings: str | bytes | None = None, **more: str) -> Path:
    """A folder with three movies and four ratings unless told otherwise; `more` maps file stems to content."""
    write(
        folder / "movies.csv",
        movies
        or "movieId,title,genres\n1,Toy Story (1995),Adventure|Animation\n2,Heat (1995),Action\n3,Odd,(no genres listed)\n",
    )
    write(
        folder / "ratings.csv",
        ratings or "userId,movieId,rating,timestamp\n7,1,4.0,100\n7,2,3.5,50\n8,3,5.0,70\n10,1,0.5,60\n",
    )
    for stem, content in more.items():
        write(folder / f"{stem}.csv", content)
    return folder


KINDS = {kind.KIND: kind for kind in (CatalogueManifest, UsersManifest, InteractionsManifest, RelationsManifest)}


def manifest(workspace: Workspace, kind: str) -> dict[str, Any]:
    """The JSON as it is stored."""
    return workspace.storage.read_json(f"{kind}/manifest.json")


def rows_of(workspace: Workspace, kind: str) -> list[dict[str, Any]]:
    """All rows of the catalogue, the interactions or the users, part by part."""
    rows: list[dict[str, Any]] = []
    for part in KINDS[kind].read(workspace.storage).parts:
        read = read_interactions if isinstance(part, EventFiles) else read_table
        rows += read(workspace.storage, part).to_pylist()
    return rows


def events_in(workspace: Workspace) -> list[tuple[str, str, float, int]]:
    return sorted(tuple(row.values()) for row in rows_of(workspace, "interactions"))


def items_in(workspace: Workspace) -> dict[str, dict[str, Any]]:
    return {row["item_id"]: row for row in rows_of(workspace, "catalogue")}


def quarantined(workspace: Workspace, kind: str) -> list[tuple[str, int | None, str]]:
    """(file, line, reason) of the rejected rows."""
    rows: list[tuple[str, int | None, str]] = []
    for name in workspace.storage.list_sizes("quarantine/import"):
        if name.startswith(f"{kind}-"):
            table = pq.read_table(workspace.storage.full_path(f"quarantine/import/{name}"))
            rows += [(row["file"], row["line"], row["reason"]) for row in table.to_pylist()]
    return rows
