"""`/v1/benchmark`: one at a time, in a process of its own, for who runs the service, and its report is kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.serving import benchmark
from cluster.serving.access.keys import append_key, make_key
from helpers.replica_without_ray import LocalReplica, refused
from helpers.serving_world import make_world
from semrec.workspace.folder import Workspace

ROW = {
    "name": "CPU_Fallback",
    "device": "cpu",
    "num_callers": 1,
    "texts_per_call": 8,
    "texts_per_s": 5.0,
    "files_per_s": 2.0,
}
ROW["memory"] = []


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalReplica]:
    with LocalReplica(make_world(tmp_path_factory.mktemp("benchmark") / "w")) as made:
        yield made


def start(replica: LocalReplica) -> Any:
    return replica.client.post("/v1/benchmark", json={"texts": 3, "files": 2})


def ended(replica: LocalReplica) -> dict[str, Any]:
    """The state once it is no longer running."""
    for _ in range(600):
        state: dict[str, Any] = replica.client.get("/v1/benchmark").json()
        if state["status"] != "running":
            return state
        time.sleep(0.05)
    raise TimeoutError


def test_one_runs_at_a_time_and_its_report_is_kept(
    replica: LocalReplica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(replica.client.get("/v1/benchmark"), 404)
    gate = tmp_path / "gate"
    monkeypatch.setattr(
        benchmark,
        "_START",
        f"import json, pathlib, time\nwhile not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.01)\n"
        f"print(json.dumps([{ROW!r}]))".replace("{", "{{").replace("}", "}}"),
    )
    assert start(replica).status_code == 202
    refused(start(replica), 409)
    assert replica.client.get("/v1/benchmark").json()["status"] == "running"
    gate.touch()
    state = ended(replica)
    assert (state["status"], state["report"], state["error"]) == ("done", [ROW], None)


def test_what_fails_or_takes_too_long_says_so(replica: LocalReplica, monkeypatch: pytest.MonkeyPatch) -> None:
    for program, said in (
        ("raise SystemExit(3)", "log"),
        ("import signal, time; signal.setitimer(signal.ITIMER_REAL, 0.2); time.sleep(60)", "longer"),
    ):
        monkeypatch.setattr(benchmark, "_START", program)
        while start(replica).status_code == 409:  # the one before still gives its lease back
            time.sleep(0.01)
        state = ended(replica)
        assert state["status"] == "failed" and said in state["error"]


def test_what_it_lacks_is_said_before_it_starts(replica: LocalReplica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "_LIBRARIES", ("json", "no_such_library"))
    answer = replica.client.post("/v1/benchmark", json={})
    assert (answer.status_code, "no no_such_library here" in answer.json()["detail"]) == (501, True)


def test_it_ends_with_its_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "_START", "import time; time.sleep(60)")
    run = benchmark.Benchmark(Workspace.create(str(tmp_path / "w"), num_buckets=1).storage.uri)
    run.start(3, 2)
    run.close()
    while run.state()["status"] == "running":
        time.sleep(0.01)
    assert run.state()["status"] == "failed"


def test_one_whose_replica_was_killed_is_said_to_have_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "_START", "import time; time.sleep(60)")
    workspace = Workspace.create(str(tmp_path / "w"), num_buckets=1)
    run = benchmark.Benchmark(workspace.storage.uri)
    run.start(3, 2)
    assert run.state()["status"] == "running"
    workspace.storage.delete("benchmarks/lease.json")  # as it counts once its holder is gone
    state = run.state()
    assert (state["status"], state["error"]) == ("failed", "the replica that ran it has ended")
    run.close()


def test_its_program_is_the_benchmark() -> None:
    program = benchmark._START.format(path=["here"], limit_s=600, num_texts=3, num_files=2, parent=7)
    compile(program, "program", "exec")
    assert "os.nice(19); signal.alarm(600);" in program and program.endswith("main(3, 2, 7)")


def test_it_needs_an_admins_key(tmp_path: Path) -> None:
    file = str(tmp_path / "keys.jsonl")
    secrets = {}
    for scope in ("read", "admin"):
        secrets[scope], record = make_key(scope, [scope])
        append_key(file, record)
    with LocalReplica(make_world(tmp_path / "w"), keys_file=file) as made:
        for scope, status in (("read", 403), ("admin", 404)):
            headers = {"Authorization": f"Bearer {secrets[scope]}"}
            refused(made.client.get("/v1/benchmark", headers=headers), status)
