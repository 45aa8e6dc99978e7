"""The log of answers: written by a thread of its own to rotated JSONL files, and never waited for by an answer."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import secrets
import threading
import time
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Final

from semrec.errors import InputError

__all__ = ["Answer", "AnswerCounts", "AnswerLog", "hashed_user", "user_key"]

_log = logging.getLogger(__name__)
_DRAIN_S: Final = 0.2  # what a killed process may lose
_RETRY_S: Final = 1.0
_HASH_BYTES: Final = 16
_KEY_FILE: Final = "users.key"
_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as it went out. `time_s` is seconds since 1970 UTC, `overlay` the overlay's sequence, `ms` its duration."""

    time_s: float
    request_id: str
    endpoint: str
    user_id: str | None
    item_ids: Sequence[str]
    release: str
    overlay: int
    ms: float


@dataclass(frozen=True)
class AnswerCounts:
    """Answers since the log was opened; every one is in exactly one of the four."""

    written: int
    waiting: int
    dropped: int  # the queue was full
    failed: int  # the disk refused


class AnswerLog:
    """Appends answers to `<folder>/answers-<time>-<pid>-<random>-<n>.jsonl`, a new file when one is large or old enough.

    `add` appends to a bounded queue and returns: no disk, no waiting. A full queue and a disk that refuses cost
    lines, which are counted, never answers. With `hash_key` (up to 64 bytes) a line has `hashed_user` in the place of the
    user id. What is made here its owner alone may read. `close` writes what waits; a process that is killed loses at most
    the last 0.2 s, and may leave a cut last line.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        max_queued: int = 100_000,
        max_file_bytes: int = 64 << 20,
        max_file_age_s: float = 300.0,
        hash_key: bytes | None = None,
    ) -> None:
        if min(max_queued, max_file_bytes, max_file_age_s) <= 0 or (
            hash_key is not None and not 0 < len(hash_key) <= 64
        ):
            raise InputError(
                f"max_queued = {max_queued}, max_file_bytes = {max_file_bytes}, max_file_age_s = {max_file_age_s}"
                " or a hash_key of another length",
                expected="positive limits, and a key of 1 to 64 bytes if any",
                remedy="Correct the setting.",
            )
        self._max_queued, self._hash_key = max_queued, hash_key
        self._file = _RotatedFile(Path(folder), max_file_bytes, max_file_age_s)
        self._queue: deque[Answer] = deque()
        self._written = self._dropped = self._failed = 0
        self._counting, self._closing = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._drain, name="answer-log", daemon=True)
        self._thread.start()

    def add(self, answer: Answer) -> bool:
        """Queues an answer; False when it was dropped because the queue is full, or the log closed."""
        if len(self._queue) >= self._max_queued or self._closing.is_set():
            with self._counting:
                self._dropped += 1
            return False
        self._queue.append(answer)
        return True

    @property
    def counts(self) -> AnswerCounts:
        return AnswerCounts(self._written, len(self._queue), self._dropped, self._failed)

    def close(self, timeout_s: float = 10.0) -> AnswerCounts:
        """Writes what waits and closes the file. Closing again changes nothing."""
        self._closing.set()
        self._thread.join(timeout_s)
        return self.counts

    def _drain(self) -> None:
        while not self._closing.wait(_DRAIN_S):
            self._write_queued()
            self._file.rotate_if_old()
        self._write_queued()
        self._file.close()

    def _write_queued(self) -> None:
        while self._queue:
            lines = [self._line(self._queue[n]) for n in range(min(len(self._queue), 1_000))]
            is_written = self._file.write(lines)
            # Counted before they leave the queue: an answer is at no moment in none of the counts.
            self._written += len(lines) * is_written
            self._failed += len(lines) * (not is_written)
            for _ in lines:
                self._queue.popleft()

    def _line(self, answer: Answer) -> bytes:
        user = answer.user_id
        if user is not None and self._hash_key is not None:
            user = hashed_user(user, self._hash_key)
        body = {
            "time": datetime.fromtimestamp(answer.time_s, UTC).isoformat(timespec="milliseconds"),
            "request_id": answer.request_id,
            "endpoint": answer.endpoint,
            "user": user,
            "items": list(answer.item_ids),
            "release": answer.release,
            "overlay": int(answer.overlay),
            "ms": round(float(answer.ms), 3),
        }
        return json.dumps(body, separators=(",", ":")).encode() + b"\n"


def hashed_user(user_id: str, key: bytes) -> str:
    """What stands for a user in the log: keyed BLAKE2b of the id's UTF-8 bytes, 32 hexadecimal digits."""
    return hashlib.blake2b(user_id.encode("utf-8", "surrogatepass"), key=key, digest_size=_HASH_BYTES).hexdigest()


