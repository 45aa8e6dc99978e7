"""The log of answers: what is in it, when its files change, and that it never makes an answer wait."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from helpers.local_processes import wait_until
from semrec.errors import InputError
from semrec.online import telemetry
from semrec.online.telemetry import Answer, AnswerCounts, AnswerLog, hashed_user, user_key


def answer(n: int = 0, user: str | None = "u", **changes: Any) -> Answer:
    given = {"time_s": 1_700_000_000.25, "request_id": f"r{n}", "endpoint": "recommendations", "user_id": user}
    return Answer(**{**given, "item_ids": ["a", "ü"], "release": "rel", "overlay": 3, "ms": 1.23456, **changes})


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()]


def test_a_line_says_what_was_answered(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path / "made" / "here")
    assert log.add(answer()) and log.add(answer(1, None))
    assert log.close() == AnswerCounts(written=2, waiting=0, dropped=0, failed=0)
    first, second = lines(tmp_path / "made" / "here")
    assert first == {
        "time": "2023-11-14T22:13:20.250+00:00",
        "request_id": "r0",
        "endpoint": "recommendations",
        "user": "u",
        "items": ["a", "ü"],
        "release": "rel",
        "overlay": 3,
        "ms": 1.235,
    }
    assert (second["request_id"], second["user"]) == ("r1", None)
    assert log.close().written == 2 and log.add(answer()) is False and log.counts.dropped == 1


def test_lines_are_written_without_a_close_soon(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path)
    log.add(answer())
    wait_until(lambda: log.counts.written == 1)
    assert len(lines(tmp_path)) == 1
    log.close()


def test_user_ids_are_hashed_under_a_key(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path, hash_key=b"secret")
    for user in ("u", "u", "other", None, "\ud800"):
        log.add(answer(user=user))
    assert log.close().written == 5
    users = [line["user"] for line in lines(tmp_path)]
    assert users[0] == users[1] == hashlib.blake2b(b"u", key=b"secret", digest_size=16).hexdigest()
    assert len({*users}) == 4 and users[3] is None
    raw = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"other" not in raw and b"secret" not in raw


def test_the_key_of_a_folder_is_made_once_and_is_its_owners(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "here"
    with ThreadPoolExecutor(8) as pool:
        (key,) = {*pool.map(lambda _: user_key(folder), range(32))}
    assert len(key) == 32 and user_key(folder) == key
    log = AnswerLog(folder, hash_key=key)
    log.add(answer(user="somebody"))
    log.close()
    assert [line["user"] for line in lines(folder)] == [hashed_user("somebody", key)]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}
    assert sorted(file.suffix for file in folder.iterdir()) == [".jsonl", ".key"]
    (folder / "users.key").write_bytes(b"short")
    with pytest.raises(InputError, match="with 5 bytes"):
        user_key(folder)
    with pytest.raises(InputError, match="for the log of answers"):
        user_key(folder / "users.key" / "below a file")


def test_files_end_by_size(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path, max_file_bytes=2_000)
    for n in range(500):
        log.add(answer(n))
    log.close()
    files = sorted(tmp_path.iterdir(), key=lambda file: file.name)
    sizes = [file.stat().st_size for file in files]
    assert all(2_000 <= size < 2_200 for size in sizes[:-1]) and sizes[-1] < 2_200
    assert [line["request_id"] for line in lines(tmp_path)] == [f"r{n}" for n in range(500)]


def test_files_end_by_age_and_an_idle_log_leaves_none_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "_LOOK_S", 0.05)
    log = AnswerLog(tmp_path, max_file_age_s=0.1)
    log.add(answer(0))
    opened = f"/proc/{os.getpid()}/fd"
    wait_until(lambda: log.counts.written == 1)
    wait_until(lambda: not any(str(tmp_path) in str(os.path.realpath(fd)) for fd in Path(opened).iterdir()))
    log.add(answer(1))
    log.close()
    assert [len(file.read_text().splitlines()) for file in tmp_path.iterdir()] == [1, 1]


def test_a_full_queue_drops_and_counts_and_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk_answers, line = threading.Event(), telemetry._line

    def slow_line(*arguments: Any) -> bytes:
        disk_answers.wait()
        return line(*arguments)

    monkeypatch.setattr(telemetry, "_line", slow_line)
    log = AnswerLog(tmp_path, max_queued=100)
    log.add(answer(0))
    wait_until(lambda: log._listener._waiting.empty())  # the thread has it and waits for the disk
    accepted = [log.add(answer(n)) for n in range(1, 1_001)]
    assert (sum(accepted), log.counts) == (100, AnswerCounts(written=0, waiting=101, dropped=900, failed=0))
    disk_answers.set()
    assert log.close() == AnswerCounts(written=101, waiting=0, dropped=900, failed=0)
    assert [line["request_id"] for line in lines(tmp_path)] == [f"r{n}" for n in range(101)]


def test_a_disk_that_refuses_costs_lines_not_answers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "log"
    folder.write_text("a file stands where the folder should be")
    log = AnswerLog(folder)
    with caplog.at_level(logging.WARNING):
        for n in range(3):
            assert log.add(answer(n))
            wait_until(lambda n=n: log.counts.failed == n + 1, 5.0)
    assert log.counts == AnswerCounts(written=0, waiting=0, dropped=0, failed=3)
    assert caplog.text.count("answers are not logged") == 1
    folder.unlink()
    log.add(answer(3))
    assert log.close() == AnswerCounts(written=1, waiting=0, dropped=0, failed=3)
    assert [line["request_id"] for line in lines(folder)] == ["r3"]


FULL = """
import resource, signal, sys
from semrec.online.telemetry import AnswerLog, Answer
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, resource.RLIM_INFINITY))
import time
log = AnswerLog(sys.argv[1])
def add(count):
    for n in range(count):
        log.add(Answer(0.0, f"r{n}", "e", "u", ["i"] * 10, "r", 0, 1.0))
add(3)
while log.counts.written < 3: time.sleep(0.01)
add(20)
while log.counts.waiting: time.sleep(0.01)
print(log.close())
"""


def test_a_write_that_was_cut_leaves_whole_lines(tmp_path: Path) -> None:
    """The file may have 1,000 bytes: of the sixth line a piece gets through before it is refused."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, timeout=180, env=environment
    )
    assert done.stdout == "AnswerCounts(written=5, waiting=0, dropped=0, failed=18)\n", done.stderr
    assert [line["request_id"] for line in lines(tmp_path)] == ["r0", "r1", "r2", "r0", "r1"]


def test_impossible_settings_are_refused(tmp_path: Path) -> None:
    wrong: list[dict[str, Any]] = [{"max_queued": 0}, {"max_file_bytes": -1}, {"max_file_age_s": 0}, {"hash_key": b""}]
    for settings in wrong:
        with pytest.raises(InputError):
            AnswerLog(tmp_path, **settings)
