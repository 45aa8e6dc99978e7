"""Why an item is shown, and why another one is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from semrec.changes.overlay import OverlayView
from semrec.online.answers import Hit, Question
from semrec.online.profile import Taste
from semrec.scoring.eligibility import Clause

if TYPE_CHECKING:
    from semrec.online.release import ServedRelease

__all__ = ["CountBefore", "Explanation", "Part", "WhyNot", "explain", "why_not"]

_MOST_PARTS: Final = 5


@dataclass(frozen=True)
class Part:
    """What one liked (or disliked, or written) thing adds to a score. `share` is its part of all absolute weight."""

    name: str
    share: float
    contribution: float
    cosine: float


@dataclass(frozen=True)
class Explanation:
    """The score of an item, taken apart: `parts` with the largest effect, and `rest`, what all others add up to.

    The contributions and the rest add up to the score, but for the rounding of float32. `nearest` are the parts that are
    most like the item, by cosine. A score by popularity is a number of users, and all of it is rest.
    """

    item_id: str
    score: float
    parts: list[Part]
    rest: float
    nearest: list[Part]


def explain(
    served: ServedRelease, taste: Taste, hits: Sequence[Hit], overlay: OverlayView, *, num_parts: int = _MOST_PARTS
) -> list[Explanation]:
    """Takes the scores of `hits` apart: of v = sum_l w_l x_l / divisor (see `Taste`), part l of v.y is w_l x_l.y / divisor."""
    if taste.vector is None:
        return [Explanation(hit.item_id, float(hit.score), [], float(hit.score), []) for hit in hits]
    left_LD = taste.vectors_LD.astype(np.float64)
    right_KD = served.vectors_of([hit.item_id for hit in hits], overlay).astype(np.float64)
    dots_KL = right_KD @ left_LD.T
    lengths = np.outer(np.linalg.norm(right_KD, axis=1), np.linalg.norm(left_LD, axis=1))
    cosines_KL = dots_KL / np.where(lengths > 0, lengths, 1)
    added_KL = dots_KL * (taste.weights_L / taste.divisor)
    shares_L = np.abs(taste.weights_L) / np.abs(taste.weights_L).sum()

    def parts(row: int, places: np.ndarray) -> list[Part]:
        columns = shares_L, added_KL[row], cosines_KL[row]
        return [Part(taste.names[n], *(float(column[n]) for column in columns)) for n in places[:num_parts].tolist()]

    explained = []
    for row, hit in enumerate(hits):
        largest = np.argsort(-np.abs(added_KL[row]), kind="stable")
        nearest = np.argsort(-cosines_KL[row], kind="stable")
        rest = float(added_KL[row][largest[num_parts:]].sum())
        score = float(hit.score)
        explained.append(Explanation(hit.item_id, score, parts(row, largest), rest, parts(row, nearest)))
    return explained


@dataclass(frozen=True)
class WhyNot:
    """Why an item is not in an answer, or that it is.

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


CountBefore = Callable[[Question, str, np.float32, OverlayView], int]


def why_not(
    served: ServedRelease,
    question: Question,
    item_id: str,
    overlay: OverlayView,
    hits: Sequence[Hit],
    *,
    count_before: CountBefore | None = None,
) -> WhyNot:
    """Why `item_id` is not among `hits`, the answer to `question`. Raises MissingArtefactError for an unknown item.

    `count_before` stands for `served.count_before` where several hold the matrix: the sum of what each counts.
    """
    attributes = served.item(item_id, overlay).attributes
    score = served.score_of(question, item_id, overlay)
    hidden = _hidden(served, question, item_id, attributes)
    if hidden is not None:
        reason, detail, attribute = hidden
        return WhyNot(item_id, reason, detail, float(score), attribute)
    rank = (count_before or served.count_before)(question, item_id, score, overlay) + 1
    if any(hit.item_id == item_id for hit in hits):
        return WhyNot(item_id, "shown", f"it is in the answer, at rank {rank} by score", float(score), rank=rank)
    if rank <= question.k or not hits:
        detail = f"its rank is {rank}, but it is too like items that are shown"
        return WhyNot(item_id, "diverse", detail, float(score), rank=rank)
    short_by = float(min(hit.score for hit in hits)) - float(score)
    lost = f"its score is {short_by:.6g} below that of place {len(hits)}"
    detail = f"its rank is {rank}: {lost if short_by > 0 else 'an equal score, and an item_id that comes later'}"
    return WhyNot(item_id, "below", detail, float(score), rank=rank, short_by=short_by)


Reason = Literal["seen", "excluded", "filtered", "not_eligible"]


def _hidden(
    served: ServedRelease, question: Question, item_id: str, attributes: dict[str, list[str]]
) -> tuple[Reason, str, str | None] | None:
    """Why an item may not be shown at all: reason, detail and attribute; None when it may."""
    row = served.items.row_of.get(item_id)
    if item_id in question.hidden or (row is not None and row in question.seen_rows):
        return "seen", "it was seen, or the question is made of it", None
    clause = _failed_clause(served.release.layout.clauses, question, attributes)
    if clause is not None:
        has = ", ".join(attributes.get(clause.attribute) or ["none"])
        return "not_eligible", f"the user may see other values of {clause.attribute}; it has: {has}", clause.attribute
    if item_id in question.filters.exclude:
        return "excluded", "the request excludes its id", None
    attribute = question.filters.failed(attributes)
    if attribute is not None:
        has = ", ".join(attributes.get(attribute) or ["none"])
        return "filtered", f"the request asks for other values of {attribute}; it has: {has}", attribute
    return None


def _failed_clause(clauses: Sequence[Clause], question: Question, attributes: dict[str, list[str]]) -> Clause | None:
    """The first clause that an item with these attributes does not pass for the question's user."""
    start = 0
    for clause in clauses:
        words_W = question.words[start : start + clause.num_words]
        stated = set(question.stated.get(clause.attribute) or ())  # values that no item of the release has are no bits
        if not (clause.item_words([attributes])[0] & words_W).any() and stated.isdisjoint(
            attributes.get(clause.attribute) or ()
        ):
            return clause
        start += clause.num_words
    return None
