"""What is asked of a snapshot, and what it is answered with. Runs in an engine thread, not in the event loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Final, Protocol

import numpy as np

from cluster.serving.http.forms import JSON, Answer, Form
from cluster.serving.http.problems import problem_of
from cluster.serving.snapshots import Snapshot
from semrec.changes.overlay import OverlayView
from semrec.errors import MissingArtefactError
from semrec.online.anonymous import Weighted, anonymous_profile, anonymous_question
from semrec.online.answers import Question, Ranked
from semrec.online.diversity import diversified, num_candidates
from semrec.online.explain import Explanation, WhyNot, explain, why_not
from semrec.online.filters import NO_FILTERS, Filters
from semrec.online.profile import UserProfile
from semrec.online.published import Published
from semrec.online.release import ServedRelease
from semrec.online.users import question_of

__all__ = [
    "AnonymousAsk",
    "Ask",
    "Listing",
    "ManyAsks",
    "Reply",
    "ShardCount",
    "SimilarAsk",
    "UserAsk",
    "answer_asks",
    "published_reply",
]

_CHECKED_EVERY: Final = 256  # one answer to a user in so many is held against what the user may not see
_user_replies = count()

#: Counts what comes before an item in a release whose rows others hold: release, question, item, score, overlay.
ShardCount = Callable[[ServedRelease, Question, str, np.float32, OverlayView], int]


@dataclass(frozen=True)
class Listing:
    """What all lists have: how many items, which, and how unlike each other."""

    k: int = 10
    filters: Filters = NO_FILTERS
    diversity: float = 0.0

    @property
    def k_ranked(self) -> int:
        """How many are ranked, of which k are chosen."""
        return num_candidates(self.k, self.diversity)


@dataclass(frozen=True)
class Reply:
    """One answer in its form, and what the log of answers says of it; `parts` are the answers of a batch.

    `num_excluded` counts items that the user may not see, in the few answers that are held against it once more.
    """

    body: bytes
    snapshot: Snapshot
    item_ids: Sequence[str] = ()
    user_id: str | None = None
    parts: Sequence[Reply] = ()
    num_excluded: int = 0


class Ask(Protocol):
    """Some questions, and in what form they are answered. `questions` comes first; both may raise typed errors.

    What is wrong with an ask is for `questions` to say: one that fails in the ranking has the rest of its batch done again.
    """

    snapshot: Snapshot

    def questions(self) -> list[Question]:
        """What is to be ranked."""

    def reply(self, answers: Sequence[Ranked]) -> Reply:
        """The answer, from those to the questions."""


@dataclass
class UserAsk:
    """A user's recommendations; `why` names an item to be accounted for."""

    snapshot: Snapshot
    user_id: str
    listing: Listing = field(default_factory=Listing)
    explained: bool = False
    why: str | None = None
    count_before: ShardCount | None = None
    form: Form = JSON
    _source: str = "popularity"
    _question: Question | None = None

    def questions(self) -> list[Question]:
        served = self.snapshot.served
        served.check_filters(self.listing.filters, self.snapshot.overlay)
        state = served.user(self.user_id, self.snapshot.recent(self.user_id), self.snapshot.overlay)
        state = state or served.users.anonymous(self.user_id)
        self._source = state.source
        self._question = question_of(state, self.listing.filters, self.listing.k_ranked)
        return [self._question]

    def reply(self, answers: Sequence[Ranked]) -> Reply:
        ranked = _chosen(self.snapshot, self.listing, answers[0])
        explained = self._explain(ranked) if self.explained else None
        why = self._why(ranked, self.why) if self.why is not None else None
        answer = Answer(self.snapshot, self._source, ranked, self.user_id, explained=explained, why=why)
        reply = _reply(self.form, answer)
        if next(_user_replies) % _CHECKED_EVERY == 0 and self._question is not None:
            served, overlay = self.snapshot.served, self.snapshot.overlay
            return replace(reply, num_excluded=served.num_excluded(self._question, ranked.hits, overlay))
        return reply

    def _explain(self, ranked: Ranked) -> list[Explanation]:
        snapshot = self.snapshot
        profile = snapshot.served.profile(self.user_id, snapshot.recent(self.user_id), snapshot.overlay)
        return _explained(snapshot, profile if self._source == "personal" else None, ranked)

    def _why(self, ranked: Ranked, item_id: str) -> WhyNot:
        snapshot = self.snapshot
        assert self._question is not None
        before = partial(self.count_before, snapshot.served) if self.count_before else None
        return why_not(snapshot.served, self._question, item_id, snapshot.overlay, ranked.hits, count_before=before)


@dataclass
class SimilarAsk:
    """The items most like one."""

    snapshot: Snapshot
    item_id: str
    listing: Listing = field(default_factory=Listing)
    form: Form = JSON

    def questions(self) -> list[Question]:
        asked = self.listing
        served, overlay = self.snapshot.served, self.snapshot.overlay
        served.check_filters(asked.filters, overlay)
        return [served.similar(self.item_id, overlay, filters=asked.filters, k=asked.k_ranked)]

    def reply(self, answers: Sequence[Ranked]) -> Reply:
        ranked = _chosen(self.snapshot, self.listing, answers[0])
        return _reply(self.form, Answer(self.snapshot, "similar", ranked, item_id=self.item_id))


