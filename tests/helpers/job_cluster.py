"""A Ray cluster started by command from a virtual environment that holds the built wheel, and jobs submitted to it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from helpers.local_processes import family, free_ports

CHECKOUT = Path(__file__).resolve().parents[2]
NODE = "127.0.0.2"  # loopback, where Ray would replace 127.0.0.1 by the machine's address
START_S, JOB_S, END_S = 240, 280, 60


@dataclass(frozen=True)
class Job:
    """A finished submission: Ray's verdict, the exit codes of the driver and of `ray job submit`, the job's log."""

    status: str
    driver_exit_code: int
    submit_exit_code: int
    log: str


@dataclass(frozen=True)
class JobCluster:
    """A running cluster, its jobs API, and the environment of its processes."""

    python: Path
    environment: dict[str, str]
    dashboard: str

    def submit(self, *entrypoint: str, cwd: Path, working_dir: Path | None = None) -> Job:
        """Runs `ray job submit` in the folder `cwd` and waits for its end."""
        name = f"test-{uuid.uuid4().hex[:8]}"
        uploads = ["--working-dir", str(working_dir)] if working_dir else []
        command = ["job", "submit", "--address", self.dashboard, "--submission-id", name, *uploads, "--", *entrypoint]
        done = subprocess.run(
            ray_command(self.python, *command), cwd=cwd, env=self.environment, timeout=JOB_S, capture_output=True
        )
        found = self._get(name)
        assert found.get("driver_exit_code") is not None, (found, done.stderr.decode())
        return Job(found["status"], found["driver_exit_code"], done.returncode, self._get(f"{name}/logs")["logs"])

    def _get(self, path: str) -> dict:
        with urllib.request.urlopen(f"{self.dashboard}/api/jobs/{path}", timeout=30) as answer:
            return json.load(answer)


def ray_command(python: Path, *arguments: str) -> list[str]:
    """The `ray` command of an environment whose packages lie elsewhere, so that it has no script of its own."""
    return [str(python), "-P", "-m", "ray.scripts.scripts", *arguments]


def install_wheel(folder: Path) -> Path:
    """Builds the wheel from a copy of the checkout, installs it into a new environment; returns its interpreter."""
    source, home = folder / "source", folder / "venv"
    skip = shutil.ignore_patterns("__pycache__", "tests", "terraform", "build", "dist", ".*", "*.egg-info")
    shutil.copytree(CHECKOUT, source, ignore=skip)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder), str(source)]
    subprocess.run([*pip, *build], check=True, timeout=START_S)
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    (wheel,) = folder.glob("semrec-*.whl")
    install = ["--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([*pip, *install], check=True, timeout=START_S)
    # The dependencies come from the running interpreter, after the environment's own packages. A folder that is named in
    # a .pth file has its own .pth files left alone, so an editable semrec there stays out.
    (own,) = (home / "lib").glob("python*/site-packages")
    beneath = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (own / "beneath.pth").write_text("\n".join(beneath))
    return python


@contextlib.contextmanager
def started_cluster(python: Path, cwd: Path) -> Iterator[JobCluster]:
    """A head node with two CPUs, for the time of the block; afterwards none of its processes is left."""
    ports = free_ports(4, NODE)
    temp = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # short: its sockets' paths may have 107 bytes
    environment = _environment(python)
    with (temp / "head.log").open("w") as log:
        head = subprocess.Popen(
            ray_command(python, *_start_options(temp, ports)), cwd=cwd, env=environment, stdout=log, stderr=log,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    try:
        _await_agent(f"http://{NODE}:{ports[3]}/api/local_raylet_healthz", head, temp / "head.log")
        yield JobCluster(python, environment, f"http://127.0.0.1:{ports[1]}")
    finally:
        _end(head)
        shutil.rmtree(temp, ignore_errors=True)


def _start_options(temp: Path, ports: list[int]) -> list[str]:
    gcs, dashboard, client, agent = map(str, ports)
    return [
        *("start", "--head", "--block", "--disable-usage-stats", "--temp-dir", str(temp)),
        *("--node-ip-address", NODE, "--port", gcs, "--ray-client-server-port", client),
        *("--include-dashboard", "true", "--dashboard-host", "127.0.0.1", "--dashboard-port", dashboard),
        *("--dashboard-agent-listen-port", agent),  # the default is one fixed port; without an agent no job starts
        *("--num-cpus", "2", "--num-gpus", "0", "--object-store-memory", str(80 * 1024**2)),
    ]


def _environment(python: Path) -> dict[str, str]:
    """This one's, without what would lead to other code or another cluster."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHON", "VIRTUAL_ENV"))}
    path = f"{python.parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
    return {**kept, "PATH": path, "RAY_AUTH_MODE": "disabled", "HF_HUB_OFFLINE": "1"}


def _await_agent(url: str, head: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and head.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            if answer.read() == b"success":
                return
        time.sleep(0.25)
    raise RuntimeError(f"no cluster after {START_S} s:\n{log.read_text()}")


def _end(head: subprocess.Popen) -> None:
    """Ends the head and whatever it started, by process id. Raises when something had to be left running."""
    ended = {process.pid: process for process in family(head.pid)}
    head.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        head.wait(END_S)
    ended |= {process.pid: process for process in family(head.pid)}
    _, alive = psutil.wait_procs(ended.values(), timeout=END_S / 3)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _, alive = psutil.wait_procs(alive, timeout=END_S / 3)
    assert not alive, f"left running: {alive}"
