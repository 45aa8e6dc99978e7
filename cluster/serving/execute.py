"""Execute typed queries on a snapshot of the release, many in one ranking. Runs in an engine thread, not in the event loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import count, islice
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import numpy as np

from cluster.serving.queries import AnonymousQuery, Query, SearchQuery, SimilarQuery, UserQuery
from semrec.changes.events import Event, RecentEvents
from semrec.changes.overlay import OverlayView
from semrec.errors import MissingArtefactError
from semrec.online.anonymous import ContentVector, anonymous_profile, anonymous_query
from semrec.online.answers import RankedList, RankQuery
from semrec.online.diversity import diversified
from semrec.online.explain import Explanation, WhyNot, explain, why_not
from semrec.online.hybrid import SearchMode, default_mode, fused, search_queries
from semrec.online.profile import UserProfile
from semrec.online.published import Published
from semrec.online.release import OnlineRelease
from semrec.online.users import rank_query_of
from semrec.workspace.log import LogPositions
from semrec.workspace.recall import RecallManifest

__all__ = [
    "Answer",
    "BatchPart",
    "BatchSerializer",
    "Execution",
    "Ranker",
    "Response",
    "Serializer",
    "ShardCount",
    "Snapshot",
    "execute",
    "execute_part",
    "published_answer",
    "respond",
    "respond_alone",
]

_CHECKED_EVERY: Final = 256  # one answer to a user in so many is held against what the user may not see
_user_answers = count()

Result = TypeVar("Result")

Ranker = Callable[[Sequence[RankQuery], OverlayView], list[RankedList]]
#: Counts what comes before an item in a release whose rows others hold: release, query, item, score, overlay.
ShardCount = Callable[[OnlineRelease, RankQuery, str, np.float32, OverlayView], int]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One release and one state of the overlay, taken together when a request begins: what it is answered from.

    Never altered: a release switch or a change of the overlay makes another. `rank` is the release's own, or that of the
    shards which hold it together.
    """

    served: OnlineRelease
    overlay: OverlayView
    recent_events: RecentEvents | None
    applied: LogPositions
    rank: Ranker

    def recent(self, user_id: str) -> Sequence[Event]:
        """The events of a user that the release does not know."""
        return self.recent_events.of(user_id, self.applied.events) if self.recent_events else ()

    @cached_property
    def as_released(self) -> Snapshot:
        """The same without overlay and events: what batch scoring saw."""
        return Snapshot(self.served, OverlayView.empty(), None, self.applied, self.rank)

    @cached_property
    def stamp(self) -> bytes:
        """`"release":"..","overlay":0`, which every answer carries."""
        return b'"release":"%b","overlay":%d' % (self.served.release_id.encode(), self.overlay.sequence)


class Answer(NamedTuple):
    """The answer to one query. `user_id` or `item_id` names whom or what it is about, if anything; `mode` is a search's.

    `num_deleted`, of a published list, counts its items that are left out: they were deleted since, or changed so that the
    user may not see them. `num_excluded` counts
    items that the user may not see, in the few answers that are held against it once more: 0 unless something is broken.
    `recall` is that of a published list which is approximate.
    """

    snapshot: Snapshot
    source: str
    ranked: RankedList
    user_id: str | None = None
    item_id: str | None = None
    explanations: Sequence[Explanation] | None = None
    why: WhyNot | None = None
    num_deleted: int | None = None
    num_excluded: int = 0
    mode: SearchMode | None = None
    recall: RecallManifest | None = None


class Serializer(Protocol):
    """Writes an answer as bytes of one protocol, in the thread that made it: long ones must not hold up the event loop."""

    def answer(self, answer: Answer) -> bytes:
        """One answer."""


class BatchSerializer(Protocol):
    """Writes the answers of a batch, in parts as they are made, in the thread that made them."""

    def part(self, snapshot: Snapshot, outcomes: Sequence[Answer | Exception]) -> bytes | memoryview:
        """Answers to consecutive queries, with an error in the place of the answer to a query that failed."""

    def whole(self, snapshot: Snapshot, parts: Sequence[bytes | memoryview]) -> bytes:
        """The message of all parts."""


class Response(NamedTuple):
    """A serialised answer, and the answer itself for the log."""

    body: bytes
    answer: Answer


class BatchPart(NamedTuple):
    """Serialised answers to some queries of a batch, and those answers that did not fail, for the log."""

    body: bytes | memoryview
    answers: Sequence[Answer]


