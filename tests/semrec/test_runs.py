"""A run redoes only what changed, goes live only when it was verified as it stands, and can be asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from helpers.whole_path import (
    Event,
    directions,
    events_table,
    history,
    make_world,
    part_digests,
    release,
    score,
    users_of,
)
from semrec.changes.overlay import OverlayView
from semrec.data import import_interactions
from semrec.errors import (
    CorruptArtefactError,
    IncompleteRunError,
    InputError,
    MissingArtefactError,
    PlanChangedError,
    SchemaError,
)
from semrec.online.published import PublishedLists
from semrec.online.release import OnlineRelease
from semrec.release.reader import Release
from semrec.runs.health import measure_health
from semrec.runs.live import read_live, require_live
from semrec.runs.plan import run_folder
from semrec.runs.publish import publish, rollback
from semrec.runs.verify import read_verification, verify_run
from semrec.workspace.digests import sha256_hex
from semrec.workspace.folder import Workspace
from semrec.workspace.ledger import Ledger, PartRecord
from semrec.workspace.manifests import RunManifest
from semrec.workspace.storage import Storage
from semrec.workspace.tables import read_table


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Eight users in four parts, all with vectors, and a release."""
    found = make_world(tmp_path / "w")
    release(found)
    return found


def rows_of(storage: Storage, run_id: str) -> dict[str, dict[str, object]]:
    """Every user's row of a run."""
    tables = [read_table(storage, part) for part in RunManifest.read(storage, run_id).parts]
    return {row.pop("user_id"): row for table in tables for row in table.to_pylist()}


def same_files(one: Workspace, other: Workspace, folder: str) -> bool:
    names = list(one.storage.list_sizes(folder))
    assert len(names) == 4
    return all(one.storage.read_bytes(f"{folder}/{n}") == other.storage.read_bytes(f"{folder}/{n}") for n in names)


def test_a_list_is_right_by_construction(tmp_path: Path) -> None:
    workspace = make_world(tmp_path, [("u", "item-3", 1.0, 5)], silent_users=["v"])
    release(workspace)
    rows = rows_of(workspace.storage, score(workspace, k=3).run_id)
    # Items lie in order on an arc: the nearest ones first, without item-3, which was seen.
    scores = [np.float32(directions()[3].astype(float) @ directions()[n].astype(float)) for n in range(8)]
    nearest = sorted({*range(8)} - {3}, key=lambda n: -scores[n])[:3]
    assert nearest == [4, 2, 5]
    assert rows["u"] == {
        "item_ids": ["item-4", "item-2", "item-5"],
        "scores": [scores[n] for n in nearest],
        "source": "personal",
        "short_reason": None,
    }
    # One user has interacted with item-3; the other items tie at nothing and stand in ascending id.
    assert rows["v"]["item_ids"] == ["item-3", "item-0", "item-1"]
    assert (rows["v"]["scores"], rows["v"]["source"]) == ([1.0, 0.0, 0.0], "popularity")


def test_more_than_there_is_gives_what_there_is_and_says_why(tmp_path: Path) -> None:
    workspace = make_world(tmp_path, [("u", f"item-{n}", 1.0, 5) for n in range(3)], silent_users=["v"])
    release(workspace)
    rows = rows_of(workspace.storage, score(workspace, k=50).run_id)
    assert rows["u"]["short_reason"] == "5 of 8 items are eligible and not seen"
    assert sorted(rows["u"]["item_ids"]) == [f"item-{n}" for n in range(3, 8)]  # type: ignore[call-overload]
    assert (len(rows["v"]["item_ids"]), rows["v"]["short_reason"]) == (8, "8 of 8 items are eligible and not seen")  # type: ignore[arg-type]
    exact = rows_of(workspace.storage, score(workspace, k=5).run_id)
    assert {user: row["short_reason"] for user, row in exact.items()} == {"u": None, "v": None}


def test_the_same_run_is_found_again(workspace: Workspace) -> None:
    first = score(workspace)
    again = score(workspace)
    assert (again.run_id, again.manifest) == (first.run_id, first.manifest)
    assert (first.parts.computed, again.parts.computed, again.parts.committed) == (4, 0, 4)
    assert score(workspace, k=4).run_id != first.run_id