@dataclass
class AnonymousAsk:
    """Recommendations from liked and disliked items and texts, or a search, which is a text alone."""

    snapshot: Snapshot
    liked: Sequence[Weighted] = ()
    disliked: Sequence[Weighted] = ()
    texts: Sequence[tuple[str, np.ndarray]] = ()
    listing: Listing = field(default_factory=Listing)
    explained: bool = False
    source: str = "anonymous"
    form: Form = JSON
    _profile: UserProfile | None = None

    def questions(self) -> list[Question]:
        served, overlay = self.snapshot.served, self.snapshot.overlay
        served.check_filters(self.listing.filters, self.snapshot.overlay)
        profile = anonymous_profile(served, overlay, liked=self.liked, disliked=self.disliked, texts=self.texts)
        self._profile = profile
        return [anonymous_question(served, profile, filters=self.listing.filters, k=self.listing.k_ranked)]

    def reply(self, answers: Sequence[Ranked]) -> Reply:
        ranked = _chosen(self.snapshot, self.listing, answers[0])
        explained = _explained(self.snapshot, self._profile, ranked) if self.explained else None
        return _reply(self.form, Answer(self.snapshot, self.source, ranked, explained=explained))


@dataclass
class ManyAsks:
    """Many asks as one piece of a batch. An ask that fails has the problem in the place of its answer."""

    snapshot: Snapshot
    asks: Sequence[Ask]
    form: Form = JSON
    _found: list[list[Question] | Exception] = field(default_factory=list)

    def questions(self) -> list[Question]:
        self._found = [_questions(ask) for ask in self.asks]
        return [question for found in self._found if isinstance(found, list) for question in found]

    def reply(self, answers: Sequence[Ranked]) -> Reply:
        bodies, parts, start = [], [], 0
        for ask, found in zip(self.asks, self._found, strict=True):
            if isinstance(found, Exception):
                bodies.append(self.form.failure(problem_of(found)))
            else:
                parts.append(ask.reply(answers[start : start + len(found)]))
                bodies.append(parts[-1].body)
                start += len(found)
        return Reply(self.form.piece(bodies), self.snapshot, parts=parts)


def answer_asks(asks: list[Ask]) -> list[Reply | BaseException]:
    """Answers a batch: one ranking for all asks of a snapshot. What fails for one ask fails for it alone."""
    results: list[Reply | BaseException] = [_NOT_ANSWERED] * len(asks)
    by_snapshot: dict[Snapshot, list[int]] = {}
    for place, ask in enumerate(asks):
        by_snapshot.setdefault(ask.snapshot, []).append(place)
    for snapshot, places in by_snapshot.items():
        for place, result in zip(places, _answer_alike(snapshot, [asks[p] for p in places]), strict=True):
            results[place] = result
    return results


def published_reply(snapshot: Snapshot, user_id: str, listing: Listing, form: Form = JSON) -> Reply:
    """The published list of a user without the items that were deleted since, cut to k; says how many were left out.

    Raises MissingArtefactError for a user that the run does not have.
    """
    found = snapshot.served.published(user_id)
    if found is None:
        raise MissingArtefactError(
            f"no user {user_id!r} in the published run", expected="a user of it", remedy="Ask with source=live."
        )
    changes = snapshot.overlay.changes
    hits = [hit for hit in found.hits if hit.item_id not in changes or not changes[hit.item_id].deleted]
    num_deleted = len(found.hits) - len(hits)
    reason = None if len(hits) >= listing.k else _why_short(snapshot, found, num_deleted)
    ranked = Ranked(hits[: listing.k], reason)
    return _reply(form, Answer(snapshot, "batch", ranked, user_id, num_deleted=num_deleted))


_NOT_ANSWERED = RuntimeError("not answered")


def _why_short(snapshot: Snapshot, found: Published, num_deleted: int) -> str:
    """Why what is left of a published list has fewer items than were asked for."""
    reason = found.short_reason or f"the run has published {snapshot.served.run_k} items for each user"
    return f"{reason}; {num_deleted} of them were deleted since" if num_deleted else reason


def _answer_alike(snapshot: Snapshot, asks: list[Ask]) -> list[Reply | BaseException]:
    asked = [_questions(ask) for ask in asks]
    try:
        every = [question for found in asked if isinstance(found, list) for question in found]
        answers = snapshot.rank(every, snapshot.overlay) if every else []
    except Exception:
        if len(asks) == 1:
            raise
        return [_alone(ask) for ask in asks]  # a question of one of them cannot be ranked
    results: list[Reply | BaseException] = []
    start = 0
    for ask, found in zip(asks, asked, strict=True):
        if isinstance(found, Exception):
            results.append(found)
            continue
        try:
            results.append(ask.reply(answers[start : start + len(found)]))
        except Exception as error:
            results.append(error)
        start += len(found)
    return results


def _alone(ask: Ask) -> Reply | BaseException:
    try:
        return _answer_alike(ask.snapshot, [ask])[0]
    except Exception as error:
        return error


def _questions(ask: Ask) -> list[Question] | Exception:
    try:
        return ask.questions()
    except Exception as error:
        return error


def _chosen(snapshot: Snapshot, listing: Listing, ranked: Ranked) -> Ranked:
    if listing.diversity == 0:
        return ranked
    return diversified(snapshot.served, ranked, listing.k, listing.diversity, snapshot.overlay)


def _explained(snapshot: Snapshot, profile: UserProfile | None, ranked: Ranked) -> list[Explanation]:
    """The scores taken apart, by item; without a profile they are popularity."""
    return explain(snapshot.served, profile or UserProfile(None), ranked.hits, snapshot.overlay)


def _reply(form: Form, answer: Answer) -> Reply:
    item_ids = [hit.item_id for hit in answer.ranked.hits]
    return Reply(form.answer(answer), answer.snapshot, item_ids, answer.user_id)
