"""The whole path on an object store gives the bytes of the path on a disk. S3 is a real server on the loopback (moto).

Where the store is and who asks comes from the environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, ...) of whichever process
asks: the driver's and each Ray worker's. A workspace stores neither.
"""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.compute import ComputeOptions, open_compute
from helpers.whole_path import events_table, make_world, part_digests, release, score, users_of
from semrec.changes.overlay import OverlayView
from semrec.contracts import part_name
from semrec.data import import_interactions
from semrec.errors import CorruptArtefactError, MissingArtefactError, WorkspaceWriteError
from semrec.online.release import OnlineRelease
from semrec.progress import NoProgress
from semrec.release.reader import Release
from semrec.runs.health import measure_health
from semrec.runs.live import require_live
from semrec.runs.plan import run_folder
from semrec.runs.publish import publish, rollback
from semrec.runs.verify import verify_run
from semrec.workspace.folder import Workspace
from semrec.workspace.lease import Lease
from semrec.workspace.storage import Storage

pytest.importorskip("moto.server", reason="NO S3: install the extra `test`")
s3fs = pytest.importorskip("s3fs", reason="NO S3: install the extra `s3`")

SECRET = "secret-of-the-test-0123456789"


class Server:
    """An S3 that keeps what it holds while it is down."""

    def __init__(self) -> None:
        self._port = 0
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request otherwise

    def start(self) -> None:
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self._port, verbose=False)
        self._server.start()
        self._port = self._server.get_host_and_port()[1]

    def stop(self) -> None:
        """Connections are refused from now on."""
        self._server.stop()
        self._server._server.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def s3(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server with one bucket, which this process knows from its environment alone: the endpoint."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setattr(
            tempfile, "tempdir", str(tmp_path_factory.mktemp("cache"))
        )  # where matrix blocks are downloaded to
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("bucket")
        yield server.endpoint
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(params=["s3", "memory"])
def uri(request: pytest.FixtureRequest) -> str:
    """A fresh prefix in an object store."""
    if request.param == "s3":
        request.getfixturevalue("s3")
        return f"s3://bucket/{uuid.uuid4().hex}/w"
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def s3_uri(s3: str) -> str:
    return f"s3://bucket/{uuid.uuid4().hex}/w"


def files(storage: Storage) -> dict[str, bytes]:
    """Every object of a workspace."""
    names = storage._fs.find(storage.full_path(""))
    return {name: storage._fs.cat_file(name) for name in names}


def test_the_whole_path_gives_the_bytes_of_a_local_folder(uri: str, tmp_path: Path) -> None:
    silent = users_of(3, 3)[2]
    remote, local = make_world(uri, silent_users=[silent]), make_world(tmp_path, silent_users=[silent])
    released, expected = release(remote), release(local)
    assert released.manifest == expected.manifest
    result, wanted = score(remote), score(local)
    assert (result.run_id, result.manifest) == (wanted.run_id, wanted.manifest)
    for part in range(4):
        path = f"{run_folder(result.run_id)}/parts/{part_name(part)}.parquet"
        assert remote.storage.read_bytes(path) == local.storage.read_bytes(path)
    found = verify_run(remote.storage, result.run_id)
    assert (found.problems, found.num_users) == ([], 9)
    measure_health(remote.storage, result.run_id)
    assert publish(remote.storage, result.run_id) == require_live(Workspace.open(uri).storage)
    served, unchanged = OnlineRelease(remote.storage, released.release_id, result.run_id), OverlayView.empty()
    served.probe()
    assert served.published(silent).source == "popularity"
    (nearest,) = served.rank([served.similar("item-0", unchanged, k=2)], unchanged)
    assert [hit.item_id for hit in nearest.hits] == ["item-1", "item-2"]
    assert not [name for name in files(remote.storage) if name.endswith("lease.json") or ".exclusive" in name]


