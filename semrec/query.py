"""Questions to a release and its run: an item's neighbours, a user's published list, a title."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.contracts import bucket_of
from semrec.errors import MissingArtefactError
from semrec.ledger import Ledger
from semrec.release.matrix import attribute_dicts
from semrec.release.reader import Release
from semrec.runs.plan import run_folder
from semrec.scoring.engine import make_engine
from semrec.scoring.types import Queries
from semrec.storage import Storage
from semrec.tables import TableFile, read_table

__all__ = ["Hit", "UserList", "published_list", "search_titles", "similar_items"]


@dataclass(frozen=True)
class Hit:
    """One item of an answer."""

    item_id: str
    title: str
    score: float
    attributes: dict[str, list[str]]


@dataclass(frozen=True)
class UserList:
    """A user's published list. `source` is personal or popularity."""

    user_id: str
    source: str
    short_reason: str | None
    hits: list[Hit]


def similar_items(release: Release, item_id: str, k: int) -> list[Hit]:
    """The K items with the highest score against `item_id`'s own vector, itself left out."""
    row = release.row_of(item_id)
    shard = release.shard()
    plain = Queries.unfiltered(shard.vectors(slice(row, row + 1)), release.num_words)
    query = Queries(plain.vectors_QD, plain.words_QW, np.array([0, 1]), np.array([row]))
    found = make_engine("cpu", shard).top_k(query, k)
    return _hits(release, found.rows, found.scores)


def published_list(storage: Storage, run_id: str, user_id: str) -> UserList:
    """The list of one user in a run. Raises MissingArtefactError when the run has no such user."""
    plan = Ledger(storage, run_folder(run_id)).plan()
    release = Release(storage, plan.settings["release"])
    part = bucket_of(user_id, len(plan.parts))
    manifest = storage.read_json(f"{run_folder(run_id)}/manifest.json")
    table = read_table(storage, TableFile.from_json(manifest["parts"][part]))
    place = table.column("user_id").combine_chunks().index(user_id).as_py()
    if place < 0:
        raise MissingArtefactError(
            f"no user {user_id!r} in run {run_id}", expected="a user of the release", remedy="Check the id."
        )
    row: dict[str, Any] = table.slice(place, 1).to_pylist()[0]
    rows = pc.index_in(pa.array(row["item_ids"], pa.string()), value_set=release.item_ids).to_numpy()
    return UserList(user_id, row["source"], row["short_reason"], _hits(release, rows, np.array(row["scores"])))


def search_titles(release: Release, words: str, limit: int = 10) -> list[Hit]:
    """Items whose title contains `words`, whatever the case, in order of item_id; the score is 0."""
    matches = pc.match_substring(release.items.column("title"), words, ignore_case=True)
    rows = np.flatnonzero(matches.to_numpy())[:limit]
    return _hits(release, rows, np.zeros(len(rows)))


def _hits(release: Release, rows: np.ndarray, scores: np.ndarray) -> list[Hit]:
    table = release.items.take(pa.array(rows, pa.int64()))
    columns = [table.column(name).to_pylist() for name in ("item_id", "title")]
    attributes = attribute_dicts(table.column("attributes"))
    return [Hit(i, t, float(s), a) for i, t, s, a in zip(*columns, scores, attributes, strict=True)]