@pytest.mark.parametrize("later", [1_500_000, 9_000_000])
def test_new_events_of_one_user_rescore_one_part(tmp_path: Path, later: int) -> None:
    grown, user = make_world(tmp_path / "grown"), users_of(1, 1)[0]
    release(grown)
    before = score(grown)
    new: list[Event] = [(user, "item-7", 3.0, later)]
    import_interactions(grown, [events_table(new)], mode="append")
    release(grown)
    after = score(grown)
    assert (after.parts.computed, after.parts.reused) == (1, 3)
    changed = [
        a != b for a, b in zip(part_digests(before.manifest.parts), part_digests(after.manifest.parts), strict=True)
    ]
    assert changed == [False, True, False, False]
    scratch = make_world(tmp_path / "scratch", history() + new)
    release(scratch)
    full = score(scratch)
    assert (full.parts.computed, full.run_id, full.manifest) == (4, after.run_id, after.manifest)
    assert same_files(grown, scratch, f"{run_folder(full.run_id)}/parts")
    assert verify_run(grown.storage, after.run_id).problems == []


@pytest.mark.parametrize(("item", "rescored"), [("item-7", 2), ("item-0", 1)])
def test_parts_with_popularity_users_depend_on_the_popularity_and_no_others(
    tmp_path: Path, item: str, rescored: int
) -> None:
    """Bucket 1 gets an event; bucket 3 has a user without a vector. The popularity of item-0 is the same afterwards."""
    silent, user = users_of(3, 3)[2], users_of(1, 1)[0]
    events = [*history(), (user, "item-0", 1.0, 5)]
    grown = make_world(tmp_path / "grown", events, silent_users=[silent])
    release(grown)
    score(grown)
    new: list[Event] = [(user, item, 3.0, 1_500_000)]
    import_interactions(grown, [events_table(new)], mode="append")
    released, after = release(grown), score(grown)
    assert (released.parts.computed, released.parts.reused) == (1, 3)
    assert (after.parts.computed, after.parts.reused) == (rescored, 4 - rescored)
    scratch = make_world(tmp_path / "scratch", events + new, silent_users=[silent])
    release(scratch)
    full = score(scratch)
    assert (full.run_id, full.manifest) == (after.run_id, after.manifest)
    assert same_files(grown, scratch, f"{run_folder(full.run_id)}/parts")


def test_a_part_of_an_earlier_run_whose_file_is_gone_is_computed(workspace: Workspace) -> None:
    first = score(workspace)
    import_interactions(workspace, [events_table([(users_of(1, 1)[0], "item-7", 3.0, 9)])], mode="append")
    release(workspace)
    workspace.storage.delete(f"{run_folder(first.run_id)}/parts/part-00002.parquet")
    parts = score(workspace).parts
    assert (parts.computed, parts.reused) == (2, 2)


def test_another_k_reuses_nothing(workspace: Workspace) -> None:
    score(workspace, k=3)
    parts = score(workspace, k=4).parts
    assert (parts.computed, parts.reused) == (4, 0)


def test_to_resume_with_another_k_is_refused_by_name(workspace: Workspace) -> None:
    first = score(workspace, k=3)
    with pytest.raises(PlanChangedError, match="k was 3, is 5"):
        score(workspace, k=5, resume=first.run_id)
    assert workspace.storage.list_folders("runs") == [first.run_id]
    assert score(workspace, k=3, resume=first.run_id).run_id == first.run_id


def test_to_resume_after_the_inputs_changed_is_refused_by_name(workspace: Workspace) -> None:
    first = score(workspace)
    import_interactions(workspace, [events_table([(users_of(1, 1)[0], "item-7", 3.0, 9)])], mode="append")
    second = release(workspace).release_id
    with pytest.raises(PlanChangedError, match=f"release was .*, is '{second}'; the inputs of parts 1 changed"):
        score(workspace, resume=first.run_id)


def test_to_resume_an_unknown_run_is_refused_and_begins_none(workspace: Workspace) -> None:
    with pytest.raises(MissingArtefactError, match=r"no runs/0123456789abcdef/plan\.json"):
        score(workspace, resume="0123456789abcdef")
    assert workspace.storage.list_folders("runs") == []


def test_more_shards_than_items_are_refused(workspace: Workspace) -> None:
    with pytest.raises(InputError, match="9 shards of 8 items"):
        score(workspace, num_shards=9)