def test_new_events_remake_one_part_and_roll_back(uri: str) -> None:
    workspace = make_world(uri)
    release(workspace)
    first = score(workspace)
    verify_run(workspace.storage, first.run_id)
    measure_health(workspace.storage, first.run_id)
    publish(workspace.storage, first.run_id)
    import_interactions(workspace, [events_table([(users_of(2, 1)[0], "item-7", 1.0, 9_000_000)])], mode="append")
    released = release(workspace)
    second = score(workspace, release_id=released.release_id)
    assert [(p.computed, p.reused) for p in (released.parts, second.parts)] == [(1, 3), (1, 3)]
    assert [
        part
        for part, (a, b) in enumerate(
            zip(part_digests(first.manifest.parts), part_digests(second.manifest.parts), strict=True)
        )
        if a != b
    ] == [2]
    verify_run(workspace.storage, second.run_id)
    measure_health(workspace.storage, second.run_id)
    publish(workspace.storage, second.run_id)
    assert rollback(workspace.storage).run == first.run_id


def test_a_lost_part_alone_is_made_again(uri: str) -> None:
    workspace = make_world(uri)
    release(workspace)
    before = score(workspace)
    path = f"{run_folder(before.run_id)}/parts/part-00001.parquet"
    data = workspace.storage.read_bytes(path)
    workspace.storage.delete(path)
    assert verify_run(workspace.storage, before.run_id).problems == [f"part 1: {path} is missing"]
    after = score(workspace)
    assert (after.parts.computed, after.parts.committed) == (1, 3)
    assert after.manifest == before.manifest
    assert workspace.storage.read_bytes(path) == data


def test_an_exclusive_create_has_one_winner(uri: str) -> None:
    storage, other = Storage(uri), Storage(uri)
    assert [storage.create_exclusive("a/file", b"first"), other.create_exclusive("a/file", b"second")] == [True, False]
    assert storage.read_bytes("a/file") == b"first"
    storage.delete("a/file")
    assert other.create_exclusive("a/file", b"third") is True
    storage.check_exclusive()
    assert storage.list_sizes("") == {}


