"""What each endpoint does, apart from HTTP and gRPC: from a checked request to the bytes of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

import numpy as np
import orjson
import pyarrow as pa
from pydantic import BaseModel

from cluster.serving.asks import (
    AnonymousAsk,
    Ask,
    Listing,
    ManyAsks,
    Reply,
    SimilarAsk,
    UserAsk,
    published_reply,
)
from cluster.serving.encoders import encoder_of
from cluster.serving.http.forms import JSON, Form
from cluster.serving.http.problems import ProblemError, needs_explain
from cluster.serving.http.requests import body_filters, parse_body, parse_query, weighted_items
from cluster.serving.http.schemas import (
    BatchBody,
    BatchQuery,
    EventsBody,
    ItemBody,
    ListQuery,
    RecommendBody,
    SearchBody,
    SimilarQuery,
    UserQuery,
)
from cluster.serving.service import Service
from cluster.serving.snapshots import Snapshot
from semrec.changes.events import LiveItems, check_events
from semrec.changes.log import Batch, BatchToken
from semrec.changes.overlay import ItemChange, checked_item
from semrec.online.items import ItemTable
from semrec.workspace.digests import sha256_hex

__all__ = [
    "Call",
    "Done",
    "answer_batch",
    "delete_item",
    "get_item",
    "health",
    "metrics",
    "models",
    "post_events",
    "put_item",
    "ready",
    "recommend_anonymous",
    "recommend_user",
    "search",
    "similar",
    "statistics",
]

_JSON: Final = b"application/json"
Model = TypeVar("Model", bound=BaseModel)
Query = TypeVar("Query", bound=ListQuery)
_BATCH_CHUNK: Final = 1024  # queries of a large request that are one piece of work: others get their turn in between


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `name` is the id in its path, or empty; `query` raw bytes; `token` names a batch of changes; lists are
    answered in `form`. `may_explain`: whether the caller may be told what users have seen."""

    name: str = ""
    query: bytes = b""
    body: bytes = b""
    token: str | None = None
    form: Form = JSON
    may_explain: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """One response. `replies` are the answers in it, for the log of answers."""

    body: bytes
    status: int = 200
    media_type: bytes = _JSON
    replies: Sequence[Reply] = ()


async def recommend_user(service: Service, call: Call) -> Done:
    """GET /v1/users/{id}/recommendations"""
    query, listing = await _query(service, UserQuery, call)
    if (query.explain or query.why is not None) and not call.may_explain:
        raise needs_explain("explain or why, which name what a user has seen,", "Ask without them")
    _check_listing(service, listing)
    snapshot = service.snapshot(overlay=query.overlay == "on")
    if query.source == "batch":
        if query.explain or query.why is not None or listing.filters or listing.diversity:
            raise ProblemError(
                422,
                "source=batch with filters, diversity, explain or why",
                "the published list as it is",
                "Ask with source=live.",
            )
        return _done(await asyncio.to_thread(published_reply, snapshot, call.name, listing, call.form))
    ask = UserAsk(snapshot, call.name, listing, query.explain, query.why, service.count_before, call.form)
    return _done(await service.answer(ask))


async def similar(service: Service, call: Call) -> Done:
    """GET /v1/items/{id}/similar"""
    query, listing = await _query(service, SimilarQuery, call)
    _check_listing(service, listing)
    snapshot = service.snapshot(overlay=query.overlay == "on")
    return _done(await service.answer(SimilarAsk(snapshot, call.name, listing, call.form)))


async def recommend_anonymous(service: Service, call: Call) -> Done:
    """POST /v1/recommendations"""
    body = await _body(service, RecommendBody, call)
    listing = Listing(body.k, body_filters(body.filters), body.diversity)
    _check_listing(service, listing)
    service.check_count("liked and disliked items", len(body.liked) + len(body.disliked), service.args.max_exclude)
    snapshot = service.snapshot(overlay=body.overlay == "on")
    texts = [] if body.text is None else [(body.text, await service.vector(snapshot, body.text))]
    liked, disliked = weighted_items(body.liked), weighted_items(body.disliked)
    ask = AnonymousAsk(snapshot, liked, disliked, texts, listing, body.explain, form=call.form)
    return _done(await service.answer(ask))


