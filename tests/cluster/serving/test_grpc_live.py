"""The service as it is run with all that may stand behind and before it: two replicas behind HAProxy, a matrix in two
shards, keys, gRPC with a real client, and a real kill."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import psutil
import pytest
from test_serving_live import Running

from cluster.serving.access.keys import append_key, make_key
from cluster.serving.grpc import recommender_pb2 as pb
from cluster.serving.grpc.recommender_pb2_grpc import RecommenderStub
from cluster.serving.ray_serve import own_ports
from helpers.grpc_questions import QUESTIONS, json_of, rounded
from helpers.local_processes import free_port, wait_until
from helpers.serving_world import K, World, event_table, make_world, publish_world
from semrec.data import import_interactions
from semrec.online.release import OnlineRelease

#: What Serve binds to every interface, whatever it is told: gRPC from outside, which asks for an API key, and that between
#: its own processes, which asks for Ray's token.
OPEN = ("ray::ProxyActor", "ray::ServeReplica:semrec:")  # followed by what it does at the moment


class Served:
    """A `semrec serve` with shards and gRPC, as users start it, and clients of it that hold the key `admin`."""

    def __init__(self, world: World, folder: Path) -> None:
        self.keys, self.world = {}, world
        for name in ("read", "write", "admin"):
            self.keys[name], stored = make_key(name, [name])
            append_key(str(folder / "keys.jsonl"), stored)
        self.port = free_port()
        options = ["--keys-file", str(folder / "keys.jsonl"), "--grpc-port", str(self.port)]
        options += ["--replicas", "2", "--shards", "2"]
        kept = Path("~/.cache/semrec").expanduser()  # what other tests compiled: anew, it takes a minute of CPU
        kept.mkdir(parents=True, exist_ok=True)
        (folder / ".cache").mkdir()
        (folder / ".cache/semrec").symlink_to(kept)
        with pytest.MonkeyPatch.context() as environment:
            environment.delenv("RAY_AUTH_MODE")  # which the tests set for their other clusters
            environment.setenv("HOME", str(folder))
            self.running = Running(world.workspace.storage.uri, folder, *options)
        self.headers = {"Authorization": f"Bearer {self.keys['admin']}"}
        self.running.client.headers.update(self.headers)
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}")
        self.stub = RecommenderStub(self.channel)
        self.stub.Ready(pb.ReadyRequest(), wait_for_ready=True, timeout=180)

    def ask(self, rpc: str, message: Any, key: str = "admin") -> Any:
        metadata = [("authorization", f"Bearer {self.keys[key]}")] if key else []
        return getattr(self.stub, rpc)(message, metadata=metadata, timeout=30)

    def refusal(self, rpc: str, message: Any, key: str = "admin") -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as raised:
            self.ask(rpc, message, key)
        return raised.value.code(), raised.value.details()

    def replicas(self) -> set[int]:
        """The processes that answer."""
        found = set()
        for _ in range(12):
            with httpx.Client(base_url=self.running.client.base_url, headers=self.headers, timeout=30) as client:
                found.add(client.get("/v1/stats").json()["pid"])
        return found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("grpc")
    started = Served(make_world(folder / "w"), folder)
    yield started
    started.channel.close()
    started.running.stop()


def listeners(pid: int) -> dict[str, set[str]]:
    """Address to the names of the processes below `pid` that listen there."""
    names = {process.pid: process.name() for process in psutil.Process(pid).children(recursive=True)}
    found: dict[str, set[str]] = {}
    for connection in psutil.net_connections("tcp"):
        if connection.status == "LISTEN" and connection.pid in names:
            found.setdefault(connection.laddr.ip, set()).add(names[connection.pid])
    return found


def test_what_listens_is_on_loopback_or_asks_for_a_key_or_the_token(served: Served) -> None:
    wait_until(
        lambda: "haproxy" in listeners(served.running.pid).get("127.0.0.1", ()), 60
    )  # which starts again for each replica
    found = listeners(served.running.pid)
    assert set(found) <= {"127.0.0.1", "::ffff:127.0.0.1", "::"}
    assert all(name.startswith(OPEN) for name in found["::"]), found
    assert "gcs_server" in found["::ffff:127.0.0.1"] and "haproxy" in found["127.0.0.1"]
    assert not (Path(served.running.workspace).parent / ".ray").exists()


def test_every_port_is_one_that_was_free_when_the_service_took_it(served: Served) -> None:
    """Serve's own, fixed ones would be shared with another service of the machine, which then answers for this one."""
    family = {process.pid: process for process in psutil.Process(served.running.pid).children(recursive=True)}
    raylet = next(process for process in family.values() if process.name() == "raylet")
    given = {
        int(value) for name, value in raylet.environ().items() if name.startswith("RAY_SERVE_") and "_PORT" in name
    }
    first = {name: int(raylet.environ()[f"RAY_SERVE_DIRECT_INGRESS_MIN_{name}_PORT"]) for name in ("HTTP", "GRPC")}
    given |= {port + number for port in first.values() for number in range(8)}
    serves = ("ray::ServeReplica", "ray::ProxyActor", "haproxy")
    listening = {
        c.laddr.port
        for c in psutil.net_connections("inet4")
        if c.status == psutil.CONN_LISTEN and c.pid in family and family[c.pid].name().startswith(serves)
    }
    assert {served.port, served.running.port} < listening
    assert listening <= {served.port, served.running.port, *given}
    theirs = {name: value for name, value in own_ports().items() if name.endswith("_PORT")}
    assert not given & {int(value) for value in theirs.values()}  # what the next service would take


