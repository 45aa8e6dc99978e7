"""Rank an item matrix in shards: each deployment ranks its rows, and the exact merge has the bytes of one matrix."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np

from cluster.serving.logs import log_with_serve
from cluster.serving.settings import ServeArgs, engine_threads
from semrec.changes.overlay import ItemChange, OverlayView
from semrec.online.answers import RankedList, RankQuery, merge_ranked
from semrec.online.release import OnlineRelease
from semrec.release.reader import Release
from semrec.workspace.digests import sha256_hex
from semrec.workspace.folder import Workspace
from semrec.workspace.storage import Storage

__all__ = ["Shard", "ShardGroup"]

_KEPT_RELEASES: Final = 2
_KEPT_VIEWS: Final = 4
_WAIT_S: Final = 60.0
_EMPTY: Final = "empty"


class Shard:
    """Ranks the rows of shard `number`, over releases that are opened when they are first asked for.

    Its state belongs to the event loop of the deployment; releases are opened and ranked over in threads. One release at a
    time is opened, in a thread beside those that rank, so rankings over the others go on meanwhile. Memory holds two
    releases at most, the live one and the one that is opened or was live before, beside those that a ranking still reads.
    """

    def __init__(self, args: ServeArgs, number: int) -> None:
        log_with_serve()
        self._args, self._number = args, number
        self._storage = Workspace.open(args.workspace).storage
        self._releases: OrderedDict[str, OnlineRelease] = OrderedDict()  # what was used last stands last
        self._openings: dict[str, asyncio.Task[OnlineRelease]] = {}
        self._one_opening = asyncio.Lock()
        self._views: dict[str, OverlayView] = {_EMPTY: OverlayView.empty()}

    async def open(self, release_id: str) -> None:
        """Opens a release, so that nobody waits for it later."""
        await self._release(release_id)

    async def rank(
        self, release_id: str, rank_queries: Sequence[RankQuery], view_id: str, changes: Sequence[ItemChange] | None
    ) -> list[RankedList] | None:
        """This shard's answers; None when it does not know the view and `changes` were not sent with it."""
        return await self._over(_rank, release_id, view_id, changes, rank_queries)

    async def count_before(
        self,
        release_id: str,
        rank_query: RankQuery,
        item_id: str,
        score: np.float32,
        view_id: str,
        changes: Sequence[ItemChange] | None,
    ) -> int | None:
        """How many items of this shard come before one; None as in `rank`."""
        return await self._over(_count, release_id, view_id, changes, rank_query, item_id, score)

    async def _over(
        self, work: Callable[..., Any], release_id: str, view_id: str, changes: Sequence[ItemChange] | None, *asked: Any
    ) -> Any:
        served, view = await self._release(release_id), self._view(view_id, changes)
        return None if view is None else await asyncio.to_thread(work, served, view, *asked)

    def _view(self, view_id: str, changes: Sequence[ItemChange] | None) -> OverlayView | None:
        if view_id not in self._views and changes is not None:
            self._views[view_id] = OverlayView.of(changes)
            if len(self._views) > _KEPT_VIEWS:
                del self._views[next(name for name in self._views if name != _EMPTY)]
        return self._views.get(view_id)

    async def _release(self, release_id: str) -> OnlineRelease:
        served = self._releases.get(release_id)
        if served is not None:
            self._releases.move_to_end(release_id)
            return served
        opening = self._openings.get(release_id)
        if opening is None:
            opening = self._openings[release_id] = asyncio.create_task(self._open_beside_others(release_id))
        return await asyncio.shield(opening)  # a caller that goes away does not stop what others wait for

    async def _open_beside_others(self, release_id: str) -> OnlineRelease:
        try:
            async with self._one_opening:
                while len(self._releases) >= _KEPT_RELEASES:  # before the new one takes its memory
                    self._releases.popitem(last=False)
                served = await asyncio.to_thread(self._opened, release_id)
                self._releases[release_id] = served
                return served
        finally:
            del self._openings[release_id]

    def _opened(self, release_id: str) -> OnlineRelease:
        args = self._args
        num_items = Release(self._storage, release_id).num_items
        edges = np.linspace(0, num_items, args.shards + 1).astype(int).tolist()
        start, stop = edges[self._number], edges[self._number + 1]
        threads = engine_threads(args)
        return OnlineRelease(self._storage, release_id, engine=args.engine, num_threads=threads, start=start, stop=stop)


class ShardGroup:
    """All shards, as one ranker. Its methods are called in engine threads; the calls are made in `loop`."""

    def __init__(self, handles: Sequence[Any], loop: asyncio.AbstractEventLoop) -> None:
        self._handles, self._loop = handles, loop
        self._names: WeakKeyDictionary[OverlayView, str] = WeakKeyDictionary()

    def open_release(
        self, storage: Storage, release_id: str, run_id: str
    ) -> tuple[OnlineRelease, Callable[[Sequence[RankQuery], OverlayView], list[RankedList]]]:
        """A release whose rows the shards hold, and what ranks over it."""
        served = OnlineRelease(storage, release_id, run_id, start=0, stop=0)
        self._wait(self._all("open", release_id))

        def rank(rank_queries: Sequence[RankQuery], overlay: OverlayView) -> list[RankedList]:
            parts = self._wait(self._over("rank", overlay, release_id, list(rank_queries)))
            return merge_ranked(parts, [rank_query.k for rank_query in rank_queries])

        return served, rank

    def count_before(
        self, served: OnlineRelease, rank_query: RankQuery, item_id: str, score: np.float32, overlay: OverlayView
    ) -> int:
        """How many items come before one: the sum of what each shard counts."""
        return sum(self._wait(self._over("count_before", overlay, served.release_id, rank_query, item_id, score)))

    def _wait(self, work: Coroutine[Any, Any, list[Any]]) -> list[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_WAIT_S)

    async def _all(self, method: str, *arguments: Any) -> list[Any]:
        return list(await asyncio.gather(*(getattr(handle, method).remote(*arguments) for handle in self._handles)))

    async def _over(self, method: str, overlay: OverlayView, *arguments: Any) -> list[Any]:
        """Calls all shards over a view, which is sent once to each, and again when a shard was restarted."""
        view_id = self._names.get(overlay)
        if view_id is None:
            view_id = self._names[overlay] = _name_of(overlay)

        async def call(handle: Any) -> Any:
            result = await getattr(handle, method).remote(*arguments, view_id, None)
            if result is None:
                result = await getattr(handle, method).remote(*arguments, view_id, list(overlay.changes.values()))
            return result

        return list(await asyncio.gather(*map(call, self._handles)))


def _rank(served: OnlineRelease, view: OverlayView, rank_queries: Sequence[RankQuery]) -> list[RankedList]:
    return served.rank(rank_queries, view)


def _count(served: OnlineRelease, view: OverlayView, rank_query: RankQuery, item_id: str, score: np.float32) -> int:
    return served.count_before(rank_query, item_id, score, view)


def _name_of(overlay: OverlayView) -> str:
    """Content hash of a view, equal in every replica. Two may differ in whether they could embed an item."""
    if not overlay:
        return _EMPTY
    changes = sorted((change.sequence, change.encoder, change.lacks_vector) for change in overlay.changes.values())
    return sha256_hex(repr(changes).encode())