@pytest.mark.parametrize(
    "name", [*(f"matrix/block-00000.{half}.npy" for half in ("high", "low", "norms")), "popularity.npy"]
)
def test_an_altered_matrix_is_refused_by_name_before_scoring_and_at_verification(
    workspace: Workspace, name: str
) -> None:
    run = score(workspace)
    path = Path(workspace.storage.full_path(f"releases/{run.manifest.release}/{name}"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptArtefactError, match=name):
        verify_run(workspace.storage, run.run_id)
    with pytest.raises(CorruptArtefactError, match=name):
        score(workspace, k=2)
    assert score(workspace).parts.computed == 0


def test_nothing_goes_live_unverified(workspace: Workspace) -> None:
    run = score(workspace).run_id
    with pytest.raises(IncompleteRunError, match=f"run {run} was never verified"):
        publish(workspace.storage, run)
    assert read_live(workspace.storage) is None
    with pytest.raises(MissingArtefactError, match="nothing is live"):
        require_live(workspace.storage)


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"content_digest": "another"}, "not measured since it changed"), ({"contract": 1}, "not measured")],
)
def test_health_that_is_not_of_this_run_and_contract_does_not_count(
    workspace: Workspace, changed: dict[str, object], said: str
) -> None:
    run = score(workspace).run_id
    verify_run(workspace.storage, run)
    measure_health(workspace.storage, run)
    path = f"{run_folder(run)}/health.json"
    workspace.storage.write_json(path, {**workspace.storage.read_json(path), **changed})
    with pytest.raises(IncompleteRunError, match=f"was {said}"):
        publish(workspace.storage, run)
    assert read_live(workspace.storage) is None


def test_an_unfinished_or_unknown_run_does_not_go_live(workspace: Workspace) -> None:
    run = score(workspace).run_id
    verify_run(workspace.storage, run)
    workspace.storage.delete(f"{run_folder(run)}/manifest.json")
    for name in (run, "unknown"):
        with pytest.raises(MissingArtefactError, match=f"no runs/{name}/manifest.json"):
            publish(workspace.storage, name)
    with pytest.raises(IncompleteRunError, match="has no manifest"):
        verify_run(workspace.storage, run)


def test_a_verified_run_goes_live_once(workspace: Workspace) -> None:
    result = score(workspace)
    found = verify_run(workspace.storage, result.run_id)
    measure_health(workspace.storage, result.run_id)
    assert (found.ok, found.num_parts, found.num_users, found.num_rescored) == (True, 4, 8, 8)
    assert read_verification(workspace.storage, result.run_id) == found
    live = publish(workspace.storage, result.run_id)
    assert (live.run, live.release, live.history) == (result.run_id, result.manifest.release, ())
    before = workspace.storage.read_bytes("current.json")
    assert publish(workspace.storage, result.run_id) == live == require_live(workspace.storage)
    assert workspace.storage.read_bytes("current.json") == before


def test_a_bad_run_goes_live_only_after_repair_and_another_look(workspace: Workspace) -> None:
    result = score(workspace)
    path = f"{run_folder(result.run_id)}/parts/part-00002.parquet"
    good = workspace.storage.read_bytes(path)
    workspace.storage.write_bytes(path, good[:40] + b"!" + good[41:])
    assert verify_run(workspace.storage, result.run_id).bad_parts == [2]
    with pytest.raises(IncompleteRunError, match="has bad parts"):
        publish(workspace.storage, result.run_id)
    repaired = score(workspace)
    assert (repaired.parts.computed, repaired.parts.committed) == (1, 3)
    assert workspace.storage.read_bytes(path) == good
    with pytest.raises(IncompleteRunError, match="was never verified"):
        publish(workspace.storage, result.run_id)
    assert verify_run(workspace.storage, result.run_id).ok
    with pytest.raises(IncompleteRunError, match=r"the health of run .* was not measured; "):
        publish(workspace.storage, result.run_id)
    measure_health(workspace.storage, result.run_id)
    assert publish(workspace.storage, result.run_id).run == result.run_id


def test_a_run_that_changed_after_it_was_verified_does_not_go_live(workspace: Workspace) -> None:
    run = score(workspace).run_id
    verify_run(workspace.storage, run)
    path = f"{run_folder(run)}/manifest.json"
    workspace.storage.write_json(path, {**workspace.storage.read_json(path), "content_digest": "0" * 64})
    with pytest.raises(IncompleteRunError, match="changed since it was verified"):
        publish(workspace.storage, run)
    assert read_live(workspace.storage) is None


@pytest.mark.parametrize("left", [None, b"cut"])
def test_a_run_that_lost_a_part_after_it_was_verified_does_not_go_live(
    workspace: Workspace, left: bytes | None
) -> None:
    run = score(workspace).run_id
    verify_run(workspace.storage, run)
    measure_health(workspace.storage, run)
    path = f"{run_folder(run)}/parts/part-00003.parquet"
    workspace.storage.delete(path)
    if left:
        workspace.storage.write_bytes(path, left)
    with pytest.raises(IncompleteRunError, match=r"1 of 4 parts of runs/.* are not committed \(3\)"):
        publish(workspace.storage, run)
    assert read_live(workspace.storage) is None


