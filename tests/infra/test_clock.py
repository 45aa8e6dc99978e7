"""Nodes, standing cluster, daily run and muted alerts go by one clock: what stands in Terraform, manifests and Alertmanager."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from helpers.rendered import by_kind, one, render

ROOT = Path(__file__).resolve().parents[2]
WINDOW_H = 4  # that the daily run has before the nodes go; infra/README.md says so
CLOUDS = ("aws", "gcp", "azure")


def _cron(text: str) -> tuple[int, str]:
    """(minute of the day, days of the week) of a cron like those that Terraform takes."""
    minute, hour, day, month, weekdays = text.split()
    assert (day, month) == ("*", "*")
    return 60 * int(hour) + int(minute), weekdays


def _schedules() -> dict[str, tuple[int, str]]:
    """Of the manifests; all in UTC."""
    documents = render("aws")
    clocks = [*by_kind(documents, "CronJob"), one(documents, "RayCronJob", "semrec-daily")]
    assert {clock["spec"]["timeZone"] for clock in clocks} == {"Etc/UTC"}
    return {clock["metadata"]["name"]: _cron(clock["spec"]["schedule"]) for clock in clocks}


def _terraform(path: str) -> str:
    file = ROOT / "terraform" / path
    if not file.exists():
        pytest.skip(f"NOT TESTED: no {file} to compare the manifests' clock with")
    return file.read_text()


def test_the_run_starts_after_the_nodes_come_and_hours_before_they_go() -> None:
    schedules = _schedules()
    run, weekdays = schedules["semrec-daily"]
    assert schedules["semrec-resume"][0] < run <= schedules["semrec-suspend"][0] - 60 * WINDOW_H
    assert weekdays == "*"
    assert "The run has these four hours" in (ROOT / "infra/README.md").read_text()


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_nodes_stop_by_default_when_the_standing_cluster_does(cloud: str) -> None:
    defaults = re.search(
        r'variable "auto_shutdown" \{(.*?)^\}',
        _terraform(f"modules/{cloud}/cluster/variables.tf"),
        re.DOTALL | re.MULTILINE,
    )
    assert defaults
    stop, zone = (re.search(rf'{name}\s*= optional\(string, "([^"]+)"\)', defaults[1]) for name in ("cron", "timezone"))
    assert stop and zone
    assert (_cron(stop[1]), zone[1]) == (_schedules()["semrec-suspend"], "UTC")


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_example_has_the_hours_of_the_manifests(cloud: str) -> None:
    example = re.search(r"auto_shutdown = \{(.*?)\}", _terraform(f"live/{cloud}/terraform.tfvars.example"), re.DOTALL)
    assert example
    values = dict(re.findall(r'(\w+)\s*= "([^"]+)"', example[1]))
    schedules = _schedules()
    assert values["timezone"] == "UTC"
    assert _cron(values["cron"]) == schedules["semrec-suspend"]
    assert _cron(values["resume_cron"]) == schedules["semrec-resume"]


def test_aks_is_upgraded_while_its_nodes_are_up_and_no_run_is() -> None:
    windows = re.findall(
        r'maintenance_window_(\w+) \{\n    frequency   = "Weekly"\n.*?day_of_week = "(\w+)"\n    start_time  = "(\d\d:00)"\n'
        r'    utc_offset  = "\+00:00"\n    duration    = (\d+)',
        _terraform("modules/azure/cluster/aks.tf"),
        re.DOTALL,
    )
    assert {name for name, *_ in windows} == {"auto_upgrade", "node_os"}
    schedules = _schedules()
    for _, day, start, hours in windows:
        begins = 60 * int(start[:2])
        assert day in ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
        assert schedules["semrec-resume"] <= (begins, "MON-FRI")
        assert begins + 60 * int(hours) <= schedules["semrec-daily"][0]


def test_alerts_are_muted_while_the_nodes_are_gone_and_no_longer() -> None:
    config = yaml.safe_load((ROOT / "infra/prometheus/alertmanager.yml").read_text())
    (interval,) = [one for one in config["time_intervals"] if one["name"] == "nightly-suspend"]
    muted: dict[str, set[int]] = {day: set() for day in ("monday", "saturday", "sunday")}
    for part in interval["time_intervals"]:
        assert part["location"] == "UTC"
        for day in part.get("weekdays", muted):
            muted[day] |= {minute for times in part.get("times", [{}]) for minute in _minutes(times)}
    schedules = _schedules()
    stop, resume = schedules["semrec-suspend"][0], schedules["semrec-resume"][0]
    assert muted["monday"] == set(range(resume)) | set(range(stop, 24 * 60))
    assert muted["saturday"] == muted["sunday"] == set(range(24 * 60))


def _minutes(times: dict[str, str]) -> range:
    first, last = times.get("start_time", "00:00"), times.get("end_time", "24:00")
    return range(*(60 * int(clock[:2]) + int(clock[3:]) for clock in (first, last)))
