"""What a killed process left is removed by the next one that makes such a folder; what a living one has stays."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from semrec.workspace.scratch import ScratchFolder

KILLED = """
import os, pathlib, signal
from semrec.workspace.scratch import ScratchFolder
folder = ScratchFolder("test")
pathlib.Path(folder.name, "rows").write_bytes(b"spilled")
print(folder.name, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def in_an_hour(folder: Path) -> None:
    """As it looks when an hour has passed."""
    then_s = folder.stat().st_mtime - 3_600
    os.utime(folder, (then_s, then_s))


def test_what_killed_processes_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    killed = subprocess.run(
        [sys.executable, "-c", KILLED], env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, check=False
    )
    left = Path(killed.stdout.decode().strip())
    assert (left / "rows").read_bytes() == b"spilled"
    with ScratchFolder("test"):
        assert left.exists()  # it may be one that its process has yet to lock
    in_an_hour(left)
    with ScratchFolder("other"):
        assert left.exists()
    with ScratchFolder("test") as held:
        assert not left.exists() and Path(held).is_dir()
        in_an_hour(Path(held))
        with ScratchFolder("test"):
            assert Path(held).is_dir()
    assert not list(tmp_path.iterdir())


def test_what_could_not_be_locked_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    lock = fcntl.flock
    monkeypatch.setattr("fcntl.flock", no_locks)
    with ScratchFolder("test") as held:
        in_an_hour(Path(held))
        monkeypatch.setattr("fcntl.flock", lock)
        with ScratchFolder("test"):
            assert Path(held).is_dir()


def no_locks(*_: object) -> None:
    raise OSError("no locks here")


def test_it_goes_with_its_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    num_open, folder = num_open_files(), ScratchFolder("test")
    assert num_open_files() == num_open + 1
    with pytest.warns(ResourceWarning, match="Implicitly cleaning up"):
        del folder
    assert not list(tmp_path.iterdir()) and num_open_files() == num_open


def num_open_files() -> int:
    return len([*Path("/proc/self/fd").iterdir()])
