"""Defines all metrics as data: names, help, labels, buckets. `cluster.metrics` binds them to Ray's exporter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol

__all__ = ["METRICS", "Metric", "Metrics", "NoMetrics"]

_SECONDS: Final = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1_800.0, 7_200.0, 28_800.0)
_REQUEST_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_CANDIDATES: Final = (10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0)


@dataclass(frozen=True)
class Metric:
    """One metric. Counters only grow, gauges stand while their process lives; a histogram has upper bounds in its unit."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
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
        # Counters outlive their driver, so over several submissions planned - committed - reused says nothing; how much
        # is left is the gauge below, which goes when the driver does.
        Metric("semrec_parts_planned_total", "counter", "Parts in the plans of the stages that began.", ("stage",)),
        Metric("semrec_parts_committed_total", "counter", "Parts computed and committed.", ("stage",)),
        Metric(
            "semrec_parts_reused_total", "counter", "Parts found committed or copied from an earlier run.", ("stage",)
        ),
        Metric("semrec_parts_retried_total", "counter", "Parts given to a worker again.", ("stage",)),
        Metric("semrec_parts_open", "gauge", "Parts that the submission at work has yet to commit.", ("stage",)),
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
        Metric(
            "semrec_quarantine_share",
            "gauge",
            "Share of rows in quarantine, by kind of row.",
            ("kind",),
        ),
        Metric("semrec_stage_seconds", "histogram", "Wall time of a stage.", ("stage",), _SECONDS),
        # Set when a run was verified: of that run (which = "verified") and of the one then live (which = "live").
        Metric("semrec_run_users", "gauge", "Users of a run.", ("which",)),
        Metric("semrec_run_short_share", "gauge", "Share of a run's users with fewer than K items.", ("which",)),
        Metric("semrec_run_popularity_share", "gauge", "Share of a run's users without a vector.", ("which",)),
        Metric("semrec_run_exhaustive_share", "gauge", "Share of a run's users that no bound certified.", ("which",)),
        Metric("semrec_run_coverage_share", "gauge", "Share of the items that a run shows to anyone.", ("which",)),
        Metric(
            "semrec_run_exposure_share", "gauge", "Share of a run's places taken by its top 1 % of items.", ("which",)
        ),
        Metric(
            "semrec_run_excluded_items", "gauge", "Places of a run with an item that its user may not see.", ("which",)
        ),
        Metric("semrec_live_published_timestamp_seconds", "gauge", "When the live pair went live, in Unix time."),
        Metric("semrec_export_failed", "gauge", "1 where the export of what went live failed, else 0.", ("exporter",)),
        Metric("semrec_request_seconds", "histogram", "Time to an answer.", ("endpoint",), _REQUEST_SECONDS),
        Metric("semrec_serving_answers_total", "counter", "Answers made from a release.", ("release",)),
        Metric(
            "semrec_serving_excluded_items_total", "counter", "Items in an answer that its user may not see: always 0."
        ),
        Metric("semrec_serving_overlay_sequence", "gauge", "Newest change of an item that a replica applied."),
        Metric("semrec_serving_published_timestamp_seconds", "gauge", "When the pair that a replica serves went live."),
        Metric(
            "semrec_serving_recall", "gauge", "Measured recall of the run that a replica serves: 1 for exact lists."
        ),
    )
}


class Metrics(Protocol):
    """A sink for the metrics above, by name. An unknown name is a KeyError."""

    def add(self, name: str, value: float = 1.0, **labels: str) -> None:
        """Raises a counter."""

    def set(self, name: str, value: float, **labels: str) -> None:
        """Sets a gauge."""

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Adds an observation to a histogram."""


class NoMetrics:
    """Keeps nothing; for runs without an exporter."""

    def add(self, name: str, value: float = 1.0, **labels: str) -> None:
        METRICS[name]

    def set(self, name: str, value: float, **labels: str) -> None:
        METRICS[name]

    def observe(self, name: str, value: float, **labels: str) -> None:
        METRICS[name]
