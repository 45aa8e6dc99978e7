"""A Ray that a command starts for itself is closed: to other machines by its addresses, to everybody by its token."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from cluster.local_ray import start_ray
from semrec.errors import NoWorkersError

# Works twice in one process, as a second Ray must not be refused for the token of the first.
COMMAND = """
import json, os, psutil, subprocess, sys
import ray
from cluster.compute import ComputeOptions, open_compute

def listening():
    own = psutil.Process()
    pids = {process.pid for process in (own, *own.children(recursive=True))}
    return sorted({row.laddr.ip for row in psutil.net_connections("tcp") if row.status == "LISTEN" and row.pid in pids})

def listed(**environment):
    code = "import sys; from ray._raylet import GcsClient; "
    code += "print(len(GcsClient(address=sys.argv[1]).internal_kv_keys(b'', None, timeout=20)))"
    address = ray.get_runtime_context().gcs_address
    others = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run([sys.executable, "-c", code, address], env={**others, **environment}, capture_output=True, text=True)
    return done.stdout.strip() or done.stderr[-2000:]

def chosen():
    return {name: value for name, value in os.environ.items() if name.startswith(("RAY_AUTH", "RAY_ENABLE", "RAY_worker"))}

before = chosen()
told = []
for is_last in [False, True][-int(sys.argv[1]):]:
    with open_compute(ComputeOptions()) as compute:
        token = os.environ.get("RAY_AUTH_TOKEN", "")
        told.append({
            "result": compute.run(sum, [1, 2]), "addresses": listening(), "token": token,
            "niceness": compute.run(os.nice, 0) - os.nice(0),
            "known": listed(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token),
            "refused": is_last and [listed(), listed(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64)],
        })
print(json.dumps({"runs": told, "is_restored": chosen() == before}))
"""


def run_command(home: Path, times: int, **environment: str) -> dict[str, Any]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, str(times)], capture_output=True, text=True, timeout=240,
        env={**kept, "HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("home")
    return {**run_command(home, 2), "home": home}


def test_every_listener_is_on_loopback(told: dict[str, Any]) -> None:
    for run in told["runs"]:
        assert set(run["addresses"]) <= {"127.0.0.1", "::ffff:127.0.0.1"}, run["addresses"]


def test_the_clusters_store_is_closed_to_whoever_lacks_the_token(told: dict[str, Any]) -> None:
    assert all("AuthenticationError" in answer for answer in told["runs"][-1]["refused"])
    for run in told["runs"]:
        assert run["result"] == 3 and int(run["known"]) > 0  # and the query is one that is answered
    assert len({run["token"] for run in told["runs"]}) == 2


def test_its_workers_have_the_priority_of_the_command(told: dict[str, Any]) -> None:
    assert {run["niceness"] for run in told["runs"]} == {0}


def test_nothing_of_it_stays(told: dict[str, Any]) -> None:
    assert told["is_restored"]
    assert not (told["home"] / ".ray").exists()  # a token there would turn tokens on for every later `ray start`


def test_what_the_user_chose_stays(tmp_path: Path) -> None:
    told = run_command(tmp_path, 1, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="sesame" * 6, RAY_worker_niceness="3")
    assert told["runs"][0]["niceness"] == 3
    assert {run["token"] for run in told["runs"]} == {"sesame" * 6}
    assert int(told["runs"][0]["known"]) > 0 and "AuthenticationError" in told["runs"][0]["refused"][1]


def test_a_start_that_failed_is_ended_and_tried_again() -> None:
    """As Ray does on a machine that is too busy: its processes run, and nobody waits for them any longer."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> int:
        assert not any(psutil.pid_exists(process.pid) for process in started)
        if len(started) == 2:
            return len(started)
        words = [sys.executable, "-c", "import time; time.sleep(300)", f"{ray.__path__[0]}/core/raylet"]
        started.append(subprocess.Popen(words))
        raise Exception("The current node timed out during startup.")

    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    assert start_ray(start) == 2
    assert bystander.poll() is None
    bystander.kill()


def test_a_ray_that_never_starts_is_a_typed_error() -> None:
    tries = []

    def start() -> None:
        tries.append(1)
        raise Exception("The current node timed out during startup.")

    with pytest.raises(NoWorkersError, match="did not start on this machine in 4 tries"):
        start_ray(start)
    assert len(tries) == 4


def test_wrong_arguments_are_not_tried_again() -> None:
    tries = []

    def start() -> None:
        tries.append(1)
        raise ValueError("Resource quantities must be nonnegative.")

    with pytest.raises(ValueError, match="nonnegative"):
        start_ray(start)
    assert len(tries) == 1
