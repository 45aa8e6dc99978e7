"""Reads the stored interactions of single users."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from semrec.contracts import INTERACTIONS_SCHEMA, bucket_of
from semrec.data.event_files import read_interactions, union_of
from semrec.online.lru import Lru
from semrec.release.reader import Release

if TYPE_CHECKING:
    from semrec.changes.events import Event

__all__ = ["Histories"]

_CACHE_BYTES: Final = 256 << 20


class Histories:
    """Interactions that a release was built from, by user: those of its own files, whatever was imported since.

    Parts are read on first use and kept, within bounds. A file of interactions has a digest of its rows in its name and is
    never removed, so it is there as long as the release; whatever removes files must spare those that a release names.
    """

    def __init__(self, release: Release) -> None:
        self._storage, self._as_of = release.storage, release.manifest.as_of
        self._parts: Lru[int, _Part] = Lru(_CACHE_BYTES, lambda part: part.num_bytes)
        self._files = release.manifest.interactions

    def events(self, user_id: str, recent: Sequence[Event] = ()) -> pa.Table:
        """A user's stored events and `recent` ones, INTERACTIONS_SCHEMA in its order; one stored already counts once."""
        stored = self._stored(user_id)
        if not recent:
            return stored
        columns = {
            "user_id": [user_id] * len(recent),
            "item_id": [event.item_id for event in recent],
            "value": [event.value for event in recent],
            "timestamp": [event.timestamp for event in recent],
        }
        return union_of(stored, pa.table(columns, schema=INTERACTIONS_SCHEMA)).cast(INTERACTIONS_SCHEMA)

    def _stored(self, user_id: str) -> pa.Table:
        if not self._files:
            return INTERACTIONS_SCHEMA.empty_table()
        bucket = bucket_of(user_id, len(self._files))
        return self._parts.get(bucket, lambda: self._read(bucket)).of(user_id)

    def _read(self, bucket: int) -> _Part:
        return _Part(read_interactions(self._storage, self._files[bucket], self._as_of))


class _Part:
    """The events of a bucket, and where each user's stand among them."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table.combine_chunks()
        encoded = pc.run_end_encode(self._column("user_id")) if table.num_rows else None
        users = encoded.values.to_pylist() if encoded is not None else []
        ends = encoded.run_ends.to_pylist() if encoded is not None else []
        self._range_of = dict(zip(users, zip([0, *ends], ends, strict=False), strict=True))
        self.num_bytes = int(self._table.nbytes) + 150 * len(users)

    def of(self, user_id: str) -> pa.Table:
        start, stop = self._range_of.get(user_id, (0, 0))
        return self._table.slice(start, stop - start)

    def _column(self, name: str) -> pa.Array:
        column = self._table.column(name)
        return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
