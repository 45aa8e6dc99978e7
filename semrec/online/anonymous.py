"""Recommendations for somebody without a history: from items liked and disliked, and from contents such as words."""

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

__all__ = ["ContentVector", "Weighted", "anonymous_profile", "anonymous_query"]


class Weighted(NamedTuple):
    """An item id and how much it counts, more than 0."""

    item_id: str
    weight: float = 1.0


class ContentVector(NamedTuple):
    """A content, such as a text, with its encoder's vector, float32 [D of the encoder].

    `name` is what explanations call it; `modality` is that by which the release's models know the vector.
    """

    name: str
    vector: np.ndarray
    modality: str = "text"


def anonymous_profile(
    served: OnlineRelease,
    overlay: OverlayView,
    *,
    liked: Sequence[Weighted] = (),
    disliked: Sequence[Weighted] = (),
    contents: Sequence[ContentVector] = (),
) -> UserProfile:
    """The profile of what is liked (items, and contents, weight 1 each) and disliked.

    The release's models turn the weights into a vector, see `VectorModel.fold_in_weights`; it has none when nothing is
    given or all cancels. Raises MissingArtefactError for an unknown item, InputError for a weight that is not a positive
    number.
    """
    chosen = [*liked, *disliked]
    for item_id, weight in chosen:
        if not (math.isfinite(weight) and weight > 0):
            raise InputError(f"weight {weight} of {item_id!r}", expected="a number above 0", remedy="Leave it out.")
    item_ids = [item.item_id for item in chosen]
    weights_N = np.array([*(w for _, w in liked), *(-w for _, w in disliked), *(1.0 for _ in contents)], np.float64)
    of_contents = [served.vectors.of_contents(content.vector[None], content.modality) for content in contents]
    vectors_ND = np.concatenate([served.vectors_of(item_ids, overlay), *of_contents])
    row_of = served.items.row_of
    matrix_rows_N = np.array([*(row_of.get(item_id, -1) for item_id in item_ids), *(-1 for _ in contents)], np.int64)
    items = ItemVectors.from_vectors(vectors_ND, matrix_rows_N)
    vector, histories = served.release.components.fold_in_weights(weights_N, items, is_search=not chosen)
    names = [*item_ids, *(f'"{content.name}"' for content in contents)]
    return UserProfile(vector, histories, names, tuple(dict.fromkeys(item_ids)))


def anonymous_query(
    served: OnlineRelease, profile: UserProfile, *, filters: Filters = NO_FILTERS, k: int = 10
) -> RankQuery:
    """The query for a profile. What it was made of is not shown again; without a vector it goes by popularity."""
    seen, nobody = served.items.rows_of(profile.seen), served.users.anonymous()
    return RankQuery(profile.vector, nobody.words, seen, filters, k, frozenset(profile.seen))
