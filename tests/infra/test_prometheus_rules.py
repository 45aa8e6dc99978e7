"""The rules by the tools that will read them, and that no alert lacks its tests, its paragraph or its metrics."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest
import yaml

from helpers.monitoring import (
    ALERT_FILES,
    PROMETHEUS,
    RULE_TESTS,
    alerts,
    dashboards,
    expressions,
    names_in,
    need,
    rules,
    run,
)
from semrec.metrics import METRICS

RUNBOOK_URL = "https://github.com/semrec/semrec/blob/main/infra/prometheus/runbook.md#"
#: What Ray's exporter makes of a declared metric
EXPORTED = {
    f"ray_{metric.name}{suffix}"
    for metric in METRICS.values()
    for suffix in (("_bucket", "_count") if metric.kind == "histogram" else ("",))
}


def cases() -> dict[str, dict[bool, int]]:
    """Alert -> how many unit tests expect it to fire (True), and not to (False)."""
    found: dict[str, dict[bool, int]] = defaultdict(lambda: {True: 0, False: 0})
    for path in RULE_TESTS.glob("*.test.yml"):
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for one in test.get("alert_rule_test", ()):  # others hold recordings
                found[one["alertname"]][bool(one["exp_alerts"])] += 1
    return found


def test_the_tools_accept_the_files() -> None:
    promtool = need("promtool")
    run(promtool, "check", "config", "prometheus.yml")
    run(promtool, "check", "rules", *sorted((PROMETHEUS / "rules").glob("*.yml")))


@pytest.mark.parametrize("name", sorted(path.name for path in RULE_TESTS.glob("*.test.yml")))
def test_alerts_fire_when_they_should(name: str) -> None:
    assert "SUCCESS" in run(need("promtool"), "test", "rules", name, cwd=RULE_TESTS)


def test_every_alert_has_a_test_that_fires_and_one_that_does_not() -> None:
    assert len(alerts()) >= 25
    tested = cases()
    assert tested.keys() == alerts().keys()
    assert {name for name, counts in tested.items() if not counts[True] or not counts[False]} == set()


def test_every_alert_has_its_paragraph() -> None:
    text = (PROMETHEUS / "runbook.md").read_text(encoding="utf-8")
    titles = re.findall(r"^### (\w+)\n(?=\S)", text, re.MULTILINE)
    assert sorted(titles) == sorted(alerts())  # each once, and none that is no alert
    for title, body in zip(titles, re.split(r"^### \w+\n", text, flags=re.MULTILINE)[1:], strict=True):
        assert len(body.partition("\n## ")[0].split()) >= 25, f"{title}: no paragraph"


@pytest.mark.parametrize("area", ALERT_FILES)
def test_alerts_say_how_bad_whose_and_what_to_do(area: str) -> None:
    for rule in rules(area):
        assert rule["labels"] == {"severity": rule["labels"]["severity"], "area": area}
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert rule["annotations"]["runbook_url"] == RUNBOOK_URL + rule["alert"].lower()
        assert rule["annotations"]["description"].endswith(".")


def test_what_is_read_is_declared_or_recorded() -> None:
    recorded = {rule["record"] for rule in rules("recording")}
    asked = [rule["expr"] for name in ("recording", *ALERT_FILES) for rule in rules(name)]
    asked += [expression for dashboard in dashboards().values() for _, expression in expressions(dashboard)]
    read = set().union(*map(names_in, asked))
    assert read <= EXPORTED | recorded
    assert recorded <= read, "recorded and never read"


def test_the_pod_monitor_scrapes_as_the_configuration_does() -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    job = next(job for job in config["scrape_configs"] if job["job_name"] == "ray")
    monitor = yaml.safe_load((PROMETHEUS / "podmonitor.yaml").read_text(encoding="utf-8"))
    endpoints = monitor["spec"]["podMetricsEndpoints"]
    haproxy = endpoints.pop()
    assert (haproxy["port"], haproxy["relabelings"][0]["replacement"]) == ("haproxy-metrics", "serve")
    # As KubeRay's samples name them.
    assert [one["port"] for one in endpoints] == ["metrics", "as-metrics", "dash-metrics"]
    # Of several Ray clusters, rules must tell which: semrec:gcs:up by (ray_io_cluster).
    assert "ray.io/cluster" in monitor["spec"]["podTargetLabels"]
    snake = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    for one in endpoints:
        assert one["interval"] == config["global"]["scrape_interval"]
        assert one["scrapeTimeout"] == config["global"]["scrape_timeout"]
        for theirs, ours in (("relabelings", "relabel_configs"), ("metricRelabelings", "metric_relabel_configs")):
            assert [{snake.get(name, name): rule[name] for name in rule} for rule in one[theirs]] == job[ours]


def test_no_rule_rests_on_what_ray_makes_up_or_misses() -> None:
    for rule in (rule for name in ("recording", *ALERT_FILES) for rule in rules(name)):
        assert not re.search(r"ray_\w+_sum\b", rule["expr"]), "a histogram's sum is made of bucket middles"
        assert not re.search(r"increase\(ray_", rule["expr"]), "a short job's counter never increases"
