"""Orders imports and changes made online: how far the change logs reached, and which item changes a catalogue lacks.

An import begins by noting the last acknowledged sequence of each log. Changes up to it are older than the import, later
ones newer, also those that come while it runs. No clock is compared, so it does not matter whose is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from semrec.data.rejects import RejectsRows
from semrec.data.rows import ITEM_ROWS_SCHEMA, ItemRow, item_tables
from semrec.data.staging import applied_sequence, stored_manifest
from semrec.errors import CorruptArtefactError, SchemaError
from semrec.workspace.log import LogPositions, SegmentLog
from semrec.workspace.manifests import CatalogueManifest, InteractionsManifest
from semrec.workspace.storage import Storage

__all__ = ["EVENTS_FOLDER", "OVERLAY_FOLDER", "ItemChanges", "item_changes", "log_ends"]

OVERLAY_FOLDER: Final = "overlay"
EVENTS_FOLDER: Final = "events"
_READ_ONLY: Final = pa.schema([])  # a log has a schema for what is appended
_COLUMNS: Final = ["item_id", "deleted", "title", "text", "attributes"]


@dataclass(frozen=True)
class ItemChanges:
    """The last change of each item in a range of the log; vectors are left out. `num_changes` counts all of them."""

    num_changes: int = 0
    put: list[ItemRow] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)

    @property
    def item_ids(self) -> pa.Array:
        """Every item that was changed: string."""
        return pa.array([*(row.item_id for row in self.put), *self.deleted], pa.string())

    def tables(self, stats: RejectsRows) -> Iterator[pa.Table]:
        """Yields the items that were put, ITEM_ROWS_SCHEMA, marked as stored: a row of an import wins over them unreported."""
        is_stored = ITEM_ROWS_SCHEMA.get_field_index("is_stored")
        for table in item_tables(self.put, stats=stats):
            yield table.set_column(is_stored, ITEM_ROWS_SCHEMA.field(is_stored), pa.array([True] * table.num_rows))


def log_ends(storage: Storage) -> LogPositions:
    """Reads the last acknowledged item change and event: an import that begins now is newer than these.

    Raises CorruptArtefactError when the last segment of a log cannot be read.
    """
    items = _end(storage, OVERLAY_FOLDER, CatalogueManifest)
    return LogPositions(items, _end(storage, EVENTS_FOLDER, InteractionsManifest))


def item_changes(storage: Storage, after: int, until: int) -> ItemChanges:
    """Reads the item changes with sequences after `after` up to `until`. Memory holds the changed items.

    Raises CorruptArtefactError when a segment is missing or damaged.
    """
    if until <= after:
        return ItemChanges()
    latest: dict[str, dict[str, Any]] = {}
    for segment in SegmentLog(storage, OVERLAY_FOLDER, _READ_ONLY).read(after):
        rows = segment.table.select(_COLUMNS).slice(0, max(0, until + 1 - segment.first))
        latest |= {row["item_id"]: row for row in rows.slice(max(0, after + 1 - segment.first)).to_pylist()}
    put = [
        ItemRow(row["item_id"], row["title"], row["text"], dict(row["attributes"] or ()), "(online)")
        for row in latest.values()
        if not row["deleted"]
    ]
    return ItemChanges(until - after, put, [item_id for item_id, row in latest.items() if row["deleted"]])


def _end(storage: Storage, folder: str, kind: type[CatalogueManifest] | type[InteractionsManifest]) -> int:
    try:
        floor = applied_sequence(stored_manifest(storage, kind))
    except (SchemaError, CorruptArtefactError):  # replacing it is the remedy, and the segments say the same
        floor = 0
    log = SegmentLog(storage, folder, _READ_ONLY, floor=floor)
    log.open(remembered=1)
    return log.last_sequence
