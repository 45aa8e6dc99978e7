"""A crash of a process fails the test that it was in; every other test is run and reported. On modules made for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
ENOUGH_S = 500


ABORTS = """
import os
def test_before(): pass
def test_abort(): os.abort()
def test_exit(): os._exit(0)
def test_after(): pass
"""
HANGS = """
import ctypes
def test_before(): pass
def test_hang(): ctypes.PyDLL(None).pause()  # in native code, with the interpreter's lock
def test_after(): pass
"""
FAILS = """
def test_pass(): pass
def test_fail(): assert False
"""


@dataclass(frozen=True)
class Outcome:
    """The verdict of a run: its exit code, what it printed, and its tests by result."""

    exit_code: int
    printed: str
    failed: list[str]
    passed: list[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tests/ with this suite's configuration and none of its modules."""
    shutil.copy(TESTS.parent / "pyproject.toml", tmp_path)
    (tmp_path / "tests/helpers").mkdir(parents=True)
    for name in ("conftest.py", "helpers/__init__.py", "helpers/module_scheduling.py"):
        shutil.copy(TESTS / name, tmp_path / "tests" / name)
    return tmp_path


def run(folder: Path, modules: dict[str, str], *arguments: str, enough_s: float = ENOUGH_S) -> Outcome:
    for name, text in modules.items():
        (folder / "tests" / f"test_{name}.py").write_text(text)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # each worker would spend seconds on what no module here uses
    command = [sys.executable, "-m", "pytest", "-p", "xdist", "-p", "timeout", "--junitxml=report.xml", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=enough_s, check=False
    )
    failed, passed = [], []
    for case in ElementTree.parse(folder / "report.xml").iter("testcase"):
        is_failed = case.find("failure") is not None or case.find("error") is not None
        (failed if is_failed else passed).append(f"{case.get('classname')}.{case.get('name')}".split("test_", 1)[1])
    return Outcome(done.returncode, done.stdout + done.stderr, sorted(failed), sorted(passed))


def test_crashes_and_hangs_fail_their_own_tests_alone(folder: Path) -> None:
    innocent = {f"innocent_{n}": "def test_one(): pass\ndef test_two(): pass\n" for n in range(4)}
    found = run(folder, {"aborts": ABORTS, "fails": FAILS, "hangs": HANGS, **innocent}, "-o", "faulthandler_timeout=10")
    assert found.exit_code == 1, found.printed
    assert found.failed == ["aborts.test_abort", "aborts.test_exit", "fails.test_fail", "hangs.test_hang"]
    others = [f"innocent_{n}.test_{name}" for n in range(4) for name in ("one", "two")]
    expected = ["aborts.test_after", "aborts.test_before", "fails.test_pass", "hangs.test_after", "hangs.test_before"]
    assert found.passed == sorted([*expected, *others])
    assert "crashed while running 'tests/test_aborts.py::test_abort'" in found.printed
    assert "minutes by area" in found.printed


def test_no_crash_at_the_very_end_is_lost(folder: Path) -> None:
    found = run(folder, {"first": "def test_pass(): pass\n", "last": "import os\ndef test_abort(): os.abort()\n"})
    assert (found.exit_code, found.failed, found.passed) == (1, ["last.test_abort"], ["first.test_pass"])


def test_a_replacement_that_works_alone_is_given_more_than_one_test(folder: Path) -> None:
    modules = {
        "first": "import os\ndef test_abort(): os.abort()\ndef test_after(): pass\n",
        "last": "def test_one(): pass\n",
    }
    found = run(folder, modules, "-n", "1", enough_s=120)
    assert (found.exit_code, found.failed) == (1, ["first.test_abort"])
    assert found.passed == ["first.test_after", "last.test_one"]


@pytest.mark.parametrize(("modules", "is_distributed"), [(["a"], False), (["a", "b"], True)])
def test_a_module_alone_runs_in_the_process_that_was_started(
    folder: Path, modules: list[str], is_distributed: bool
) -> None:
    ask = "import os\ndef test_ask(): assert ('PYTEST_XDIST_WORKER' in os.environ) is {}\n"
    paths = [f"tests/test_{name}.py" for name in modules]
    found = run(folder, dict.fromkeys(modules, ask.format(is_distributed)), *paths)
    assert (found.exit_code, len(found.passed)) == (0, len(modules)), found.printed
