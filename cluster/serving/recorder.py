"""Count every request of a replica, and log the answers that went out."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from typing import Any

from cluster.serving.execute import Answer
from cluster.serving.stats import Statistics
from semrec.online.answers import item_ids_of
from semrec.online.telemetry import Answer as LoggedAnswer
from semrec.online.telemetry import AnswerLog

__all__ = ["RequestRecorder"]


class RequestRecorder:
    """Used by all protocols of a replica, from its event loop alone. `log` is the log of answers, None: they are not logged."""

    def __init__(self, stats: Statistics, log: AnswerLog | None = None) -> None:
        self._stats, self._log = stats, log
        self._numbers = itertools.count(1)

    def next_request_id(self) -> str:
        """A name for a request whose caller gave it none."""
        return f"{self._stats.replica}-{next(self._numbers)}"

    def record(
        self, endpoint: str, status: int, started_s: float, request_id: str = "", answers: Iterable[Answer] = ()
    ) -> None:
        """Counts a request that began at `started_s` of `time.perf_counter`, and the answers in its response.

        `status` is that of HTTP, for gRPC the one that HTTP would have.
        """
        took_s = time.perf_counter() - started_s
        self._stats.count_request(endpoint, status, took_s)
        for answer in answers:
            release_id = answer.snapshot.served.release_id
            self._stats.count_answer(release_id, answer.num_excluded)
            if self._log is not None:
                item_ids = item_ids_of(answer.ranked.hits)
                overlay = answer.snapshot.overlay.sequence
                self._log.add(
                    LoggedAnswer(
                        time.time(), request_id, endpoint, answer.user_id, item_ids, release_id, overlay, took_s * 1e3
                    )
                )

    def state(self) -> dict[str, Any]:
        """How the log of answers fares; nothing without one."""
        if self._log is None:
            return {}
        counts = self._log.counts
        return {
            "written": counts.written,
            "waiting": counts.waiting,
            "dropped": counts.dropped,
            "failed": counts.failed,
        }

    def close(self) -> None:
        """Writes what the log of answers holds."""
        if self._log is not None:
            self._log.close()
