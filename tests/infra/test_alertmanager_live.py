"""The pages that matter most arrive: a real Alertmanager, configured as committed, tells stand-ins of PagerDuty and Slack."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any

import pytest
import yaml

from helpers.local_processes import accepts, free_port, wait_until
from helpers.monitoring import PROMETHEUS, alerts, need

SECRETS = "/etc/alertmanager/secrets/receivers"
#: Alert -> who is told, by routing key or channel
TOLD = {
    "SemrecExcludedItemServed": "recommendations",
    "SemrecServedVeryStale": "recommendations",
    "SemrecServiceDown": "platform",
    "SemrecDriverDied": "platform",
    "SemrecUsersShort": "#recommendations",
    "SemrecServingSlow": "#semrec-tickets",
}


@contextmanager
def receiver(told: set[tuple[str, str]]) -> Iterator[str]:
    """The address of a server that takes what PagerDuty and Slack take, and notes (who, alert)."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            who = message.get("routing_key") or message["channel"]
            told.update((who, name) for name in alerts() if name in str(message))
            self.send_response(202)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def alertmanager(folder: Path, receiver_url: str) -> Iterator[str]:
    """Its address, with the committed configuration but for where secrets lie, where PagerDuty is, and how long it waits."""
    for name in ("recommendations", "platform"):
        (folder / f"{name}-routing-key").write_text(name)
    (folder / "slack-url").write_text(receiver_url)
    text = (PROMETHEUS / "alertmanager.yml").read_text(encoding="utf-8")
    config = yaml.safe_load(text.replace(SECRETS, str(folder)))
    config["global"]["pagerduty_url"] = receiver_url
    config["route"] |= {"group_wait": "0s"}
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    options = {
        "config.file": folder / "alertmanager.yml",
        "storage.path": folder / "data",
        "web.listen-address": address,
        "cluster.listen-address": "",
    }
    command = [need("prometheus-alertmanager"), *(f"--{name}={value}" for name, value in options.items())]
    with Popen(command, stdout=DEVNULL, stderr=DEVNULL) as process:
        try:
            wait_until(lambda: accepts(address), 30)
            yield f"http://{address}"
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[set[tuple[str, str]]]:
    """What the receivers were told while all of TOLD fired."""
    noted: set[tuple[str, str]] = set()
    with receiver(noted) as url, alertmanager(tmp_path_factory.mktemp("alertmanager"), url) as address:
        firing = [
            {"labels": {"alertname": name, **alerts()[name]["labels"]}, "annotations": alerts()[name]["annotations"]}
            for name in TOLD
        ]
        body = json.dumps(firing).encode()
        request = urllib.request.Request(f"{address}/api/v2/alerts", body, {"Content-Type": "application/json"})
        assert urllib.request.urlopen(request, timeout=10).status == 200
        wait_until(lambda: len(noted) >= len(TOLD), 30, report=lambda: str(noted))
        yield noted


def test_each_reaches_the_one_who_can_act_and_nobody_else(told: set[tuple[str, str]]) -> None:
    assert told == {(who, name) for name, who in TOLD.items()}
