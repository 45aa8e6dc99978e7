"""The operations of a replica, whatever protocol a request came by: queries, item changes, events, and what is served."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

from cluster.serving.access.keys import KeyRing
from cluster.serving.access.security import Guard
from cluster.serving.batcher import Batcher, one_by_one
from cluster.serving.benchmark import Benchmark
from cluster.serving.changes.appender import Appender
from cluster.serving.contents import Content, ContentAnswer, ContentProcessor
from cluster.serving.encoders import encoder_of
from cluster.serving.errors import ForbiddenError, InvalidRequestError, NotReadyError
from cluster.serving.execute import (
    Answer,
    BatchSerializer,
    Execution,
    Response,
    Serializer,
    ShardCount,
    Snapshot,
    execute_part,
    published_answer,
    respond,
    respond_alone,
)
from cluster.serving.queries import AnonymousQuery, ListOptions, Query, QueryBatch, UserQuery, is_quick
from cluster.serving.recorder import RequestRecorder
from cluster.serving.settings import ServeArgs
from cluster.serving.stats import Statistics
from cluster.serving.watcher import ReleaseWatcher
from semrec.changes.events import LiveItems, check_events
from semrec.changes.overlay import ItemChange, checked_item
from semrec.errors import InputError
from semrec.graph.sparql import SparqlLimits
from semrec.machine import resident_bytes
from semrec.online.encoders import describe_encoders, describe_models
from semrec.online.filters import Filters
from semrec.online.json_size import check_json_size
from semrec.online.lists_json import compile_lists
from semrec.online.relations import answer_sparql, checked_changes
from semrec.online.telemetry import AnswerLog
from semrec.workspace.log import Batch, BatchToken

__all__ = ["Service", "needs_explain"]

_MAX_BATCH: Final = 256
_SMALL_BYTES: Final = 16_384  # of a request: what it costs to read it is less than a look at another thread
_READERS: Final = 2
_SPARQL_PROCESSES: Final = 2
_BATCH_PART: Final = 1_024  # queries of a batch that are one piece of work: others get their turn in between

Read = TypeVar("Read")
Found = TypeVar("Found")


class Service:
    """Dependencies and operations shared by the request handlers of one replica.

    Short lists are ranked in batches by a thread of their own; long lists, explanations and batch requests by another, so
    that they do not hold up the others. Methods raise `semrec.errors` and `cluster.serving.errors`; skins turn these into
    statuses. `count_before` is for a matrix in shards. Call `close` at the end.
    """

    def __init__(
        self,
        args: ServeArgs,
        live: ReleaseWatcher,
        appender: Appender,
        stats: Statistics,
        *,
        keys: KeyRing | None = None,
        answers: AnswerLog | None = None,
        count_before: ShardCount | None = None,
    ) -> None:
        self.args, self.live, self.stats = args, live, stats
        self.guard, self.recorder = Guard(args, keys), RequestRecorder(stats, answers)
        self._appender, self._count_before = appender, count_before
        self._quick: Batcher[tuple[Execution, Serializer], Response] = Batcher(
            "quick", respond, max_batch=_MAX_BATCH, max_waiting=args.max_waiting
        )
        self._slow = one_by_one("slow", max_waiting=args.max_waiting)
        self._searches = one_by_one("searches", max_waiting=args.max_waiting)
        self._contents = ContentProcessor(args, live)
        self.benchmark = Benchmark(args.workspace)
        self._readers = ThreadPoolExecutor(_READERS, "readers")
        self._sparql = ThreadPoolExecutor(_SPARQL_PROCESSES, "sparql")
        check_json_size(b"")  # compiles it, or reads what was compiled, before somebody waits
        compile_lists()

    def snapshot(self, *, use_overlay: bool = True) -> Snapshot:
        """What the request that begins now is answered from. Raises NotReadyError while nothing is loaded."""
        now = self.live.now
        if now is None:
            raise NotReadyError("no release is loaded yet", expected="a published run", remedy="Try again.")
        return now if use_overlay else now.as_released

    async def answer(self, query: Query, serializer: Serializer, *, may_explain: bool) -> Response:
        """Answers one query. `may_explain`: whether the caller may be told what users have seen.

        Raises InputError for what cannot be asked, MissingArtefactError for an unknown item, EncoderError for a text or an
        image where there is no encoder, ForbiddenError for an explanation to who may not have it.
        """
        self._check_options(query.options)
        if isinstance(query, UserQuery):
            wants_history = query.explain or query.why is not None
            if wants_history and not may_explain:
                raise needs_explain("explain or why, which name what a user has seen,", "Ask without them")
            if query.source == "batch":
                return await self._published(query, serializer)
        elif isinstance(query, AnonymousQuery):
            self._check_count("liked and disliked items", len(query.liked) + len(query.disliked), self.args.max_exclude)
        snapshot = self.snapshot(use_overlay=query.options.use_overlay)
        await self._prepare(query.options.filters, snapshot)
        text, image = await self._contents.text_of(query, snapshot), await self._contents.image_of(query, snapshot)
        execution = Execution(query, snapshot, text, image, self._count_before)
        if is_quick(query):
            return await self._quick.do((execution, serializer))
        response: Response = await self._slow.do(partial(respond_alone, execution, serializer))
        return response

    async def answer_batch(self, batch: QueryBatch, serializer: BatchSerializer) -> tuple[bytes, list[Answer]]:
        """Answers many queries without texts: the message of all answers in their order, and those that did not fail."""
        options = batch.options
        self._check_options(options)
        self._check_count("queries", len(batch.queries), self.args.max_queries)
        self._check_count("items in all answers", len(batch.queries) * options.k, self.args.max_batch_items)
        snapshot = self.snapshot(use_overlay=options.use_overlay)
        # They are the filters of all queries: a bad one refuses the request.
        await asyncio.to_thread(snapshot.served.check_filters, options.filters, snapshot.overlay)
        await self._prepare(options.filters, snapshot)
        works = [
            partial(execute_part, batch.queries[start : start + _BATCH_PART], snapshot, serializer)
            for start in range(0, len(batch.queries), _BATCH_PART)
        ]
        parts = await asyncio.gather(*map(self._slow.do, works))
        body = await asyncio.to_thread(serializer.whole, snapshot, [part.body for part in parts])
        return body, [answer for part in parts for answer in part.answers]

    async def process(self, contents: Sequence[Content], options: ListOptions) -> list[ContentAnswer | Exception]:
        """What contents are, and the items most like each, in their order; one that fails has its error there.

        Raises InputError for options that this server does not allow.
        """
        self._check_options(options)
        snapshot = self.snapshot(use_overlay=options.use_overlay)
        await asyncio.to_thread(snapshot.served.check_filters, options.filters, snapshot.overlay)
        return await self._contents.process(snapshot, contents, options)

    async def put_item(
        self,
        item_id: str,
        title: str,
        text: str,
        attributes: Mapping[str, Sequence[str]],
        token: BatchToken | None = None,
    ) -> Batch:
        """Adds or replaces an item; on return it is in the answers. Under a `token` it is done once, however often asked.

        Raises InputError for what an import would refuse, EncoderError where nothing embeds its text, and what the change log
        raises.
        """
        if token and (batch := await self._appender.known("items", token)):
            return batch
        snapshot = self.snapshot()
        check = partial(checked_item, item_id, title, text, attributes)
        item = await self.read(len(text), check)
        vector = await self._contents.text_vector(snapshot, item.text)
        change = ItemChange.put(item, vector, encoder_of(snapshot.served.release))
        return await self._appender.append("items", [change], token)

    async def delete_item(self, item_id: str, token: BatchToken | None = None) -> Batch:
        """Deletes an item; on return it is in no answer. Raises MissingArtefactError for an unknown one."""
        if token and (batch := await self._appender.known("items", token)):
            return batch  # the item is gone: done again, this would fail
        snapshot = self.snapshot()
        snapshot.served.item(item_id, snapshot.overlay)
        return await self._appender.append("items", [ItemChange.deletion(item_id)], token)

    async def add_events(
        self, events: Sequence[Mapping[str, Any]], token: BatchToken | None = None
    ) -> tuple[Batch, list[dict[str, Any]]]:
        """Stores interactions; on return they count in their users' answers. Also returns those that were refused, and why.

        Of a request that is repeated under its `token`, the batch is the first one; which events are refused is judged as
        the items are now. Raises InvalidRequestError when no event can be taken.
        """
        known = await self._appender.known("events", token) if token else None
        self._check_count("events", len(events), self.args.events_per_request)
        snapshot = self.snapshot()
        items = LiveItems(snapshot.served.items, snapshot.overlay)
        checked = await asyncio.to_thread(check_events, events, items, max_value=self.args.max_event_value)
        refused = [
            {"index": refusal.row, "reason": refusal.reason, "detail": refusal.detail[:200]}
            for refusal in checked.refused
        ]
        if not checked.accepted and not known:
            reasons = sorted({refusal.reason for refusal in checked.refused})
            raise InvalidRequestError(
                f"no event can be taken: {', '.join(reasons)}",
                expected="known items and possible times",
                remedy="Correct what `errors` names.",
                errors=refused,
            )
        return known or await self._appender.append("events", checked.accepted, token), refused

    async def change_relations(self, changes: Sequence[Mapping[str, Any]], token: BatchToken | None = None) -> Batch:
        """Adds and deletes relations (fields of RelationChange), all or none; on return they are in the answers.

        Raises InputError for what an import would refuse, and for deleting what attributes or the ontology say.
        """
        if token and (batch := await self._appender.known("relations", token)):
            return batch  # what was deleted is gone: done again, this would fail
        self._check_count("relations", len(changes), self.args.events_per_request)
        snapshot = self.snapshot()
        checked = await self.search_relations(checked_changes, snapshot.served, changes, snapshot.overlay)
        return await self._appender.append("relations", checked, token)

    async def search_relations(self, search: Callable[..., Found], *arguments: Any, **options: Any) -> Found:
        """Returns what a search in the relations finds. They take turns: one may take seconds, and holds nobody else up.

        Raises OverloadedError when too many wait, and what the search raises.
        """
        result: Found = await self._searches.do(partial(search, *arguments, **options))
        return result

    async def query_graph(self, text: str, max_rows: int) -> dict[str, Any]:
        """Answers SPARQL over the relations as they now are, in a process of its own: the fields of `SparqlTable`.

        Raises InputError for a query that is wrong, or takes too much.
        """
        snapshot, limits = self.snapshot(), SparqlLimits(rows=max_rows)
        served, loop = snapshot.served, asyncio.get_running_loop()
        answer = await loop.run_in_executor(self._sparql, answer_sparql, served, text, limits, snapshot.overlay)
        return {"release": served.release_id, **vars(answer)}

    def describe_release(self) -> dict[str, Any]:
        """What is served: the fields of `ReleaseInfo` in `http/schemas` and in the protocol of gRPC."""
        snapshot = self.snapshot()
        served = snapshot.served
        return {
            "release": served.release_id,
            "run": served.run_id,
            "overlay": snapshot.overlay.sequence,
            "num_items": served.num_items,
            "dimension": served.dimension,
            "run_k": served.run_k,
            "approximate": served.recall.summary() if served.recall else None,
            "encoder": served.release.manifest.encoder.get("model"),
            "attributes": served.attributes,
            "engine": self.args.engine,
            "encoders": describe_encoders(served.release),
            "models": describe_models(served.release),
            "has_images": served.release.manifest.matrix.images is not None,
        }

    def readiness(self) -> dict[str, Any]:
        """Whether requests are answered; `status` is "ready" or "loading"."""
        now = self.live.now
        # The reasons may name files, and anybody may ask here: `statistics` has them.
        refused = {name: reason.partition(":")[0] for name, reason in self.live.refused.items()}
        return {
            "status": "ready" if now else "loading",
            "release": now.served.release_id if now else None,
            "run": now.served.run_id if now else None,
            "overlay": now.overlay.sequence if now else 0,
            "refused": refused,
        }

    def statistics(self) -> dict[str, Any]:
        """Counts since the start, and the gauges of the moment."""
        now = self.live.now
        return {
            **self.stats.to_json(),
            **resident_bytes(),
            "release": now.served.release_id if now else None,
            "overlay": now.overlay.sequence if now else 0,
            "refused": self.live.refused,
            "gauges": self.gauges(),
            "telemetry": self.recorder.state(),
        }

    def gauges(self) -> dict[str, float]:
        """Numbers of the moment, for metrics and statistics."""
        state, now = self.live.state, self.live.now
        recall = now.served.recall if now else None
        return {
            **({"recall": recall.recall if recall else 1.0} if now else {}),  # of the published lists
            "ready": float(now is not None),
            "refused_releases": float(len(self.live.refused)),
            "overlay_sequence": float(now.overlay.sequence if now else 0),
            "overlay_changes": float(len(now.overlay.changes) if now else 0),
            "overlay_items_without_vector": float(now.overlay.num_without_vector if now else 0),
            "users_with_recent_events": float(state.recent.num_users if state else 0),
            "waiting": float(self._quick.num_waiting + self._slow.num_waiting + self._contents.num_waiting_texts),
            "batches": float(self._quick.num_batches),
            "batched_requests": float(self._quick.num_requests),
        }

    async def read(self, size: int, parse: Callable[[], Read]) -> Read:
        """What `parse` makes of a request of `size` bytes: a large one beside the event loop, two at a time.

        A request that is no longer waited for is not begun.
        """
        if size <= _SMALL_BYTES:
            return parse()
        return await asyncio.get_running_loop().run_in_executor(self._readers, parse)

    def close(self) -> None:
        """Ends the threads and a benchmark that runs, and writes what the log of answers holds."""
        for batcher in (self._quick, self._slow, self._searches, self._contents):
            batcher.close()
        for threads in (self._readers, self._sparql):
            threads.shutdown(wait=False, cancel_futures=True)
        self.benchmark.close()
        self.recorder.close()

    async def _prepare(self, filters: Filters, snapshot: Snapshot) -> None:
        """Has filters that did not come lately compiled beside the thread that ranks: many over a large catalogue take long.

        So does looking up what changed relations put below the values that are asked for.
        """
        served, overlay = snapshot.served, snapshot.overlay
        if (overlay.relations and filters.wanted) or not served.is_prepared(filters, overlay):
            await asyncio.get_running_loop().run_in_executor(self._readers, served.prepare, filters, overlay)

    async def _published(self, query: UserQuery, serializer: Serializer) -> Response:
        options = query.options
        if query.explain or query.why is not None or options.filters or options.diversity:
            raise InputError(
                "source=batch with filters, diversity, explain or why",
                expected="the published list as it is",
                remedy="Ask with source=live.",
            )
        snapshot = self.snapshot(use_overlay=options.use_overlay)

        def read_and_serialize() -> Response:
            answer = published_answer(snapshot, query.user_id, options.k)
            return Response(serializer.answer(answer), answer)

        return await asyncio.to_thread(read_and_serialize)

    def _check_options(self, options: ListOptions) -> None:
        """Raises InputError for more items than this server allows: `max_k`, or what the run has published if more."""
        now = self.live.now
        max_k = max(self.args.max_k, (now.served.run_k or 0) if now else 0)
        if options.k > max_k:
            raise InputError(f"k = {options.k}", expected=f"at most {max_k}", remedy="Ask for fewer items.")
        self._check_count("excluded items", len(options.filters.exclude), self.args.max_exclude)

    def _check_count(self, what: str, count: int, most: int) -> None:
        """Raises InputError for a list that is longer than this server allows."""
        if count > most:
            raise InputError(f"{count:,} {what}", expected=f"at most {most:,}", remedy="Split the request.")


def needs_explain(asked: str, otherwise: str) -> ForbiddenError:
    """The refusal of a query whose answer tells of users, to a key without that scope."""
    remedy = f"{otherwise}, or have the operator make a key with --scope read --scope explain."
    return ForbiddenError(f"{asked} by a key without the scope explain", expected="a key with explain", remedy=remedy)
