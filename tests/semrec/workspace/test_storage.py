"""Writes are whole or absent, exclusive creates have one winner, and every fault has its typed error."""

from __future__ import annotations

import multiprocessing
import pickle
import resource
import signal
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import fsspec
import pytest

from semrec.errors import CorruptArtefactError, MissingArtefactError, WorkspaceError, WorkspaceWriteError
from semrec.workspace.folder import Workspace
from semrec.workspace.storage import Storage

KILLED_MID_WRITE = """
import os, signal, sys
from pathlib import Path
from semrec.workspace.storage import Storage
if sys.argv[2] == "before the rename":
    Path.replace = lambda self, target: os.kill(os.getpid(), signal.SIGKILL)
else:
    os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL)
Storage(sys.argv[1]).write_bytes("a/file", b"new" * 100_000)
"""


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "w"))


@pytest.fixture(params=["local", "memory"])
def any_storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """A folder on disk, and one of the object-store kind."""
    return Storage(str(tmp_path / "w") if request.param == "local" else f"memory://{uuid.uuid4().hex}")


@pytest.mark.parametrize("path", ["../outside", "a/../../outside", "a/..", "..", "/etc/passwd", "a\0b"])
def test_no_path_leads_out_of_the_workspace(any_storage: Storage, path: str) -> None:

    calls = [
        *(
            any_storage.read_bytes,
            any_storage.exists,
            any_storage.list_sizes,
            any_storage.delete,
        ),
        *(
            any_storage.list_folders,
            any_storage.modified_s,
            partial(any_storage.open_local, num_bytes=8, sha256="0" * 64),
        ),
        *(partial(any_storage.write_bytes, data=b""), partial(any_storage.create_exclusive, data=b"")),
    ]
    for call in calls:
        with pytest.raises(CorruptArtefactError, match="expected a path below the workspace"):
            call(path)


def test_a_link_within_the_workspace_is_its_owners(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "large disk").mkdir()
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "embeddings").symlink_to(tmp_path / "large disk")
    storage.write_bytes("embeddings/part", b"here")
    assert (tmp_path / "large disk" / "part").read_bytes() == b"here" == storage.read_bytes("embeddings/part")


@pytest.mark.parametrize("moment", ["before the sync", "before the rename"])
def test_a_writer_killed_at_any_moment_leaves_the_old_file(storage: Storage, moment: str) -> None:
    storage.write_bytes("a/file", b"old")
    command = [sys.executable, "-c", KILLED_MID_WRITE, storage.uri, moment]
    assert subprocess.run(command, timeout=180).returncode == -signal.SIGKILL
    assert storage.read_bytes("a/file") == b"old"
    assert len(list(Path(storage.full_path("a")).iterdir())) == 2  # what it left lies beside, under a hidden name
    assert storage.list_sizes("a") == {"file": 3}


def test_a_write_replaces_and_leaves_nothing_beside(any_storage: Storage) -> None:
    for data in (b"first", b"", b"second, longer"):
        any_storage.write_bytes("a/b/file", data)
        assert any_storage.read_bytes("a/b/file") == data
        assert any_storage.list_sizes("a/b") == {"file": len(data)}


def test_listings_name_files_and_folders_apart(any_storage: Storage) -> None:
    for name, size in (("x/b", 2), ("x/a", 1), ("x/y/c", 3), ("x/z/d", 4)):
        any_storage.write_bytes(name, b"." * size)
    assert list(any_storage.list_sizes("x").items()) == [("a", 1), ("b", 2)]
    assert any_storage.list_folders("x") == ["y", "z"]
    assert (any_storage.list_sizes("none"), any_storage.list_folders("none")) == ({}, [])


def test_copy_and_delete(any_storage: Storage) -> None:
    any_storage.write_bytes("a", b"data")
    any_storage.copy("a", "there/b")
    any_storage.delete("a")
    any_storage.delete("a")
    assert not any_storage.exists("a")
    assert any_storage.read_bytes("there/b") == b"data"


def create(uri: str, number: int) -> bool:
    return Storage(uri).create_exclusive("race/file", f"{number:06d}".encode() * 1000)


def test_of_many_processes_exactly_one_creates(storage: Storage) -> None:
    with multiprocessing.get_context("fork").Pool(8) as pool:
        won = pool.starmap(create, [(storage.uri, number) for number in range(64)], chunksize=1)
    assert sum(won) == 1
    assert storage.read_bytes("race/file") == f"{won.index(True):06d}".encode() * 1000
    assert len(list(Path(storage.full_path("race")).iterdir())) == 1


def test_of_many_threads_exactly_one_creates(any_storage: Storage) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for turn in range(20):
            with ThreadPoolExecutor(8) as pool:
                create = partial(any_storage.create_exclusive, f"race-{turn}")
                won = list(pool.map(create, [str(n).encode() for n in range(16)]))
            assert sum(won) == 1
            assert any_storage.read_bytes(f"race-{turn}") == str(won.index(True)).encode()
    finally:
        sys.setswitchinterval(interval)


def test_an_exclusive_create_never_touches_what_is_there(any_storage: Storage) -> None:
    any_storage.write_bytes("file", b"mine")
    assert any_storage.create_exclusive("file", b"yours") is False
    assert any_storage.read_bytes("file") == b"mine"


def test_a_store_without_conditional_writes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = fsspec.filesystem("memory", use_listings_cache=False)
    monkeypatch.setattr(memory, "pipe_file", lambda path, data, mode: type(memory).pipe_file(memory, path, data))
    uri = f"memory://{uuid.uuid4().hex}"
    with pytest.raises(WorkspaceError, match="writes over what is there"):
        Workspace.create(uri)
    assert not [name for name in memory.store if name.startswith(Storage(uri).full_path(""))]


