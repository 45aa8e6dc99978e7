"""Leases a run to one driver at a time, by heartbeats. It spares double work; correctness never rests on it."""

from __future__ import annotations

import contextlib
import os
import platform
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

from semrec.errors import CorruptArtefactError, MissingArtefactError, RunBusyError
from semrec.workspace.storage import Storage, json_bytes

__all__ = ["Lease"]

_HEARTBEAT_S = 5.0
_EXPIRY_S = 30.0


class Lease:
    """Held while a driver works on `folder`; use as a context manager.

    Raises RunBusyError, naming the holder, while another driver's heartbeat is younger than `expiry_s`. A holder on this
    host whose process is gone is taken over at once.
    """

    def __init__(
        self, storage: Storage, folder: str, *, heartbeat_s: float = _HEARTBEAT_S, expiry_s: float = _EXPIRY_S
    ):
        self._storage, self._path, self._folder = storage, f"{folder}/lease.json", folder
        self._heartbeat_s, self._expiry_s = heartbeat_s, expiry_s
        self._holder = uuid.uuid4().hex
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease {folder}", daemon=True)
        self.taken_over_from: str | None = None

    def __enter__(self) -> Lease:
        if not self._storage.create_exclusive(self._path, self._body()):
            self._take_over()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._read().get("holder") == self._holder:
            self._storage.delete(self._path)

    def check(self) -> None:
        """Raises RunBusyError where another driver has taken it over, as after a pause of this process."""
        lease = self._read()
        if lease.get("holder") != self._holder:
            raise RunBusyError(
                f"{self._folder} was taken over by process {lease.get('pid')} on {lease.get('host')}",
                expected="a process that is not stopped for longer than the lease lasts",
                remedy="Wait for the other to end, then submit this again.",
            )

    def is_held(self) -> bool:
        """Whether a living driver holds it, this one included."""
        return not self._is_free(self._read())

    def _take_over(self) -> None:
        previous = self._read()
        if previous.get("holder") == self._holder:
            return  # an object store answered a repeated request: the first one had made it
        age_s = _age_s(previous)
        if not self._is_free(previous):
            name = f"process {previous.get('pid')} on {previous.get('host')}"
            raise RunBusyError(
                f"{self._folder} is being worked on by {name}, heartbeat {age_s:.0f} s ago",
                expected="no other live driver",
                remedy=f"Wait for it to end; if it is dead, submit again in {max(1, self._expiry_s - age_s):.0f} s.",
            )
        self.taken_over_from = (
            f"process {previous.get('pid')} on {previous.get('host')}" if previous else "an unreadable lease"
        )
        self._storage.write_bytes(self._path, self._body())

    def _is_free(self, found: dict[str, Any]) -> bool:
        return _age_s(found) >= self._expiry_s or _is_dead_here(found)

    def _beat(self) -> None:
        while not self._stop.wait(self._heartbeat_s):
            with contextlib.suppress(Exception):  # whatever the store says, the next beat may fare better
                if self._read().get("holder") not in (self._holder, None):
                    return  # taken over while this process slept; records are exclusive, so finishing quietly is safe
                self._storage.write_bytes(self._path, self._body())

    def _body(self) -> bytes:
        own = {"boot": _boot_id(), "host": platform.node(), "pid": os.getpid(), "started": _process_start(os.getpid())}
        return json_bytes({"holder": self._holder, "heartbeat_s": time.time(), **own})

    def _read(self) -> dict[str, Any]:
        try:
            return self._storage.read_json(self._path)
        except (MissingArtefactError, CorruptArtefactError):
            return {}


def _age_s(found: dict[str, Any]) -> float:
    return time.time() - float(found.get("heartbeat_s", 0.0))


def _is_dead_here(found: dict[str, Any]) -> bool:
    if not found:
        return True
    here = found.get("host") == platform.node() and found.get("boot") == _boot_id()
    return here and _process_start(int(found.get("pid", 0))) != found.get("started")


def _boot_id() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""


def _process_start(pid: int) -> str | None:
    """Returns when a process of this host started (clock ticks after boot), which tells a reused pid from the holder."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if stat[0] == "Z" else stat[19]
