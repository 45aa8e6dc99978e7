"""One replica's means: what the endpoints work with, apart from HTTP and from Ray."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol, TypeVar

import numpy as np

from cluster.serving.access.keys import KeyRing
from cluster.serving.asks import Ask, Reply, ShardCount, UserAsk, answer_asks
from cluster.serving.batching import Batcher
from cluster.serving.encoders import TextEncoder
from cluster.serving.http.problems import ProblemError
from cluster.serving.settings import ServeArgs
from cluster.serving.snapshots import Snapshot
from cluster.serving.stats import Statistics
from cluster.serving.watcher import LiveRelease
from semrec.changes.events import Event
from semrec.changes.log import Batch, BatchToken
from semrec.changes.overlay import ItemChange
from semrec.errors import InputError
from semrec.online.json_size import check_json_size
from semrec.online.telemetry import AnswerLog

__all__ = ["Appender", "Service"]

_log = logging.getLogger(__name__)
_MAX_BATCH: Final = 256
_QUICK_K: Final = 200
_SMALL_BYTES: Final = 16_384  # of a request: what it costs to read it is less than a look at another thread
_READERS: Final = 2

Read = TypeVar("Read")


class Appender(Protocol):
    """What makes changes durable and known to all replicas: `OverlayClient`, or a test's own."""

    async def append_items(self, changes: Sequence[ItemChange], token: BatchToken | None = None) -> Batch:
        """Item changes; on return they are in the answers."""

    async def append_events(self, events: Sequence[Event], token: BatchToken | None = None) -> Batch:
        """Events; on return they are in the answers."""

    async def known_items(self, token: BatchToken) -> Batch | None:
        """The batch of item changes that was stored under a token."""

    async def known_events(self, token: BatchToken) -> Batch | None:
        """The batch of events that was stored under a token."""


class Service:
    """Answers asks in batches. Quick ones have a thread of their own; long lists and explanations do not hold them up.

    `count_before` is for a matrix in shards. Call `close` at the end.
    """

    def __init__(
        self,
        args: ServeArgs,
        live: LiveRelease,
        appender: Appender,
        stats: Statistics,
        *,
        keys: KeyRing | None = None,
        answers: AnswerLog | None = None,
        count_before: ShardCount | None = None,
    ) -> None:
        self.args, self.live, self.appender, self.stats = args, live, appender, stats
        self.keys, self.answers, self.count_before = keys, answers, count_before
        bounds = {"max_batch": _MAX_BATCH, "max_waiting": args.max_waiting}
        self._quick: Batcher[Ask, Reply] = Batcher("quick", answer_asks, **bounds)
        self._slow: Batcher[Ask, Reply] = Batcher("slow", answer_asks, max_batch=1, max_waiting=args.max_waiting)
        self._texts: Batcher[tuple[TextEncoder, str], np.ndarray] = Batcher("texts", _vectors, **bounds)
        self._readers = ThreadPoolExecutor(_READERS, "readers")
        check_json_size(b"")  # compiles it, or reads what was compiled, before somebody waits

    def snapshot(self, *, overlay: bool = True) -> Snapshot:
        """What the request that begins now is answered from. Raises ProblemError 503 while nothing is loaded."""
        now = self.live.now
        if now is None:
            raise ProblemError(503, "no release is loaded yet", "a published run", "Try again.", {"Retry-After": "1"})
        return now if overlay else now.as_released

    async def answer(self, ask: Ask) -> Reply:
        """The answer to one ask, made in a batch with others that wait."""
        return await (self._quick if _is_quick(ask) else self._slow).do(ask)

    async def answer_slowly(self, ask: Ask) -> Reply:
        """The same in the thread for large work."""
        return await self._slow.do(ask)

    async def read(self, size: int, take_apart: Callable[[], Read]) -> Read:
        """What `take_apart` makes of a request of `size` bytes: a large one beside the event loop, two at a time.

        A request that is no longer waited for is not begun.
        """
        if size <= _SMALL_BYTES:
            return take_apart()
        return await asyncio.get_running_loop().run_in_executor(self._readers, take_apart)

    async def vector(self, snapshot: Snapshot, text: str) -> np.ndarray:
        """float32 [D]: a text's vector by the release's encoder. Raises InputError or EncoderError."""
        encoder = await asyncio.to_thread(self.live.encoder, snapshot.served.release)
        return await self._texts.do((encoder, _plain(text)))

    def check_k(self, k: int) -> None:
        """Raises ProblemError 422 for more items than this server allows: `max_k`, or what the run has published if more."""
        now = self.live.now
        most = max(self.args.max_k, (now.served.run_k or 0) if now else 0)
        if k > most:
            raise ProblemError(422, f"k = {k}", f"at most {most}", "Ask for fewer items.")

    def check_count(self, what: str, count: int, most: int) -> None:
        """Raises ProblemError 422 for a list that is longer than this server allows."""
        if count > most:
            raise ProblemError(422, f"{count:,} {what}", f"at most {most:,}", "Split the request.")

    def gauges(self) -> dict[str, float]:
        """Numbers of the moment, for metrics and statistics."""
        state, now = self.live.state, self.live.now
        return {
            "ready": float(now is not None),
            "refused_releases": float(len(self.live.refused)),
            "overlay_sequence": float(now.overlay.sequence if now else 0),
            "overlay_changes": float(len(now.overlay.changes) if now else 0),
            "overlay_items_without_vector": float(now.overlay.num_without_vector if now else 0),
            "users_with_recent_events": float(state.recent.num_users if state else 0),
            "waiting": float(self._quick.num_waiting + self._slow.num_waiting + self._texts.num_waiting),
            "batches": float(self._quick.num_batches),
            "batched_requests": float(self._quick.num_asks),
        }

    def telemetry(self) -> dict[str, Any]:
        """How the log of answers fares."""
        if self.answers is None:
            return {}
        counts = self.answers.counts
        return {
            "written": counts.written,
            "waiting": counts.waiting,
            "dropped": counts.dropped,
            "failed": counts.failed,
        }

    def close(self) -> None:
        """Ends the threads, and writes what the log of answers holds."""
        for batcher in (self._quick, self._slow, self._texts):
            batcher.close()
        self._readers.shutdown(wait=False, cancel_futures=True)
        if self.answers:
            self.answers.close()


def _is_quick(ask: Ask) -> bool:
    if isinstance(ask, UserAsk) and (ask.explained or ask.why is not None):
        return False
    listing = getattr(ask, "listing", None)
    return listing is not None and listing.k_ranked <= _QUICK_K and not getattr(ask, "explained", False)


def _vectors(asked: list[tuple[TextEncoder, str]]) -> list[np.ndarray | BaseException]:
    found: list[np.ndarray | BaseException] = []
    for encoder, text in asked:
        try:
            found.append(encoder.vector(text))
        except Exception as error:
            found.append(error)
    return found


def _plain(text: str) -> str:
    """The text. Raises InputError for lone surrogates, which JSON can spell and no tokeniser takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError("a text with bad UTF-8", expected="Unicode", remedy="Mend the text.") from None
    return text
