"""What a replica counted reaches the exporter once, and Prometheus under the declared names."""

from __future__ import annotations

from collections import Counter

from prometheus_client.parser import text_string_to_metric_families

from cluster.serving.stats import Statistics
from semrec.metrics import METRICS


class Sink:
    """Adds up what it is given; refuses a name or label that is not declared."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.seen: dict[str, list[float]] = {}

    def add(self, name: str, value: float = 1.0, **labels: str) -> None:
        assert METRICS[name].labels == tuple(labels)
        self.counts[name, *labels.values()] += int(value)

    def set(self, name: str, value: float, **labels: str) -> None:
        raise AssertionError(name)

    def observe(self, name: str, value: float, **labels: str) -> None:
        assert METRICS[name].labels == tuple(labels)
        self.seen.setdefault(labels["endpoint"], []).append(value)


def test_each_report_tells_what_is_new() -> None:
    stats, sink = Statistics("r1"), Sink()
    for took_s in (0.0004, 0.004, 99.0):
        stats.count_request("search", 200, took_s)
    stats.count_request("search", 422, 0.0004)
    stats.count_answer("release-a", 0)
    stats.count_event("release_switched")
    stats.report(sink)
    assert sink.counts == {
        ("semrec_requests_total", "search", "200"): 3,
        ("semrec_requests_total", "search", "422"): 1,
        ("semrec_serving_answers_total", "release-a"): 1,
        ("semrec_releases_looked_at_total", "release_switched"): 1,
    }
    edges = METRICS["semrec_request_seconds"].buckets
    assert sorted(sink.seen["search"]) == [
        0.001,
        0.001,
        0.005,
        2 * edges[-1],
    ]  # each in the bucket that it was counted in
    stats.report(sink)
    assert sink.counts.total() == 6
    stats.count_answer("release-a", 2)
    stats.report(sink)
    assert sink.counts["semrec_serving_answers_total", "release-a"] == 2
    assert sink.counts[("semrec_serving_excluded_items_total",)] == 2


def test_prometheus_reads_what_was_counted() -> None:
    replica = 'r "1"\n\\'  # a name is text: what the format quotes must come back
    stats = Statistics(replica)
    for took_s in (0.0004, 0.004, 99.0):
        stats.count_request("search", 200, took_s)
    stats.count_event("release_switched")
    families = [*text_string_to_metric_families(stats.to_prometheus({"ready": 1.0}).decode())]
    assert [(family.name, family.type) for family in families] == [
        ("semrec_requests", "counter"),
        ("semrec_request_seconds", "histogram"),
        ("semrec_serving_release_switched", "counter"),
        ("semrec_serving_ready", "gauge"),
    ]
    samples = [one for family in families for one in family.samples]
    assert {one.labels.pop("replica") for one in samples} == {replica}
    seconds = "semrec_request_seconds"
    assert [(one.name, one.labels, one.value) for one in samples] == [
        ("semrec_requests_total", {"endpoint": "search", "status": "200"}, 3),
        *[(f"{seconds}_bucket", {"endpoint": "search", "le": str(edge)}, 1 if edge < 0.005 else 2)
          for edge in METRICS[seconds].buckets],
        (f"{seconds}_bucket", {"endpoint": "search", "le": "+Inf"}, 3),
        (f"{seconds}_count", {"endpoint": "search"}, 3),
        (f"{seconds}_sum", {"endpoint": "search"}, 0.0004 + 0.004 + 99.0),
        ("semrec_serving_release_switched_total", {}, 1),
        ("semrec_serving_ready", {}, 1),
    ]  # fmt: skip
