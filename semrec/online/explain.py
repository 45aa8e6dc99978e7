"""Explains why an item is recommended, and why another one is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from semrec.changes.overlay import OverlayView
from semrec.graph.graph import Edge
from semrec.models.components import ComponentHistory
from semrec.online.answers import RankQuery, ScoredItem
from semrec.online.common_themes import common_themes
from semrec.online.item_scores import scores_of
from semrec.online.profile import UserProfile
from semrec.online.relations import reasons_for
from semrec.scoring.eligibility import Clause

if TYPE_CHECKING:
    from semrec.online.release import OnlineRelease

__all__ = ["CountBefore", "Explanation", "Part", "WhyNot", "explain", "why_not"]

_MOST_PARTS: Final = 5


@dataclass(frozen=True)
class Part:
    """What one liked (or disliked, or written) thing adds to a score, through one component of the release.

    `share` is its part of all absolute weight in that component. A component that goes by no event of the user is one part
    with the component's own name (popularity), share 1 and cosine 0.
    """

    name: str
    share: float
    contribution: float
    cosine: float
    component: str


@dataclass(frozen=True)
class Explanation:
    """The score of an item, taken apart: `parts` with the largest effect, and `rest`, what all others add up to.

    The contributions and the rest add up to the score, but for the rounding of float32. `nearest` are the liked things that
    are most like the item, by cosine. A score by popularity is a number of users, and all of it is rest. `reason` are the
    relations that lead from something liked to the item, rare ones preferred; None without any. It explains no number.
    `themes` names what the item and the liked things are both about (`common_themes`).
    """

    item_id: str
    score: float
    parts: list[Part]
    rest: float
    nearest: list[Part]
    reason: tuple[Edge, ...] | None = None
    themes: tuple[str, ...] = ()


def explain(
    served: OnlineRelease,
    profile: UserProfile,
    hits: Sequence[ScoredItem],
    overlay: OverlayView,
    *,
    num_parts: int = _MOST_PARTS,
) -> list[Explanation]:
    """Takes the scores of `hits` apart by what each model of the release says of it, see `VectorModel.contributions`."""
    if profile.vector is None or not hits:
        return [Explanation(hit.item_id, float(hit.score), [], float(hit.score), []) for hit in hits]
    items_KD = served.vectors_of([hit.item_id for hit in hits], overlay)
    terms = _Terms.concatenate([_terms_of(history, profile.names, items_KD) for history in profile.histories])
    liked = np.flatnonzero(terms.is_liked)
    liked_ids = _liked_ids(profile)
    paths = reasons_for(served, liked_ids, [hit.item_id for hit in hits], overlay)
    themes = common_themes(served, liked_ids, items_KD, overlay)
    explained = []
    for row, (hit, path) in enumerate(zip(hits, paths, strict=True)):
        added = terms.added_KL[row]
        largest = np.argsort(-np.abs(added), kind="stable")
        nearest = liked[np.argsort(-terms.cosines_KL[row, liked], kind="stable")]
        parts, alike = ([terms.part(row, n) for n in order[:num_parts].tolist()] for order in (largest, nearest))
        rest = float(added[largest[num_parts:]].sum())
        edges = path.edges if path else None
        explained.append(Explanation(hit.item_id, float(hit.score), parts, rest, alike, edges, themes[row]))
    return explained


def _liked_ids(profile: UserProfile) -> list[str]:
    """The things that speak for an item in some component, each once."""
    rows = [
        made_by.history.rows_L[made_by.history.weights_L > 0]
        for made_by in profile.histories
        if made_by.history.vector is not None
    ]
    return [profile.names[row] for row in np.unique(np.concatenate(rows)).tolist()] if rows else []


@dataclass(frozen=True, eq=False)
class _Terms:
    """All terms L of a profile, whatever component they are of, against K items: parallel over L."""

    names: list[str]
    components: list[str]
    shares_L: np.ndarray
    added_KL: np.ndarray
    cosines_KL: np.ndarray
    is_liked: np.ndarray  # bool [L]: false for a component as a whole

    @classmethod
    def concatenate(cls, blocks: Sequence[_Terms]) -> _Terms:
        return cls(
            [name for block in blocks for name in block.names],
            [name for block in blocks for name in block.components],
            np.concatenate([block.shares_L for block in blocks]),
            np.concatenate([block.added_KL for block in blocks], axis=1),
            np.concatenate([block.cosines_KL for block in blocks], axis=1),
            np.concatenate([block.is_liked for block in blocks]),
        )

    def part(self, row: int, n: int) -> Part:
        """Term n as it adds to the score of item `row`."""
        share, added, cosine = (
            float(numbers[n]) for numbers in (self.shares_L, self.added_KL[row], self.cosines_KL[row])
        )
        return Part(self.names[n], share, added, cosine, self.components[n])


def _terms_of(made_by: ComponentHistory, names: Sequence[str], items_KD: np.ndarray) -> _Terms:
    """The terms of one component: a user's liked things, or the whole component where those do not make it."""
    component, history = made_by.component.name, made_by.history
    if history.vector is None or not made_by.weight:  # it has no say in the score
        none_K0 = np.zeros((len(items_KD), 0))
        return _Terms([], [], np.zeros(0), none_K0, none_K0, np.zeros(0, bool))
    if not made_by.component.model.is_personal:
        score_K = made_by.score_parts(items_KD)
        no_cosine_K1, whole = np.zeros((len(items_KD), 1)), np.zeros(1, bool)
        return _Terms([component], [component], np.ones(1), score_K[:, None], no_cosine_K1, whole)
    left_LD = history.vectors_LD.astype(np.float64)
    right_KD = made_by.own_vectors(items_KD).astype(np.float64)
    lengths_KL = np.outer(np.linalg.norm(right_KD, axis=1), np.linalg.norm(left_LD, axis=1))
    cosines_KL = (right_KD @ left_LD.T) / np.where(lengths_KL > 0, lengths_KL, 1)
    shares_L = np.abs(history.weights_L) / (np.abs(history.weights_L).sum() or 1.0)
    liked = [names[row] for row in history.rows_L]
    added_KL, is_liked = made_by.contributions(items_KD), np.ones(len(liked), bool)
    return _Terms(liked, [component] * len(liked), shares_L, added_KL, cosines_KL, is_liked)


