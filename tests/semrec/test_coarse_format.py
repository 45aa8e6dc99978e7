"""The coarse format is measured once for a release, recorded, used, and changes nothing but the speed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import semrec.release.coarse_format
from helpers.whole_path import Event, directions, events_table, make_world, release, score
from semrec.bench.generated import write_catalogue
from semrec.data import import_interactions
from semrec.errors import InputError
from semrec.release.coarse_format import choose_format, describe_choice
from semrec.release.reader import Release
from semrec.runs.plan import plan_run, run_folder
from semrec.scoring.formats import FORMATS
from semrec.settings import ScoreSettings
from semrec.workspace.folder import Workspace
from semrec.workspace.ledger import Ledger
from semrec.workspace.manifests import CoarseChoice


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measures small releases, too."""
    monkeypatch.setattr(semrec.release.coarse_format, "_MIN_ITEMS", 1)


def manifest_path(workspace: Workspace, release_id: str) -> str:
    return f"releases/{release_id}/manifest.json"


def prefer(workspace: Workspace, release_id: str, coarse: str) -> None:
    """Records another choice."""
    path = manifest_path(workspace, release_id)
    body = workspace.storage.read_json(path)
    choice: dict[str, Any] = {"cpu": coarse, "measured": {coarse: 5}, "machine": "another"}
    workspace.storage.write_json(path, {**body, "coarse": choice})


@pytest.mark.usefixtures("measured")
def test_the_fastest_format_is_recorded(tmp_path: Path) -> None:
    made = release(make_world(tmp_path))
    choice = made.manifest.coarse
    assert list(choice.measured) == list(FORMATS)
    assert all(rate > 0 for rate in choice.measured.values())
    assert choice.measured[choice.cpu] == max(choice.measured.values())
    assert "cores" in choice.machine


def test_a_format_that_the_settings_name_is_taken(tmp_path: Path) -> None:
    workspace = make_world(tmp_path)
    by_default, compressed = release(workspace), release(workspace, coarse_format="pq")
    assert compressed.manifest.coarse == CoarseChoice(cpu="pq")
    assert compressed.release_id != by_default.release_id
    with pytest.raises(InputError, match="coarse format 'pq9'"):
        release(workspace, coarse_format="pq9")


def test_a_small_release_is_not_measured(tmp_path: Path) -> None:
    made = release(make_world(tmp_path))
    assert made.manifest.coarse == CoarseChoice(cpu="bfloat16")


@pytest.mark.usefixtures("measured")
def test_a_release_without_personal_users_is_not_measured(tmp_path: Path) -> None:
    made = release(make_world(tmp_path, [], silent_users=["user-1"]))
    assert made.manifest.coarse == CoarseChoice(cpu="bfloat16")


@pytest.mark.parametrize(
    ("rows_per_block", "step", "num_items", "k"), [(8, 3, 3, 38), (5, 2, 3, 38), (3, 1, 3, 38), (2, 1, 2, 25)]
)
def test_the_sample_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_per_block: int, step: int, num_items: int, k: int
) -> None:
    """Every n-th item of a block, as large a share of 100 results; the first users with vectors, who have seen nothing."""
    asked = []

    class Engine:
        def __init__(self, name: str, items: Any, *, coarse: str, num_threads: int) -> None:
            asked.append((name, items.vectors().tolist(), items.first_row, coarse, num_threads))

        def top_k(self, queries: Any, k: int) -> None:
            asked.append((len(queries.vectors_QD), queries.vectors_QD.any(axis=1).all(), len(queries.seen_rows), k))

    for name, value in (
        ("_MIN_ITEMS", 8),
        ("_MAX_ITEMS", 3),
        ("_MAX_USERS", 5),
        ("make_engine", Engine),
        ("ROWS_PER_BLOCK", rows_per_block),
    ):
        monkeypatch.setattr(semrec.release.coarse_format, name, value)
    monkeypatch.setattr(
        "semrec.scoring.formats.measure._HOPELESS", float("inf")
    )  # an engine that does nothing has no rate
    workspace = make_world(tmp_path, silent_users=[f"silent-{n}" for n in range(20)])
    found = Release(workspace.storage, release(workspace).release_id)
    asked.clear()
    choose_format(found, num_threads=3)
    sample = directions()[:rows_per_block:step]
    assert len(sample) == num_items
    # A look at few users, once to compile and once timed; then all of them, once more and three times timed.
    assert asked[: len(FORMATS)] == [("cpu", sample.tolist(), 0, coarse, 3) for coarse in FORMATS]
    assert asked[len(FORMATS) :] == 2 * len(FORMATS) * [(1, True, 0, k)] + 4 * len(FORMATS) * [(5, True, 0, k)]


