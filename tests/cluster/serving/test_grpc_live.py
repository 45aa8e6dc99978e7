"""gRPC of the service as it is run: two replicas behind HAProxy, keys, a real client, and a real kill."""

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
import psutil
import pytest
from grpc_questions import QUESTIONS, json_of, rounded
from local_processes import free_port, wait_until
from serving_world import make_world
from test_serving_live import Running

from cluster.serving.access.keys import append_key, make_key
from cluster.serving.grpc import recommender_pb2 as pb
from cluster.serving.grpc.recommender_pb2_grpc import RecommenderStub

#: What Serve binds to every interface, whatever it is told: gRPC from outside, which asks for an API key, and that between
#: its own processes, which asks for Ray's token.
OPEN = ("ray::ProxyActor", "ray::ServeReplica:semrec:recommender")  # followed by what it does at the moment


class Served:
    """A `semrec serve` with gRPC, and clients of it that hold the key `admin`."""

    def __init__(self, folder: Path, *, is_closed: bool = False) -> None:
        """`is_closed`: as users start it, without what the tests set for their other clusters."""
        self.keys = {}
        for name in ("read", "write", "admin"):
            self.keys[name], stored = make_key(name, [name])
            append_key(str(folder / "keys.jsonl"), stored)
        self.port = free_port()
        options = ["--keys-file", str(folder / "keys.jsonl"), "--grpc-port", str(self.port), "--replicas", "2"]
        with pytest.MonkeyPatch.context() as environment:
            if is_closed:
                environment.delenv("RAY_AUTH_MODE")
                environment.setenv("HOME", str(folder))
            self.running = Running(make_world(folder / "w").workspace.storage.uri, folder, *options)
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
    started = Served(tmp_path_factory.mktemp("grpc"), is_closed=True)
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
    found = listeners(served.running.pid)
    assert set(found) <= {"127.0.0.1", "::ffff:127.0.0.1", "::"}
    assert all(name.startswith(OPEN) for name in found["::"]), found
    assert "gcs_server" in found["::ffff:127.0.0.1"] and "haproxy" in found["127.0.0.1"]
    assert not (Path(served.running.workspace).parent / ".ray").exists()


def test_serves_own_grpc_wants_the_token(served: Served) -> None:
    """A request between replicas is a pickle: whoever could send one would run code."""
    own = psutil.Process(served.replicas().pop())
    ports = [c.laddr.port for c in own.net_connections("tcp") if c.status == "LISTEN" and c.laddr.ip == "::"]
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