def lists(served: Served, release: OnlineRelease, num_items: int) -> dict[str, list[tuple[str, bytes]]]:
    """The ids and scores of each third user's list; why a list is short is told as in the published one."""
    found = {}
    for n in range(0, 40, 3):
        answer = served.running.get(f"/v1/users/user-{n}/recommendations", k=K)
        found[f"user-{n}"] = [(i["item_id"], np.float32(i["score"]).tobytes()) for i in answer["items"]]
        published = release.published(f"user-{n}")
        assert published is not None
        reason = published.short_reason  # of user-27, who states a platform that no item has
        assert answer["short_reason"] == (reason and reason.replace("of 70 items", f"of {num_items} items"))
    return found


def test_shards_answer_with_the_bytes_of_one_matrix(served: Served) -> None:
    release = served.world.serve()
    for user, hits in lists(served, release, 70).items():
        published = release.published(user)
        assert published is not None
        assert hits == [(hit.item_id, hit.score.tobytes()) for hit in published.hits]
    why = served.running.get("/v1/users/user-0/recommendations", k=1, why="n40")["why"]
    assert why["item_id"] == "n40"


def test_serves_own_grpc_wants_the_token(served: Served) -> None:
    """A request between replicas and shards is a pickle: whoever could send one would run code."""
    family = psutil.Process(served.running.pid).children(recursive=True)
    own = [process for process in family if process.name().startswith("ray::ServeReplica:semrec:")]
    assert len(own) == 4
    for process in own:
        ports = [c.laddr.port for c in process.net_connections("tcp") if c.status == "LISTEN" and c.laddr.ip == "::"]
        codes = set()
        for port in ports:
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, pytest.raises(grpc.RpcError) as raised:
                channel.unary_unary("/ray.serve.ASGIService/HandleRequest")(b"", timeout=30)
            codes.add(raised.value.code())
        assert codes <= {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNIMPLEMENTED}
        assert grpc.StatusCode.UNAUTHENTICATED in codes


