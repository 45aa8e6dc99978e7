"""Exports the metrics of `semrec.metrics` through Ray's exporter on each node."""

from __future__ import annotations

import threading
import weakref
from typing import Any, Final

import ray
from ray.util.metrics import Counter, Gauge, Histogram

from semrec.metrics import METRICS, Metric

__all__ = ["RayMetrics"]

#: Ray's exporter drops a gauge that was not set again for twice its report interval, which is 10 s by default.
_REPEAT_S: Final = 5.0


class RayMetrics:
    """Makes each metric on first use. Ray adds its own `ray_` prefix to the names it exports.

    A gauge stands until its process or its Ray ends: a thread, started by the first gauge, repeats the last values. Of a
    histogram trust the buckets and the count: Ray exports its sum as if each value were the middle of its bucket.
    """

    def __init__(self) -> None:
        self._instruments: dict[str, Any] = {}
        self._gauges: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._lock = threading.Lock()

    def add(self, name: str, value: float = 1.0, **labels: str) -> None:
        if value > 0:  # Ray refuses to add nothing
            self._get(name).inc(value, tags=labels)

    def set(self, name: str, value: float, **labels: str) -> None:
        with self._lock:
            if not self._gauges:
                threading.Thread(target=_repeat, args=(weakref.ref(self),), name="semrec-gauges", daemon=True).start()
            self._gauges[name, tuple(labels.items())] = value
            self._get(name).set(value, tags=labels)

    def observe(self, name: str, value: float, **labels: str) -> None:
        self._get(name).observe(value, tags=labels)

    def repeat(self) -> None:
        """Sets every gauge again to its last value."""
        with self._lock:
            for (name, labels), value in self._gauges.items():
                self._get(name).set(value, tags=dict(labels))

    def _get(self, name: str) -> Any:
        if name not in self._instruments:
            self._instruments[name] = _make(METRICS[name])
        return self._instruments[name]


def _repeat(metrics: weakref.ref[RayMetrics]) -> None:
    """Keeps the gauges of `metrics` alive until nobody holds them or Ray has ended."""
    ended = threading.Event()
    while not ended.wait(_REPEAT_S) and (alive := metrics()) is not None and ray.is_initialized():
        alive.repeat()
        del alive


def _make(metric: Metric) -> Any:
    if metric.kind == "counter":
        return Counter(metric.name, metric.help, tag_keys=metric.labels)
    if metric.kind == "gauge":
        return Gauge(metric.name, metric.help, tag_keys=metric.labels)
    return Histogram(metric.name, metric.help, boundaries=list(metric.buckets), tag_keys=metric.labels)
