"""Files by URI: a host that does not answer takes one slot, and nobody waits for it but who asked for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cluster.serving import fetches
from cluster.serving.errors import OverloadedError
from cluster.serving.fetches import Fetcher
from semrec.online.process import ReceivedFile


class Web:
    """Hosts whose names begin with slow answer once they are let go; `most` is how many files were fetched at once."""

    def __init__(self) -> None:
        self.let_go, self.lock = threading.Event(), threading.Lock()
        self.num_now = self.most = 0

    def fetched(self, uri: str, *, max_bytes: int, timeout_s: float) -> ReceivedFile:
        with self.lock:
            self.num_now += 1
            self.most = max(self.most, self.num_now)
        if "//slow" in uri:
            assert self.let_go.wait(30)
        with self.lock:
            self.num_now -= 1
        return ReceivedFile(uri.encode())


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    made = Web()
    monkeypatch.setattr(fetches, "fetched", made.fetched)
    return made


@asynccontextmanager
async def fetcher(web: Web, timeout_s: float = 20.0) -> AsyncIterator[Fetcher]:
    made = Fetcher(max_bytes=100, timeout_s=timeout_s)
    try:
        yield made
    finally:
        web.let_go.set()
        made.close()


async def data_of(fetcher: Fetcher, uri: str) -> bytes:
    async with fetcher.file(uri) as file:
        return file.data


def test_a_slow_host_holds_nobody_else_up(web: Web) -> None:
    async def ask() -> None:
        async with fetcher(web) as made:
            waiting = [asyncio.create_task(data_of(made, f"http://slow/{n}")) for n in range(30)]
            others = await asyncio.gather(*(data_of(made, f"http://host-{n}/") for n in range(20)))
            assert others == [f"http://host-{n}/".encode() for n in range(20)]
            assert not any(task.done() for task in waiting)
            web.let_go.set()
            assert await asyncio.gather(*waiting) == [f"http://slow/{n}".encode() for n in range(30)]

    asyncio.run(ask())


def test_files_take_slots_and_waiting_ends_in_time(web: Web) -> None:
    async def ask() -> None:
        async with fetcher(web, timeout_s=0.5) as made:
            waiting = [asyncio.create_task(data_of(made, f"http://slow-{n}/")) for n in range(8)]
            await asyncio.sleep(0.05)
            with pytest.raises(OverloadedError, match="too many files before this one"):
                await data_of(made, "http://other/")
            assert web.most == 8
            web.let_go.set()
            await asyncio.gather(*waiting)
            assert await data_of(made, "http://other/") == b"http://other/"

    asyncio.run(ask())


def test_who_gives_up_leaves_the_turn_to_the_thread_that_still_runs(web: Web) -> None:
    async def ask() -> None:
        async with fetcher(web, timeout_s=0.5) as made:
            first = asyncio.create_task(data_of(made, "http://slow/1"))
            await asyncio.sleep(0.05)
            first.cancel()
            with pytest.raises(OverloadedError, match="files of 'slow' before this one"):
                await data_of(made, "http://slow/2")
            web.let_go.set()
            assert await data_of(made, "http://slow/3") == b"http://slow/3"
            assert web.most == 1

    asyncio.run(ask())


def test_too_many_are_refused_at_once(web: Web) -> None:
    async def ask() -> None:
        async with fetcher(web) as made:
            waiting = [asyncio.create_task(data_of(made, f"http://slow/{n}")) for n in range(65)]
            await asyncio.sleep(0.05)
            with pytest.raises(OverloadedError, match="wait"):
                await data_of(made, "http://slow/more")
            web.let_go.set()
            await asyncio.gather(*waiting)

    asyncio.run(ask())
