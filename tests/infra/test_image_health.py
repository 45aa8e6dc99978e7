"""The image's health check and its token mode, on a real Ray head started with the image's environment."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from image_steps import exec_form, read_stages
from local_processes import free_port, free_ports

ROOT = Path(__file__).resolve().parents[2]
FINAL = read_stages(ROOT / "infra/docker/Dockerfile")["semrec"]
IMAGE_ENVIRONMENT = dict(pair.split("=", 1) for value in FINAL.values("ENV") for pair in value.split())
AGENT_PORT = "52365"  # what the check asks, and what Ray takes when nothing else is said


def _check(agent_port: str) -> int:
    words = exec_form(FINAL.values("HEALTHCHECK")[0])
    assert any(f":{AGENT_PORT}/" in word for word in words)
    return subprocess.run([word.replace(AGENT_PORT, agent_port) for word in words], capture_output=True).returncode


def _healthy_within(agent_port: str, seconds: float) -> bool:
    ends_s = time.monotonic() + seconds
    while _check(agent_port):
        if time.monotonic() > ends_s:
            return False
        time.sleep(1)
    return True


@pytest.fixture(scope="module")
def head() -> Iterator[tuple[str, str]]:
    """(agent's port, dashboard's port) of a head in token mode; ended by its process group, never by `ray stop`."""
    if shutil.which("wget") is None:
        pytest.skip("NOT TESTED: no wget here, so the health check of the image was not run")
    folder = tempfile.mkdtemp(prefix="ray-")  # short: the paths of sockets end at 107 bytes
    gcs, agent, dashboard, metrics, client = map(str, free_ports(5))
    command = [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "start",
        "--head",
        "--num-cpus=0",
        f"--port={gcs}",
        "--block",
    ]
    command += [
        f"--dashboard-agent-listen-port={agent}",
        f"--dashboard-port={dashboard}",
        f"--ray-client-server-port={client}",
    ]
    command += [f"--metrics-export-port={metrics}", f"--temp-dir={folder}"]
    environment = {
        **os.environ,
        **IMAGE_ENVIRONMENT,
        "RAY_AUTH_TOKEN": "sesame",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    }
    started = subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        yield agent, dashboard
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        started.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_head_becomes_healthy_without_showing_its_token(head: tuple[str, str]) -> None:
    assert "RAY_AUTH_TOKEN" not in os.environ
    assert _healthy_within(head[0], 90)


def test_nothing_there_is_not_healthy() -> None:
    if shutil.which("wget") is None:
        pytest.skip("NOT TESTED: no wget here, so the health check of the image was not run")
    assert _check(str(free_port())) != 0


@pytest.mark.parametrize(("token", "expected"), [("sesame", 200), ("wrong", 403)])
def test_only_the_token_opens_the_jobs(head: tuple[str, str], token: str, expected: int) -> None:
    assert _healthy_within(head[0], 90)
    request = Request(f"http://127.0.0.1:{head[1]}/api/jobs/", headers={"Authorization": f"Bearer {token}"})
    try:
        status = urlopen(request, timeout=30).status
    except HTTPError as error:
        status = error.code
    assert status == expected


def test_without_a_token_the_image_starts_no_cluster(tmp_path: Path) -> None:
    environment = {**os.environ, **IMAGE_ENVIRONMENT, "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--port={free_port()}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode != 0
    assert "token" in (done.stdout + done.stderr).lower()
