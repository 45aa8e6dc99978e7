"""Count requests by endpoint and status, their durations, and answers by release, for /v1/stats and Prometheus."""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family

from semrec.metrics import METRICS, Metrics

__all__ = ["Statistics"]

_EDGES_S: Final = METRICS["semrec_request_seconds"].buckets


class Statistics:
    """Counts of one process since it started. Answers are counted by the event loop alone: no lock."""

    def __init__(self, replica: str) -> None:
        self.replica, self._started_s = replica, time.monotonic()
        self.answers: Counter[tuple[str, int]] = Counter()
        self.events: Counter[str] = Counter()
        self._buckets: defaultdict[str, list[int]] = defaultdict(lambda: [0] * (len(_EDGES_S) + 1))
        self._sums_s: Counter[str] = Counter()
        self.releases: Counter[str] = Counter()  # answers made from each
        self.num_excluded = 0
        self._reported: Counter[tuple[str, ...]] = Counter()

    def count_request(self, endpoint: str, status: int, took_s: float) -> None:
        """Counts one request, by the status of its answer."""
        self.answers[endpoint, status] += 1
        self._buckets[endpoint][bisect_left(_EDGES_S, took_s)] += 1
        self._sums_s[endpoint] += took_s  # type: ignore[assignment]

    def count_answer(self, release: str, num_excluded: int) -> None:
        """Counts an answer of a release, and items in it that its user may not see."""
        self.releases[release] += 1
        self.num_excluded += num_excluded

    def count_event(self, event: str) -> None:
        """Counts something that happened, such as a release switch; called by other threads, one at a time."""
        self.events[event] += 1

    def to_json(self) -> dict[str, Any]:
        """For /v1/stats."""
        by_endpoint: dict[str, dict[str, Any]] = {}
        for (endpoint, status), count in sorted(self.answers.items()):
            entry = by_endpoint.setdefault(endpoint, {"answers": {}})
            entry["answers"][str(status)] = count
        uptime_s = time.monotonic() - self._started_s
        for endpoint, entry in by_endpoint.items():
            buckets = self._buckets[endpoint]
            entry["per_s"] = round(sum(buckets) / uptime_s, 3)
            entry["p50_s"], entry["p99_s"] = _quantile(buckets, 0.5), _quantile(buckets, 0.99)
        return {
            "replica": self.replica,
            "pid": os.getpid(),
            "uptime_s": round(uptime_s, 3),
            "per_s": round(self.answers.total() / uptime_s, 3),
            "endpoints": by_endpoint,
            "events": dict(sorted(self.events.items())),
        }

    def to_prometheus(self, gauges: dict[str, float]) -> bytes:
        """The text format of Prometheus; `replica` labels every line, since a proxy picks which replica is asked."""
        return generate_latest(_Families([*self._families(gauges)]))

    def _families(self, gauges: dict[str, float]) -> Iterable[Family]:
        requests, seconds = METRICS["semrec_requests_total"], METRICS["semrec_request_seconds"]
        answers = CounterMetricFamily(requests.name, requests.help, labels=["replica", *requests.labels])
        for (endpoint, status), count in sorted(self.answers.items()):
            answers.add_metric([self.replica, endpoint, str(status)], count)
        yield answers
        durations = HistogramMetricFamily(seconds.name, seconds.help, labels=["replica", *seconds.labels])
        for endpoint, buckets in sorted(self._buckets.items()):
            totals = [*zip(map(str, (*_EDGES_S, "+Inf")), accumulate(buckets), strict=True)]
            durations.add_metric([self.replica, endpoint], totals, self._sums_s[endpoint])
        yield durations
        for name, count in sorted(self.events.items()):
            events = CounterMetricFamily(f"semrec_serving_{name}", "Since the replica started.", labels=["replica"])
            events.add_metric([self.replica], count)
            yield events
        for name, value in sorted(gauges.items()):
            gauge = GaugeMetricFamily(f"semrec_serving_{name}", "At this moment.", labels=["replica"])
            gauge.add_metric([self.replica], value)
            yield gauge

    def report(self, metrics: Metrics) -> None:
        """Gives `metrics` what was counted since the last report. An answer's time is told as its bucket's upper edge."""
        slow_s = 2 * _EDGES_S[-1]
        for name, key, count in [*self._counts()]:
            new = count - self._reported[name, *key]
            self._reported[name, *key] = count
            if not new:
                continue
            if name == "semrec_request_seconds":
                for _ in range(new):
                    metrics.observe(name, min(float(key[1]), slow_s), endpoint=key[0])
            else:
                metrics.add(name, new, **dict(zip(METRICS[name].labels, key, strict=True)))

    def _counts(self) -> Iterable[tuple[str, tuple[str, ...], int]]:
        """Name, values of its labels (of the histogram: endpoint and upper edge) and count since the start."""
        for (endpoint, status), count in self.answers.items():
            yield "semrec_requests_total", (endpoint, str(status)), count
        for endpoint, buckets in self._buckets.items():
            for edge, count in zip((*_EDGES_S, float("inf")), buckets, strict=True):
                yield "semrec_request_seconds", (endpoint, str(edge)), count
        for release, count in self.releases.items():
            yield "semrec_serving_answers_total", (release,), count
        for outcome, count in self.events.items():
            yield "semrec_releases_looked_at_total", (outcome,), count
        yield "semrec_serving_excluded_items_total", (), self.num_excluded


@dataclass(frozen=True)
class _Families:
    """The collector that `generate_latest` asks. The library's own counters would take a lock for every answer."""

    families: list[Family]

    def collect(self) -> Iterable[Family]:
        return self.families


def _quantile(buckets: list[int], share: float) -> float | None:
    """The upper edge of the bucket in which a quantile lies; None above the last."""
    threshold, total = share * sum(buckets), 0
    for edge, count in zip(_EDGES_S, buckets, strict=False):
        total += count
        if total >= threshold:
            return edge
    return None
