"""Makes the profile of a user: the vector to ask with, and the liked and disliked things that it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from semrec.changes.overlay import OverlayView
from semrec.models.base import Events
from semrec.models.components import ComponentHistory, Components
from semrec.online.item_vectors import OnlineVectors

__all__ = ["UserProfile", "profile_of"]


@dataclass(frozen=True, eq=False)
class UserProfile:
    """A vector over all components of a release, float32 [D], None where there is none, and how it is made.

    `names` are the things that `histories` refer to by number: item ids, or texts in quotes. `seen` are the ids of items
    that are not to be shown again, with those that carry no weight.
    """

    vector: np.ndarray | None
    histories: Sequence[ComponentHistory] = ()
    names: Sequence[str] = ()
    seen: Sequence[str] = ()


def profile_of(
    events: pa.Table, vectors: OnlineVectors, components: Components, overlay: OverlayView | None
) -> UserProfile:
    """The profile of one user from `events` (INTERACTIONS_SCHEMA, in its order), by the release's own models."""
    item_ids = events.column("item_id").to_pylist()
    seen = list(dict.fromkeys(item_ids))
    items, known = vectors.of_history(seen, overlay)
    place_of = {item_id: place for place, item_id in enumerate(known)}
    is_known = np.array([item_id in place_of for item_id in item_ids], bool)
    rows = np.array([place_of[item_id] for item_id in item_ids if item_id in place_of], np.int64)
    values, timestamps = (events.column(name).to_numpy()[is_known] for name in ("value", "timestamp"))
    folded = Events(np.zeros(len(rows), np.int64), rows, values, timestamps)
    vector, histories = components.fold_in(folded, items)
    return UserProfile(vector, histories, known, seen)
