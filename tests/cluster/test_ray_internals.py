"""What Ray does not promise stands in two files, one of them for Serve, and is there in the Ray that is installed."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import ray

from cluster.ray_internals import WORKER_NICENESS

ROOT = Path(__file__).parents[2]
HOME = ROOT / "cluster" / "ray_internals.py"
SERVE = ROOT / "cluster" / "serving" / "ray_serve.py"


def private_imports(path: Path) -> set[str]:
    """Names under an underscore that a file imports from Ray."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "ray":
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.partition(".")[0] == "ray"}
    return {name for name in names if any(part.startswith("_") for part in name.split("."))}


def test_only_two_files_import_private_names_of_ray() -> None:
    files = [path for package in ("cluster", "jobs", "infra") for path in (ROOT / package).rglob("*.py")]
    assert {path for path in files if private_imports(path)} == {HOME, SERVE}


@pytest.mark.parametrize("path", [HOME, SERVE], ids=lambda path: path.name)
def test_each_private_name_is_in_the_list(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr.startswith("_")}
    names = {name.rpartition(".")[2] for name in private_imports(path)} | attributes
    assert names and {name for name in names if name not in (ast.get_docstring(tree) or "")} == set()


def test_the_installed_ray_has_what_is_only_named() -> None:
    assert ray.__version__.startswith("2.60.")
    core = Path(ray._raylet.__file__).read_bytes()
    assert WORKER_NICENESS.removeprefix("RAY_").encode() in core
