"""Recommendations for somebody without a history: from items liked and disliked, and from words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from semrec.changes.overlay import OverlayView
from semrec.errors import InputError
from semrec.online.answers import Question
from semrec.online.filters import NO_FILTERS, Filters
from semrec.online.profile import Taste
from semrec.online.release import ServedRelease

__all__ = ["Weighted", "anonymous_question", "anonymous_taste"]


class Weighted(NamedTuple):
    """An item id and how much it counts, more than 0."""

    item_id: str
    weight: float = 1.0


def anonymous_taste(
    served: ServedRelease,
    overlay: OverlayView,
    *,
    liked: Sequence[Weighted] = (),
    disliked: Sequence[Weighted] = (),
    texts: Sequence[tuple[str, np.ndarray]] = (),
) -> Taste:
    """The direction of what is liked, away from what is disliked: v = s / |s|, s = sum_l w_l x_l, in float64.

    The sum runs over `liked`, `disliked` (their weights negative) and `texts` (with their vectors, float32 [D], weight 1)
    in that order. The taste has no vector when nothing is given or all cancels. Raises MissingArtefactError for an unknown
    item, InputError for a weight that is not a positive number.
    """
    chosen = [*liked, *disliked]
    for item_id, weight in chosen:
        if not (math.isfinite(weight) and weight > 0):
            raise InputError(f"weight {weight} of {item_id!r}", expected="a number above 0", remedy="Leave it out.")
    names = [*(one.item_id for one in chosen), *(f'"{text}"' for text, _ in texts)]
    weights = np.array([*(w for _, w in liked), *(-w for _, w in disliked), *(1.0 for _ in texts)], np.float64)
    items_ND = served.vectors_of([one.item_id for one in chosen], overlay)
    vectors_LD = np.concatenate([items_ND, *(vector[None] for _, vector in texts)])
    seen = tuple(dict.fromkeys(one.item_id for one in chosen))
    return _taste(names, weights, vectors_LD, seen)


def anonymous_question(served: ServedRelease, taste: Taste, *, filters: Filters = NO_FILTERS, k: int = 10) -> Question:
    """The question for a taste. What it was made of is not shown again; without a vector it goes by popularity."""
    seen, stranger = served.items.rows_of(taste.seen), served.users.stranger()
    return Question(taste.vector, stranger.words, seen, filters, k, frozenset(taste.seen))


def _taste(names: list[str], weights: np.ndarray, vectors_LD: np.ndarray, seen: tuple[str, ...]) -> Taste:
    scaled = weights / np.abs(weights).max(initial=0) if len(weights) else weights  # so that no sum overflows
    total = np.zeros(vectors_LD.shape[1])
    for weight, vector in zip(scaled, vectors_LD.astype(np.float64), strict=True):
        total += weight * vector
    length = math.sqrt(math.fsum(total * total))
    # What is left of parts that cancel is their rounding errors, which point nowhere.
    size = float(np.abs(scaled) @ np.linalg.norm(vectors_LD.astype(np.float64), axis=1)) if len(names) else 0.0
    vector = (total / length).astype(np.float32) if length > 1e-12 * size else None
    return Taste(vector, names, scaled, vectors_LD, length or 1.0, seen)
