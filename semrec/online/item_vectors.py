"""Looks up item vectors: as a release stores them or, for items changed since, as its models make them of new content."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from semrec.changes.overlay import OverlayView
from semrec.errors import MissingArtefactError
from semrec.models.base import ItemVectors
from semrec.online.items import ItemTable
from semrec.online.lru import Lru
from semrec.release.arrays import StoredRows
from semrec.release.reader import Release

__all__ = ["OnlineVectors", "unknown_item"]

_MODALITY: Final = "text"  # of the vectors that changes and the words of a search come with
_KEPT_VIEWS: Final = 4


def unknown_item(item_id: str, release_id: str) -> MissingArtefactError:
    """The error for an item that neither a release nor its overlay has."""
    return MissingArtefactError(
        f"no item {item_id!r} in release {release_id}",
        expected="an item of the catalogue that has a vector and was not deleted",
        remedy="Check the id; find items by words with a search.",
    )


class OnlineVectors:
    """Looks vectors up by item_id, all components of a release side by side. Threads may share it.

    A change made online brings a vector of the release's encoder. The models make the item's own vectors of it: those of a
    new item from its content alone, those of an item that the release has from what was learned of it and the new content.
    """

    def __init__(self, release: Release, items: ItemTable) -> None:
        self._release_id, self._items, self._dimension = release.release_id, items, release.dimension
        self._components, self._stored = release.components, StoredRows(release.storage, release.manifest.matrix)
        self._overlay_vectors: Lru[object, np.ndarray] = Lru(_KEPT_VIEWS, lambda _: 1)

    def of_overlay(self, view: OverlayView) -> np.ndarray:
        """Vectors of the live items of a view, in its order: float32 [O, D]."""
        return self._overlay_vectors.get(view.items_key, lambda: self._overlay_items(view))

    def of_items(self, item_ids: Sequence[str], overlay: OverlayView) -> np.ndarray:
        """Vectors of items as they now are: float32 [len(item_ids), D]. Raises MissingArtefactError for an unknown one."""
        vectors_ND = np.empty((len(item_ids), self._dimension), np.float32)
        changed = [n for n, item_id in enumerate(item_ids) if item_id in overlay.changes]
        stored = [n for n, item_id in enumerate(item_ids) if item_id not in overlay.changes]
        rows = [self._items.row_of.get(item_ids[n]) for n in stored]
        if None in rows:
            raise unknown_item(item_ids[stored[rows.index(None)]], self._release_id)
        vectors_ND[stored] = self._stored.vectors(np.array(rows, np.int64))
        for n in changed:
            if overlay.changes[item_ids[n]].vector is None:
                raise unknown_item(item_ids[n], self._release_id)
            vectors_ND[n] = self.of_overlay(overlay)[overlay.place_of[item_ids[n]]]
        return vectors_ND

    def of_contents(self, vectors_ND: np.ndarray, modality: str) -> np.ndarray:
        """What the models make of an encoder's vectors of some contents: float32 [N, D]."""
        return self._components.cold_items({modality: vectors_ND})

    def of_history(self, item_ids: Sequence[str], overlay: OverlayView | None) -> tuple[ItemVectors, list[str]]:
        """The vectors of those of the items that are known, and their ids in the same order.

        They are the release's, so that an event counts as it will in the next run; an item that the release does not have
        counts when `overlay` has it, with the vector there.
        """
        known = [item_id for item_id in item_ids if item_id in self._items.row_of]
        matrix_rows = np.array([self._items.row_of[item_id] for item_id in known], np.int64)
        stored = self._stored.items(matrix_rows)
        places = overlay.place_of if overlay else {}
        added = [item_id for item_id in item_ids if item_id not in self._items.row_of and item_id in places]
        if overlay is None or not added:
            return stored, known
        new_AD = self.of_overlay(overlay)[[places[item_id] for item_id in added]]
        new = ItemVectors.from_vectors(new_AD, np.full(len(added), -1, np.int64))
        return ItemVectors.concatenate([stored, new]), known + added

    def _overlay_items(self, view: OverlayView) -> np.ndarray:
        if not view.ids:
            return np.zeros((0, self._dimension), np.float32)
        vectors_OD = self._components.cold_items({_MODALITY: view.vectors_OD})
        in_release = [place for place, item_id in enumerate(view.ids) if item_id in self._items.row_of]
        if in_release:
            rows = np.array([self._items.row_of[view.ids[place]] for place in in_release], np.int64)
            content = {_MODALITY: view.vectors_OD[in_release]}
            vectors_OD[in_release] = self._components.changed_items(self._stored.vectors(rows), content)
        return vectors_OD
