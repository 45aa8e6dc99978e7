"""Log the answers that went out: a thread of its own writes them to rotated JSONL files, and no answer waits for it."""
# ruff: noqa: N802 - the names of the methods of logging that are overridden

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import queue
import secrets
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import FileIO
from logging.handlers import BaseRotatingHandler, QueueHandler, QueueListener
from pathlib import Path
from typing import Any, Final

from semrec.errors import InputError

__all__ = ["Answer", "AnswerCounts", "AnswerLog", "hashed_user", "user_key"]

_log = logging.getLogger(__name__)
_LOOK_S: Final = 1.0  # between looks whether the file of an idle log is old enough to be closed
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
    user id. What is made here its owner alone may read. `close` writes what waits; a process that is killed loses what was
    still in the queue, and may leave a cut last line.
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
        self._num_accepted, self._is_closed = 0, False
        waiting: queue.Queue[Any] = queue.Queue(max_queued)
        self._queue = _BoundedQueue(waiting)
        self._files = _AnswerFiles(Path(folder), max_file_bytes, max_file_age_s, hash_key)
        self._listener = _Listener(waiting, self._files)
        self._listener.start()

    def add(self, answer: Answer) -> bool:
        """Queues an answer; False when it was dropped because the queue is full, or the log closed. For one thread alone."""
        num_dropped = self._queue.num_dropped
        if self._is_closed:
            self._queue.num_dropped += 1
            return False
        self._queue.emit(logging.LogRecord("answers", logging.INFO, "", 0, answer, None, None))
        is_queued = self._queue.num_dropped == num_dropped
        self._num_accepted += is_queued
        return is_queued

    @property
    def counts(self) -> AnswerCounts:
        written, failed = self._files.num_written, self._files.num_failed
        # An answer that was taken off the queue but is not written yet is still waiting.
        return AnswerCounts(written, self._num_accepted - written - failed, self._queue.num_dropped, failed)

    def close(self) -> AnswerCounts:
        """Writes what waits and closes the file. Closing again changes nothing."""
        if not self._is_closed:
            self._is_closed = True
            self._listener.stop()
            self._files.close()
        return self.counts


class _BoundedQueue(QueueHandler):
    """Queues records as they are, and counts those for which there is no room."""

    num_dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record  # written in this process: nothing to format beforehand

    def handleError(self, record: logging.LogRecord) -> None:
        self.num_dropped += 1


class _Listener(QueueListener):
    """Writes what is queued; while nothing is, closes a file that has become old."""

    def __init__(self, waiting: queue.Queue[Any], files: _AnswerFiles) -> None:
        super().__init__(waiting, files)
        self._waiting, self._files = waiting, files

    def dequeue(self, block: bool) -> Any:
        while True:
            try:
                return self._waiting.get(block, _LOOK_S)
            except queue.Empty:
                self._files.close_old()

    def enqueue_sentinel(self) -> None:
        self._waiting.put(None)  # waits for room, where the library's own would fail on a full queue


class _AnswerFiles(BaseRotatingHandler):
    """The file that is being written. A failed write leaves whole lines only, and the next one tries again."""

    def __init__(self, folder: Path, max_bytes: int, max_age_s: float, hash_key: bytes | None) -> None:
        super().__init__(folder / "answers.jsonl", "ab", delay=True)  # each file has a name of its own: see _open
        self._folder, self._max_bytes, self._max_age_s, self._hash_key = folder, max_bytes, max_age_s, hash_key
        self._run, self._number = uuid.uuid4().hex[:8], 0
        self._file: FileIO | None = None
        self._size, self._opened_s = 0, 0.0
        self.num_written = self.num_failed = 0
        self._is_failing = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self.shouldRollover(record):
                self.doRollover()
            answer: Any = record.msg
            self._write(_line(answer, self._hash_key))
        except OSError as error:
            if not self._is_failing:
                _log.warning("answers are not logged: %s", error)  # once, until a write succeeds
            self._is_failing = True
            self.num_failed += 1
            return
        self._is_failing = False
        self.num_written += 1

    def shouldRollover(self, record: logging.LogRecord | None = None) -> bool:
        """Whether the file is large or old enough."""
        is_old = time.monotonic() - self._opened_s >= self._max_age_s
        return self._file is not None and (self._size >= self._max_bytes or is_old)

    def doRollover(self) -> None:
        """Closes the file; the next answer opens another. Files are neither renamed nor deleted: others collect them."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def close_old(self) -> None:
        """Ends a file that is large or old enough."""
        with self.lock or contextlib.nullcontext():
            if self.shouldRollover():
                self.doRollover()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.doRollover()
        super().close()

    def _write(self, line: bytes) -> None:
        file = self._file = self._file or self._open_next()
        rest = memoryview(line)
        try:
            while rest:  # a disk that is nearly full takes a piece before it refuses
                rest = rest[file.write(rest) :]
        except OSError:
            # Takes back the piece, and keeps the file: on a full disk a new one for each answer would be an empty one.
            file.truncate(self._size)
            raise
        self._size += len(line)

    def _open_next(self) -> FileIO:
        _make_private(self._folder)
        started = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        name = f"answers-{started}-{os.getpid()}-{self._run}-{self._number:06d}.jsonl"
        file = FileIO(str(self._folder / name), "ab", opener=_open_private)
        self._number += 1
        self._size, self._opened_s = 0, time.monotonic()
        return file


def _line(answer: Answer, hash_key: bytes | None) -> bytes:
    """The line of an answer, with its user hashed where there is a key."""
    user = answer.user_id
    if user is not None and hash_key is not None:
        user = hashed_user(user, hash_key)
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
