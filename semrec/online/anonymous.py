"""Recommendations for somebody without a history: from items liked and disliked, and from words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from semrec.changes.overlay import OverlayView
from semrec.errors import InputError
from semrec.models.base import ItemVectors
from semrec.models.content import ContentModel
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
    model = ContentModel({"half_life_days": 1.0, "neutral_value": 0.0}, vectors_LD.shape[1])
    history = model.fold_in_weights(weights, ItemVectors.from_vectors(vectors_LD))
    return Taste(history.vector, names, history.weights_L, history.vectors_LD, history.divisor, seen)
