"""Copies of a store's files: verified where they arrive, once per host, evicted by size but never from under a reader."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import resource
import signal
import stat
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from semrec.errors import CorruptArtefactError, WorkspaceError, WorkspaceWriteError
from semrec.workspace.file_cache import FileCache


class Store:
    """Files by name, and a log of downloads that all processes append to."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "downloads"
        folder.mkdir()
        self.log.touch()

    def put(self, name: str, data: bytes) -> str:
        (self.folder / name).write_bytes(data)
        return hashlib.sha256(data).hexdigest()

    def downloads(self) -> list[str]:
        return self.log.read_text().split()

    def download(self, name: str) -> Callable[[Path], None]:
        def copy(target: Path) -> None:
            with self.log.open("a") as log:
                log.write(f"{name}\n")
            target.write_bytes((self.folder / name).read_bytes())

        return copy


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def cache(tmp_path: Path) -> FileCache:
    return FileCache(tmp_path / "cache", max_bytes=250)


def opened(cache: FileCache, store: Store, name: str, data: bytes, *, verify_again: bool = False) -> BinaryIO:
    sha256 = store.put(name, data)
    return cache.open(store.download(name), num_bytes=len(data), sha256=sha256, name=name, verify_again=verify_again)


def copies(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"]


def test_a_file_is_downloaded_once(cache: FileCache, store: Store) -> None:
    for _ in range(3):
        with opened(cache, store, "a", b"first") as file:
            assert file.read() == b"first"
    assert store.downloads() == ["a"]


def open_at_once(folder: Path, store: Store, start: float) -> bytes:
    time.sleep(max(0.0, start - time.time()))
    sha256 = hashlib.sha256(b"x" * 1_000_000).hexdigest()
    with FileCache(folder).open(store.download("a"), num_bytes=1_000_000, sha256=sha256, name="a") as file:
        return hashlib.sha256(file.read()).digest()


def test_of_many_processes_one_downloads(store: Store, tmp_path: Path) -> None:
    store.put("a", b"x" * 1_000_000)
    tasks = [(tmp_path / "cache", store, time.time() + 0.5)] * 8
    with multiprocessing.get_context("fork").Pool(8) as pool:
        digests = pool.starmap(open_at_once, tasks, chunksize=1)
    assert set(digests) == {hashlib.sha256(b"x" * 1_000_000).digest()}
    assert store.downloads() == ["a"]


def test_other_bytes_than_recorded_are_refused_and_not_kept(cache: FileCache, store: Store, tmp_path: Path) -> None:
    sha256 = store.put("a", b"right")
    store.put("a", b"wrong")
    with pytest.raises(CorruptArtefactError, match="a is missing or has another SHA-256"):
        cache.open(store.download("a"), num_bytes=5, sha256=sha256, name="a")
    assert copies(tmp_path) == []


def test_a_transfer_that_was_cut_is_made_again(cache: FileCache, store: Store) -> None:
    sha256, tries = store.put("a", b"all of it"), []

    def cut_once(target: Path) -> None:
        tries.append(target)
        target.write_bytes(b"all of it"[: 3 if len(tries) == 1 else None])

    with cache.open(cut_once, num_bytes=9, sha256=sha256, name="a") as file:
        assert (file.read(), len(tries)) == (b"all of it", 2)


def test_a_copy_of_another_size_is_replaced(cache: FileCache, store: Store, tmp_path: Path) -> None:
    opened(cache, store, "a", b"first").close()
    copies(tmp_path)[0].write_bytes(b"cut")
    with opened(cache, store, "a", b"first") as file:
        assert file.read() == b"first"


def test_a_damaged_copy_is_found_when_asked_for(cache: FileCache, store: Store, tmp_path: Path) -> None:
    opened(cache, store, "a", b"first").close()
    copies(tmp_path)[0].write_bytes(b"fIrst")
    with opened(cache, store, "a", b"first", verify_again=True) as file:
        assert file.read() == b"first"


def test_the_longest_unused_are_evicted(cache: FileCache, store: Store, tmp_path: Path) -> None:
    for moment, name in enumerate("abc"):
        with opened(cache, store, name, name.encode() * 80) as file:
            os.utime(file.fileno(), (moment, moment))
    opened(cache, store, "a", b"a" * 80).close()  # used again
    opened(cache, store, "d", b"d" * 80).close()
    assert sorted(path.read_bytes()[:1] for path in copies(tmp_path)) == [b"a", b"c", b"d"]
    assert store.downloads() == ["a", "b", "c", "d"]


def map_until_told(folder: Path, store: Store, told: Connection) -> None:
    with opened(FileCache(folder, max_bytes=250), store, "a", b"a" * 200) as file:
        array = np.memmap(file, np.uint8, "r")
    told.send("mapped")  # the file is closed: the map alone holds it
    told.recv()
    del array
    told.send("unmapped")
    told.recv()


def test_what_another_process_has_mapped_stays(cache: FileCache, store: Store, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    told, other = context.Pipe()
    process = context.Process(target=map_until_told, args=(tmp_path / "cache", store, other))
    process.start()
    assert told.recv() == "mapped"
    opened(cache, store, "b", b"b" * 200).close()
    assert sorted(path.read_bytes()[:1] for path in copies(tmp_path)) == [b"a", b"b"]
    told.send("unmap")
    assert told.recv() == "unmapped"
    opened(cache, store, "c", b"c" * 200).close()
    assert [path.read_bytes()[:1] for path in copies(tmp_path)] == [b"c"]
    told.send("end")
    process.join()


def die_while_downloading(folder: Path, sha256: str) -> None:
    def part_of_it(target: Path) -> None:
        target.write_bytes(b"fi")
        os.kill(os.getpid(), signal.SIGKILL)

    FileCache(folder).open(part_of_it, num_bytes=5, sha256=sha256, name="a")


def test_a_process_killed_while_downloading_stands_in_nobodys_way(
    cache: FileCache, store: Store, tmp_path: Path
) -> None:
    sha256 = store.put("a", b"first")
    context = multiprocessing.get_context("fork")
    process = context.Process(target=die_while_downloading, args=(tmp_path / "cache", sha256))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with opened(cache, store, "a", b"first") as file:
        assert file.read() == b"first"


def test_a_full_disk_is_named(cache: FileCache, store: Store, tmp_path: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
    try:
        data = b"x" * 10_001
        sha256 = hashlib.sha256(data).hexdigest()
        with pytest.raises(WorkspaceWriteError, match=r"cannot write .*cache: File too large") as caught:
            cache.open(lambda target: target.write_bytes(data) and None, num_bytes=10_001, sha256=sha256, name="a")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert caught.value.transient
    assert copies(tmp_path) == []


def test_the_folder_is_this_users_alone(cache: FileCache, store: Store, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o777)
    (tmp_path / "cache").chmod(0o777)
    opened(cache, store, "a", b"first").close()
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700


def test_a_folder_that_another_user_made_is_refused(cache: FileCache, store: Store, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cache").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WorkspaceError, match="is not a folder of user"):
        opened(cache, store, "a", b"first")
    (tmp_path / "cache").unlink()
    (tmp_path / "cache").mkdir()
    if os.getuid():
        pytest.skip("NOT TESTED: another owner; the test needs root")
    os.chown(tmp_path / "cache", 65_534, -1)
    with pytest.raises(WorkspaceError, match="is not a folder of user"):
        opened(cache, store, "a", b"first")