def test_every_rpc_is_answered_as_over_http(served: Served) -> None:
    client = served.running.client
    assert client.delete("/v1/items/n07").json()["sequence"] == 1
    overlays = set()
    for name, rank_query in QUESTIONS.items():
        over_http = rank_query.over_http(client)
        if name == "dense":  # the vectors of this world come from no encoder
            assert over_http.status_code == 501
            said = (grpc.StatusCode.UNIMPLEMENTED, over_http.json()["detail"])
            assert served.refusal(rank_query.rpc, rank_query.message) == said
            continue
        answer = served.ask(rank_query.rpc, rank_query.message)
        assert json_of(answer) == rounded(over_http.json()), name
        overlays |= {answer.overlay} if isinstance(answer, pb.Answer) else set()
    assert overlays == {0, 1}


def test_refusals_have_the_status_of_their_kind(served: Served) -> None:
    user, status = pb.RecommendUserRequest(user_id="user-1"), grpc.StatusCode
    assert served.refusal("RecommendUser", user, "") == (status.UNAUTHENTICATED, "no API key")
    assert served.refusal("RecommendUser", user, "write")[0] == status.PERMISSION_DENIED
    assert served.refusal("RecommendUser", pb.RecommendUserRequest())[0] == status.INVALID_ARGUMENT
    assert served.refusal("SimilarItems", pb.SimilarItemsRequest(item_id="n07"))[0] == status.NOT_FOUND
    for size in (9_000_000, 80_000_000):  # more than a body may have, and than is read at all
        large = pb.SearchRequest(text="a" * size)
        assert served.refusal("Search", large)[0] == status.RESOURCE_EXHAUSTED
    garbled = served.channel.unary_unary("/semrec.v1.Recommender/RecommendUser")
    with pytest.raises(grpc.RpcError) as raised:
        garbled(b"\xff\xff\xff", metadata=[("authorization", f"Bearer {served.keys['read']}")], timeout=30)
    assert raised.value.code() == status.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError) as raised:
        garbled(b"\xff\xff\xff", timeout=30)
    assert raised.value.code() == status.UNAUTHENTICATED  # nothing is read of it before its sender has shown a key
    assert served.ask("RecommendUser", user, "read").items


def test_haproxy_takes_grpc_on_loopback_alone(served: Served) -> None:
    listening = [c for c in psutil.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert {c.laddr.ip for c in listening if c.laddr.port == served.port} == {"127.0.0.1"}


def test_a_killed_replica_costs_no_client_an_error(served: Served) -> None:
    wait_until(lambda: len(served.replicas()) == 2, 180)
    answers, errors, stop = 0, [], threading.Event()

    def ask() -> None:
        nonlocal answers
        with grpc.insecure_channel(f"127.0.0.1:{served.port}") as channel:
            stub, metadata = RecommenderStub(channel), [("authorization", f"Bearer {served.keys['read']}")]
            while not stop.is_set():
                try:
                    stub.RecommendUser(pb.RecommendUserRequest(user_id="user-1"), metadata=metadata, timeout=30)
                    answers += 1
                except grpc.RpcError as error:
                    errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(0.5)
        wait_until(lambda: answers > 10, 120)
        os.kill(next(iter(served.replicas())), signal.SIGKILL)
        num_before = answers
        time.sleep(3.0)
        wait_until(lambda: bool(errors) or answers > num_before + 20, 120)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not errors, errors[:3]


def test_shards_leave_a_deleted_item_out_and_take_another_release_up(served: Served) -> None:
    client, world = served.running.client, served.world
    assert client.delete("/v1/items/n40").status_code == 200
    assert client.get("/v1/items/n40/similar").status_code == 404
    assert all("n40" not in dict(hits) for hits in lists(served, world.serve(), 68).values())  # n07 is deleted, too
    events = [(f"user-{n}", f"n{n:02d}", 2.0, 40_000_000) for n in range(8, 40)]
    import_interactions(world.workspace, [event_table(events)], mode="append")
    release, _ = publish_world(world.workspace)
    wait_until(lambda: served.running.get("/readyz")["release"] == release, 120)
    assert served.running.get("/readyz")["refused"] == {}
