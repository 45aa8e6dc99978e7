"""Reads the lists that a run has published, by user."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from semrec.changes.overlay import OverlayView
from semrec.contracts import bucket_of
from semrec.online.answers import ScoredItem
from semrec.online.lru import Lru
from semrec.release.oracle import may_see
from semrec.release.sources import PERSONAL
from semrec.workspace.manifests import RunManifest
from semrec.workspace.recall import RecallManifest, read_recall
from semrec.workspace.storage import Storage
from semrec.workspace.tables import TableFile, read_table

__all__ = ["Published", "PublishedLists"]

_CACHE_BYTES: Final = 128 << 20


@dataclass(frozen=True)
class Published:
    """A user's published list. `source` is personal or popularity; `recall` is that of approximate lists, None where exact."""

    user_id: str
    source: str
    short_reason: str | None
    hits: list[ScoredItem]
    recall: RecallManifest | None = None

    def still_shown(
        self, stated: Mapping[str, Iterable[str]], eligibility: Iterable[str], overlay: OverlayView
    ) -> list[ScoredItem]:
        """The hits without items that were deleted since, or changed so that a user who states `stated` may not see them."""

        def is_shown(item_id: str) -> bool:
            change = overlay.changes.get(item_id)
            return change is None or (not change.deleted and may_see(stated, change.attributes, eligibility))

        return [hit for hit in self.hits if is_shown(hit.item_id)]


class PublishedLists:
    """A finished run, opened; `k` is its K. Parts are decoded on first use and kept, within bounds.

    `recall` is that of an approximate run; IncompleteRunError is raised for one whose recall was not measured.
    """

    def __init__(self, storage: Storage, run_id: str) -> None:
        self._storage = storage
        manifest = RunManifest.read(storage, run_id)
        self.run_id, self._parts = run_id, manifest.parts
        self.k, self.release_id = manifest.k, manifest.release
        self.recall = read_recall(storage, manifest)
        self._decoded: Lru[int, _Part] = Lru(_CACHE_BYTES, lambda part: part.num_bytes)

    def list_of(self, user_id: str) -> Published | None:
        """The list of one user, or None when the run has no such user."""
        published = self._part(bucket_of(user_id, len(self._parts))).list_of(user_id)
        if self.recall and published and published.source == PERSONAL:
            return replace(published, recall=self.recall)
        return published

    def sample(self, num_users: int) -> list[str]:
        """Up to `num_users` ids spread evenly over all users: the same ones every time."""
        sizes = [part.num_rows for part in self._parts]
        starts, total = np.cumsum([0, *sizes]), sum(sizes)
        wanted = sorted({int(place) for place in np.linspace(0, total - 1, num_users)}) if total else []
        parts = np.searchsorted(starts, wanted, side="right") - 1
        return [self._part(int(part)).user_ids[place - starts[part]] for place, part in zip(wanted, parts, strict=True)]

    def _part(self, part: int) -> _Part:
        return self._decoded.get(part, lambda: _Part(self._storage, self._parts[part]))


class _Part:
    """A decoded part: the users, and their lists side by side."""

    def __init__(self, storage: Storage, file: TableFile) -> None:
        table = read_table(storage, file).combine_chunks()
        columns = {name: table.column(name).combine_chunks() for name in table.column_names}
        self.user_ids: list[str] = columns["user_id"].to_pylist()
        self._place_of = {user_id: place for place, user_id in enumerate(self.user_ids)}
        self._items, self._scores = columns["item_ids"], columns["scores"]
        self._sources, self._reasons = columns["source"], columns["short_reason"]
        self.num_bytes = int(table.nbytes) + 150 * len(self.user_ids)

    def list_of(self, user_id: str) -> Published | None:
        place = self._place_of.get(user_id)
        if place is None:
            return None
        scores = np.array(self._scores[place].as_py(), np.float32)
        hits = list(map(ScoredItem, self._items[place].as_py(), scores))
        return Published(user_id, self._sources[place].as_py(), self._reasons[place].as_py(), hits)