def test_the_condition_is_the_stores_own(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One request, and the store answers it: nobody looks first whether the file is there."""
    requests: list[tuple[str, object]] = []
    call = s3fs.S3FileSystem._call_s3

    async def counted(self: object, method: str, *arguments: object, **keywords: object) -> object:
        requests.append((method, keywords.get("IfNoneMatch")))
        return await call(self, method, *arguments, **keywords)

    storage = Storage(s3_uri)
    storage.write_bytes("file", b"mine")
    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", counted)
    assert storage.create_exclusive("file", b"yours") is False
    assert requests == [("put_object", "*")]


def test_a_lease_is_held_and_removed(uri: str) -> None:
    storage = Storage(uri)
    with Lease(storage, "runs/r", heartbeat_s=0.05):
        assert list(storage.list_sizes("runs/r")) == ["lease.json"]
    assert storage.list_sizes("runs/r") == {}


WRITER = """
import sys
from semrec.workspace.storage import Storage
storage = Storage(sys.argv[1])
storage.write_bytes("a/second", b"from another process")
print(storage.create_exclusive("a/late/file", b"too"), storage.create_exclusive("a/file", b"late"))
"""


def test_what_another_process_writes_is_seen_at_once(s3: str, s3_uri: str) -> None:
    storage = Storage(s3_uri)
    storage.write_bytes("a/file", b"early")
    assert (list(storage.list_sizes("a")), storage.list_folders("a"), storage.list_sizes("a/late")) == (
        ["file"],
        [],
        {},
    )
    assert not storage.exists("a/late/file")
    done = subprocess.run([sys.executable, "-c", WRITER, s3_uri], capture_output=True, text=True, timeout=180)
    assert done.stdout == "True False\n", done.stderr
    assert storage.list_sizes("a") == {"file": 5, "second": 20}
    assert storage.exists("a/late/file")
    assert (storage.list_folders("a"), storage.list_sizes("a/late")) == (["late"], {"file": 3})


READER = (
    "import sys; from semrec.workspace.storage import Storage; print(Storage(sys.argv[1]).read_bytes('file').decode())"
)


@pytest.mark.parametrize("right", [True, False])
def test_a_process_finds_the_store_by_its_environment(s3: str, s3_uri: str, right: bool) -> None:
    Storage(s3_uri).write_bytes("file", b"found")
    environment = {**os.environ, "AWS_ENDPOINT_URL": s3 if right else "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
    command = [sys.executable, "-c", READER, s3_uri]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment)
    assert (done.returncode, done.stdout) == ((0, "found\n") if right else (1, ""))
    assert ("127.0.0.1:9" in done.stderr) is not right


class DownAfterFirstPart(NoProgress):
    """Takes the store away for some seconds when the first part is committed; the last ones are not handed out then."""

    def __init__(self, server: Server, down_s: float) -> None:
        self.server, self.restart = server, threading.Timer(down_s, server.start)

    def advance(self, count: int) -> None:
        if not self.restart.is_alive() and not self.restart.finished.is_set():
            self.server.stop()
            self.restart.start()


def test_ray_workers_find_the_store_by_their_environment_and_wait_while_it_is_down(
    server: Server, s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, local = make_world(s3_uri), make_world(tmp_path)
    assert release(workspace).manifest == release(local).manifest
    # The client alone would wait out some outages and not others.
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    outage = DownAfterFirstPart(server, down_s=5.0)
    with open_compute(ComputeOptions(num_workers=1)) as compute:
        result = score(workspace, compute=compute, progress=outage)
    assert outage.restart.finished.is_set()
    assert result.parts.computed == 4
    assert result.manifest == score(local).manifest
    assert verify_run(workspace.storage, result.run_id).problems == []


def cached_blocks() -> list[Path]:
    folder = Path(tempfile.gettempdir()) / f"semrec-cache-{os.getuid()}"
    return [path for path in folder.iterdir() if path.suffix != ".lock"]


def test_a_block_is_verified_where_it_arrives(s3_uri: str) -> None:
    workspace = make_world(s3_uri)
    released = Release(workspace.storage, release(workspace).release_id)
    block = released.manifest.matrix.blocks[0].high.file
    right = workspace.storage.read_bytes(block)
    for path in cached_blocks():
        path.unlink()  # as on a node that has read nothing yet
    workspace.storage.write_bytes(block, right[:-1] + bytes([right[-1] ^ 1]))
    with pytest.raises(CorruptArtefactError, match=f"{block} is missing or has another SHA-256"):
        released.shard()
    workspace.storage.write_bytes(block, right)
    assert released.shard().num_items == 8


def test_a_damaged_copy_of_a_block_is_fetched_again_by_the_check(s3_uri: str) -> None:
    workspace = make_world(s3_uri)
    released = Release(workspace.storage, release(workspace).release_id)
    released.check()
    for path in cached_blocks():
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    released.check()
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in cached_blocks()}
    assert digests == {path.name for path in cached_blocks()}


def test_a_workspace_knows_neither_the_endpoint_nor_a_secret(s3: str, s3_uri: str) -> None:
    workspace = make_world(s3_uri)
    release(workspace)
    score(workspace)
    stored = files(workspace.storage)
    assert len(stored) > 25
    for secret in (s3, SECRET):
        assert not [name for name, data in stored.items() if secret.encode() in data]


def test_a_bucket_that_is_not_there_is_named(s3: str) -> None:
    with pytest.raises(WorkspaceWriteError, match=r"cannot write .* in s3://no-such-bucket/w: .*bucket"):
        Workspace.create("s3://no-such-bucket/w")
    with pytest.raises(MissingArtefactError, match="no file x in s3://no-such-bucket/w"):
        Storage("s3://no-such-bucket/w").read_bytes("x")
