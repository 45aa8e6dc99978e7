"""Let a node that is about to be taken away finish what it is doing: the preStop hook of Ray's worker pods.

python -m infra.drain --deadline-s 90

Ray is told that the node goes, so that nothing new is started there (and Serve moves its replicas). Then the hook waits until
no worker of the node is busy, at most until the deadline; parts committed in that time need not be done again. (Ray by itself
waits too, after SIGTERM: for half a minute, and for actors that are gone, which ours never are before the run ends.) Nothing
depends on the hook: a part is lost with its worker, not with what the ledger holds, and is done again elsewhere.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Raylet", "busy_workers", "drain", "find_raylets", "main"]

_PROC = Path("/proc")
_POLL_S = 0.5
_QUIET_POLLS = 4  # between two parts a worker is idle for a moment


@dataclass(frozen=True)
class Raylet:
    """Ray's process of a node: its pid, the node's id in hexadecimal, and the address of the GCS."""

    pid: int
    node_id: str
    gcs_address: str


def find_raylets() -> list[Raylet]:
    """The raylets that this process can see; in a pod, one."""
    found = []
    for pid, words in _processes():
        if Path(words[0]).name == "raylet":
            options = dict(
                word.lstrip("-").split("=", 1) for word in words[1:] if word.startswith("--") and "=" in word
            )
            found.append(Raylet(pid, options["node_id"], options["gcs-address"]))
    return found


def busy_workers(raylet: Raylet) -> list[str]:
    """Titles of the raylet's workers that are at work: `ray::Actor.method`; an idle one has no dot in its title."""
    titles = (words[0].split(" ")[0] for pid, words in _processes() if _parent(pid) == raylet.pid)
    return [title for title in titles if title.startswith("ray::") and "." in title]


def drain(raylet: Raylet, deadline_s: float) -> bool:
    """Announces the end of the node and waits; True when its workers became idle (or it ended) before the deadline."""
    ends_s = time.monotonic() + deadline_s
    _announce(raylet, deadline_s)
    quiet = 0
    while time.monotonic() < ends_s:
        quiet = 0 if busy_workers(raylet) else quiet + 1
        if quiet >= _QUIET_POLLS:
            return True
        time.sleep(_POLL_S)
    return False


def main() -> None:
    """Drains every raylet of the pod; always exits 0, because a hook that fails only shortens the time that is left."""
    parser = argparse.ArgumentParser(description="Let this node's Ray workers finish before the pod ends.")
    parser.add_argument("--deadline-s", type=float, default=90.0, help="longest wait; keep it below the pod's grace")
    deadline_s = parser.parse_args().deadline_s
    for raylet in find_raylets():
        idle = drain(raylet, deadline_s)
        print(f"node {raylet.node_id}: {'idle' if idle else 'still busy at the deadline'}", flush=True)


def _announce(raylet: Raylet, deadline_s: float) -> None:
    command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", raylet.gcs_address]
    command += ["--node-id", raylet.node_id, "--reason", "DRAIN_NODE_REASON_PREEMPTION"]
    command += ["--reason-message", "the pod was asked to stop", "--deadline-remaining-seconds", str(int(deadline_s))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=max(1.0, deadline_s / 3))
    except subprocess.TimeoutExpired:
        print("Ray did not take the notice in time", file=sys.stderr)
        return
    if done.returncode:
        print(f"Ray did not take the notice: {done.stderr.strip()[-500:]}", file=sys.stderr)


def _processes() -> Iterator[tuple[int, list[str]]]:
    for folder in _PROC.glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
        except OSError:  # it ended meanwhile
            continue
        if line:
            yield int(folder.name), line.decode(errors="replace").rstrip("\0").split("\0")


def _parent(pid: int) -> int | None:
    try:
        return int((_PROC / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return None


if __name__ == "__main__":
    main()
