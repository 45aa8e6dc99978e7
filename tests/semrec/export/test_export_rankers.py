"""The files for rankers: every recommendation of a run once, with scores that add up and a reason that leads to it."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest

from helpers.whole_path import ITEM_IDS, make_world, release, score
from semrec.contracts import ATTRIBUTES_TYPE
from semrec.data import ColumnMap, import_table
from semrec.export.rankers import export_rankers
from semrec.progress import NoProgress
from semrec.workspace.folder import Workspace
from semrec.workspace.manifests import RunManifest
from semrec.workspace.tables import read_parts


def import_relations(workspace: Workspace, folder: Path) -> None:
    file = folder / "relations.csv"
    file.write_text("subject,predicate,object\n" + "".join(f"{item},by,ann\n" for item in ITEM_IDS[:7]))
    columns = ColumnMap(subject="subject", predicate="predicate", object="object")
    import_table(workspace, file, fmt="csv", kind="relations", columns=columns)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("rankers")
    workspace = make_world(folder / "w", silent_users=["zoe"])
    import_relations(workspace, folder)
    release(workspace)
    return workspace


def test_every_recommendation_is_a_row_with_features(workspace: Workspace, tmp_path: Path) -> None:
    run = score(workspace).run_id
    report = export_rankers(workspace.storage, run, str(tmp_path / "there"), progress=NoProgress())
    rows = (
        ds.dataset(tmp_path / "there", format="parquet")
        .to_table()
        .sort_by([("user_id", "ascending"), ("rank", "ascending")])
    )
    manifest = RunManifest.read(workspace.storage, run)
    lists = read_parts(workspace.storage, manifest.parts, ["user_id", "item_ids", "scores", "source"])
    expected = {
        user: list(zip(items, scores, strict=True))
        for user, items, scores in zip(
            *(lists.column(n).to_pylist() for n in ("user_id", "item_ids", "scores")), strict=True
        )
    }
    found: dict[str, list[tuple[str, float]]] = {}
    for row in rows.to_pylist():
        found.setdefault(row["user_id"], []).append((row["item_id"], row["score"]))
        assert row["rank"] == len(found[row["user_id"]])
    assert found == expected and report.num_rows == rows.num_rows
    personal = rows.filter(pc.equal(rows["source"], "personal")).to_pylist()
    assert all(row["score_content"] == pytest.approx(row["score"], rel=1e-5) for row in personal)
    silent = [row for row in rows.to_pylist() if row["user_id"] == "zoe"]
    assert silent and all((row["score_content"], row["reason"]) == (None, None) for row in silent)
    assert all(row["popularity"] == row["score"] for row in silent)
    seven = [row for row in rows.to_pylist() if row["item_id"] == "item-7"]
    assert all(row["reason"] is None for row in seven)  # no relation names it
    reasons = {row["reason"] for row in personal if row["item_id"] == "item-6"}
    assert any(reason and reason.endswith("-by-> ann <-by- item-6") for reason in reasons)
    assert rows.schema.field("attributes").type == ATTRIBUTES_TYPE


def test_age_is_counted_from_the_first_event(workspace: Workspace, tmp_path: Path) -> None:
    export_rankers(workspace.storage, score(workspace).run_id, str(tmp_path), progress=NoProgress())
    rows = ds.dataset(tmp_path, format="parquet").to_table()
    ages = dict(zip(rows["item_id"].to_pylist(), rows["age_days"].to_pylist(), strict=True))
    assert ages["item-0"] == pytest.approx((2_000_350 - 1_000_000) / 86_400)


def test_an_unchanged_run_is_not_written_again(workspace: Workspace, tmp_path: Path) -> None:
    run = score(workspace).run_id
    silent = NoProgress()
    first = export_rankers(workspace.storage, run, str(tmp_path), with_reasons=False, progress=silent)
    (tmp_path / "part-00001.parquet").unlink()
    second = export_rankers(workspace.storage, run, str(tmp_path), with_reasons=False, progress=silent)
    assert (first.num_files, second.num_files, second.num_unchanged) == (4, 1, 3)
    assert export_rankers(workspace.storage, run, str(tmp_path), progress=silent).num_files == 4
    longer = score(workspace, k=4).run_id
    (tmp_path / "part-00002.parquet").unlink()
    (tmp_path / "part-00002.parquet").mkdir()  # what is written before it is of the longer run, and stays
    with pytest.raises(OSError):
        export_rankers(workspace.storage, longer, str(tmp_path), progress=silent)
    (tmp_path / "part-00002.parquet").rmdir()
    assert export_rankers(workspace.storage, run, str(tmp_path), progress=silent).num_files == 4
