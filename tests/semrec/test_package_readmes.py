"""The examples of the packages' README files run as they stand, over one small scored workspace."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import semrec
from helpers.whole_path import make_world, release, score

# changes last: its example changes the catalogue
PACKAGES = (
    "workspace",
    "release",
    "runs",
    "planning",
    "reports",
    "graph",
    "lexical",
    "export",
    "changes",
    "demo",
    "bench",
)


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the examples take as given."""
    workspace = make_world(tmp_path_factory.mktemp("w"))
    return {"workspace": workspace, "run_id": score(workspace, release_id=release(workspace).release_id).run_id}


@pytest.mark.parametrize("package", PACKAGES)
def test_the_example_runs(names: dict[str, Any], package: str) -> None:
    path = Path(semrec.__file__).parent / package / "README.md"
    (example,) = re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(example, str(path), "exec"), dict(names))
