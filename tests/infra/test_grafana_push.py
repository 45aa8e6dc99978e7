"""The push client against a stub of Grafana's documented API; no Grafana was at hand, see `grafana_stub`."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.grafana_stub import TOKEN, Stub, serving
from helpers.monitoring import ROOT
from infra.grafana import (
    GrafanaAuthError,
    GrafanaConflictError,
    GrafanaError,
    GrafanaNotFoundError,
    GrafanaSettings,
    GrafanaUnreachableError,
    diff,
    push,
    read_settings,
)
from infra.grafana.push import load_dashboards
from semrec.errors import InputError

if importlib.util.find_spec("grafana_api") is None:
    pytest.skip("NOT TESTED: grafana-api is absent; pip install grafana-api", allow_module_level=True)

from infra.grafana.client import GrafanaClient

FILES = load_dashboards()
UIDS = ["semrec-batch", "semrec-cost", "semrec-recommendations", "semrec-serving"]
HTML = b"<html>502</html>"


@pytest.fixture(params=["", "/grafana", "/a/b"])
def anywhere(request: pytest.FixtureRequest) -> Iterator[Stub]:
    """A stub at the root and below path prefixes."""
    with serving(request.param) as stub:
        yield stub


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serving() as found:
        yield found


def client(stub: Stub, **settings: Any) -> GrafanaClient:
    return GrafanaClient(GrafanaSettings(**{"url": stub.url, "token": TOKEN, **settings}))


def states(changes: Any) -> list[str]:
    return [str(change).rpartition(": ")[2] for change in changes]


def test_first_push_saves_all_and_the_second_nothing(anywhere: Stub) -> None:
    assert states(push(client(anywhere), FILES)) == ["new"] * 4
    assert anywhere.folders == {"semrec": "semrec"}
    assert sorted(anywhere.dashboards) == UIDS
    assert {entry["folderUid"] for entry in anywhere.dashboards.values()} == {"semrec"}
    assert set(anywhere.messages) == {"semrec 0.1.0"}
    written = len(anywhere.writes())
    assert written == 5  # the folder and four dashboards
    assert states(push(client(anywhere), FILES)) == ["unchanged"] * 4
    assert len(anywhere.writes()) == written


def test_a_trailing_slash_changes_nothing(anywhere: Stub) -> None:
    assert client(anywhere, url=f"{anywhere.url}/").health()["database"] == "ok"


def test_what_was_edited_in_grafana_is_shown_and_replaced(stub: Stub) -> None:
    list(push(client(stub), FILES))
    held = stub.dashboards["semrec-cost"]["dashboard"]
    held["title"], held["version"] = "Mine now", 7
    changes = diff(client(stub), FILES)
    assert states(changes) == ["unchanged", "changed", "unchanged", "unchanged"]
    assert {'- "title": "Mine now",', '+ "title": "semrec: cost and GPUs",'} <= set(changes[1].lines)
    assert held["title"] == "Mine now"  # looking changes nothing
    assert states(push(client(stub), FILES))[1] == "changed"
    assert stub.dashboards["semrec-cost"]["dashboard"]["version"] == 8
    assert states(diff(client(stub), FILES)) == ["unchanged"] * 4


def test_one_that_was_moved_comes_back(stub: Stub) -> None:
    list(push(client(stub), FILES))
    stub.dashboards["semrec-batch"]["folderUid"] = "elsewhere"
    assert {'- "folder": "elsewhere",', '+ "folder": "semrec",'} <= set(diff(client(stub), FILES)[0].lines)
    list(push(client(stub), FILES))
    assert stub.dashboards["semrec-batch"]["folderUid"] == "semrec"


def test_diff_against_an_empty_grafana_writes_nothing(stub: Stub) -> None:
    changes = diff(client(stub), FILES)
    assert states(changes) == ["new"] * 4 and stub.writes() == []
    assert all(line.startswith(("+", "---", "@@")) for change in changes for line in change.lines)


def test_somebody_who_saves_meanwhile_is_not_overwritten(stub: Stub) -> None:
    list(push(client(stub), FILES))
    stub.dashboards["semrec-batch"]["dashboard"]["title"] = "Mine now"
    stub.edits_before_saving = True
    with pytest.raises(GrafanaConflictError, match="changed by someone else"):
        list(push(client(stub), FILES))
    assert stub.dashboards["semrec-batch"]["dashboard"]["title"] == "Mine now"


def test_a_title_that_is_taken(stub: Stub) -> None:
    list(push(client(stub), FILES))
    entry = stub.dashboards.pop("semrec-batch")
    stub.dashboards["other"] = {**entry, "dashboard": {**entry["dashboard"], "uid": "other"}}
    with pytest.raises(GrafanaConflictError, match="same name"):
        list(push(client(stub), FILES))


def test_a_grafana_that_keeps_something_else_is_noticed(stub: Stub) -> None:
    stub.migrates = True
    with pytest.raises(GrafanaConflictError, match="Grafana holds another"):
        list(push(client(stub), FILES))


def test_a_folder_that_another_makes_first(stub: Stub) -> None:
    stub.folders["semrec"] = "semrec"
    stub.broken["GET /folders/semrec"] = [(404, {"message": "folder not found"})]
    assert states(push(client(stub), FILES)) == ["new"] * 4


@pytest.mark.parametrize(
    ("request_", "answer", "error", "said"),
    [
        ("GET /dashboards/uid/semrec-batch", (401, {"message": "Expired"}), GrafanaAuthError, "Expired"),
        ("POST /dashboards/db", (403, {"message": "Access denied"}), GrafanaAuthError, "does not let the token"),
        ("POST /dashboards/db", (404, {"message": "Not found"}), GrafanaNotFoundError, "dashboard semrec-batch"),
        ("POST /dashboards/db", (412, {"status": "version-mismatch"}), GrafanaConflictError, "no reason given"),
        ("POST /dashboards/db", (400, {"message": "bad\nrequest"}), GrafanaError, "answers 400 .*bad request"),
        ("POST /dashboards/db", (500, {"message": "oops"}), GrafanaError, "answers 500"),
        ("POST /dashboards/db", (502, HTML), GrafanaUnreachableError, "answers 502"),
        ("POST /dashboards/db", (200, HTML), GrafanaNotFoundError, "not JSON"),
        ("GET /health", (404, {"message": "Not found"}), GrafanaNotFoundError, "has no health"),
        ("GET /health", (200, {"database": "failing"}), GrafanaError, "database is 'failing'"),
        ("GET /health", (200, ["something"]), GrafanaNotFoundError, "without `database`"),
        ("GET /dashboards/uid/semrec-batch", (200, {}), GrafanaNotFoundError, "without `dashboard`"),
    ],
)
def test_refusals_have_types(stub: Stub, request_: str, answer: Any, error: type[GrafanaError], said: str) -> None:
    stub.broken[request_] = [answer]
    with pytest.raises(error, match=said) as caught:
        list(push(client(stub), FILES))
    assert type(caught.value) is error
    assert TOKEN not in str(caught.value)
    assert stub.requests.count(tuple(request_.split())) == 1  # none of these is tried again  # type: ignore[arg-type]


def test_reading_outlives_two_bad_answers_and_not_three(stub: Stub) -> None:
    bad = (503, {"message": "starting"})
    stub.broken["GET /health"] = [bad, bad]
    assert client(stub).health()["version"] == "11.0.0"
    stub.broken["GET /health"] = [bad, bad, bad]
    with pytest.raises(GrafanaUnreachableError, match="answers 503"):
        client(stub).health()


def test_time_runs_out(stub: Stub) -> None:
    stub.delay_s = 0.5
    started_s = time.monotonic()
    with pytest.raises(GrafanaUnreachableError, match="did not answer in time"):
        client(stub, timeout_s=0.1).health()
    assert time.monotonic() - started_s < 30
    assert client(stub, timeout_s=5.0).health()["database"] == "ok"


def test_a_wrong_token(stub: Stub) -> None:
    with pytest.raises(GrafanaAuthError, match="does not know the token"):
        list(push(client(stub, token="another"), FILES))


def test_a_url_of_another_site_and_a_forgotten_prefix(stub: Stub) -> None:
    with pytest.raises(GrafanaNotFoundError, match="not JSON"):
        client(stub, url=f"{stub.url}/blog").health()
    with serving("/grafana") as below, pytest.raises(GrafanaNotFoundError, match="path prefix"):
        client(below, url=below.url.removesuffix("/grafana")).health()


def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(GrafanaUnreachableError, match="no connection"):
            GrafanaClient(GrafanaSettings(url, TOKEN)).health()
    with pytest.raises(GrafanaUnreachableError, match="no connection"):
        GrafanaClient(GrafanaSettings("http://grafana.invalid", TOKEN)).health()


@pytest.mark.parametrize(
    "url",
    [
        "grafana:3000",
        "ftp://grafana",
        "http://",
        "http://g/?orgId=1",
        "http://g/#x",
        "http://g:99999",
        "http://me:pw@g",
    ],
)
def test_impossible_urls(url: str) -> None:
    with pytest.raises(InputError) as caught:
        GrafanaSettings(url, TOKEN)
    assert "pw" not in str(caught.value)


def test_settings_from_the_environment_and_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text(f"{TOKEN}\n")
    by_file = read_settings({"GRAFANA_URL": "http://g", "GRAFANA_TOKEN_FILE": str(secret)})
    assert by_file == read_settings({"GRAFANA_TOKEN": TOKEN}, url="http://g") == GrafanaSettings("http://g", TOKEN)
    assert TOKEN not in repr(by_file)
    wrong = [
        {"GRAFANA_TOKEN": TOKEN},
        {"GRAFANA_URL": "http://g"},
        {"GRAFANA_URL": "http://g", "GRAFANA_TOKEN": TOKEN, "GRAFANA_TOKEN_FILE": str(secret)},
        {"GRAFANA_URL": "http://g", "GRAFANA_TOKEN_FILE": str(tmp_path / "absent")},
        {"GRAFANA_URL": "http://g", "GRAFANA_TOKEN": "two words"},
    ]
    for environment in wrong:
        with pytest.raises(InputError) as caught:
            read_settings(environment)
        assert TOKEN not in str(caught.value)


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GRAFANA_")}
    full = [sys.executable, "-m", "infra.grafana", *arguments]
    done = subprocess.run(full, cwd=ROOT, env={**kept, **environment}, capture_output=True, text=True, timeout=180)
    assert TOKEN not in done.stdout + done.stderr
    return done


def test_the_command(stub: Stub, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text(TOKEN)
    where = {"GRAFANA_URL": stub.url, "GRAFANA_TOKEN_FILE": str(secret)}
    first = command("push", **where)
    assert (first.returncode, first.stdout.count(": new\n")) == (0, 4), first.stderr
    assert command("diff", **where).returncode == 0
    stub.dashboards["semrec-cost"]["dashboard"]["refresh"] = "5s"
    changed = command("diff", **where)
    assert changed.returncode == 1 and '- "refresh": "5s",' in changed.stdout
    refused = command("push", "--url", stub.url, GRAFANA_TOKEN="wrong")
    assert refused.returncode == 1 and "to do:" in refused.stderr and "Traceback" not in refused.stderr
    for wrong in (command("push"), command("pull", **where)):
        assert wrong.returncode == 2 and "Traceback" not in wrong.stderr


def test_the_stub_itself_refuses(stub: Stub) -> None:
    made = {"dashboard": {"uid": "a", "title": "A"}, "folderUid": "nowhere"}
    assert stub.answer("POST", "/dashboards/db", made)[0] == 400
    assert stub.answer("POST", "/dashboards/db", {"dashboard": {"uid": "a", "title": ""}})[0] == 400
    assert stub.answer("POST", "/dashboards/db", {"dashboard": {"uid": "a" * 41, "title": "A"}})[0] == 400
    assert stub.answer("POST", "/dashboards/db", {**made, "folderUid": ""})[0] == 200
    assert stub.answer("POST", "/dashboards/db", {**made, "folderUid": ""})[0] == 412
    assert json.dumps(stub.answer("GET", "/dashboards/uid/a", None))