def test_a_repair_that_ended_before_its_manifest_is_found(workspace: Workspace) -> None:
    """The same rows in other bytes, as another build writes them: the record has them, the manifest does not."""
    run = score(workspace).run_id
    folder = run_folder(run)
    ledger = Ledger(workspace.storage, folder)
    old = ledger.records()[1]
    path = Path(workspace.storage.full_path(old.table.file))
    pq.write_table(read_table(workspace.storage, old.table), path, compression="snappy")
    changed = {"num_bytes": path.stat().st_size, "sha256": sha256_hex(path.read_bytes())}
    table = old.table.model_copy(update=changed)
    ledger.commit(PartRecord(1, old.fingerprint, table, old.counts, old.made_by))
    assert verify_run(workspace.storage, run).problems == [
        "part 1: the run's manifest names other bytes than its record"
    ]
    score(workspace)
    assert verify_run(workspace.storage, run).ok
    assert PublishedLists(workspace.storage, run).list_of(users_of(1, 1)[0]).source == "personal"


@pytest.fixture
def two_published(workspace: Workspace) -> tuple[Workspace, str, str]:
    runs = [score(workspace, k=k).run_id for k in (3, 4)]
    for run in runs:
        verify_run(workspace.storage, run)
        measure_health(workspace.storage, run)
        publish(workspace.storage, run)
    return workspace, runs[0], runs[1]


def test_a_rollback_flips_back_once(two_published: tuple[Workspace, str, str]) -> None:
    workspace, first, second = two_published
    assert [pair.run for pair in require_live(workspace.storage).history] == [first]
    live = rollback(workspace.storage)
    assert (live.run, live.release, live.history) == (first, score(workspace).manifest.release, ())
    assert require_live(workspace.storage) == live
    with pytest.raises(MissingArtefactError, match="nothing was live before"):
        rollback(workspace.storage)
    assert require_live(workspace.storage).run == first
    assert [pair.run for pair in publish(workspace.storage, second).history] == [first]


def test_a_rollback_to_a_run_that_is_gone_is_refused(two_published: tuple[Workspace, str, str]) -> None:
    workspace, first, second = two_published
    workspace.storage.delete(f"{run_folder(first)}/manifest.json")
    with pytest.raises(MissingArtefactError, match=f"no runs/{first}/manifest.json"):
        rollback(workspace.storage)
    assert require_live(workspace.storage).run == second


def test_a_live_pointer_of_a_newer_schema_is_refused(two_published: tuple[Workspace, str, str]) -> None:
    storage = two_published[0].storage
    storage.write_json("current.json", {**storage.read_json("current.json"), "schema": 4})
    with pytest.raises(SchemaError, match=r"current\.json has schema 4"):
        require_live(storage)


def test_a_published_list_is_the_row_of_the_run(workspace: Workspace) -> None:
    run = score(workspace).run_id
    lists = PublishedLists(workspace.storage, run)
    for user, row in rows_of(workspace.storage, run).items():
        found = lists.list_of(user)
        assert (found.user_id, found.source, found.short_reason) == (user, "personal", None)
        assert [hit.item_id for hit in found.hits] == row["item_ids"]
        assert [hit.score for hit in found.hits] == row["scores"]
    assert lists.list_of("nobody") is None


def test_unknown_items_releases_and_runs_are_named(workspace: Workspace) -> None:
    with pytest.raises(MissingArtefactError, match=r"no runs/unknown/manifest\.json"):
        PublishedLists(workspace.storage, "unknown")
    with pytest.raises(MissingArtefactError, match="no item 'item-99' in release"):
        similar_items(workspace, "item-99", 3)
    with pytest.raises(MissingArtefactError, match=r"no releases/unknown/manifest\.json"):
        Release(workspace.storage, "unknown")


def similar_items(workspace: Workspace, item_id: str, k: int) -> list[str]:
    """Ids of the items most like one."""
    served, unchanged = OnlineRelease(workspace.storage, score(workspace).manifest.release), OverlayView.empty()
    return [hit.item_id for hit in served.rank([served.similar(item_id, unchanged, k=k)], unchanged)[0].hits]


def test_similar_items_are_the_nearest_without_the_item_itself(workspace: Workspace) -> None:
    assert similar_items(workspace, "item-0", 3) == ["item-1", "item-2", "item-3"]
    assert similar_items(workspace, "item-7", 2) == ["item-6", "item-5"]
    assert len(similar_items(workspace, "item-4", 99)) == 7