class Execution(NamedTuple):
    """A query with all that executing it takes: `text` and `image` are those of a query that goes by their vectors.

    `count_before` stands for the release's own where shards hold the matrix.
    """

    query: Query
    snapshot: Snapshot
    text: ContentVector | None = None
    image: ContentVector | None = None
    count_before: ShardCount | None = None


class _Prepared(NamedTuple):
    """What a query asks the engines, and what its answer will say: the source, and the profile that explains the scores.

    Of several lists, as a search by words and meaning has, one is made.
    """

    execution: Execution
    rank_queries: Sequence[RankQuery]
    source: str
    profile: UserProfile | None = None
    mode: SearchMode | None = None


def execute(executions: Sequence[Execution]) -> list[Answer | Exception]:
    """Executes queries in one ranking per snapshot; the answers in their order. What fails for one fails for it alone."""
    outcomes: list[Answer | Exception] = [_NOT_EXECUTED] * len(executions)
    by_snapshot: dict[Snapshot, list[int]] = {}
    for position, execution in enumerate(executions):
        by_snapshot.setdefault(execution.snapshot, []).append(position)
    for positions in by_snapshot.values():
        alike = _execute_alike([executions[position] for position in positions])
        for position, outcome in zip(positions, alike, strict=True):
            outcomes[position] = outcome
    return outcomes


def respond(requests: Sequence[tuple[Execution, Serializer]]) -> list[Response | Exception]:
    """Executes queries together, and serialises the answer to each."""
    outcomes = execute([execution for execution, _ in requests])
    return [
        outcome if isinstance(outcome, Exception) else _attempt(_response, serializer, outcome)
        for (_, serializer), outcome in zip(requests, outcomes, strict=True)
    ]


def respond_alone(execution: Execution, serializer: Serializer) -> Response:
    """Executes one query, and serialises its answer. Raises what it fails with."""
    (outcome,) = _execute_alike([execution])
    if isinstance(outcome, Exception):
        raise outcome
    return _response(serializer, outcome)


def execute_part(queries: Sequence[Query], snapshot: Snapshot, serializer: BatchSerializer) -> BatchPart:
    """Executes consecutive queries of a batch, and serialises their answers together."""
    outcomes = _execute_alike([Execution(query, snapshot) for query in queries])
    answers = [outcome for outcome in outcomes if isinstance(outcome, Answer)]
    return BatchPart(serializer.part(snapshot, outcomes), answers)


def published_answer(snapshot: Snapshot, user_id: str, k: int) -> Answer:
    """The published list of a user, cut to k, without the items that were deleted since, or changed so that the user may not
    see them; says how many were left out.

    Raises MissingArtefactError for a user that the run does not have.
    """
    published = snapshot.served.published(user_id)
    if published is None:
        raise MissingArtefactError(
            f"no user {user_id!r} in the published run", expected="a user of it", remedy="Ask with source=live."
        )
    served, overlay, hits = snapshot.served, snapshot.overlay, published.hits
    if any(hit.item_id in overlay.changes for hit in hits):
        user = served.user(user_id)
        hits = published.still_shown(user.stated if user else {}, served.release.manifest.settings.eligibility, overlay)
    num_deleted = len(published.hits) - len(hits)
    reason = None if len(hits) >= k else _published_short_reason(snapshot, published, num_deleted)
    return Answer(
        snapshot, "batch", RankedList(hits[:k], reason), user_id, num_deleted=num_deleted, recall=published.recall
    )


_NOT_EXECUTED: Final = RuntimeError("not executed")


def _published_short_reason(snapshot: Snapshot, published: Published, num_deleted: int) -> str:
    """Why what is left of a published list has fewer items than were asked for."""
    reason = published.short_reason or f"the run has published {snapshot.served.run_k} items for each user"
    return f"{reason}; {num_deleted} of them may no longer be shown" if num_deleted else reason


def _execute_alike(executions: Sequence[Execution]) -> list[Answer | Exception]:
    """`execute` for queries of one snapshot."""
    prepared = [_attempt(_prepare, execution) for execution in executions]
    to_rank = [outcome for outcome in prepared if isinstance(outcome, _Prepared)]
    snapshot = executions[0].snapshot
    try:
        rank_queries = [rank_query for query in to_rank for rank_query in query.rank_queries]
        rankings = iter(snapshot.rank(rank_queries, snapshot.overlay) if to_rank else ())
    except Exception as error:
        if len(executions) == 1:
            return [error]
        # The engine cannot rank the query of one of them: executed one by one, it fails for that one alone.
        return [_execute_alike([execution])[0] for execution in executions]
    return [
        _attempt(_answer, outcome, list(islice(rankings, len(outcome.rank_queries))))
        if isinstance(outcome, _Prepared)
        else outcome
        for outcome in prepared
    ]


