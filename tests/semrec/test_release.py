"""A release holds what its inputs say, names every input it refuses, and redoes only what changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import semrec.data.catalogue
import semrec.release.matrix
from helpers.whole_path import (
    ITEM_IDS,
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
from semrec.bench.generated import write_catalogue, write_embedding
from semrec.changes.overlay import OverlayView
from semrec.contracts import bucket_of
from semrec.data import ItemRow, import_interactions, import_items, interactions
from semrec.errors import CorruptArtefactError, InputError, MissingArtefactError, SchemaError
from semrec.online.histories import Histories
from semrec.online.release import OnlineRelease
from semrec.release.reader import Release
from semrec.workspace.folder import Workspace
from semrec.workspace.manifests import CatalogueManifest, InteractionsManifest
from semrec.workspace.tables import read_table


def opened(workspace: Workspace, **settings: object) -> Release:
    return Release(workspace.storage, release(workspace, **settings).release_id)


def users(found: Release) -> dict[str, dict[str, object]]:
    """Every user of the release: vector, seen rows, source."""
    tables = [read_table(found.storage, entry) for entry in found.manifest.users]
    return {row.pop("user_id"): row for table in tables for row in table.to_pylist()}


def test_rows_are_in_ascending_order_of_the_utf8_bytes_of_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semrec.data.catalogue, "_ITEMS_PER_PART", 3)
    ids = ["b", "～", "a", "ü", "Z", "10", "9", "é", "\U0001f600", "e\u0301", "007", "1.0"]
    workspace = Workspace.create(str(tmp_path), num_buckets=1)
    vectors = np.arange(len(ids) * 3, dtype=np.float32).reshape(-1, 3)
    write_catalogue(workspace, ids, vectors)
    assert len(CatalogueManifest.read(workspace.storage).parts) == 4
    found = opened(workspace)
    assert found.item_ids.to_pylist() == sorted(ids, key=str.encode) != sorted(ids, key=lambda i: i.encode("utf-16-be"))
    shard = found.shard()
    for row, item_id in enumerate(found.item_ids.to_pylist()):
        assert shard.vectors()[row].tolist() == vectors[ids.index(item_id)].tolist()


def test_popularity_counts_distinct_users(tmp_path: Path) -> None:
    events: list[Event] = [(f"user-{n}", "item-2", 1.0, 100 + n) for n in range(5)]
    events += [("user-0", "item-2", 1.0, 200 + n) for n in range(7)]  # again and again counts once
    events += [("user-0", "item-5", 0.0, 1), ("user-1", "item-5", -3.0, 1)]  # so does any value
    found = opened(make_world(tmp_path, events))
    assert found.popularity_shard().vectors()[:, 0].tolist() == [0, 0, 5, 0, 0, 2, 0, 0]


def test_users_are_those_listed_and_those_with_events(tmp_path: Path) -> None:
    events: list[Event] = [("user-1", "item-3", 2.0, 5), ("user-2", "item-3", 0.0, 5), ("user-1", "item-1", 0.0, 5)]
    found = opened(make_world(tmp_path, events, silent_users=["user-1", "user-9"]))
    rows = users(found)
    assert set(rows) == {"user-1", "user-2", "user-9"}
    assert {user: row["source"] for user, row in rows.items()} == {
        "user-1": "personal",
        "user-2": "popularity",
        "user-9": "popularity",
    }
    assert rows["user-1"]["vector"] == directions()[3].tolist()
    assert rows["user-2"]["vector"] is None
    assert {user: row["seen_rows"] for user, row in rows.items()} == {"user-1": [1, 3], "user-2": [3], "user-9": []}
    assert found.manifest.counts == {
        "events": 3, "events_of_unknown_items": 0, "personal": 1, "popularity": 2, "users": 3, "users_stating:platform": 0,
    }  # fmt: skip


def test_every_user_stands_in_the_part_of_its_bucket(tmp_path: Path) -> None:
    found = opened(make_world(tmp_path))
    for part in range(4):
        ids = found.user_part(part).user_ids.to_pylist()
        assert ids == sorted(users_of(part, 2), key=str.encode)
        assert {bucket_of(user, 4) for user in ids} == {part}


def test_repeats_count_as_the_import_says(tmp_path: Path) -> None:
    events: list[Event] = [("u", "item-0", 4.0, 5), ("u", "item-0", 2.0, 5), ("u", "item-1", 2.0, 5)]
    for repeats, weights in (("sum", (6, 2)), ("latest", (4, 2))):
        found = opened(make_world(tmp_path / repeats, events, repeats=repeats))
        mean = weights[0] * directions()[0].astype(float) + weights[1] * directions()[1].astype(float)
        expected = (mean / np.sqrt((mean**2).sum())).astype(np.float32)
        assert users(found)["u"]["vector"] == expected.tolist()


def test_the_neutral_value_of_the_import_is_obeyed(tmp_path: Path) -> None:
    events: list[Event] = [("u", "item-0", 5.0, 5), ("u", "item-1", 3.0, 5), ("v", "item-1", 3.0, 5)]
    rows = users(opened(make_world(tmp_path, events, neutral_value=3.0)))
    assert rows["u"]["vector"] == directions()[0].tolist()
    assert rows["v"]["source"] == "popularity"


def test_what_comes_after_as_of_leaves_no_trace(tmp_path: Path) -> None:
    late = [("user-1", "item-7", 5.0, 2_000_301), ("new user", "item-7", 5.0, 3_000_000)]
    whole = make_world(tmp_path / "whole", history() + late)
    cut = make_world(tmp_path / "cut")
    one, other = opened(whole, as_of=2_000_300), opened(cut, as_of=2_000_300)
    assert part_digests(one.manifest.users) == part_digests(other.manifest.users)
    assert one.manifest.matrix.popularity.sha256 == other.manifest.matrix.popularity.sha256
    assert "new user" not in users(one)
    kept = [event for event in history() if event[3] <= 2_000_300]
    assert one.manifest.counts["events"] == len(kept) == len(history()) - 1  # as_of itself is within
    assert "new user" in users(opened(whole))
    assert opened(whole).manifest.as_of == 3_000_000


def test_items_without_a_vector_are_left_out_and_counted(tmp_path: Path) -> None:
    workspace = make_world(tmp_path, [("u", "item-2", 1.0, 5), ("u", "item-3", 1.0, 5)])
    write_embedding(workspace, {f"item-{n}": directions()[n] for n in (0, 3, 6)})
    found = opened(workspace)
    assert found.item_ids.to_pylist() == ["item-0", "item-3", "item-6"]
    assert found.manifest.matrix.num_items_without_vector == 5
    assert found.manifest.counts["events_of_unknown_items"] == 1
    assert users(found)["u"]["seen_rows"] == [1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_is_refused_by_item(
    tmp_path: Path, bad: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(semrec.release.matrix, "ROWS_PER_BLOCK", 3)
    workspace, vectors = Workspace.create(str(tmp_path), num_buckets=1), directions()
    vectors[5, 1] = bad
    write_catalogue(workspace, ITEM_IDS, vectors)
    with pytest.raises(InputError, match=r"the vector of item 'item-5' is not finite \(1 such items\)"):
        release(workspace)
    assert workspace.storage.list_sizes(f"releases/{workspace.storage.list_folders('releases')[0]}") == {
        "items.parquet": pytest.approx(5_000, abs=5_000)
    }


def test_a_catalogue_without_any_vector_is_refused(tmp_path: Path) -> None:
    workspace = make_world(tmp_path)
    write_embedding(workspace, {"not in the catalogue": directions()[0]})
    with pytest.raises(InputError, match="no item has a vector"):
        release(workspace)


def test_an_embedding_of_another_catalogue_is_refused_by_name(tmp_path: Path) -> None:
    workspace = make_world(tmp_path)
    made_from = CatalogueManifest.read(workspace.storage).fingerprint
    import_items(workspace, [ItemRow("new", "a new one")], mode="append")
    with pytest.raises(SchemaError) as caught:
        release(workspace)
    assert caught.value.got == f"embeddings/generated/manifest.json was made from catalogue {made_from[:12]}"
    assert "semrec embed" in caught.value.remedy


@pytest.mark.parametrize(
    "path", ["catalogue/manifest.json", "embeddings/generated/manifest.json", "interactions/manifest.json"]
)
def test_an_input_of_a_newer_schema_is_refused_by_name(tmp_path: Path, path: str) -> None:
    workspace = make_world(tmp_path)
    workspace.storage.write_json(path, {**workspace.storage.read_json(path), "schema": 4})
    with pytest.raises(SchemaError, match=f"{path} has schema 4; expected schema 3 or 2. Upgrade semrec"):
        release(workspace)


def test_a_release_of_a_newer_schema_is_refused_by_name(tmp_path: Path) -> None:
    workspace = make_world(tmp_path)
    path = f"releases/{release(workspace).release_id}/manifest.json"
    workspace.storage.write_json(path, {**workspace.storage.read_json(path), "schema": 4})
    with pytest.raises(SchemaError, match=f"{path} has schema 4"):
        score(workspace)


def test_missing_inputs_are_named(tmp_path: Path) -> None:
    workspace = Workspace.create(str(tmp_path), num_buckets=1)
    with pytest.raises(MissingArtefactError, match=r"no embedding; expected one\. Run `semrec embed`"):
        release(workspace)
    with pytest.raises(MissingArtefactError, match="nothing finished in releases/"):
        score(workspace)


def test_a_damaged_input_is_refused_by_name(tmp_path: Path) -> None:
    workspace = make_world(tmp_path)
    part = InteractionsManifest.read(workspace.storage).parts[2]
    data = bytearray(workspace.storage.read_bytes(part.file))
    data[len(data) // 4 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 4)  # one bit alone may be of no row
    workspace.storage.write_bytes(part.file, bytes(data))
    with pytest.raises(CorruptArtefactError, match=f"{part.file} has {len(data)} bytes and another SHA-256"):
        release(workspace)


def test_the_same_inputs_are_the_same_release(tmp_path: Path) -> None:
    first, second = make_world(tmp_path / "a"), make_world(tmp_path / "b")
    one, other = release(first), release(second)
    assert one.release_id == other.release_id
    assert one.manifest == other.manifest
    again = release(first)
    assert (again.release_id, again.parts.committed, again.parts.computed) == (one.release_id, 4, 0)


@pytest.mark.parametrize("settings", [{"half_life_days": 90.0}, {"eligibility": ()}, {"as_of": 5}])
def test_another_setting_is_another_release(tmp_path: Path, settings: dict[str, object]) -> None:
    workspace = make_world(tmp_path)
    assert release(workspace, **settings).release_id != release(workspace).release_id


def test_several_blocks_give_the_bytes_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = make_world(tmp_path / "one", silent_users=["user-77"])
    expected = release(one).manifest
    result = score(one).manifest.content_digest
    monkeypatch.setattr(semrec.release.matrix, "ROWS_PER_BLOCK", 3)
    several = make_world(tmp_path / "several", silent_users=["user-77"])
    found = release(several)
    assert [block.num_rows for block in found.manifest.matrix.blocks] == [3, 3, 2]
    assert part_digests(found.manifest.users) == part_digests(expected.users)
    matrix = Release(several.storage, found.release_id)
    for start in range(8):
        for stop in range(start + 1, 9):
            assert matrix.shard(start, stop).vectors().tobytes() == directions()[start:stop].tobytes()
    for num_shards in (None, 2, 3):
        assert score(several, num_shards=num_shards).manifest.content_digest == result
        several.storage.delete(f"runs/{score(several).run_id}/manifest.json")


@pytest.mark.parametrize("later", [1_500_000, 9_000_000])
def test_new_events_of_one_user_remake_one_part(tmp_path: Path, later: int) -> None:
    """Also where they move the newest timestamp of all, and with it as_of."""
    workspace, user = make_world(tmp_path / "grown"), users_of(2, 1)[0]
    release(workspace)
    new = [(user, "item-6", 1.0, later)]
    import_interactions(workspace, [events_table(new)], mode="append")
    grown = release(workspace)
    assert (grown.parts.computed, grown.parts.reused, grown.parts.committed) == (1, 3, 0)
    scratch = make_world(tmp_path / "scratch", history() + new)
    full = release(scratch)
    assert full.parts.computed == 4
    assert (grown.release_id, grown.manifest) == (full.release_id, full.manifest)
    for part in range(4):
        path = f"releases/{full.release_id}/users/part-{part:05d}.parquet"
        assert workspace.storage.read_bytes(path) == scratch.storage.read_bytes(path)


def test_events_in_appended_files_make_the_release_of_one_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interactions, "MIN_ROWS_TO_APPEND_TO", 1)
    monkeypatch.setattr(interactions, "MAX_APPENDED_SHARE", 100)
    new = [(user, f"item-{n}", 1.0, 500 + n) for n in range(3) for user in users_of(2, 2)]
    grown, scratch = make_world(tmp_path / "grown"), make_world(tmp_path / "scratch", history() + new)
    for event in new:
        import_interactions(grown, [events_table([event])], mode="append")
    several, one = opened(grown), opened(scratch)
    assert len(several.manifest.interactions[2].appended) == 6
    assert several.release_id == one.release_id
    for part in range(4):
        name = f"users/part-{part:05d}.parquet"
        files = [found.storage.read_bytes(f"releases/{found.release_id}/{name}") for found in (several, one)]
        assert files[0] == files[1]
    assert several.manifest.matrix.popularity.sha256 == one.manifest.matrix.popularity.sha256
    histories = [Histories(found).events(new[0][0]) for found in (several, one)]
    assert histories[0].equals(histories[1])


def test_an_as_of_that_leaves_out_events_remakes_only_the_parts_that_had_them(tmp_path: Path) -> None:
    workspace = make_world(tmp_path)
    release(workspace)
    newest = max(history(), key=lambda event: event[3])
    cut = release(workspace, as_of=newest[3] - 1)
    assert (cut.parts.computed, cut.parts.reused) == (1, 3)
    scratch = make_world(tmp_path / "scratch", [event for event in history() if event != newest])
    expected = release(scratch)
    assert part_digests(cut.manifest.users) == part_digests(expected.manifest.users)


def test_empty_parts_are_reused_like_others(tmp_path: Path) -> None:
    events: list[Event] = [(users_of(1, 1)[0], "item-1", 1.0, 5)]
    workspace = make_world(tmp_path, events)
    release(workspace)
    score(workspace)
    import_interactions(workspace, [events_table([(events[0][0], "item-2", 1.0, 6)])], mode="append")
    parts = release(workspace).parts
    assert (parts.computed, parts.reused) == (1, 3)
    parts = score(workspace).parts
    assert (parts.computed, parts.reused) == (1, 3)


def test_a_changed_vector_remakes_all_parts(tmp_path: Path) -> None:
    workspace = make_world(tmp_path)
    release(workspace)
    write_embedding(workspace, dict(zip(ITEM_IDS, -directions(), strict=True)))
    assert release(workspace).parts.computed == 4


def test_a_lost_user_part_alone_is_made_again(tmp_path: Path) -> None:
    workspace = make_world(tmp_path)
    before = release(workspace)
    path = f"releases/{before.release_id}/users/part-00001.parquet"
    data = workspace.storage.read_bytes(path)
    workspace.storage.delete(path)
    again = release(workspace)
    assert (again.parts.computed, again.parts.committed) == (1, 3)
    assert workspace.storage.read_bytes(path) == data
    assert again.manifest == before.manifest


def test_an_edited_title_rescores_nobody_and_is_shown(tmp_path: Path) -> None:
    workspace = make_world(tmp_path)
    before = score(workspace, release_id=release(workspace).release_id).manifest
    edited = [ItemRow("item-3", "A new title", "text of item-3", {"price": ["7"]})]
    import_items(workspace, edited, mode="append")
    write_embedding(workspace, dict(zip(ITEM_IDS, directions(), strict=True)))
    after = release(workspace)
    assert after.release_id != before.release
    assert (after.parts.computed, after.parts.reused) == (0, 4)
    scored = score(workspace, release_id=after.release_id)
    assert (scored.parts.computed, scored.parts.reused) == (0, 4)
    assert scored.manifest.content_digest == before.content_digest
    served = OnlineRelease(workspace.storage, after.release_id, scored.run_id)
    facts = served.item("item-3", OverlayView.empty())
    assert (facts.title, facts.attributes) == ("A new title", {"price": ["7"]})
    served.probe()


def test_an_attribute_that_eligibility_goes_by_remakes_the_lists(tmp_path: Path) -> None:
    workspace = make_world(tmp_path)
    score(workspace, release_id=release(workspace, eligibility=("platform",)).release_id)
    import_items(workspace, [ItemRow("item-3", "t", "text of item-3", {"platform": ["Atlas"]})], mode="append")
    write_embedding(workspace, dict(zip(ITEM_IDS, directions(), strict=True)))
    assert release(workspace, eligibility=("platform",)).parts.computed == 4
    assert score(workspace).parts.computed == 4


def test_scoring_reads_neither_titles_nor_attributes(tmp_path: Path) -> None:
    workspace = make_world(tmp_path)
    found = release(workspace)
    workspace.storage.delete(found.manifest.matrix.items.file)
    for num_shards in (None, 3):
        assert score(workspace, release_id=found.release_id, num_shards=num_shards).manifest.num_rows == 8
