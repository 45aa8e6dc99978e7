"""Dashboards that a reader understands: titles, units, words, thresholds, no overlap, no fixed datasource."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest

from helpers.monitoring import alerts, dashboards, panels

NAMES = sorted(dashboards())


@pytest.fixture(params=NAMES)
def dashboard(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dashboards()[request.param]


def test_the_four() -> None:
    found = dashboards()
    assert NAMES == ["batch", "cost", "recommendations", "serving"]
    assert {name: found[name]["uid"] for name in NAMES} == {name: f"semrec-{name}" for name in NAMES}
    assert len({found[name]["title"] for name in NAMES}) == len(NAMES)


def test_it_says_what_it_is_and_lets_the_reader_choose_the_datasource(dashboard: dict[str, Any]) -> None:
    assert dashboard["title"].startswith("semrec: ") and dashboard["description"].endswith(".")
    assert not dashboard.keys() & {"id", "version", "iteration", "__inputs"}
    first = dashboard["templating"]["list"][0]
    assert (first["name"], first["type"], first["query"]) == ("datasource", "datasource", "prometheus")
    for panel in panels(dashboard):
        for owner in (panel, *panel["targets"]):
            assert owner["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_every_panel_can_be_read(dashboard: dict[str, Any]) -> None:
    titles = [panel["title"] for panel in panels(dashboard)]
    assert len(titles) == len(set(titles)) >= 10
    for panel in panels(dashboard):
        defaults = panel["fieldConfig"]["defaults"]
        assert panel["description"].endswith(".") and len(panel["description"]) > 15, panel["title"]
        assert defaults["unit"], panel["title"]
        assert defaults["thresholds"]["steps"][0]["value"] is None, panel["title"]
        several = len(panel["targets"]) > 1
        assert all(target["expr"].strip() for target in panel["targets"])
        assert all(target["legendFormat"] for target in panel["targets"]) or not several, panel["title"]


def test_ids_and_places_are_each_panels_own(dashboard: dict[str, Any]) -> None:
    everything = dashboard["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    for one, other in itertools.combinations((panel["gridPos"] for panel in everything), 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y
        assert one["x"] + one["w"] <= 24


def test_thresholds_of_panels_are_those_of_the_alerts() -> None:
    def limit(alert: str) -> float:
        return float(re.findall(r" [<>] ([\d.]+)", alerts()[alert]["expr"])[0])

    def steps(name: str, title: str) -> list[float]:
        found = next(panel for panel in panels(dashboards()[name]) if panel["title"] == title)
        return [step["value"] for step in found["fieldConfig"]["defaults"]["thresholds"]["steps"][1:]]

    assert limit("SemrecQuarantineShare") in steps("batch", "Rows in quarantine")
    assert limit("SemrecCoverageFell") in steps("recommendations", "Coverage against the run before")
    assert limit("SemrecUsersShort") in steps("recommendations", "Users with fewer than K")
    assert limit("SemrecServedStale") in steps("recommendations", "Age of what is served")
    assert limit("SemrecServedVeryStale") in steps("recommendations", "Age of what is served")
    assert limit("SemrecServingErrors") in steps("serving", "Errors")
    assert limit("SemrecServingSlow") in steps("serving", "99th percentile of the time to an answer")
    assert limit("GpuMemoryNearlyFull") in steps("cost", "GPU memory")
    assert limit("NodeMemoryNearlyFull") in steps("cost", "Memory")
