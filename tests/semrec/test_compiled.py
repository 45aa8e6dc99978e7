"""Code that is kept on disk is never older than any source that it was compiled from."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from semrec import compiled

CALLEE = """
from semrec.compiled import compiled

SHIFT = {shift}


@compiled
def shifted(x):
    return x + SHIFT
"""
CALLER = """
from semrec.callee import shifted
from semrec.compiled import compiled


@compiled
def shifted_twice(x):
    return shifted(shifted(x))
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of this name with a loop and, in another file, a function that it calls."""
    folder = tmp_path / "checkout" / "semrec"
    folder.mkdir(parents=True)
    shutil.copy(compiled.__file__, folder)
    (folder / "__init__.py").touch()
    (folder / "caller.py").write_text(CALLER)
    write_callee(folder, shift=1)
    return folder


def write_callee(package: Path, *, shift: int) -> None:
    (package / "callee.py").write_text(CALLEE.format(shift=shift))


def result(package: Path, **environment: str) -> str:
    """What a new process computes from 0."""
    command = [sys.executable, "-c", "from semrec.caller import shifted_twice; print(shifted_twice(0))"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA")}
    home = str(home_of(package))
    done = subprocess.run(
        command, env={**clean, "HOME": home, **environment}, cwd=package.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def home_of(package: Path) -> Path:
    return package.parents[1] / "home"


def kept(root: Path) -> dict[Path, int]:
    """The files of machine code and when they were written."""
    return {path: path.stat().st_mtime_ns for path in root.rglob("*.code")}


def test_a_changed_callee_changes_the_result(package: Path) -> None:
    assert result(package) == "2"
    write_callee(package, shift=10)
    assert result(package) == "20"


def test_unchanged_sources_are_not_compiled_again(package: Path) -> None:
    result(package)
    before = kept(home_of(package))
    assert len(before) == 2
    (package / "other.py").write_text("# a source without compiled code\n")
    result(package)
    assert kept(home_of(package)) == before


def test_the_same_sources_elsewhere_are_not_compiled_again(package: Path) -> None:
    result(package)
    before = kept(home_of(package))
    unpacked = shutil.copytree(package.parent, package.parents[1] / "unpacked") / package.name
    (unpacked / "caller.py").touch()
    assert result(unpacked) == "2"
    assert kept(home_of(package)) == before


def test_code_of_another_signature_is_not_taken(package: Path) -> None:
    result(package)
    (first, second) = kept(home_of(package))
    shutil.copy(first, second)  # as after a write that failed
    assert result(package) == "2"


def test_code_is_kept_where_numba_is_told(package: Path, tmp_path: Path) -> None:
    assert result(package, NUMBA_CACHE_DIR=str(tmp_path / "told")) == "2"
    assert len(kept(tmp_path / "told")) == 2
    assert not kept(package)
    write_callee(package, shift=10)
    assert result(package, NUMBA_CACHE_DIR=str(tmp_path / "told")) == "20"


def test_without_a_writable_home_code_is_kept_beside_the_source(package: Path) -> None:
    home_of(package).touch()  # nobody, the superuser included, can make a folder in it now
    assert result(package) == "2"
    assert len(kept(package / "__pycache__")) == 2
    write_callee(package, shift=10)
    assert result(package) == "20"


def test_where_nothing_can_be_written_the_result_is_the_same(package: Path, tmp_path: Path) -> None:
    (package / "__pycache__").touch()
    home_of(package).touch()
    assert result(package) == "2"
    assert not kept(tmp_path)
    write_callee(package, shift=10)
    assert result(package) == "20"


def test_code_that_nobody_asked_for_in_a_month_is_removed(package: Path) -> None:
    result(package)
    (first,) = (home_of(package) / ".cache" / "semrec").glob("semrec-*")
    for shift, age_days in ((2, 29), (3, 31)):
        write_callee(package, shift=shift)
        os.utime(first, (time.time() - age_days * 86_400,) * 2)
        result(package)
        assert first.exists() == (age_days < 30)


def test_compiled_functions_use_no_constant_of_other_sources() -> None:
    """A constant is compiled in as well, so it must stand in a file that the hash covers."""
    sources = {path.resolve(): ast.parse(path.read_text()) for path in compiled.compiled_sources()}
    root = Path(compiled.__file__).parents[1]
    assert len(sources) >= 8
    for path, tree in sources.items():
        foreign = {
            alias.asname or alias.name
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("semrec.")
            for alias in node.names
            if (root / f"{str(node.module).replace('.', '/')}.py").resolve() not in sources
        }
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef) and function.decorator_list:
                names = {
                    node.id for statement in function.body for node in ast.walk(statement) if isinstance(node, ast.Name)
                }
                decorators = {ast.unparse(decorator).partition("(")[0] for decorator in function.decorator_list}
                assert not decorators & {"compiled", "register_jitable"} or not names & foreign, (
                    f"{path}: {function.name}"
                )
