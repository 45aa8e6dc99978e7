"""Holds the overlay: items changed since a release was built, as immutable snapshots that answers are made over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.changes.latest import changes_after, with_latest
from semrec.changes.relations import NO_RELATIONS, RelationsView
from semrec.contracts import ATTRIBUTES_TYPE
from semrec.data.rejects import RejectedRow, RejectedRows
from semrec.data.rows import ItemRow, clean_attributes, item_tables
from semrec.errors import InputError
from semrec.limits import MAX_ID_CHARS

if TYPE_CHECKING:
    from semrec.sorted_ids import SortedIds

__all__ = ["OVERLAY_SCHEMA", "ItemChange", "OverlayView", "change_table", "changes_of", "checked_item"]

#: Rows of an overlay segment; row r of the segment that begins at sequence s has sequence s + r.
OVERLAY_SCHEMA: Final = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("deleted", pa.bool_(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("attributes", ATTRIBUTES_TYPE),
        pa.field("vector", pa.list_(pa.float32())),
        pa.field("encoder", pa.string(), nullable=False),
    ]
)
_NO_VECTORS: Final = np.zeros((0, 0), np.float32)


@dataclass(frozen=True, eq=False)
class ItemChange:
    """One acknowledged change: an item as it now is, or its deletion.

    `sequence` orders all changes of a workspace, from 1 (0: not acknowledged yet). `vector` is float32 [D], made by the
    encoder of the embedding named `encoder` (a release manifest's settings name it); None when deleted, and where
    `lacks_vector` says that the release's encoder has none for the text. Raises InputError for another vector.
    """

    sequence: int
    item_id: str
    deleted: bool
    title: str = ""
    text: str = ""
    attributes: Mapping[str, list[str]] = field(default_factory=dict)
    vector: np.ndarray | None = None
    encoder: str = ""
    lacks_vector: bool = False

    def __post_init__(self) -> None:
        vector = self.vector
        is_vector = vector is not None and vector.ndim == 1 and vector.dtype == np.float32 and np.isfinite(vector).all()
        has_none = self.deleted or self.lacks_vector
        if has_none == is_vector or (has_none and vector is not None):
            raise InputError(
                f"a change of item {self.item_id!r} with deleted = {self.deleted} and vector {vector!r}"[:300],
                expected="a finite float32 vector for an item, none for a deletion",
                remedy="Embed the item's text first.",
            )

    @classmethod
    def put(cls, item: ItemRow, vector: np.ndarray, encoder: str = "") -> ItemChange:
        """Returns the change of an item, new or changed, as `checked_item` returned it."""
        attributes = {name: list(values) for name, values in item.attributes.items()}
        return cls(0, item.item_id, False, item.title, item.text, attributes, vector, encoder)

    @classmethod
    def deletion(cls, item_id: str) -> ItemChange:
        return cls(0, item_id, True)


def checked_item(item_id: str, title: str, text: str, attributes: Mapping[str, Sequence[str]]) -> ItemRow:
    """Returns the item as an import would store it: blanks stripped and dropped, the title for an empty text, each value once.

    Raises InputError with the import's own reason (`semrec.ids.ID_FAULTS`, "no title and no text", "NUL byte", "bad UTF-8").
    """
    rejected = RejectedRows()
    try:
        tables = list(item_tables([ItemRow(item_id, title, text, attributes)], stats=rejected))
    except UnicodeEncodeError:  # a lone surrogate, which JSON can spell
        rejected.rows.append(RejectedRow(0, "bad UTF-8"))
    if rejected.rows:
        raise InputError(
            f"item {item_id!r}"[:200] + f": {rejected.rows[0].reason}",
            expected=f"an id of at most {MAX_ID_CHARS:,} characters, a title or a text, and attributes with text values",
            remedy="Mend the item.",
        )
    (row,) = tables[0].to_pylist()
    return ItemRow(row["item_id"], row["title"], row["text"], dict(row["attributes"] or ()))


def change_table(changes: Sequence[ItemChange]) -> pa.Table:
    """Returns changes as a table of OVERLAY_SCHEMA, in the order of `changes`."""
    columns: list[Any] = [
        [change.item_id for change in changes],
        [change.deleted for change in changes],
        [change.title for change in changes],
        [change.text for change in changes],
        [[(name, list(change.attributes[name])) for name in sorted(change.attributes)] for change in changes],
        [change.vector for change in changes],
        [change.encoder for change in changes],
    ]
    arrays = [pa.array(column, kind.type) for column, kind in zip(columns, OVERLAY_SCHEMA, strict=True)]
    return pa.table(arrays, schema=OVERLAY_SCHEMA)


def changes_of(first: int, table: pa.Table) -> list[ItemChange]:
    """Returns the changes of the segment that begins at sequence `first`."""
    lists = table.column("vector").combine_chunks()
    flat, ends = lists.flatten().to_numpy(zero_copy_only=False), np.cumsum(pc.fill_null(lists.value_lengths(), 0))
    vectors = np.split(flat, ends[:-1]) if len(ends) else []
    rows = table.drop_columns(["vector"]).to_pylist()
    return [
        ItemChange(
            **{**row, "attributes": clean_attributes(dict(row["attributes"] or ()))},  # older logs have blanks in them
            sequence=sequence,
            vector=None if row["deleted"] else vector,
        )
        for sequence, (row, vector) in enumerate(zip(rows, vectors, strict=True), start=first)
    ]


@dataclass(frozen=True, eq=False)
class OverlayView:
    """The items changed since a release's catalogue was fixed, as of `sequence`; `changes` has the latest of each item.

    Never altered: a later state is another view. What is derived is made on first use and kept, so a view that many
    answers share costs each of them nothing. The live items, in ascending item_id as the matrix has them, are those
    that are not deleted and have a vector. `relations` are those that changed since, which have a sequence of their own.
    Views with one `items_key` have the same items: it is the key of a cache of what is made of items alone.
    """

    sequence: int
    changes: Mapping[str, ItemChange]
    relations: RelationsView = NO_RELATIONS
    items_key: object = field(default_factory=object, repr=False)

    @classmethod
    def empty(cls, sequence: int = 0) -> OverlayView:
        return cls(sequence, MappingProxyType({}))

    @classmethod
    def of(cls, changes: Iterable[ItemChange]) -> OverlayView:
        return cls.empty().with_changes(changes)

    def with_changes(self, changes: Iterable[ItemChange]) -> OverlayView:
        """Returns this view after more changes, in any order: of two of one item the one with the higher sequence counts."""
        changes = list(changes)
        sequence = max([self.sequence, *(change.sequence for change in changes)])
        return OverlayView(sequence, with_latest(self.changes, changes, lambda c: c.item_id), self.relations)

    def with_relations(self, relations: RelationsView) -> OverlayView:
        """Returns this view with other changes of relations."""
        return OverlayView(self.sequence, self.changes, relations, self.items_key)

    def after(self, applied: int) -> OverlayView:
        """Returns this view over a release that holds every item change up to sequence `applied`."""
        later = changes_after(self.changes, applied)
        if later is self.changes and self.sequence >= applied:
            return self  # what others made of this view holds on
        return OverlayView(max(self.sequence, applied), later, self.relations)

    def __bool__(self) -> bool:
        return bool(self.changes)

    @cached_property
    def live(self) -> tuple[ItemChange, ...]:
        """The changes that are items with a vector, ascending item_id (by UTF-8 bytes, as Python compares text)."""
        return tuple(self.changes[i] for i in sorted(self.changes) if self.changes[i].vector is not None)

    @cached_property
    def deleted(self) -> frozenset[str]:
        """The ids of the items that were deleted."""
        return frozenset(item_id for item_id, change in self.changes.items() if change.deleted)

    @cached_property
    def num_without_vector(self) -> int:
        """The number of items that no answer shows because the release's encoder has no vector for their text."""
        return sum(change.lacks_vector for change in self.changes.values())

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """item_id of the live items, ascending."""
        return tuple(change.item_id for change in self.live)

    @cached_property
    def place_of(self) -> Mapping[str, int]:
        """The place of each live item among the others."""
        return {item_id: place for place, item_id in enumerate(self.ids)}

    @cached_property
    def vectors_OD(self) -> np.ndarray:  # noqa: N802
        """float32 [O, D]: the vectors of the live items; [0, 0] without any."""
        return np.stack([change.vector for change in self.live]) if self.live else _NO_VECTORS  # type: ignore[misc]

    @cached_property
    def attributes(self) -> list[dict[str, list[str]]]:
        """The attributes of the live items."""
        return [dict(change.attributes) for change in self.live]

    @cached_property
    def values(self) -> dict[str, set[str]]:
        """The values of each attribute that a live item states."""
        values: dict[str, set[str]] = {}
        for attributes in self.attributes:
            for name, stated in attributes.items():
                if stated:
                    values.setdefault(name, set()).update(stated)
        return values

    def foreign(self, encoder: str, dimension: int) -> tuple[ItemChange, ...]:
        """Returns the live items whose vectors are not of `encoder`, or not [dimension]: its release must embed them."""
        return tuple(c for c in self.live if c.encoder != encoder or c.vector is None or len(c.vector) != dimension)

    def with_vectors(self, vectors: Mapping[str, np.ndarray | None], encoder: str) -> OverlayView:
        """Returns this view with vectors (by item_id) of `encoder`; an item of None lacks one, and is in no answer."""
        again = {
            item_id: replace(self.changes[item_id], vector=vector, encoder=encoder, lacks_vector=vector is None)
            for item_id, vector in vectors.items()
        }
        return OverlayView(self.sequence, MappingProxyType({**self.changes, **again}), self.relations)

    def rows_hidden(self, ids: SortedIds) -> np.ndarray:
        """Returns the rows, int64, ascending, in `ids` (a release's) of items that are deleted or replaced here."""
        kept = self.__dict__.get("_hidden")
        if kept is None or kept[0] is not ids:
            rows = ids.rows_of(pa.array(list(self.changes), pa.string()))
            kept = (ids, np.sort(rows[rows >= 0]))
            self.__dict__["_hidden"] = kept  # one assignment: threads that race both hold a right answer
        return kept[1]
