"""Who is told of what, by Alertmanager's own tool."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from helpers.monitoring import PROMETHEUS, alerts, need, run

CONFIG = PROMETHEUS / "alertmanager.yml"
RECEIVERS = {
    ("recommendations", "critical"): "recommendations-pager",
    ("recommendations", "warning"): "recommendations-chat",
    ("cluster", "critical"): "platform-pager",
    ("cluster", "warning"): "platform-chat",
    ("jobs", "critical"): "platform-pager",
    ("jobs", "warning"): "tickets",
    ("serving", "critical"): "platform-pager",
    ("serving", "warning"): "tickets",
}


def receiver(config: Path, *labels: str) -> str:
    return run(need("amtool"), "config", "routes", "test", f"--config.file={config}", *labels).strip()


def test_the_tool_accepts_the_file() -> None:
    assert "SUCCESS" in run(need("amtool"), "check-config", CONFIG)


def test_every_alert_reaches_somebody_who_can_act() -> None:
    kinds = {(rule["labels"]["area"], rule["labels"]["severity"]) for rule in alerts().values()}
    assert kinds == RECEIVERS.keys()
    for area, severity in sorted(kinds):
        assert receiver(CONFIG, f"area={area}", f"severity={severity}") == RECEIVERS[area, severity]


@pytest.mark.parametrize("name", ["SemrecExcludedItemServed", "SemrecExcludedItemInRun", "SemrecParityBroken"])
def test_broken_promises_wake_somebody(name: str) -> None:
    labels = alerts()[name]["labels"]
    assert receiver(CONFIG, f"alertname={name}", *(f"{k}={v}" for k, v in labels.items())) == "recommendations-pager"


def test_what_nobody_foresaw_is_a_ticket() -> None:
    assert receiver(CONFIG, "alertname=Strange") == "tickets"


@pytest.mark.parametrize(
    "labels", [("alertname=Watchdog", "severity=none"), ("alertname=InfoInhibitor", "severity=none")]
)
def test_what_the_chart_only_watches_itself_by_is_no_ticket(labels: tuple[str, ...]) -> None:
    assert receiver(CONFIG, *labels) == "nobody"


def test_a_route_taken_out_is_noticed(tmp_path: Path) -> None:
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    config["route"]["routes"] = [
        route for route in config["route"]["routes"] if route["receiver"] != "recommendations-pager"
    ]
    changed = tmp_path / "alertmanager.yml"
    changed.write_text(yaml.safe_dump(config), encoding="utf-8")
    assert receiver(changed, "area=recommendations", "severity=critical") == "recommendations-chat"


def test_nights_silence_the_cluster_and_nothing_else() -> None:
    routes = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["route"]["routes"]
    muted = [route["matchers"] for route in routes if "mute_time_intervals" in route]
    assert muted and all('area="cluster"' in matchers for matchers in muted)


def test_no_secret_stands_in_the_file() -> None:
    text = CONFIG.read_text(encoding="utf-8")
    assert re.findall(r"\b(?:routing_key|service_key|api_url|password|bearer_token|credentials):", text) == []
    assert "https://" not in text
