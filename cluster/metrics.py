"""The metrics of `semrec.metrics`, bound to Ray's exporter on each node."""

from __future__ import annotations

from typing import Any

from ray.util.metrics import Counter, Histogram

from semrec.metrics import METRICS, Metric

__all__ = ["RayMetrics"]


class RayMetrics:
    """Makes each metric on first use. Ray adds its own `ray_` prefix to the names it exports.

    Of a histogram trust the buckets and the count: Ray exports its sum as if each value were the middle of its bucket.
    """

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def add(self, name: str, value: float = 1.0, **labels: str) -> None:
        if value > 0:  # Ray refuses to add nothing
            self._get(name).inc(value, tags=labels)

    def observe(self, name: str, value: float, **labels: str) -> None:
        self._get(name).observe(value, tags=labels)

    def _get(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = _make(METRICS[name])
        return self._made[name]


def _make(metric: Metric) -> Any:
    if metric.kind == "counter":
        return Counter(metric.name, metric.help, tag_keys=metric.labels)
    return Histogram(metric.name, metric.help, boundaries=list(metric.buckets), tag_keys=metric.labels)
