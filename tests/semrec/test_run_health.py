"""The health of a run, counted against worlds small enough to be known by heart; and what an unhealthy run may not do."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.whole_path import ITEM_IDS, NUM_BUCKETS, directions, make_world, release, score
from semrec.bench.generated import write_catalogue
from semrec.contracts import part_name
from semrec.data import UserRow, import_users
from semrec.errors import IncompleteRunError, MissingArtefactError
from semrec.release.reader import Release
from semrec.runs.health import _top_places, measure_health, read_health
from semrec.runs.plan import run_folder
from semrec.runs.publish import publish
from semrec.runs.verify import verify_run
from semrec.scoring.eligibility import Clause, Layout
from semrec.workspace.digests import content_digest
from semrec.workspace.folder import Workspace
from semrec.workspace.ledger import Ledger
from semrec.workspace.manifests import RunManifest
from semrec.workspace.quarantine import Quarantine, quarantine_shares
from semrec.workspace.tables import read_table, write_table

SILENT = ["nobody-1", "nobody-2", "nobody-3"]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Eight users with vectors, three without, eight items."""
    found = make_world(tmp_path / "w", silent_users=SILENT)
    release(found)
    return found


def rows_of(workspace: Workspace, run_id: str) -> list[dict]:
    tables = [read_table(workspace.storage, part) for part in RunManifest.read(workspace.storage, run_id).parts]
    return [row for table in tables for row in table.to_pylist()]


@pytest.mark.parametrize("k", [1, 3, 7, 8])
def test_counts_are_those_of_the_lists(workspace: Workspace, k: int) -> None:
    run_id = score(workspace, k).run_id
    found = measure_health(workspace.storage, run_id)
    rows = rows_of(workspace, run_id)
    shown = Counter(item for row in rows for item in row["item_ids"])
    assert found.num_users == len(rows) == 11
    assert found.num_short == sum(len(row["item_ids"]) < k for row in rows) == (8 if k > 6 else 0)
    assert found.num_popularity == sum(row["source"] == "popularity" for row in rows) == len(SILENT)
    assert (found.num_items, found.num_items_shown) == (len(ITEM_IDS), len(shown))
    assert found.num_places == sum(shown.values())
    assert found.num_top_places == shown.most_common(1)[0][1]
    assert found.num_excluded == found.num_exhaustive == 0
    assert found.shares()["coverage"] == len(shown) / 8
    assert found.shares()["short"] == found.num_short / 11


def test_top_places_are_of_whole_items() -> None:
    assert _top_places(np.array([5, 1, 3])) == 5
    assert _top_places(np.arange(100)) == 99
    assert _top_places(np.arange(101)) == 100 + 99
    assert _top_places(np.zeros(3, np.int64)) == 0


def test_measured_once_while_nothing_changes(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = score(workspace).run_id
    found = measure_health(workspace.storage, run_id)
    monkeypatch.setattr("semrec.runs.health._places", None)
    assert measure_health(workspace.storage, run_id) == found == read_health(workspace.storage, run_id)


def show_instead(workspace: Workspace, run_id: str, user_id: str, item_id: str) -> None:
    """Forges a run that is sound by every digest, but shows `item_id` first to `user_id`."""
    storage, ledger = workspace.storage, Ledger(workspace.storage, run_folder(run_id))
    plan, records = ledger.plan(), ledger.records()
    for part, record in records.items():
        table = read_table(storage, record.table)
        rows = table.to_pylist()
        for row in rows:
            if row["user_id"] == user_id:
                row["item_ids"][0] = item_id
        forged = type(table).from_pylist(rows, schema=table.schema)
        if content_digest(forged) != record.table.content_digest:
            file = write_table(storage, f"{run_folder(run_id)}/parts/{part_name(part)}", forged, digest_in_name=False)
            ledger.commit(replace(record, table=file))
    ledger.finish(plan, RunManifest, {"run": run_id, **plan.settings})


def test_a_seen_item_is_found_and_not_published(workspace: Workspace) -> None:
    storage, run_id = workspace.storage, score(workspace, 3).run_id
    opened = Release(storage, RunManifest.read(storage, run_id).release)
    users = opened.user_part(0)
    seen = opened.item_ids[int(users.queries.seen_rows[0])].as_py()
    show_instead(workspace, run_id, users.user_ids[0].as_py(), seen)
    verify_run(storage, run_id, num_sampled=0)
    found = measure_health(storage, run_id)
    assert found.num_excluded == 1
    with pytest.raises(IncompleteRunError, match="shows 1 items to users who may not see them"):
        publish(storage, run_id)


PLATFORMS = [{"platform": ["a"], "region": ["x"]}, {"platform": ["a", "b"]}, {"region": ["y"]}, {}] * 2


@pytest.mark.parametrize("damaged", ["items", "users", "layout"])
def test_a_fault_of_the_bits_is_found_in_the_lists_that_they_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: str
) -> None:
    """The bits are made wrongly, all of scoring believes them, and the lists are verified: health alone must know."""
    workspace = Workspace.create(str(tmp_path), num_buckets=NUM_BUCKETS)
    write_catalogue(workspace, ITEM_IDS, directions(), PLATFORMS)
    asking = {"user-1": {"platform": ["a"]}, "user-2": {"platform": ["b"], "region": ["y"]}, "user-3": {}}
    import_users(workspace, [UserRow(user, stated) for user, stated in asking.items()])
    if damaged == "layout":
        monkeypatch.setattr(Layout, "of_values", lambda values: Layout())
    elif damaged == "items":
        monkeypatch.setattr(Layout, "words_of", lambda layout, codes, rows: np.full((rows, 2), 2**64 - 1, np.uint64))
    else:
        monkeypatch.setattr(
            Clause, "user_words", lambda clause, rows: np.full((len(rows), clause.num_words), 2**64 - 1, np.uint64)
        )
    release(workspace, eligibility=("platform", "region"))
    run_id = score(workspace, 8).run_id
    assert verify_run(workspace.storage, run_id).ok
    may_see = {"user-1": {0, 1, 4, 5}, "user-2": set(), "user-3": set(range(8))}
    lists = {row["user_id"]: {ITEM_IDS.index(item) for item in row["item_ids"]} for row in rows_of(workspace, run_id)}
    expected = sum(len(shown - may_see[user]) for user, shown in lists.items())
    assert measure_health(workspace.storage, run_id).num_excluded == expected > 0
    with pytest.raises(IncompleteRunError, match=f"shows {expected} items to users who may not see them"):
        publish(workspace.storage, run_id)


def test_a_release_that_does_not_say_what_users_state_cannot_be_checked(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = score(workspace).run_id
    user_part = Release.user_part
    monkeypatch.setattr(Release, "user_part", lambda opened, part: replace(user_part(opened, part), stated=None))
    with pytest.raises(MissingArtefactError, match=r"does not say what its users state.*`semrec release`"):
        measure_health(workspace.storage, run_id)


def test_quarantine_shares(workspace: Workspace) -> None:
    assert quarantine_shares(workspace.storage) == {"items": 0.0, "users": 0.0, "interactions": 0.0}
    quarantine = Quarantine(workspace.storage, "import", "items")
    for line in range(10_001):  # one full file and one row
        quarantine.add("items.csv", line, "missing id", "x")
    quarantine.flush()
    assert quarantine_shares(workspace.storage)["items"] == 10_001 / (10_001 + 8)