@pytest.mark.usefixtures("measured")
def test_a_resubmission_keeps_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = make_world(tmp_path)
    first = release(workspace)
    prefer(workspace, first.release_id, "int8")
    before = workspace.storage.read_bytes(manifest_path(workspace, first.release_id))
    monkeypatch.setattr("cluster.stages.release.choose_format", None)  # nobody asks it
    again = release(workspace)
    assert (again.release_id, again.parts.computed) == (first.release_id, 0)
    assert workspace.storage.read_bytes(manifest_path(workspace, first.release_id)) == before
    assert Release(workspace.storage, first.release_id).coarse("cpu") == "int8"


@pytest.mark.usefixtures("measured")
def test_a_damaged_manifest_is_made_again(tmp_path: Path) -> None:
    workspace = make_world(tmp_path)
    first = release(workspace)
    path = manifest_path(workspace, first.release_id)
    workspace.storage.write_bytes(path, workspace.storage.read_bytes(path)[:-4])
    again = release(workspace).manifest
    assert again.model_copy(update={"coarse": None}) == first.manifest.model_copy(update={"coarse": None})
    assert again.coarse and set(again.coarse.measured or ()) == set(FORMATS)


def test_the_recorded_format_is_used_and_changes_no_run(tmp_path: Path) -> None:
    workspace = make_world(tmp_path, silent_users=["user-77"])
    release_id = release(workspace).release_id
    plain = plan_run(Release(workspace.storage, release_id), ScoreSettings(k=3))
    digests = set()
    for coarse in FORMATS:
        prefer(workspace, release_id, coarse)
        result = score(workspace)
        assert (result.run_id, result.parts.computed) == (plain.run_id, 4)
        digests.add(result.manifest.content_digest)
        records = Ledger(workspace.storage, run_folder(result.run_id)).records()
        assert {(r.made_by["engine"], r.made_by["coarse"]) for r in records.values()} == {("cpu", coarse)}
        for part in range(4):
            workspace.storage.delete(f"runs/{result.run_id}/ledger/part-{part:05d}.json")
    result = score(workspace, engine="reference")
    record = Ledger(workspace.storage, run_folder(result.run_id)).records()[0]
    assert (record.made_by["engine"], record.made_by["coarse"]) == ("reference", None)
    assert digests == {result.manifest.content_digest}


@pytest.mark.usefixtures("measured", "saturating_int8")
def test_a_format_that_is_wrong_here_is_neither_measured_nor_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Another machine may have built the release: it recorded int8, which is wrong on this one."""
    workspace = make_world(tmp_path)
    built = release(workspace)
    assert list(built.manifest.coarse.measured) == [name for name in FORMATS if not name.startswith("int8")]
    expected = score(workspace, engine="reference").manifest.content_digest
    shutil.rmtree(tmp_path / "runs")
    prefer(workspace, built.release_id, "int8")
    result = score(workspace)
    records = Ledger(workspace.storage, run_folder(result.run_id)).records()
    assert {record.made_by["coarse"] for record in records.values()} == {"bfloat16"}
    assert result.manifest.content_digest == expected
    assert "scores in bfloat16 instead of int8" in caplog.text


def test_what_is_not_recorded_is_bfloat16(tmp_path: Path) -> None:
    workspace = make_world(tmp_path)
    release_id = release(workspace).release_id
    prefer(workspace, release_id, "float32")
    found = Release(workspace.storage, release_id)
    assert (found.coarse("cpu"), found.coarse("cuda")) == ("float32", "bfloat16")


def test_a_larger_release_is_measured_as_it_is(tmp_path: Path) -> None:
    workspace = Workspace.create(str(tmp_path), num_buckets=2)
    ids = [f"item-{n:05d}" for n in range(4_096)]
    vectors = np.random.default_rng(1).standard_normal((len(ids), 8)).astype(np.float32)
    write_catalogue(workspace, ids, vectors)
    events: list[Event] = [(f"user-{n}", ids[n * 37], 1.0, n) for n in range(100)]
    import_interactions(workspace, [events_table(events)])
    choice = release(workspace).manifest.coarse
    assert set(choice.measured) == set(FORMATS)


def test_people_are_told(tmp_path: Path) -> None:
    rates = {"float32": 2_840, "bfloat16": 9_160, "int8": 3_296}
    choice = CoarseChoice(cpu="bfloat16", measured=rates, machine="m")
    expected = "coarse format bfloat16 (measured: bfloat16 9,160, int8 3,296, float32 2,840 users/s)"
    assert describe_choice(choice) == expected
    assert describe_choice(CoarseChoice(cpu="int8")) == "coarse format int8 (not measured)"
