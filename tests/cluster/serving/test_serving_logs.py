"""What goes wrong in a replica stands in Serve's log file at once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from logging.handlers import MemoryHandler
from pathlib import Path

import pytest

from cluster.serving.http.problems import ProblemError, log_problem
from cluster.serving.logs import log_with_serve


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[Path]:
    """Serve's logger as it stands in a replica: a file behind a buffer of a thousand records."""
    serve, kept = logging.getLogger("ray.serve"), logging.getLogger("ray.serve").handlers[:]
    file = logging.FileHandler(tmp_path / "replica.log")
    serve.handlers[:] = [MemoryHandler(1_000, target=file, flushLevel=logging.ERROR)]
    yield tmp_path / "replica.log"
    serve.handlers[:] = kept
    file.close()
    for name in ("semrec", "cluster"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


def test_errors_and_warnings_are_written_at_once_and_once(log_file: Path) -> None:
    for _ in range(2):  # a replica and a shard in one process
        log_with_serve()
    try:
        raise IndexError("index 178 is out of bounds")
    except IndexError as error:
        log_problem("recommend_user", error, ProblemError(500, "something failed here"))
    logging.getLogger("semrec.online.users").warning("look here")
    text = log_file.read_text()
    assert text.count("recommend_user failed") == 1
    assert "\nTraceback (most recent call last):\n" in text
    assert text.count("\nIndexError: index 178 is out of bounds\n") == 1
    assert text.count("look here") == 1
