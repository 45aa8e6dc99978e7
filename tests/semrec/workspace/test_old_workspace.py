"""A workspace of the schema before is opened, answered, run and published: data/schema-2.tar.xz, written by that version.

It has 70 items "n00" to "n69" with small whole vectors, genres, platforms and years, 40 users in 4 buckets, some of whom pay
for platforms, a published run of K = 5, and changes made online since: n03 put again, n07 deleted, "new" put, one event.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

from helpers.whole_path import release, score
from semrec.bench.generated import write_embedding
from semrec.changes.compact import compact_changes
from semrec.changes.state import OverlayState
from semrec.contracts import SCHEMA_VERSION
from semrec.online.release import OnlineRelease
from semrec.online.users import rank_query_of
from semrec.runs.health import measure_health
from semrec.runs.live import require_live
from semrec.runs.publish import publish, rollback
from semrec.runs.verify import verify_run
from semrec.workspace.folder import Workspace
from semrec.workspace.log import LogPositions
from semrec.workspace.manifests import CatalogueManifest, ReleaseManifest, RunManifest
from semrec.workspace.tables import read_table

ARCHIVE = Path(__file__).parent / "data" / "schema-2.tar.xz"
NUM_USERS = 40


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path)  # our own; older 3.11 knows no filter
    assert SCHEMA_VERSION == 3, "keep a workspace of the schema before: make one with its last version"
    return Workspace.open(str(tmp_path))


def scored(workspace: Workspace) -> RunManifest:
    """A published run of what the workspace holds now."""
    run = score(workspace, k=5, release_id=release(workspace).release_id).manifest
    assert verify_run(workspace.storage, run.run, num_sampled=NUM_USERS).ok
    measure_health(workspace.storage, run.run)
    publish(workspace.storage, run.run)
    return run


def test_what_is_live_is_answered_as_it_was_published(workspace: Workspace) -> None:
    storage, live = workspace.storage, require_live(workspace.storage)
    assert ReleaseManifest.read(storage, live.release).schema_version == 2
    assert verify_run(storage, live.run, num_sampled=NUM_USERS).ok
    served = OnlineRelease(storage, live.release, live.run)
    served.check()
    served.probe(NUM_USERS)
    applied = LogPositions.of(served.release.manifest.applied)
    state = OverlayState(storage, applied)
    view = state.view(applied)
    assert sorted(view.changes) == ["n03", "n07", "new"]
    recent = state.recent.of("user-1", 0)
    user = served.user("user-1", recent, view)
    assert user is not None and [event.item_id for event in recent] == ["n05"]
    listed = {hit.item_id for hit in served.rank([rank_query_of(user, k=80)], view)[0].hits}
    assert not listed & {"n05", "n07"}


def test_it_is_built_scored_published_and_rolled_back(workspace: Workspace) -> None:
    storage, before = workspace.storage, require_live(workspace.storage)
    run = scored(workspace)
    assert ReleaseManifest.read(storage, run.release).schema_version == 3
    assert run.content_digest == RunManifest.read(storage, before.run).content_digest
    OnlineRelease(storage, run.release, run.run).probe(NUM_USERS)
    assert rollback(storage).run == before.run


def test_its_change_log_is_compacted_into_the_next_release(workspace: Workspace) -> None:
    storage = workspace.storage
    report = compact_changes(workspace)
    assert (report.num_items, report.num_deleted, report.num_events) == (2, 1, 1)
    tables = [read_table(storage, part, ["item_id"]) for part in CatalogueManifest.read(storage).parts]
    item_ids = [item_id for table in tables for item_id in table.column("item_id").to_pylist()]
    write_embedding(workspace, {item_id: np.array([1, 2, n % 5], np.float32) for n, item_id in enumerate(item_ids)})
    run = scored(workspace)
    served = OnlineRelease(storage, run.release, run.run)
    assert (served.num_items, "new" in served.items.row_of, "n07" in served.items.row_of) == (70, True, False)
    assert require_live(storage).run == run.run
