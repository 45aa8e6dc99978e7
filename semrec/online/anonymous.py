"""Recommendations for somebody without a history: from items liked and disliked, and from words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from semrec.changes.overlay import OverlayView
from semrec.errors import InputError
from semrec.models.base import ItemVectors
from semrec.online.answers import RankQuery
from semrec.online.filters import NO_FILTERS, Filters
from semrec.online.profile import UserProfile
from semrec.online.release import OnlineRelease

__all__ = ["Weighted", "anonymous_profile", "anonymous_query"]


class Weighted(NamedTuple):
    """An item id and how much it counts, more than 0."""

    item_id: str
    weight: float = 1.0


def anonymous_profile(
    served: OnlineRelease,
    overlay: OverlayView,
    *,
    liked: Sequence[Weighted] = (),
    disliked: Sequence[Weighted] = (),
    texts: Sequence[tuple[str, np.ndarray]] = (),
    modality: str = "text",
) -> UserProfile:
    """The profile of what is liked (items, and texts with their encoder's vectors, weight 1) and disliked.

    In the place of texts there may be other contents, whose vectors the release's models know as those of `modality`.

    The release's models turn the weights into a vector, see `VectorModel.fold_in_weights`; it has none when nothing is
    given or all cancels. Raises MissingArtefactError for an unknown item, InputError for a weight that is not a positive
    number.
    """
    chosen = [*liked, *disliked]
    for item_id, weight in chosen:
        if not (math.isfinite(weight) and weight > 0):
            raise InputError(f"weight {weight} of {item_id!r}", expected="a number above 0", remedy="Leave it out.")
    item_ids = [item.item_id for item in chosen]
    weights_N = np.array([*(w for _, w in liked), *(-w for _, w in disliked), *(1.0 for _ in texts)], np.float64)
    vectors_ND = served.vectors_of(item_ids, overlay)
    if texts:
        of_texts_ND = served.vectors.of_contents(np.stack([vector for _, vector in texts]), modality)
        vectors_ND = np.concatenate([vectors_ND, of_texts_ND])
    row_of = served.items.row_of
    matrix_rows_N = np.array([*(row_of.get(item_id, -1) for item_id in item_ids), *(-1 for _ in texts)], np.int64)
    items = ItemVectors.from_vectors(vectors_ND, matrix_rows_N)
    vector, histories = served.release.components.fold_in_weights(weights_N, items, is_search=not chosen)
    names = [*item_ids, *(f'"{text}"' for text, _ in texts)]
    return UserProfile(vector, histories, names, tuple(dict.fromkeys(item_ids)))


def anonymous_query(
    served: OnlineRelease, profile: UserProfile, *, filters: Filters = NO_FILTERS, k: int = 10
) -> RankQuery:
    """The query for a profile. What it was made of is not shown again; without a vector it goes by popularity."""
    seen, nobody = served.items.rows_of(profile.seen), served.users.anonymous()
    return RankQuery(profile.vector, nobody.words, seen, filters, k, frozenset(profile.seen))
