"""`semrec bench attack`: a service of ours keeps to its bounds, one that does not is told apart, others are left alone."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.bench.attack import MAX_HEALTH_S, MAX_MEMORY_MB, attack_service, own_service
from cluster.bench.attack_target import Target
from helpers.serving_world import make_world
from jobs.cli import app
from semrec.bench.attacks import ATTACKS
from semrec.errors import InputError


def test_a_service_under_attack_answers_others(tmp_path: Path) -> None:
    attacks = [attack for attack in ATTACKS if not attack.slow_s]
    with own_service(make_world(tmp_path / "w").workspace.storage.uri) as target:
        before, *rows = attack_service(target, attacks)
    assert [row.attack for row in rows] == [attack.name for attack in attacks]
    # On a machine that others keep busy, others' answers are late without any attack.
    most_s = MAX_HEALTH_S + 10 * max(before.worst_health_s, before.worst_question_s)
    for row, attack in zip(rows, attacks, strict=True):
        assert attack.statuses.issuperset(row.statuses), row
        assert max(row.worst_health_s, row.worst_question_s) < most_s, row
        assert row.memory_mb is not None and row.memory_mb < MAX_MEMORY_MB, row
        assert not any("healthz answered" in text or "recommendations answered" in text for text in row.broken), row


@contextmanager
def careless_service() -> Iterator[str]:
    """One that takes whatever it is sent, and lets everybody wait for it."""
    attacked = threading.Event()

    class Careless(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if attacked.is_set():
                time.sleep(2 * MAX_HEALTH_S)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            attacked.set()
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Careless)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_careless_service_is_told_apart() -> None:
    with careless_service() as url:
        before, row = attack_service(Target(url), ATTACKS[:1])
    assert before.broken == ()
    assert row.broken == ("answered 200", f"/healthz took more than {MAX_HEALTH_S} s")


def test_the_command_fails_where_a_bound_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semrec.bench.attacks.ATTACKS", ATTACKS[:1])
    written = tmp_path / "attack.json"
    with careless_service() as url:
        found = CliRunner().invoke(app, ["bench", "attack", "--url", url, "--json", str(written)])
    assert found.exit_code == 1, found.output
    assert "answered 200" in found.output
    assert [row["attack"] for row in json.loads(written.read_text())["rows"]] == ["before", ATTACKS[0].name]


@pytest.mark.parametrize(
    "options",
    [
        {"url": "http://service.example:8000"},
        {"url": "http://127.0.0.1.service.example"},
        {"url": "http://localhost:8000", "grpc": "service.example:9000"},
        {"url": "localhost:8000"},
        {"url": "ftp://localhost"},
    ],
)
def test_services_elsewhere_are_left_alone(options: dict[str, str]) -> None:
    with pytest.raises(InputError):
        Target(**options)
    if "service.example" in str(options):
        assert not Target(**options, anywhere=True).is_here or "grpc" in options
