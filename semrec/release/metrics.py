"""Stores the metrics of a release's evaluation beside it."""

from __future__ import annotations

from semrec.workspace.manifest import Manifest
from semrec.workspace.records import Record

__all__ = ["EvaluationManifest", "MetricValue"]


class MetricValue(Record):
    """One metric of an evaluation: its mean over users, and the 95 % interval where it has one."""

    value: float
    low: float | None = None
    high: float | None = None


class EvaluationManifest(Manifest):
    """The metrics of a release's models on held-out events; publishing looks at them (`semrec.runs.gates`)."""

    KIND = "evaluation"
    PATH = "releases/{}/evaluation.json"
    REMEDY = "Evaluate the release again."

    metrics: dict[str, MetricValue]  # by name: "ndcg@10"
