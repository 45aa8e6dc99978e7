"""Orders imports and changes made online: how far the change logs reached, and which changes what is stored lacks.

An import begins by noting the last acknowledged sequence of each log. Changes up to it are older than the import, later
ones newer, also those that come while it runs. No clock is compared, so it does not matter whose is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from semrec.contracts import RELATIONS_SCHEMA
from semrec.data.rejects import RejectsRows
from semrec.data.rows import ITEM_ROWS_SCHEMA, ItemRow, item_tables
from semrec.data.staging import LoggedManifest, applied_sequence, stored_manifest
from semrec.errors import CorruptArtefactError, SchemaError
from semrec.graph.triples import node_triples
from semrec.workspace.log import LogPositions, SegmentLog
from semrec.workspace.manifests import CatalogueManifest, InteractionsManifest, RelationsManifest
from semrec.workspace.storage import Storage

__all__ = [
    "EVENTS_FOLDER",
    "OVERLAY_FOLDER",
    "RELATION_CHANGES_FOLDER",
    "ItemChanges",
    "RelationChanges",
    "item_changes",
    "log_ends",
    "relation_changes",
]

OVERLAY_FOLDER: Final = "overlay"
EVENTS_FOLDER: Final = "events"
RELATION_CHANGES_FOLDER: Final = "relation-changes"
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


@dataclass(frozen=True)
class RelationChanges:
    """The last change of each relation in a range of the log: those that were `put`, RELATIONS_SCHEMA, and the triples of
    all, by the names of nodes (`node_triples`), each as one text.
    """

    put: pa.Table = field(default_factory=RELATIONS_SCHEMA.empty_table)
    triples: pa.Array = field(default_factory=lambda: pa.array([], pa.string()))

    @property
    def num_deleted(self) -> int:
        return len(self.triples) - self.put.num_rows

    def without_changed(self, relations: pa.Table) -> pa.Table:
        """Returns the stored relations, RELATIONS_SCHEMA, that were not changed."""
        if not len(self.triples):
            return relations
        return relations.filter(pc.invert(pc.is_in(_triples_of(relations), value_set=self.triples)))


def log_ends(storage: Storage) -> LogPositions:
    """Reads the last acknowledged change of each log: an import that begins now is newer than these.

    Raises CorruptArtefactError when the last segment of a log cannot be read.
    """
    items = _end(storage, OVERLAY_FOLDER, CatalogueManifest)
    events = _end(storage, EVENTS_FOLDER, InteractionsManifest)
    return LogPositions(items, events, _end(storage, RELATION_CHANGES_FOLDER, RelationsManifest))


def item_changes(storage: Storage, after: int, until: int) -> ItemChanges:
    """Reads the item changes with sequences after `after` up to `until`. Memory holds the changed items.

    Raises CorruptArtefactError when a segment is missing or damaged.
    """
    if until <= after:
        return ItemChanges()
    latest: dict[str, dict[str, Any]] = {}
    for rows in SegmentLog(storage, OVERLAY_FOLDER, _READ_ONLY).rows(after, until):
        latest |= {row["item_id"]: row for row in rows.select(_COLUMNS).to_pylist()}
    put = [
        ItemRow(row["item_id"], row["title"], row["text"], dict(row["attributes"] or ()), "(online)")
        for row in latest.values()
        if not row["deleted"]
    ]
    return ItemChanges(until - after, put, [item_id for item_id, row in latest.items() if row["deleted"]])


def relation_changes(storage: Storage, after: int, until: int) -> RelationChanges:
    """Reads the changes of relations with sequences after `after` up to `until`. Memory holds them.

    Raises CorruptArtefactError when a segment is missing or damaged.
    """
    if until <= after:
        return RelationChanges()
    rows = pa.concat_tables(SegmentLog(storage, RELATION_CHANGES_FOLDER, _READ_ONLY).rows(after, until))
    numbered = pa.table({"triple": _triples_of(rows), "row": pa.array(range(rows.num_rows))})
    last = numbered.group_by("triple", use_threads=False).aggregate([("row", "max")])["row_max"]
    latest = rows.take(last)
    put = latest.filter(pc.invert(latest["deleted"])).select(RELATIONS_SCHEMA.names).cast(RELATIONS_SCHEMA)
    return RelationChanges(put, _triples_of(latest))


def _triples_of(relations: pa.Table) -> pa.Array:
    """Returns each relation's triple by the names of nodes, as one text: NUL, which no name has, stands between them."""
    return pc.binary_join_element_wise(*node_triples(relations).columns, "\0").combine_chunks().cast(pa.string())


def _end(storage: Storage, folder: str, kind: type[LoggedManifest]) -> int:
    try:
        floor = applied_sequence(stored_manifest(storage, kind))
    except (SchemaError, CorruptArtefactError):  # replacing it is the remedy, and the segments say the same
        floor = 0
    log = SegmentLog(storage, folder, _READ_ONLY, floor=floor)
    log.open(remembered=1)
    return log.last_sequence
