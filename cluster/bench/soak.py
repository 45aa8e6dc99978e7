"""Measures serving under a steady load while releases switch, replicas are killed and the proxy is killed once."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import psutil

from cluster.bench.serving import serving_requests, started_server
from cluster.compute import Compute
from cluster.stages.release import build_release
from cluster.stages.score import score_users
from cluster.stages.verify import verify
from semrec.bench.load import Load, steady
from semrec.errors import NoWorkersError
from semrec.progress import Progress
from semrec.release.reader import Release
from semrec.runs.gates import Allowed
from semrec.runs.live import read_live, require_live
from semrec.runs.publish import publish
from semrec.settings import ReleaseSettings, ScoreSettings
from semrec.workspace.folder import Workspace

__all__ = ["Soak", "soak"]

_REPLICA: Final = "ServeReplica:semrec:recommender"
_PROXY: Final = "haproxy"
_LOOK_S: Final = 5.0
_SETTLE_S: Final = 60.0  # memory of the first minute is that of starting
_OTHER_HALF_LIFE_DAYS: Final = 90.0
_OTHER_SETTINGS = Allowed(other_settings=True)


@dataclass(frozen=True)
class Soak:
    """The results of a soak. `memory_slope_mb_per_min` is of all processes of the service together, by least squares."""

    load: Load
    num_switches: int
    num_replicas_killed: int
    num_proxies_killed: int
    memory_mb: float  # at the end
    memory_slope_mb_per_min: float


@dataclass
class _Watch:
    """The processes of the service, with the memory of each."""

    root: psutil.Process
    points: list[tuple[float, float]] = field(default_factory=list)

    def find(self, words: str) -> list[psutil.Process]:
        processes = []
        for process in self.root.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if words in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                    processes.append(process)
        return sorted(processes, key=lambda process: process.create_time())

    def measure(self) -> None:
        total = 0
        for process in self.root.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                memory = process.memory_info()
                total += memory.rss - memory.shared  # mapped release files are shared by all
        self.points.append((time.monotonic(), total / 1e6))

    def slope(self) -> float:
        began_s = self.points[0][0] + _SETTLE_S
        kept = [point for point in self.points if point[0] >= began_s] or self.points
        seconds, megabytes = np.array(kept).T
        return float(np.polyfit(seconds / 60, megabytes, 1)[0]) if len(kept) > 1 else 0.0


def soak(
    workspace: Workspace, *, minutes: float, rate: float, num_switches: int, compute: Compute, progress: Progress
) -> Soak:
    """Serves the live pair by two replicas under `rate` requests a second; kills one of them every minute.

    Between switches the live pair and a second one, built from the same inputs, take turns; the first is live at the end.
    """
    pairs = _two_pairs(workspace, compute, progress)
    requests = serving_requests(workspace.uri, None)["recommend_user"]
    command = [sys.executable, "-m", "jobs.serve_release", "--workspace", workspace.uri, "--replicas", "2"]
    seconds = minutes * 60
    with started_server(command, "/readyz") as (url, _):
        watch = _Watch(_server_process(command))
        host, port = url.removeprefix("http://").split(":")
        done: list[Load] = []
        client = threading.Thread(
            target=lambda: done.append(steady(host, int(port), requests, rate=rate, seconds=seconds))
        )
        client.start()
        counts = _disturb(watch, pairs, workspace, seconds, num_switches, progress)
        client.join()
    publish(workspace.storage, pairs[0], _OTHER_SETTINGS)
    return Soak(done[0], *counts, watch.points[-1][1], watch.slope())


def _disturb(
    watch: _Watch, pairs: tuple[str, str], workspace: Workspace, seconds: float, num_switches: int, progress: Progress
) -> tuple[int, int, int]:
    """Does what is due at each moment until the end: how often it switched, killed a replica, killed the proxy."""
    done = {"switch": 0, "replica": 0, "proxy": 0}

    def switch() -> None:
        done["switch"] += 1
        publish(workspace.storage, pairs[done["switch"] % 2], _OTHER_SETTINGS)

    def kill(name: str, words: str) -> Callable[[], None]:
        def action() -> None:
            found = watch.find(words)
            if found:
                found[0].kill()
                done[name] += 1

        return action

    plan: list[tuple[float, str, Callable[[], None]]] = [
        *((seconds * (n + 1) / (num_switches + 1), "switch", switch) for n in range(num_switches)),
        *((60.0 * n + 30, "kill a replica", kill("replica", _REPLICA)) for n in range(int(seconds // 60))),
        (seconds * 0.45, "kill the proxy", kill("proxy", _PROXY)),
    ]
    began_s = time.monotonic()
    for due_s, name, action in [*sorted(plan, key=lambda entry: entry[0]), (seconds, "end", lambda: None)]:
        for _ in _until(began_s + due_s):
            watch.measure()
        progress.note(f"{due_s:.0f} s: {name}")
        action()
    return done["switch"], done["replica"], done["proxy"]


def _until(deadline_s: float) -> Iterator[None]:
    while (left_s := deadline_s - time.monotonic()) > 0:
        yield
        time.sleep(min(_LOOK_S, left_s))


def _two_pairs(workspace: Workspace, compute: Compute, progress: Progress) -> tuple[str, str]:
    """Returns the live run, and one of a release with another half-life; both verified, the first live."""
    storage = workspace.storage
    live = require_live(storage)
    release = Release(storage, live.release)
    embedding = release.manifest.settings.embedding_name
    settings: dict[str, Any] = {"eligibility": release.manifest.settings.eligibility}
    other = build_release(
        workspace,
        ReleaseSettings(half_life_days=_OTHER_HALF_LIFE_DAYS, **settings),
        embedding=embedding,
        compute=compute,
        progress=progress,
    )
    k = int(storage.read_json(f"runs/{live.run}/plan.json")["settings"]["k"])
    run = score_users(
        workspace, ScoreSettings(k=k), compute=compute, progress=progress, release_id=other.release_id
    ).run_id
    verify(workspace, run, compute=compute, progress=progress)
    now = read_live(storage)
    assert now is not None and now.run == live.run
    return live.run, run


def _server_process(command: list[str]) -> psutil.Process:
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[: len(command)] == command:
                return process
    raise NoWorkersError("the server has gone", expected="a running server", remedy="Look at its log.")
