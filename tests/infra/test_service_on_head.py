"""The RayService as its operator starts it: a real Ray node with the environment of the image and of the manifest's pods,
the manifest's own Serve configuration sent to its dashboard with the token, and then what Kubernetes' probes and the image's
own health check ask.

NOT TESTED here: several nodes, and Kubernetes.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import psutil
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from cluster.serving.access.keys import append_key, make_key
from helpers.image_steps import exec_form, read_stages
from helpers.local_processes import free_port, free_ports
from helpers.monitoring import series_of_the_rule_tests
from helpers.rendered import clusters, one, pod_specs, render
from helpers.serving_world import make_world

ROOT = Path(__file__).parents[2]
FINAL = read_stages(ROOT / "infra/docker/Dockerfile")["semrec"]
IMAGE_ENVIRONMENT = dict(pair.split("=", 1) for value in FINAL.values("ENV") for pair in value.split())
AGENT_PORT = "52365"  # what the image's health check asks, and what Ray takes when nothing else is said
READY_S = 300.0
TOKEN = "sesame"
KEY, STORED_KEY = make_key("probe", ["read", "write", "explain"], None, None)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(make_world(tmp_path_factory.mktemp("world")).workspace.uri)


@pytest.fixture(scope="module")
def service(workspace: Path) -> Iterator[dict[str, int]]:
    """The ports of a service of one replica; its processes are ended by their group, never by `ray stop`."""
    names = ("gcs", "agent", "dashboard", "metrics", "client", "http", "stats", "haproxy_metrics", "fallback", "grpc")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    folder = tempfile.mkdtemp(prefix="ray-")  # short: the paths of sockets end at 107 bytes
    with Path(folder, "head.log").open("w") as log:
        head = subprocess.Popen(
            _start_command(folder, ports), env=_environment(ports), start_new_session=True, stdout=log, stderr=log
        )
    try:
        _deploy(ports, str(workspace))
        yield ports
    finally:
        family = psutil.Process(head.pid).children(recursive=True)
        os.killpg(head.pid, signal.SIGTERM)
        head.wait(60)
        for left in psutil.wait_procs(family, timeout=5)[1]:
            left.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _start_command(folder: str, ports: dict[str, int]) -> list[str]:
    return [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--temp-dir={folder}"),
        *(f"--port={ports['gcs']}", f"--dashboard-port={ports['dashboard']}", "--num-cpus=1"),
        *(f"--dashboard-agent-listen-port={ports['agent']}", f"--ray-client-server-port={ports['client']}"),
        *(f"--metrics-export-port={ports['metrics']}", f"--object-store-memory={80 * 1024**2}"),
    ]


def _environment(ports: dict[str, int]) -> dict[str, str]:
    """That of the image and of the manifest's pod, and what a machine that is shared with other clusters needs.

    Compiled kernels are taken from where other tests keep them: to compile them anew takes a minute of CPU.
    """
    pod = next(pod_specs(clusters(render("kind"))["RayService/semrec-online"]["workerGroupSpecs"]))
    image = {name: value for name, value in IMAGE_ENVIRONMENT.items() if name != "NUMBA_CACHE_DIR"}
    return {
        **os.environ,
        **image,
        **{entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]},
        "RAY_AUTH_TOKEN": TOKEN,
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "PYTHONPATH": str(ROOT),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports["stats"]),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports["haproxy_metrics"]),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports["fallback"]),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": "31500",  # away from the services of other tests
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": "31599",
    }


def _deploy(ports: dict[str, int], workspace: str) -> None:
    """Sends the manifest's configuration until the dashboard takes it, and waits for the first answer."""
    config = yaml.safe_load(one(render("kind"), "RayService", "semrec-online")["spec"]["serveConfigV2"])
    config["http_options"]["port"], config["grpc_options"]["port"] = ports["http"], ports["grpc"]
    arguments = config["applications"][0]["args"]
    keys = Path(workspace).parent / Path(arguments["keys_file"]).name
    append_key(str(keys), STORED_KEY)
    arguments |= {"workspace": workspace, "replicas": 1, "keys_file": str(keys)}
    url = f"http://127.0.0.1:{ports['dashboard']}/api/serve/applications/"
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    request = Request(url, json.dumps(config).encode(), headers, method="PUT")
    _await(lambda: urlopen(request, timeout=60).status == 200)
    _await(lambda: _ask(ports["http"], "/readyz")[0] == 200)


def _await(is_done: Any) -> None:
    ends_s, reason = time.monotonic() + READY_S, ""
    while time.monotonic() < ends_s:
        try:
            if is_done():
                return
        except (URLError, OSError) as error:
            reason = str(error)
        time.sleep(0.5)
    raise AssertionError(f"not within {READY_S:.0f} s: {reason}")


def _ask(port: int, path: str, method: str = "GET", body: Any = None) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(f"http://127.0.0.1:{port}{path}", data, headers, method=method), timeout=60) as response:
        return response.status, response.read().decode()


def _listeners(port: int) -> set[str]:
    """The names of the programs that listen on a port; for a moment others, while HAProxy takes a configuration over."""
    names = set()
    for connection in psutil.net_connections("tcp"):
        if connection.status == "LISTEN" and connection.laddr.port == port and connection.pid:
            with contextlib.suppress(psutil.NoSuchProcess):  # a replaced HAProxy may end meanwhile
                names.add(psutil.Process(connection.pid).name())
    return names