def _attempt(function: Callable[..., Result], *arguments: Any) -> Result | Exception:
    """The function's result, or what it raises."""
    try:
        return function(*arguments)
    except Exception as error:
        return error


def _prepare(execution: Execution) -> _Prepared:
    """Looks up whom or what a query is about. Raises InputError or MissingArtefactError for a query that cannot be ranked.

    All that may be wrong with a query is found here: a failure of the ranking has the rest of its batch done again.
    """
    query, snapshot = execution.query, execution.snapshot
    served, overlay, options = snapshot.served, snapshot.overlay, query.options
    served.check_filters(options.filters, overlay)
    filters = served.relations.filters(options.filters, overlay.relations)
    if isinstance(query, UserQuery):
        state = served.user(query.user_id, snapshot.recent(query.user_id), overlay)
        state = state or served.users.anonymous(query.user_id)
        return _Prepared(execution, [rank_query_of(state, filters, options.num_ranked)], state.source)
    if isinstance(query, SimilarQuery):
        rank_query = served.similar(query.item_id, overlay, filters=filters, k=options.num_ranked)
        return _Prepared(execution, [rank_query], "similar")
    contents = [content for content in (execution.text, execution.image) if content is not None]
    if isinstance(query, SearchQuery):
        mode = query.mode or default_mode(
            served, query.text, has_encoder=execution.text is not None, has_image=execution.image is not None
        )
        rank_queries = search_queries(
            served, overlay, query.text, contents, filters=filters, k=options.num_ranked, mode=mode
        )
        return _Prepared(execution, rank_queries, "search", mode=mode)
    profile = anonymous_profile(served, overlay, liked=query.liked, disliked=query.disliked, contents=contents)
    rank_query = anonymous_query(served, profile, filters=filters, k=options.num_ranked)
    return _Prepared(execution, [rank_query], "anonymous", profile)


def _response(serializer: Serializer, answer: Answer) -> Response:
    return Response(serializer.answer(answer), answer)


def _answer(prepared: _Prepared, rankings: Sequence[RankedList]) -> Answer:
    """Chooses among what was ranked, and explains it where that was asked for."""
    execution, query, rank_query = prepared.execution, prepared.execution.query, prepared.rank_queries[0]
    snapshot, options = execution.snapshot, query.options
    served, overlay = snapshot.served, snapshot.overlay
    candidates = fused(served, overlay, prepared.rank_queries, rankings, options.num_ranked)
    ranked = diversified(served, candidates, options.k, options.diversity, overlay)
    if isinstance(query, SimilarQuery):
        return Answer(snapshot, prepared.source, ranked, item_id=query.item_id)
    if isinstance(query, SearchQuery):
        return Answer(snapshot, prepared.source, ranked, mode=prepared.mode)
    if isinstance(query, AnonymousQuery):
        explanations = _explain(snapshot, prepared.profile, ranked) if query.explain else None
        return Answer(snapshot, prepared.source, ranked, explanations=explanations)
    explanations = _explain(snapshot, _profile(prepared, query), ranked) if query.explain else None
    why = None
    if query.why is not None:
        in_shards = partial(execution.count_before, served) if execution.count_before else None
        why = why_not(served, rank_query, query.why, overlay, ranked.hits, count_before=in_shards)
    is_checked = next(_user_answers) % _CHECKED_EVERY == 0
    num_excluded = served.num_excluded(rank_query, ranked.hits, overlay) if is_checked else 0
    return Answer(
        snapshot, prepared.source, ranked, query.user_id,
        explanations=explanations, why=why, num_excluded=num_excluded,
    )  # fmt: skip


def _profile(prepared: _Prepared, query: UserQuery) -> UserProfile | None:
    """What a user's vector is made of; None for one whose list is what is popular."""
    snapshot = prepared.execution.snapshot
    if prepared.source != "personal":
        return None
    return snapshot.served.profile(query.user_id, snapshot.recent(query.user_id), snapshot.overlay)


def _explain(snapshot: Snapshot, profile: UserProfile | None, ranked: RankedList) -> list[Explanation]:
    """Takes the scores apart, by item; without a profile they are popularity."""
    return explain(snapshot.served, profile or UserProfile(None), ranked.hits, snapshot.overlay)