async def search(service: Service, call: Call) -> Done:
    """POST /v1/search"""
    body = await _body(service, SearchBody, call)
    listing = Listing(body.k, body_filters(body.filters), body.diversity)
    _check_listing(service, listing)
    snapshot = service.snapshot(overlay=body.overlay == "on")
    texts = [(body.text, await service.vector(snapshot, body.text))]
    ask = AnonymousAsk(snapshot, texts=texts, listing=listing, source="search", form=call.form)
    return _done(await service.answer(ask))


async def answer_batch(service: Service, call: Call) -> Done:
    """POST /v1/batch"""
    body = await _body(service, BatchBody, call)
    listing = Listing(body.k, body_filters(body.filters))
    _check_listing(service, listing)
    service.check_count("queries", len(body.queries), service.args.max_queries)
    service.check_count("items in all answers", len(body.queries) * body.k, service.args.max_batch_items)
    snapshot = service.snapshot(overlay=body.overlay == "on")
    await asyncio.to_thread(
        snapshot.served.check_filters, listing.filters, snapshot.overlay
    )  # they are those of all queries
    chunks = await service.read(len(call.body), partial(_chunks, snapshot, body.queries, listing, call.form))
    replies = await asyncio.gather(*map(service.answer_slowly, chunks))
    parts = [part for reply in replies for part in reply.parts]
    return Done(call.form.batch([reply.body for reply in replies]), replies=parts)


async def get_item(service: Service, call: Call) -> Done:
    """GET /v1/items/{id}"""
    snapshot = service.snapshot()
    found = snapshot.served.item(call.name, snapshot.overlay)
    facts = {"item_id": found.item_id, "title": found.title, "attributes": found.attributes}
    return Done(orjson.dumps(facts)[:-1] + b",%b}" % snapshot.stamp)


async def put_item(service: Service, call: Call) -> Done:
    """PUT /v1/items/{id}"""
    token = await _token(service, call, "PUT item")
    if token and (batch := await service.appender.known_items(token)):
        return _changed(call.name.strip(), batch)
    body = await _body(service, ItemBody, call)
    snapshot = service.snapshot()
    check = partial(checked_item, call.name, body.title, body.text, body.attributes)
    item = await service.read(len(call.body), check)
    vector = await service.vector(snapshot, item.text)
    change = ItemChange.put(item, vector, encoder_of(snapshot.served.release))
    return _changed(change.item_id, await service.appender.append_items([change], token))


async def delete_item(service: Service, call: Call) -> Done:
    """DELETE /v1/items/{id}"""
    token = await _token(service, call, "DELETE item")
    if token and (batch := await service.appender.known_items(token)):
        return _changed(call.name, batch)  # the item is gone: done again, this would be a 404
    snapshot = service.snapshot()
    snapshot.served.item(call.name, snapshot.overlay)  # an unknown one is a 404
    return _changed(call.name, await service.appender.append_items([ItemChange.deletion(call.name)], token))


async def post_events(service: Service, call: Call) -> Done:
    """POST /v1/events

    To a repeated request, how many were accepted is the first answer; which are refused is judged as the items are now.
    """
    token = await _token(service, call, "POST events")
    known = await service.appender.known_events(token) if token else None
    body = await _body(service, EventsBody, call)
    service.check_count("events", len(body.events), service.args.events_per_request)
    snapshot = service.snapshot()
    items = LiveItems(_ReleaseItems(snapshot.served.items), snapshot.overlay)
    most = service.args.max_event_value
    checked = await asyncio.to_thread(
        lambda: check_events([event.model_dump() for event in body.events], items, max_value=most)
    )
    refused = [{"index": one.row, "reason": one.reason, "detail": one.detail[:200]} for one in checked.refused]
    if not checked.accepted and not known:
        reasons = sorted({one.reason for one in checked.refused})
        raise ProblemError(
            422, f"no event can be taken: {', '.join(reasons)}", "known items and possible times", errors=refused
        )
    batch = known or await service.appender.append_events(checked.accepted, token)
    return Done(orjson.dumps({"accepted": batch.num_rows, "refused": refused, "sequence": batch.last}))


