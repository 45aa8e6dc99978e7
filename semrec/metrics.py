"""Metrics as data: names, help, labels, buckets. `cluster.metrics` binds them to Ray's exporter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol

__all__ = ["METRICS", "Metric", "Metrics", "NoMetrics"]

_SECONDS: Final = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1_800.0, 7_200.0, 28_800.0)
_CANDIDATES: Final = (10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0)


@dataclass(frozen=True)
class Metric:
    """One metric. Counters only grow; a histogram has upper bucket bounds in its unit."""

    name: str
    kind: Literal["counter", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


METRICS: Final = {
    metric.name: metric
    for metric in (
        Metric("semrec_texts_embedded_total", "counter", "Texts that went through the encoder."),
        Metric("semrec_texts_reused_total", "counter", "Texts whose committed vector was used again."),
        Metric("semrec_users_scored_total", "counter", "Users whose list was computed."),
        Metric("semrec_users_short_total", "counter", "Users with fewer than K recommendations."),
        # A counter, because Ray's exporter drops a gauge that was not set again for some 20 seconds. When a stage is done,
        # planned = committed + reused.
        Metric("semrec_parts_planned_total", "counter", "Parts in the plans of the stages that began.", ("stage",)),
        Metric("semrec_parts_committed_total", "counter", "Parts computed and committed.", ("stage",)),
        Metric(
            "semrec_parts_reused_total", "counter", "Parts found committed or copied from an earlier run.", ("stage",)
        ),
        Metric("semrec_parts_retried_total", "counter", "Parts given to a worker again.", ("stage",)),
        Metric(
            "semrec_candidates_per_row", "histogram", "Rescored candidates per user, mean of a part.", (), _CANDIDATES
        ),
        Metric(
            "semrec_exhaustive_rows_total", "counter", "Users whose candidates overflowed and were done exhaustively."
        ),
        Metric("semrec_parity_users_total", "counter", "Live answers compared with the published lists.", ("result",)),
        Metric("semrec_quarantined_rows_total", "counter", "Rows refused into quarantine.", ("stage",)),
        Metric("semrec_requests_total", "counter", "Requests answered by the service.", ("endpoint", "status")),
        Metric("semrec_releases_looked_at_total", "counter", "Releases that a replica took or refused.", ("outcome",)),
        Metric("semrec_stage_seconds", "histogram", "Wall time of a stage.", ("stage",), _SECONDS),
    )
}


class Metrics(Protocol):
    """A sink for the metrics above, by name. An unknown name is a KeyError."""

    def add(self, name: str, value: float = 1.0, **labels: str) -> None:
        """Raises a counter."""

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Adds an observation to a histogram."""


class NoMetrics:
    """Keeps nothing; for runs without an exporter."""

    def add(self, name: str, value: float = 1.0, **labels: str) -> None:
        METRICS[name]

    def observe(self, name: str, value: float, **labels: str) -> None:
        METRICS[name]
