"""What a vector was made of: liked and disliked items with their weights, and the vector itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from semrec.changes.overlay import OverlayView
from semrec.models.base import Events, ItemVectors
from semrec.models.content import ContentModel
from semrec.online.items import ItemTable
from semrec.online.stored_rows import StoredRows
from semrec.scoring.coarse import split_halves

__all__ = ["Taste", "taste_of"]


@dataclass(frozen=True, eq=False)
class Taste:
    """The parts of a vector: v = (sum_l w_l x_l) / divisor.

    `vector` float32 [D], or None where there is none; `names` of the parts L (item ids, or a text in quotes); `weights_L`
    float64, negative for what is disliked; `vectors_LD` float32. `seen` are the ids of items that are not to be shown
    again, with those that carry no weight.
    """

    vector: np.ndarray | None
    names: list[str]
    weights_L: np.ndarray
    vectors_LD: np.ndarray
    divisor: float
    seen: tuple[str, ...]

    @classmethod
    def single(cls, name: str, vector: np.ndarray, seen: tuple[str, ...] = ()) -> Taste:
        """The taste of a question that asks for what is like one item or text."""
        return cls(vector, [name], np.ones(1), vector[None], 1.0, seen)


def taste_of(
    events: pa.Table, items: ItemTable, rows: StoredRows, overlay: OverlayView | None, settings: Mapping[str, Any]
) -> Taste:
    """The taste behind one user's `events` (INTERACTIONS_SCHEMA, in its order), as a release with `settings` weighs them.

    Vectors are the release's; an item that the release does not have counts when `overlay` has it, with the vector there.
    """
    item_ids = events.column("item_id").to_pylist()
    names = list(dict.fromkeys(item_ids))
    vectors, known = _item_vectors(names, items, rows, overlay)
    place_of = {name: place for place, name in enumerate(known)}
    kept = np.array([item_id in place_of for item_id in item_ids], bool)
    every = Events(
        np.zeros(int(kept.sum()), np.int64),
        np.array([place_of[item_id] for item_id in item_ids if item_id in place_of], np.int64),
        events.column("value").to_numpy()[kept],
        events.column("timestamp").to_numpy()[kept],
    )
    weighed = every.latest() if settings["repeats"] == "latest" else every
    model = ContentModel({name: settings[name] for name in ("half_life_days", "neutral_value")}, vectors.dimension)
    history = model.fold_in(weighed, vectors)
    return Taste(
        history.vector,
        [known[row] for row in history.rows_L],
        history.weights_L,
        history.vectors_LD,
        history.divisor,
        tuple(names),
    )


def _item_vectors(
    names: list[str], items: ItemTable, rows: StoredRows, overlay: OverlayView | None
) -> tuple[ItemVectors, list[str]]:
    """The vectors of those items that are known, and their ids in the same order."""
    mine = [name for name in names if name in items.row_of]
    matrix_rows = np.array([items.row_of[name] for name in mine], np.int64)
    stored = rows.shard(matrix_rows)
    changes = overlay.changes if overlay else {}
    vector_of = {name: changes[name].vector for name in names if name not in items.row_of and name in changes}
    added = {name: vector for name, vector in vector_of.items() if vector is not None}
    high_ND, low_ND = stored.high_ID, stored.low_ID
    if added:
        high_AD, low_AD = split_halves(np.stack(list(added.values())))
        high_ND, low_ND = np.concatenate([high_ND, high_AD]), np.concatenate([low_ND, low_AD])
        matrix_rows = np.concatenate([matrix_rows, np.full(len(added), -1)])
    return ItemVectors(high_ND, low_ND, matrix_rows), mine + list(added)
