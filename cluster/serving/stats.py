"""What a replica counts: answers by endpoint and status, their durations, batches, releases."""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from typing import Any, Final

__all__ = ["Statistics"]

_EDGES_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Statistics:
    """Counts of one process since it started. Answers are counted by the event loop alone: no lock."""

    def __init__(self, replica: str) -> None:
        self.replica, self._started_s = replica, time.monotonic()
        self.answers: Counter[tuple[str, int]] = Counter()
        self.events: Counter[str] = Counter()
        self._buckets: defaultdict[str, list[int]] = defaultdict(lambda: [0] * (len(_EDGES_S) + 1))
        self._sums_s: Counter[str] = Counter()
        self._reported: Counter[tuple[str, int]] = Counter()
        self._reported_events: Counter[str] = Counter()

    def answered(self, endpoint: str, status: int, took_s: float) -> None:
        """Counts one answer."""
        self.answers[endpoint, status] += 1
        self._buckets[endpoint][bisect_left(_EDGES_S, took_s)] += 1
        self._sums_s[endpoint] += took_s  # type: ignore[assignment]

    def noted(self, event: str) -> None:
        """Counts something that happened, such as a release switch; called by other threads, one at a time."""
        self.events[event] += 1

    def to_json(self) -> dict[str, Any]:
        """For /v1/stats."""
        by_endpoint: dict[str, dict[str, Any]] = {}
        for (endpoint, status), count in sorted(self.answers.items()):
            entry = by_endpoint.setdefault(endpoint, {"answers": {}})
            entry["answers"][str(status)] = count
        for endpoint, entry in by_endpoint.items():
            buckets = self._buckets[endpoint]
            entry["p50_s"], entry["p99_s"] = _quantile(buckets, 0.5), _quantile(buckets, 0.99)
        return {
            "replica": self.replica,
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - self._started_s, 3),
            "endpoints": by_endpoint,
            "events": dict(sorted(self.events.items())),
        }

    def to_prometheus(self, gauges: dict[str, float]) -> bytes:
        """The text format of Prometheus; `replica` labels every line, since a proxy picks which replica is asked."""
        label = f'replica="{self.replica}"'
        lines = ["# TYPE semrec_requests_total counter"]
        for (endpoint, status), count in sorted(self.answers.items()):
            lines.append(f'semrec_requests_total{{{label},endpoint="{endpoint}",status="{status}"}} {count}')
        lines.append("# TYPE semrec_request_seconds histogram")
        for endpoint, buckets in sorted(self._buckets.items()):
            total = 0
            for edge, count in zip((*_EDGES_S, "+Inf"), buckets, strict=True):
                total += count
                lines.append(f'semrec_request_seconds_bucket{{{label},endpoint="{endpoint}",le="{edge}"}} {total}')
            lines.append(f'semrec_request_seconds_count{{{label},endpoint="{endpoint}"}} {total}')
            lines.append(f'semrec_request_seconds_sum{{{label},endpoint="{endpoint}"}} {self._sums_s[endpoint]}')
        for name, count in sorted(self.events.items()):
            lines += [f"# TYPE semrec_serving_{name}_total counter", f"semrec_serving_{name}_total{{{label}}} {count}"]
        for name, value in sorted(gauges.items()):
            lines += [f"# TYPE semrec_serving_{name} gauge", f"semrec_serving_{name}{{{label}}} {value}"]
        return ("\n".join(lines) + "\n").encode()

    def unreported(self) -> tuple[Counter[tuple[str, int]], Counter[str]]:
        """What was counted since the last call: for an exporter that wants increments."""
        answers, events = self.answers - self._reported, self.events - self._reported_events
        self._reported, self._reported_events = self.answers.copy(), self.events.copy()
        return answers, events


def _quantile(buckets: list[int], share: float) -> float | None:
    """The upper edge of the bucket in which a quantile lies; None above the last."""
    wanted, total = share * sum(buckets), 0
    for edge, count in zip(_EDGES_S, buckets, strict=False):
        total += count
        if total >= wanted:
            return edge
    return None
