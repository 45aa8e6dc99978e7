"""One driver at a time: a live one is named, a dead one is taken over, and nothing is left behind."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.local_processes import wait_until
from semrec.errors import RunBusyError, WorkspaceWriteError
from semrec.workspace.lease import Lease
from semrec.workspace.storage import Storage

HOLDER = """
import sys, time
from semrec.workspace.lease import Lease
from semrec.workspace.storage import Storage
with Lease(Storage(sys.argv[1]), "runs/r", heartbeat_s=0.05):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "w"))


@pytest.fixture
def holder(storage: Storage) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lease."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, storage.uri], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def body(storage: Storage) -> dict[str, Any]:
    return storage.read_json("runs/r/lease.json")


def foreign(storage: Storage, *, age_s: float, **changes: Any) -> None:
    """A lease of a driver on another host, whose last heartbeat is `age_s` old."""
    held = {"holder": "them", "host": "elsewhere", "boot": "b", "pid": 7, "started": "1", **changes}
    storage.write_json("runs/r/lease.json", {**held, "heartbeat_s": time.time() - age_s})


def test_a_free_lease_is_held_and_removed(storage: Storage) -> None:
    with Lease(storage, "runs/r") as lease:
        assert lease.taken_over_from is None
        assert (body(storage)["pid"], body(storage)["host"]) == (os.getpid(), platform.node())
    assert storage.list_sizes("runs/r") == {}
    assert "lease runs/r" not in {thread.name for thread in threading.enumerate()}


def test_a_lease_is_removed_when_the_work_fails(storage: Storage) -> None:
    with pytest.raises(ZeroDivisionError), Lease(storage, "runs/r"):
        _ = 1 / 0
    assert storage.list_sizes("runs/r") == {}


def test_who_does_not_take_a_lease_can_ask_whether_it_is_held(storage: Storage) -> None:
    asked = Lease(storage, "runs/r")
    assert not asked.is_held()
    with Lease(storage, "runs/r"):
        assert asked.is_held()
    assert not asked.is_held()
    for age_s in (1, 3_600):
        foreign(storage, age_s=age_s)
        assert asked.is_held() == (age_s == 1)


def test_a_live_holder_is_named(storage: Storage) -> None:
    with Lease(storage, "runs/r"), pytest.raises(RunBusyError) as caught, Lease(storage, "runs/r"):
        pass
    holder = f"process {os.getpid()} on {re.escape(platform.node())}"
    named = re.fullmatch(rf"runs/r is being worked on by {holder}, heartbeat (\d+) s ago", caught.value.got)
    wait = re.search(r"submit again in (\d+) s", caught.value.remedy)
    assert (
        named and wait and 29 <= int(named[1]) + int(wait[1]) <= 31
    )  # the seconds are rounded, and a busy machine takes some


def test_leases_of_other_folders_are_free(storage: Storage) -> None:
    with Lease(storage, "runs/r"), Lease(storage, "runs/other") as other:
        assert other.taken_over_from is None


def test_another_live_process_is_refused_and_once_dead_taken_over_at_once(
    storage: Storage, holder: subprocess.Popen[str]
) -> None:
    with pytest.raises(RunBusyError, match=f"process {holder.pid} on"), Lease(storage, "runs/r"):
        pass
    holder.kill()
    holder.wait()
    with Lease(storage, "runs/r") as lease:  # its heartbeat is younger than the 30 s of expiry
        assert lease.taken_over_from == f"process {holder.pid} on {platform.node()}"
        assert body(storage)["pid"] == os.getpid()


def test_a_process_that_got_the_pid_of_a_dead_holder_is_not_taken_for_it(storage: Storage) -> None:
    with Lease(storage, "runs/r"):
        mine = body(storage)
    storage.write_json("runs/r/lease.json", {**mine, "holder": "them", "started": "12345"})
    with Lease(storage, "runs/r") as lease:
        assert lease.taken_over_from == f"process {os.getpid()} on {platform.node()}"


def test_a_pid_of_another_host_or_boot_says_nothing(storage: Storage) -> None:
    for changes in ({"host": "elsewhere"}, {"host": platform.node(), "boot": "an earlier one"}):
        foreign(storage, age_s=1, pid=2**22 + 1, **changes)
        with pytest.raises(RunBusyError), Lease(storage, "runs/r"):
            pass


@pytest.mark.parametrize(("age_s", "taken"), [(0, False), (29, False), (31, True)])
def test_a_heartbeat_counts_until_it_expires(storage: Storage, age_s: float, taken: bool) -> None:
    foreign(storage, age_s=age_s)
    if taken:
        with Lease(storage, "runs/r") as lease:
            assert lease.taken_over_from == "process 7 on elsewhere"
        assert storage.list_sizes("runs/r") == {}
    else:
        with pytest.raises(RunBusyError, match=f"process 7 on elsewhere, heartbeat {age_s} s ago"):
            Lease(storage, "runs/r").__enter__()
        assert body(storage)["holder"] == "them"


@pytest.mark.parametrize("raw", [b"", b"{", b"[]"])
def test_an_unreadable_lease_is_taken_over(storage: Storage, raw: bytes) -> None:
    storage.write_bytes("runs/r/lease.json", raw)
    with Lease(storage, "runs/r") as lease:
        assert lease.taken_over_from == "an unreadable lease"


def test_the_heartbeat_keeps_a_lease_alive_beyond_its_expiry(storage: Storage) -> None:
    with Lease(storage, "runs/r", heartbeat_s=0.05, expiry_s=0.5):
        first = body(storage)["heartbeat_s"]
        time.sleep(1.0)
        assert body(storage)["heartbeat_s"] > first + 0.5
        with pytest.raises(RunBusyError), Lease(storage, "runs/r", expiry_s=0.5):
            pass


def test_without_heartbeats_the_lease_expires(storage: Storage) -> None:
    with Lease(storage, "runs/r", heartbeat_s=60):
        time.sleep(0.3)
        with Lease(storage, "runs/r", expiry_s=0.2) as lease:
            assert lease.taken_over_from == f"process {os.getpid()} on {platform.node()}"


def test_a_holder_that_was_taken_over_leaves_the_new_lease_alone(storage: Storage) -> None:
    with Lease(storage, "runs/r", heartbeat_s=0.05) as old:
        foreign(storage, age_s=0)
        old._thread.join(5)
        assert not old._thread.is_alive()
        assert body(storage)["holder"] == "them"
    assert body(storage)["holder"] == "them"


def test_a_heartbeat_that_cannot_be_written_is_tried_again(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = WorkspaceWriteError("full", expected="space", remedy="Free some.")
    with Lease(storage, "runs/r", heartbeat_s=0.05):
        failed = threading.Event()

        def write_bytes(path: str, data: bytes) -> None:
            failed.set()
            raise fault

        monkeypatch.setattr(storage, "write_bytes", write_bytes)
        assert failed.wait(5)
        monkeypatch.undo()
        first = body(storage)["heartbeat_s"]
        wait_until(lambda: body(storage)["heartbeat_s"] != first, 5.0, report=lambda: "the heartbeat stopped")


def test_a_create_that_the_store_repeated_is_not_taken_for_another_driver(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Storage.create_exclusive

    def repeated(self: Storage, path: str, data: bytes) -> bool:
        create(self, path, data)
        return create(self, path, data)  # as when the answer to the first request was lost

    monkeypatch.setattr(Storage, "create_exclusive", repeated)
    with Lease(storage, "runs/r") as lease:
        assert lease.taken_over_from is None
