"""The monitoring files as data, and the tools that judge them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "infra" / "prometheus"
DASHBOARDS = ROOT / "infra" / "grafana" / "dashboards"
RULE_TESTS = ROOT / "tests" / "infra" / "rules"
ALERT_FILES = ("cluster", "jobs", "recommendations", "serving")


def need(tool: str) -> str:
    """The path of a program, or a loud skip."""
    found = shutil.which(tool)
    if not found:
        pytest.skip(f"NOT TESTED: {tool} is absent; apt-get install prometheus prometheus-alertmanager")
    return found


def run(*command: str | Path, cwd: Path = PROMETHEUS) -> str:
    """What a program prints; fails the test, with that and its complaints, when the program fails."""
    words = [str(part) for part in command]
    environment = {**os.environ, "GOGC": "400"}  # promtool spends a fifth of its CPU on collecting garbage
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rules(name: str) -> list[dict[str, Any]]:
    """The rules of one file, in order."""
    loaded = yaml.safe_load((PROMETHEUS / "rules" / f"{name}.yml").read_text(encoding="utf-8"))
    return [rule for group in loaded["groups"] for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    """All alerts by name."""
    return {rule["alert"]: rule for name in ALERT_FILES for rule in rules(name)}


def dashboards() -> dict[str, dict[str, Any]]:
    """The dashboards by file name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(DASHBOARDS.glob("*.json"))}


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All panels but the rows that part them."""
    yield from (panel for panel in dashboard["panels"] if panel["type"] != "row")


def expressions(dashboard: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(title of the panel, expression) of all that a dashboard asks Prometheus."""
    for panel in panels(dashboard):
        yield from ((panel["title"], target["expr"]) for target in panel.get("targets", ()))


def series_of_the_rule_tests() -> dict[str, set[str]]:
    """The name of each series that the rules are unit-tested with -> the names of all its labels."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in RULE_TESTS.glob("*.test.yml"):
        for series in re.findall(r"series: '([^']+)'", path.read_text(encoding="utf-8")):
            name, _, labels = series.partition("{")
            found[name] |= set(re.findall(r"(\w+)=\"", labels))
    return found


def names_in(expression: str) -> set[str]:
    """The metrics and recordings of ours that an expression reads."""
    return set(re.findall(r"\bray_semrec_\w+|\bsemrec:[\w:]+", expression))
