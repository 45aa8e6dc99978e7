"""A shard without Ray: rankings over the live release go on while another is opened, and memory holds two releases."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from cluster.serving import shards
from cluster.serving.settings import ServeArgs
from cluster.serving.shards import Shard
from helpers.serving_world import K, World, event_table, make_world, publish_world
from semrec.data import import_interactions
from semrec.errors import CorruptArtefactError
from semrec.online.release import OnlineRelease
from semrec.online.users import rank_query_of

WAIT_S = 180.0


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path / "w")


class Openings:
    """Stands in for OnlineRelease in the shard: notes what is opened, holds up and fails what it is told to."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.held: set[str] = set()
        self.broken: set[str] = set()
        self.begun, self.may_end = threading.Event(), threading.Event()

    def __call__(self, storage: Any, release_id: str, *arguments: Any, **options: Any) -> OnlineRelease:
        if options["stop"]:  # not the look at how many items there are
            self.opened.append(release_id)
        if release_id in self.held:
            self.begun.set()
            assert self.may_end.wait(WAIT_S)
        if release_id in self.broken:
            raise CorruptArtefactError("a block differs", expected="its bytes", remedy="Restore it.")
        return OnlineRelease(storage, release_id, *arguments, **options)


@pytest.fixture
def openings(monkeypatch: pytest.MonkeyPatch) -> Openings:
    made = Openings()
    monkeypatch.setattr(shards, "OnlineRelease", made)
    return made


def another_release(world: World, second: int) -> str:
    events = [(f"user-{user}", f"n{(user * second) % 70:02d}", 3.0, 30_000_000 + second) for user in range(40)]
    import_interactions(world.workspace, [event_table(events)], mode="append")
    return publish_world(world.workspace)[0]


def shard_of(world: World) -> Shard:
    return Shard(ServeArgs(workspace=world.workspace.storage.uri, shards=2, threads=1), 0)


async def rank(shard: Shard, world: World, release_id: str) -> list[Any]:
    user = world.serve().user("user-1")
    assert user is not None
    (ranked,) = await shard.rank(release_id, [rank_query_of(user, k=K)], "empty", None) or []
    return [(hit.item_id, hit.score.tobytes()) for hit in ranked.hits]


def test_rankings_go_on_while_any_number_of_replicas_wait_for_another_release(world: World, openings: Openings) -> None:
    later = another_release(world, 7)
    openings.held.add(later)

    async def main() -> None:
        shard = shard_of(world)
        before = await rank(shard, world, world.release_id)
        waiting = [asyncio.create_task(shard.open(later)) for _ in range(40)]  # more than the loop has threads
        assert await asyncio.to_thread(openings.begun.wait, WAIT_S)
        during = await asyncio.wait_for(rank(shard, world, world.release_id), WAIT_S)
        assert during == before
        assert not any(task.done() for task in waiting)
        waiting.pop().cancel()  # one replica went away
        openings.may_end.set()
        await asyncio.gather(*waiting)
        assert await rank(shard, world, later)

    asyncio.run(main())
    assert openings.opened == [world.release_id, later]


def test_two_releases_are_kept_and_the_one_used_longest_ago_goes_before_a_third_is_opened(
    world: World, openings: Openings
) -> None:
    second, third = another_release(world, 7), another_release(world, 11)
    openings.held.add(third)

    async def main() -> None:
        shard = shard_of(world)
        await shard.open(world.release_id)
        await shard.open(second)
        opening = asyncio.create_task(shard.open(third))
        assert await asyncio.to_thread(openings.begun.wait, WAIT_S)
        assert list(shard._releases) == [second]
        openings.may_end.set()
        await opening
        assert list(shard._releases) == [second, third]

    asyncio.run(main())


def test_a_release_that_cannot_be_opened_is_tried_again(world: World, openings: Openings) -> None:
    openings.broken.add(world.release_id)

    async def main() -> None:
        shard = shard_of(world)
        for _ in range(2):
            with pytest.raises(CorruptArtefactError):
                await shard.open(world.release_id)
        openings.broken.clear()
        assert await rank(shard, world, world.release_id)

    asyncio.run(main())
