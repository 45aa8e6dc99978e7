"""Every exporter, with the real engine where it is installed: what stands there is what the release has."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from helpers.whole_path import ITEM_IDS, directions, make_world, release
from semrec.bench.generated import write_catalogue
from semrec.errors import InputError
from semrec.export.base import EXPORTERS, Exporter, open_exporter
from semrec.export.parquet import ParquetExporter
from semrec.export.release import export_release, verify_export
from semrec.progress import NoProgress
from semrec.release.reader import Release
from semrec.workspace.folder import Workspace

_PACKAGES = {"qdrant": "qdrant_client", "milvus": "milvus_lite", "lancedb": "lancedb", "faiss": "faiss"}
_ODD_IDS = ["it's", 'a "quoted" id', "日本", "a/b\\c", "x" * 300]


@pytest.fixture(params=sorted(EXPORTERS))
def exporter(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    package = _PACKAGES.get(name)
    if package:
        pytest.importorskip(package, reason=f"NOT TESTED: {package} is absent (extra `test`)")
    return name


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_world(tmp_path_factory.mktemp("export") / "w")


def place(name: str, folder: Path) -> str:
    return str(folder / "milvus.db") if name == "milvus" else str(folder / name)


def rows(ids: list[str], vectors_ND: np.ndarray, payload: str = "{}") -> pa.Table:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(vectors_ND.reshape(-1)), vectors_ND.shape[1])
    return pa.table([pa.array(ids), vectors, pa.array([payload] * len(ids))], names=["id", "vector", "payload"])


def test_rows_are_put_replaced_deleted_and_found_exactly(exporter: str, tmp_path: Path) -> None:
    numbers = np.random.default_rng(1)
    ids = _ODD_IDS + [f"item-{n}" for n in range(300)]
    vectors_ND = numbers.standard_normal((len(ids), 16)).astype(np.float32)
    queries_QD = numbers.standard_normal((7, 16)).astype(np.float32)

    def opened(*, empty: bool = False) -> Exporter:
        return open_exporter(exporter, place(exporter, tmp_path), "things", 16, empty=empty)

    target = opened(empty=True)
    target.put(rows(ids, vectors_ND, '{"title": "\u00fc"}'))
    target.close()
    vectors_ND[3:9] *= -2
    target = opened()
    target.put(rows(ids[3:9], vectors_ND[3:9]))
    gone = [0, 1, 2, 3, 4, 20]
    target.delete([*(ids[n] for n in gone), "nobody"])
    target.put(rows(ids[3:5], vectors_ND[3:5]))
    gone = [0, 1, 2, 20]
    target.close()
    target = opened()
    assert target.count() == len(ids) - 4
    scores_QN = queries_QD @ vectors_ND.T
    scores_QN[:, gone] = -np.inf
    for query, answer in zip(scores_QN, target.search(queries_QD, 10), strict=True):
        assert [name for name, _ in answer] == [ids[n] for n in np.argsort(-query)[:10]]
        assert [score for _, score in answer] == pytest.approx(np.sort(query)[::-1][:10].tolist(), rel=1e-5, abs=1e-6)
    target.close()
    target = opened(empty=True)
    assert target.count() == 0
    target.close()


def test_a_release_stands_there_and_only_changes_are_written_again(
    exporter: str, workspace: Workspace, tmp_path: Path
) -> None:
    there = place(exporter, tmp_path)
    write_catalogue(workspace, ITEM_IDS, directions())
    first = Release(workspace.storage, release(workspace).release_id)
    report = export_release(first, exporter, there, progress=NoProgress())
    assert (report.num_put, report.num_deleted, report.num_unchanged) == (8, 0, 0)
    again = export_release(first, exporter, there, progress=NoProgress())
    assert (again.num_put, again.num_deleted, again.num_unchanged) == (0, 0, 8)
    verified = verify_export(first, exporter, there, k=3)
    assert verified.ok and verified.num_users == 8
    changed_ID = directions()[:7].copy()
    changed_ID[2] = [0.6, 0.8]
    write_catalogue(workspace, ITEM_IDS[:7], changed_ID)
    second = Release(workspace.storage, release(workspace).release_id)
    assert not verify_export(second, exporter, there, k=3).ok
    report = export_release(second, exporter, there, progress=NoProgress())
    assert (report.num_put, report.num_deleted, report.num_unchanged) == (1, 1, 6)
    assert verify_export(second, exporter, there, k=3).ok
    users = export_release(second, exporter, there, kind="users", progress=NoProgress())
    assert (users.collection, users.num_put) == ("semrec_users", 8)


def test_an_export_that_was_cut_off_is_done_again_as_a_whole(workspace: Workspace, tmp_path: Path, monkeypatch) -> None:
    write_catalogue(workspace, ITEM_IDS, directions())
    opened = Release(workspace.storage, release(workspace).release_id)
    export_release(opened, "parquet", str(tmp_path), progress=NoProgress())
    with monkeypatch.context() as patch, pytest.raises(OSError, match="gone"):
        patch.setattr(ParquetExporter, "close", _fail)
        export_release(opened, "parquet", str(tmp_path), progress=NoProgress())
    assert export_release(opened, "parquet", str(tmp_path), progress=NoProgress()).num_put == 8


def _fail(self: object) -> None:
    raise OSError("gone")


def test_a_place_that_somebody_else_changed_is_not_verified(workspace: Workspace, tmp_path: Path) -> None:
    write_catalogue(workspace, ITEM_IDS, directions())
    opened = Release(workspace.storage, release(workspace).release_id)
    export_release(opened, "parquet", str(tmp_path), progress=NoProgress())
    target = open_exporter("parquet", str(tmp_path), "semrec_items", 2, empty=False)
    target.put(rows(["item-5"], np.array([[-3, -3]], np.float32)))
    target.close()
    verified = verify_export(opened, "parquet", str(tmp_path), k=3)
    assert not verified.ok and verified.num_rows == verified.num_expected and verified.unequal


def test_unknown_exporters_and_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="exporter 'redis'; expected faiss or lancedb or"):
        open_exporter("redis", str(tmp_path), "things", 2, empty=True)
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    with pytest.raises(InputError, match=r"pip install 'semrec\[qdrant\]'"):
        open_exporter("qdrant", str(tmp_path), "things", 2, empty=True)
