"""What all tests share: an offline environment, the shared data, and the minutes of each area at the end of the run."""

from __future__ import annotations

import atexit
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from helpers.module_scheduling import ModuleScheduling, num_workers

TESTS = Path(__file__).resolve().parent
_seconds: Counter[str] = Counter()
_VERDICT = pytest.StashKey[int]()


def pytest_configure() -> None:
    # Here and not in a fixture: Ray reads its mode on import, and modules import Ray when they are collected. A local
    # ray.init() without the mode writes a token file, after which `ray start` on the same machine turns tokens on.
    os.environ["RAY_AUTH_MODE"] = "disabled"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - by default 15, with which workers stand still on a busy machine
    os.environ["HF_HUB_OFFLINE"] = "1"
    hypothesis.settings.register_profile("semrec", deadline=None)  # a busy machine is not a failure
    hypothesis.settings.load_profile("semrec")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets. `SEMREC_SHARED` names it; by default it is `shared` beside the checkout."""
    folder = Path(os.environ.get("SEMREC_SHARED", TESTS.parents[1] / "shared"))
    if not folder.is_dir():
        pytest.skip(f"NOT TESTED: no shared data at {folder}; set SEMREC_SHARED to the folder that holds data/")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        marker = item.get_closest_marker("area")
        area = marker.args[0] if marker else _area_of(item.path)
        item.user_properties.append(("area", area))  # a report takes them from a worker to the process that prints


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    return num_workers(config)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ModuleScheduling:
    return ModuleScheduling(config, log)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    area = dict(report.user_properties).get("area", "other")
    _seconds[area] += report.duration  # set-up and tear-down count too


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("minutes by area")
    for area, seconds in _seconds.most_common():
        terminalreporter.write_line(f"{seconds / 60:7.2f} min  {area}")
    terminalreporter.write_line(f"{_seconds.total() / 60:7.2f} min  all")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_VERDICT] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends the process once everything is printed and every exit handler has run.

    After twenty minutes of Ray, torch and numba in one process, the interpreter's own teardown was seen to crash in native
    code, which would turn a verdict that was already given into another.
    """
    if _VERDICT not in config.stash:
        return
    atexit._run_exitfuncs()
    config.get_terminal_writer().flush()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(config.stash[_VERDICT])


def _area_of(path: Path) -> str:
    """The folder of the test below tests/, two levels at most: semrec/data, cluster, jobs."""
    folder = path.parent.relative_to(TESTS) if path.is_relative_to(TESTS) else Path("other")
    return "/".join(folder.parts[:2]) or "tests"