@dataclass(frozen=True)
class WhyNot:
    """Says why an item is not in an answer, or that it is.

    `reason`: shown; seen; excluded (by its id); filtered (`attribute` says by which); not_eligible (`attribute` is the
    clause); below (the K-th score is `short_by` higher; 0 when a tie was lost by item_id); diverse (its rank was good
    enough, but it is too like others). `score` is the item's own; `rank` counts from 1 among all that may be shown, and is
    None for an item that may not.
    """

    item_id: str
    reason: Literal["shown", "seen", "excluded", "filtered", "not_eligible", "below", "diverse"]
    detail: str
    score: float
    attribute: str | None = None
    rank: int | None = None
    short_by: float | None = None


CountBefore = Callable[[RankQuery, str, np.float32, OverlayView], int]


def why_not(
    served: OnlineRelease,
    rank_query: RankQuery,
    item_id: str,
    overlay: OverlayView,
    hits: Sequence[ScoredItem],
    *,
    count_before: CountBefore | None = None,
) -> WhyNot:
    """Why `item_id` is not among `hits`, the answer to `rank_query`. Raises MissingArtefactError for an unknown item.

    `count_before` stands for `served.count_before` where several hold the matrix: the sum of what each counts.
    """
    attributes = served.item(item_id, overlay).attributes
    score: np.float32 = scores_of(served, rank_query, [item_id], overlay)[0]
    hidden = _hidden(served, rank_query, item_id, attributes, overlay)
    if hidden is not None:
        reason, detail, attribute = hidden
        return WhyNot(item_id, reason, detail, float(score), attribute)
    rank = (count_before or served.count_before)(rank_query, item_id, score, overlay) + 1
    if any(hit.item_id == item_id for hit in hits):
        return WhyNot(item_id, "shown", f"it is in the answer, at rank {rank} by score", float(score), rank=rank)
    if rank <= rank_query.k or not hits:
        detail = f"its rank is {rank}, but it is too like items that are shown"
        return WhyNot(item_id, "diverse", detail, float(score), rank=rank)
    short_by = float(min(hit.score for hit in hits)) - float(score)
    lost = f"its score is {short_by:.6g} below that of place {len(hits)}"
    detail = f"its rank is {rank}: {lost if short_by > 0 else 'an equal score, and an item_id that comes later'}"
    return WhyNot(item_id, "below", detail, float(score), rank=rank, short_by=short_by)


Reason = Literal["seen", "excluded", "filtered", "not_eligible"]


def _hidden(
    served: OnlineRelease,
    rank_query: RankQuery,
    item_id: str,
    attributes: dict[str, list[str]],
    overlay: OverlayView,
) -> tuple[Reason, str, str | None] | None:
    """Why an item may not be shown at all: reason, detail and attribute; None when it may."""
    row = served.items.row_of.get(item_id)
    if item_id in rank_query.hidden or (row is not None and row in rank_query.seen_rows):
        return "seen", "it was seen, or the query is made of it", None
    clause = _failed_clause(served.release.layout.clauses, rank_query, attributes)
    if clause is not None:
        has = ", ".join(attributes.get(clause.attribute) or ["none"])
        return "not_eligible", f"the user may see other values of {clause.attribute}; it has: {has}", clause.attribute
    if item_id in rank_query.filters.exclude:
        return "excluded", "the request excludes its id", None
    filtered = served.filtered(item_id, overlay)
    attribute = rank_query.filters.including(served.release.subclasses).failed(filtered)
    if attribute is not None:
        has = ", ".join(filtered.get(attribute) or ["none"])
        return "filtered", f"the request asks for other or more values of {attribute}; it has: {has}", attribute
    return None


def _failed_clause(clauses: Sequence[Clause], rank_query: RankQuery, attributes: dict[str, list[str]]) -> Clause | None:
    """The first clause that an item with these attributes does not pass for the query's user."""
    start = 0
    for clause in clauses:
        words_W = rank_query.words[start : start + clause.num_words]
        stated = set(
            rank_query.stated.get(clause.attribute) or ()
        )  # values that no item of the release has are no bits
        if not (clause.item_words([attributes])[0] & words_W).any() and stated.isdisjoint(
            attributes.get(clause.attribute) or ()
        ):
            return clause
        start += clause.num_words
    return None