def test_a_store_of_an_unknown_kind_is_refused_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(f"memory://{uuid.uuid4().hex}")
    monkeypatch.setattr(storage, "_protocols", {"sftp", "ssh"})
    with pytest.raises(WorkspaceError, match="has no conditional write"):
        storage.create_exclusive("file", b"")
    assert not storage.exists("file")


class RefusedError(Exception):
    """A client error as botocore raises it."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.response = {"Error": {"Code": code}}


def failing(codes: list[str]):  # type: ignore[no-untyped-def]
    """A pipe_file that fails with each code in turn, then succeeds; and its calls."""
    calls: list[str] = []

    def pipe_file(path: str, data: bytes, mode: str) -> None:
        calls.append(path)
        if len(calls) <= len(codes):
            raise OSError(22, "refused") from RefusedError(codes[len(calls) - 1])

    return pipe_file, calls


@pytest.mark.parametrize(
    ("codes", "expected", "num_calls"),
    [
        ([], True, 1),
        (["PreconditionFailed"], False, 1),  # as from a store that does not name the condition
        (["ConditionalRequestConflict"], True, 2),
        (["ConditionalRequestConflict", "PreconditionFailed"], False, 2),
    ],
)
def test_the_answers_of_a_store_to_a_conditional_write(
    monkeypatch: pytest.MonkeyPatch, codes: list[str], expected: bool, num_calls: int
) -> None:
    storage = Storage(f"memory://{uuid.uuid4().hex}")
    pipe_file, calls = failing(codes)
    monkeypatch.setattr(storage, "_fs", type("Store", (), {"pipe_file": staticmethod(pipe_file)}))
    assert storage.create_exclusive("file", b"data") is expected
    assert len(calls) == num_calls


def test_another_fault_of_a_store_is_not_taken_for_a_lost_race(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(f"memory://{uuid.uuid4().hex}")
    monkeypatch.setattr(storage, "_fs", type("Store", (), {"pipe_file": staticmethod(failing(["InvalidRequest"])[0])}))
    with pytest.raises(OSError, match="refused"):
        storage.create_exclusive("file", b"data")


@pytest.fixture
def full_disk(tmp_path: Path):  # type: ignore[no-untyped-def]
    """A file system of 256 kB; needs root."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"NO SMALL DISK: mount says {mounted.stderr.decode().strip()!r}; the test needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("write", [Storage.write_bytes, Storage.create_exclusive])
def test_a_full_disk_is_named_and_changes_nothing(full_disk: Path, write) -> None:  # type: ignore[no-untyped-def]
    storage = Storage(str(full_disk / "w"))
    storage.write_bytes("a/file", b"old")
    with pytest.raises(WorkspaceWriteError, match=r"cannot write a/.*No space left on device") as caught:
        write(storage, "a/file" if write is Storage.write_bytes else "a/new", b"x" * 300_000)
    assert "Free space" in caught.value.remedy
    assert [p.name for p in (full_disk / "w" / "a").iterdir()] == ["file"]
    assert storage.read_bytes("a/file") == b"old"
    storage.write_bytes("a/file", b"y" * 100_000)  # there is room again


def test_a_file_size_limit_is_named_and_changes_nothing(storage: Storage) -> None:
    storage.write_bytes("a/file", b"old")
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
    try:
        with pytest.raises(WorkspaceWriteError, match=r"cannot write a/file in .*: File too large"):
            storage.write_bytes("a/file", b"x" * 10_001)
        storage.write_bytes("a/other", b"x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert storage.read_bytes("a/file") == b"old"
    assert storage.list_sizes("a") == {"file": 3, "other": 10_000}


def test_a_folder_without_permission_is_named() -> None:
    with pytest.raises(WorkspaceWriteError, match=r"cannot write semrec-test in /proc/self: "):
        Storage("/proc/self").write_bytes("semrec-test", b"")


def test_a_missing_file_is_named(any_storage: Storage) -> None:
    with pytest.raises(MissingArtefactError, match=r"no file a/none\.json in"):
        any_storage.read_json("a/none.json")


@pytest.mark.parametrize(
    ("raw", "what"),
    [(b"", "is not JSON"), (b'{"a": 1', "is not JSON"), (b"\xff\xfe{}", "is not JSON"), (b"[1]", "holds a list")],
)
def test_damaged_json_is_named(any_storage: Storage, raw: bytes, what: str) -> None:
    any_storage.write_bytes("a/x.json", raw)
    with pytest.raises(CorruptArtefactError, match=rf"a/x\.json in .* {what}"):
        any_storage.read_json("a/x.json")


def test_json_is_the_same_bytes_whatever_the_order_of_keys(any_storage: Storage) -> None:
    any_storage.write_json("x.json", {"b": "é", "a": [1, None]})
    assert any_storage.read_bytes("x.json") == '{\n  "a": [\n    1,\n    null\n  ],\n  "b": "é"\n}\n'.encode()
    with pytest.raises(ValueError, match="Out of range float"):
        any_storage.write_json("x.json", {"a": float("nan")})


def test_a_storage_survives_pickling(any_storage: Storage) -> None:
    any_storage.write_bytes("a", b"data")
    copied = pickle.loads(pickle.dumps(any_storage))
    assert (copied.uri, copied.read_bytes("a")) == (any_storage.uri, b"data")


def test_a_local_file_is_not_copied(storage: Storage) -> None:
    storage.write_bytes("m", b"data")
    with storage.open_local("m", num_bytes=4, sha256="") as file:
        assert file.name == storage.full_path("m")
    with pytest.raises(MissingArtefactError, match="no file n"):
        storage.open_local("n", num_bytes=4, sha256="")