async def health(service: Service, call: Call) -> Done:
    """GET /healthz"""
    return Done(b'{"status":"alive"}')


async def ready(service: Service, call: Call) -> Done:
    """GET /readyz"""
    now = service.live.now
    # The reasons may name files, and anybody may ask here: /v1/stats has them.
    refused = {name: reason.partition(":")[0] for name, reason in service.live.refused.items()}
    body = {
        "status": "ready" if now else "loading",
        "release": now.served.release_id if now else None,
        "run": now.served.run_id if now else None,
        "overlay": now.overlay.sequence if now else 0,
        "refused": refused,
    }
    return Done(orjson.dumps(body), 200 if now else 503)


async def models(service: Service, call: Call) -> Done:
    """GET /v1/models"""
    snapshot = service.snapshot()
    served = snapshot.served
    encoder = served.release.manifest["encoder"]
    body = {
        "release": served.release_id,
        "run": served.run_id,
        "overlay": snapshot.overlay.sequence,
        "num_items": served.num_items,
        "dimension": served.dimension,
        "run_k": served.run_k,
        "encoder": encoder.get("model"),
        "attributes": served.attributes,
    }
    return Done(orjson.dumps(body))


async def statistics(service: Service, call: Call) -> Done:
    """GET /v1/stats"""
    now = service.live.now
    body = {
        **service.stats.to_json(),
        "release": now.served.release_id if now else None,
        "overlay": now.overlay.sequence if now else 0,
        "refused": service.live.refused,
        "gauges": service.gauges(),
        "telemetry": service.telemetry(),
    }
    return Done(orjson.dumps(body))


async def metrics(service: Service, call: Call) -> Done:
    """GET /metrics"""
    return Done(service.stats.to_prometheus(service.gauges()), media_type=b"text/plain; version=0.0.4")


class _ReleaseItems:
    """A release's items as `check_events` asks for them."""

    def __init__(self, items: ItemTable) -> None:
        self._items = items

    def contains(self, ids: pa.Array) -> np.ndarray:
        return np.array([item_id in self._items.row_of for item_id in ids.to_pylist()], bool)


async def _token(service: Service, call: Call, change: str) -> BatchToken | None:
    """The name that the caller gave to a change, with a digest of what it asks for: kind of change, id and body."""
    if call.token is None:
        return None
    asked = (change.encode(), call.name.encode("utf-8", "surrogatepass"), call.body)
    digest = await service.read(len(call.body), lambda: sha256_hex(b"".join(b"%d:%b" % (len(a), a) for a in asked)))
    return BatchToken(call.token, digest)


def _changed(item_id: str, batch: Batch) -> Done:
    return Done(orjson.dumps({"item_id": item_id, "sequence": batch.last}))


async def _query(service: Service, model: type[Query], call: Call) -> tuple[Query, Listing]:
    return await service.read(len(call.query), partial(parse_query, model, call.query))


async def _body(service: Service, model: type[Model], call: Call) -> Model:
    return await service.read(len(call.body), partial(parse_body, model, call.body))


def _chunks(snapshot: Snapshot, queries: Sequence[BatchQuery], listing: Listing, form: Form) -> list[ManyAsks]:
    """The queries of a batch as pieces of work."""
    asks = [_batch_ask(snapshot, query, listing, form) for query in queries]
    return [ManyAsks(snapshot, asks[at : at + _BATCH_CHUNK], form) for at in range(0, len(asks), _BATCH_CHUNK)]


def _batch_ask(snapshot: Snapshot, query: BatchQuery, listing: Listing, form: Form) -> Ask:
    if query.user_id is not None:
        return UserAsk(snapshot, query.user_id, listing, form=form)
    if query.item_id is not None:
        return SimilarAsk(snapshot, query.item_id, listing, form)
    liked, disliked = weighted_items(query.liked or []), weighted_items(query.disliked)
    return AnonymousAsk(snapshot, liked, disliked, listing=listing, form=form)


def _check_listing(service: Service, listing: Listing) -> None:
    service.check_k(listing.k)
    service.check_count("excluded items", len(listing.filters.exclude), service.args.max_exclude)


def _done(reply: Reply) -> Done:
    return Done(reply.body, replies=(reply,))