def test_haproxy_answers_on_the_port_of_the_service(service: dict[str, int]) -> None:
    _await(lambda: _listeners(service["http"]) == {"haproxy"})
    status, body = _ask(service["http"], "/v1/users?limit=1")
    assert (status, len(json.loads(body)["users"])) == (200, 1)


def test_kuberays_readiness_probe_passes(service: dict[str, int]) -> None:
    """`wget -q -O- http://localhost:8000/-/healthz | grep success`, as the operator gives it to every worker."""
    assert _ask(service["http"], "/-/healthz") == (200, "success")


def test_haproxys_own_pages_are_open_to_whoever_reaches_them(service: dict[str, int]) -> None:
    """So the network policy must keep them (test_who_may_reach_a_ray_node): when this fails, Ray has mended it."""
    _await(lambda: _listeners(service["stats"]) == _listeners(service["haproxy_metrics"]) == {"haproxy"})
    assert "haproxy_process" in _ask(service["haproxy_metrics"], "/metrics")[1]


def test_the_rules_are_unit_tested_with_series_as_serve_exports_them(service: dict[str, int]) -> None:
    assert _ask(service["http"], "/v1/users/user-1/recommendations")[0] == 200
    exported: dict[str, list[dict[str, str]]] = defaultdict(list)

    def is_there() -> bool:
        exported.clear()
        for family in text_string_to_metric_families(_ask(service["metrics"], "/metrics")[1]):
            for sample in family.samples:
                exported[sample.name].append(sample.labels)
        return {"ray_serve_deployment_replica_healthy", "ray_semrec_serving_answers_total"} <= exported.keys()

    _await(is_there)
    assert {labels["deployment"] for labels in exported["ray_serve_deployment_replica_healthy"]} == {"recommender"}
    held = {name: labels for name, labels in series_of_the_rule_tests().items() if name in exported}
    assert len(held) >= 5, sorted(held)
    for name, tested in held.items():
        for labels in exported[name]:
            assert tested - {"instance", "job", "ray_io_cluster"} <= labels.keys(), name


def _health_check(agent_port: int) -> int:
    """The exit code of the image's HEALTHCHECK, asked on another port."""
    if shutil.which("wget") is None:
        pytest.skip("NOT TESTED: no wget here, so the health check of the image was not run")
    words = exec_form(FINAL.values("HEALTHCHECK")[0])
    assert any(f":{AGENT_PORT}/" in word for word in words)
    return subprocess.run([word.replace(AGENT_PORT, str(agent_port)) for word in words], capture_output=True).returncode


def test_the_images_health_check_finds_the_head_and_nothing_where_nothing_is(service: dict[str, int]) -> None:
    _await(lambda: _health_check(service["agent"]) == 0)
    assert _health_check(free_port()) != 0


def test_the_service_writes_only_where_its_identity_may(service: dict[str, int], workspace: Path) -> None:
    """The clouds let `semrec-serve` make new segments of these two logs, and write nothing else."""

    def files() -> dict[str, int]:
        return {str(p.relative_to(workspace)): p.stat().st_mtime_ns for p in workspace.rglob("*") if p.is_file()}

    before = files()
    event = {"user_id": "user-1", "item_id": "n11", "value": 3.0, "timestamp": 20_000_000}
    assert _ask(service["http"], "/v1/events", "POST", {"events": [event]})[0] == 200
    assert _ask(service["http"], "/v1/items/n12", "DELETE")[0] == 200
    changed = dict(files().items() - before.items())
    assert len(changed) >= 2 and all(
        re.fullmatch(r"(overlay|events)/segment-\d+\.parquet", name) for name in changed
    ), changed
    assert before.keys() <= files().keys()


def test_serve_adds_replicas_under_load_as_the_manifest_says(service: dict[str, int]) -> None:
    url = f"http://127.0.0.1:{service['dashboard']}/api/serve/applications/"
    with urlopen(Request(url, headers={"Authorization": f"Bearer {TOKEN}"}), timeout=30) as response:
        deployments = json.load(response)["applications"]["semrec"]["deployments"]
    config = yaml.safe_load(one(render("kind"), "RayService", "semrec-online")["spec"]["serveConfigV2"])
    maximum = config["applications"][0]["args"]["max_replicas"]
    scaling = deployments["recommender"]["deployment_config"]["autoscaling_config"]
    assert (scaling["min_replicas"], scaling["max_replicas"], scaling["target_ongoing_requests"]) == (
        1,
        int(maximum),
        16,
    )


@pytest.mark.parametrize(("token", "expected"), [(TOKEN, 200), ("wrong", 403)])
def test_only_the_token_opens_the_jobs(service: dict[str, int], token: str, expected: int) -> None:
    assert "RAY_AUTH_TOKEN" not in os.environ
    request = Request(
        f"http://127.0.0.1:{service['dashboard']}/api/jobs/", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        status = urlopen(request, timeout=30).status
    except HTTPError as error:
        status = error.code
    assert status == expected


def test_without_a_token_the_image_starts_no_cluster(tmp_path: Path) -> None:
    environment = {**os.environ, **IMAGE_ENVIRONMENT, "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--port={free_port()}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode != 0
    assert "token" in (done.stdout + done.stderr).lower()
