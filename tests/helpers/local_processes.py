"""Processes of this machine: ports for them, waiting for what they do, and their end with all that they started."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable

import psutil

__all__ = ["accepts", "family", "free_port", "free_ports", "kill_family", "wait_until"]

_END_S = 30


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Ports of an address that nobody has at the moment, no two alike."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((host, 0))
        return [int(one.getsockname()[1]) for one in sockets]


def free_port(host: str = "127.0.0.1") -> int:
    """One of them."""
    return free_ports(1, host)[0]


def accepts(address: str) -> bool:
    """Whether somebody takes connections at host:port."""
    host, _, port = address.partition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
        return True
    return False


def wait_until(
    condition: Callable[[], bool],
    within_s: float = 60.0,
    *,
    every_s: float = 0.05,
    report: Callable[[], str] = lambda: "the awaited state did not come",
) -> None:
    """Waits until a condition holds; fails with what `report` says then."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s: {report()}"
        time.sleep(every_s)


def family(leader: int) -> list[psutil.Process]:
    """The descendants of a process, and its session, itself with them where it leads one."""
    found = psutil.Process(leader).children(recursive=True) if psutil.pid_exists(leader) else []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(process.pid) == leader:
                found.append(process)
    return found


def kill_family(process: subprocess.Popen[bytes]) -> None:
    """`kill -9` of a process and its family, by process id."""
    for one in family(process.pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()  # psutil compares the start time: never a stranger with the same id
    process.kill()
    process.wait(_END_S)