def user_key(folder: str | Path) -> bytes:
    """The key under which a log's users are hashed: 32 random bytes in `<folder>/users.key`, made when there is none.

    Who has the file can tell which lines are a user's (`hashed_user`); once it is deleted nobody can. Raises InputError for
    a folder that cannot be used, or a file that is no key.
    """
    file = Path(folder) / _KEY_FILE
    try:
        _make_private(Path(folder))
        if not file.exists():
            _make_key(file)
        key = file.read_bytes()
    except OSError as error:
        raise InputError(
            f"folder {folder} for the log of answers: {error}",
            expected="a folder that this process may read and write",
            remedy="Correct --telemetry, or the folder's permissions.",
        ) from None
    if len(key) != _KEY_BYTES:
        raise InputError(
            f"{file} with {len(key)} bytes",
            expected=f"the {_KEY_BYTES} bytes that were written there",
            remedy="Restore the file, or delete it: users then get other hashes.",
        )
    return key


def _make_key(file: Path) -> None:
    """Makes the key appear as a whole; of several processes that do so at once the first wins."""
    draft = file.with_name(f".{uuid.uuid4().hex}.key")
    with open(draft, "xb", opener=_open_private) as opened:
        opened.write(secrets.token_bytes(_KEY_BYTES))
    with contextlib.suppress(FileExistsError):
        os.link(draft, file)
    draft.unlink()


def _make_private(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class _RotatedFile:
    """The file that is being written. A failed write leaves whole lines only, and the next one tries again."""

    def __init__(self, folder: Path, max_bytes: int, max_age_s: float) -> None:
        self._folder, self._max_bytes, self._max_age_s = folder, max_bytes, max_age_s
        self._run, self._number = uuid.uuid4().hex[:8], 0
        self._file: FileIO | None = None
        self._size = 0
        self._opened_s = self._retry_s = 0.0

    def write(self, lines: list[bytes]) -> bool:
        """Appends lines and hands them to the system; False when it refused them."""
        if time.monotonic() < self._retry_s:
            return False
        try:
            file = self._file or self._open()
            data = memoryview(b"".join(lines))
            while data:  # a disk that is nearly full takes a piece before it refuses
                data = data[file.write(data) :]
            self._size += sum(map(len, lines))
        except OSError as error:
            if not self._retry_s:
                _log.warning("answers are not logged: %s", error)  # once, until a write succeeds
            self._retry_s = time.monotonic() + _RETRY_S
            self._cut()
            return False
        self._retry_s = 0.0
        if self._size >= self._max_bytes:
            self.close()
        return True

    def rotate_if_old(self) -> None:
        if self._file and time.monotonic() - self._opened_s >= self._max_age_s:
            self.close()

    def close(self) -> None:
        file, self._file = self._file, None
        if file:
            with contextlib.suppress(OSError):
                file.close()

    def _open(self) -> FileIO:
        _make_private(self._folder)
        started = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        name = f"answers-{started}-{os.getpid()}-{self._run}-{self._number:06d}.jsonl"
        self._file = FileIO(self._folder / name, "xb", opener=_open_private)
        self._number += 1
        self._size, self._opened_s = 0, time.monotonic()
        return self._file

    def _cut(self) -> None:
        """Takes back a line that was cut by a full disk, and gives the file up."""
        if self._file:
            with contextlib.suppress(OSError):
                self._file.truncate(self._size)
        self.close()
