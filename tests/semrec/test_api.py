"""The public Python API: cheap to import, what the README shows, and the lists of a run."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import semrec
from helpers.whole_path import ITEM_IDS, directions, make_world, release, score
from semrec.api import OpenRelease
from semrec.errors import InputError, MissingArtefactError, WorkspaceError
from semrec.runs.health import measure_health
from semrec.runs.publish import publish
from semrec.runs.verify import verify_run
from semrec.scoring.reference import ReferenceEngine
from semrec.scoring.types import ItemShard, Queries
from semrec.workspace.folder import Workspace
from semrec.workspace.tables import read_table

README = Path(semrec.__file__).with_name("README.md")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    world = make_world(tmp_path_factory.mktemp("api"), silent_users=["user-77"])
    release(world)
    return world


@pytest.fixture(scope="module")
def opened(workspace: Workspace) -> OpenRelease:
    return semrec.open_workspace(workspace.uri).release()


def test_importing_the_package_loads_nothing_heavy() -> None:
    program = """
import sys
import semrec
names = dir(semrec)
heavy = {"numpy", "torch", "pyarrow", "numba", "pydantic", "ray"} & set(sys.modules)
assert not heavy, heavy
assert {"top_k", "Index", "open_workspace"} <= set(names)
semrec.Index
assert "torch" not in sys.modules and "pyarrow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_every_listed_name_is_there_and_documented() -> None:
    for name in semrec.__all__:
        assert name == "__version__" or getattr(semrec, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'top_k_approximately'"):
        semrec.top_k_approximately  # noqa: B018


def test_the_examples_of_the_readme_run(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    examples = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(examples) == 3
    program = "\n".join(examples).replace('"workspace"', repr(workspace.uri))
    exec(compile(program, str(README), "exec"), {})
    assert re.fullmatch(r"(-?\d\.\d{3}  title of item-\d\n){3}", capsys.readouterr().out)


def test_recommendations_are_the_lists_of_a_run(workspace: Workspace, opened: OpenRelease) -> None:
    run = score(workspace, k=4)
    for part in run.manifest.parts:
        for row in read_table(workspace.storage, part).to_pylist():
            items = opened.recommend(row["user_id"], k=4)
            assert [item.item_id for item in items] == row["item_ids"]
            assert np.array([item.score for item in items], np.float32).tolist() == row["scores"]
            assert all(item.title == f"title of {item.item_id}" for item in items)


def test_an_unknown_user_gets_what_is_popular(opened: OpenRelease) -> None:
    assert opened.recommend("nobody", k=3) == opened.recommend("user-77", k=3) != []


def test_similar_items_are_the_references(opened: OpenRelease) -> None:
    vectors = directions()
    lists = ReferenceEngine(ItemShard.from_vectors(vectors)).top_k(Queries.unfiltered(vectors[2:3]), 8)
    expected = [(ITEM_IDS[row], float(s)) for row, s in zip(lists.rows, lists.scores, strict=True) if row != 2]
    assert [(item.item_id, item.score) for item in opened.similar("item-2", k=5)] == expected[:5]


def test_what_cannot_be_answered_is_refused(tmp_path: Path, opened: OpenRelease) -> None:
    with pytest.raises(WorkspaceError, match="no workspace at"):
        semrec.open_workspace(str(tmp_path))
    Workspace.create(str(tmp_path / "empty"))
    with pytest.raises(MissingArtefactError):
        semrec.open_workspace(str(tmp_path / "empty")).release()
    with pytest.raises(MissingArtefactError, match="item-99"):
        opened.similar("item-99")
    with pytest.raises(InputError, match="K = 0"):
        opened.recommend("user-1", k=0)
    with pytest.raises(InputError, match="genre"):
        opened.recommend("user-1", filters={"genre": ["Drama"]})
    with pytest.raises(InputError, match="filters: 'Drama' for 'genre'"):
        opened.recommend("user-1", filters={"genre": "Drama"})
    for asked in ({"all": []}, {"any": ["Drama"]}, {"all": ["Drama"], "min": 1}):
        with pytest.raises(InputError, match=r'expected \{"all": a list of one value or more\}'):
            opened.recommend("user-1", filters={"genre": asked})
    with pytest.raises(InputError, match="no item has an attribute 'genre'"):
        opened.recommend("user-1", filters={"genre": {"all": ["Drama"]}})


def test_the_live_release_is_opened_before_a_newer_one(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    first = release(world).release_id
    run = score(world)
    verify_run(world.storage, run.run_id)
    measure_health(world.storage, run.run_id)
    publish(world.storage, run.run_id)
    newer = release(world, half_life_days=10.0).release_id
    opened = semrec.open_workspace(str(tmp_path))
    assert first != newer
    assert opened.release().release_id == first
    assert opened.release(newer).release_id == newer
    assert pickle.loads(pickle.dumps(opened)).release().release_id == first
