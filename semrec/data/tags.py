"""Gathers the tags that users gave to items, and adds them to the items' texts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa

from semrec.contracts import buckets_of
from semrec.data.rejects import ReadStats, RowBlock
from semrec.data.spill import BucketSpill
from semrec.ids import id_fault

__all__ = ["MAX_TAGS", "TAG_COLUMNS", "TagSpill", "most_used"]

#: An item's text takes so many tags at most.
MAX_TAGS: Final = 20
#: Where MovieLens keeps the user, the item and the tag of a row.
TAG_COLUMNS: Final = ("userId", "movieId", "tag")
_SCHEMA: Final = pa.schema(
    [
        pa.field("user_id", pa.string()),
        pa.field("item_id", pa.string()),
        pa.field("tag", pa.string()),
        pa.field("file", pa.string()),
        pa.field("line", pa.int64()),
    ]
)


class TagSpill:
    """The tags of a source by bucket of item id, lower-cased, white space made single.

    Rejected: `semrec.ids.ID_FAULTS` and "missing tag" at once; "unknown item" when the items of the bucket are known.
    """

    def __init__(self, folder: Path, num_buckets: int, blocks: Iterable[RowBlock], stats: ReadStats) -> None:
        self._stats = stats
        self._spill = BucketSpill(folder, _SCHEMA, num_buckets)
        for block in blocks:
            table = _tags_of(block, stats)
            self._spill.add(table, buckets_of(table.column("item_id").combine_chunks(), num_buckets))

    @property
    def on_disk(self) -> bool:
        return self._spill.on_disk

    def add_to_texts(self, items: pa.Table, bucket: int | None) -> pa.Table:
        """Returns `items` (ITEM_ROWS_SCHEMA) with " Tags: a, b." behind the texts; `bucket` None for all items at once.

        Stored items keep their text: it holds its tags already.
        """
        tags = self._spill.read_all() if bucket is None else self._spill.read(bucket)
        users: dict[str, dict[str, set[str]]] = {item: {} for item in items.column("item_id").to_pylist()}
        for row in tags.to_pylist():
            if row["item_id"] not in users:
                excerpt = f"{row['user_id']},{row['item_id']},{row['tag']}"
                detail = f"{TAG_COLUMNS[1]} = {row['item_id']!r}"
                self._stats.reject(row["file"], row["line"], "unknown item", excerpt, detail=detail)
            else:
                users[row["item_id"]].setdefault(row["tag"], set()).add(row["user_id"])
        texts = [
            text if is_stored or not users[item] else f"{text} Tags: {', '.join(most_used(users[item]))}."
            for item, text, is_stored in zip(
                *(items.column(name).to_pylist() for name in ("item_id", "text", "is_stored")), strict=True
            )
        ]
        field = items.schema.field("text")
        return items.set_column(items.schema.get_field_index("text"), field, pa.array(texts, pa.string()))


def most_used(users_of_tag: dict[str, set[str]]) -> list[str]:
    """Returns at most MAX_TAGS tags, those of the most distinct users first, equal ones by text."""
    return sorted(users_of_tag, key=lambda tag: (-len(users_of_tag[tag]), tag))[:MAX_TAGS]


def _tags_of(block: RowBlock, stats: ReadStats) -> pa.Table:
    rows: defaultdict[str, list[str | int | None]] = defaultdict(list)
    users, items, tags = (block.columns[name].to_pylist() for name in TAG_COLUMNS)
    for row, (user, item, tag) in enumerate(zip(users, items, tags, strict=True)):
        words = " ".join(tag.lower().split())
        reason = _fault(user, item, words)
        if reason:
            block.reject(row, reason, stats)
            continue
        for name, value in zip(_SCHEMA.names, (user, item, words, block.file, block.line(row)), strict=True):
            rows[name].append(value)
    return pa.table([rows[name] for name in _SCHEMA.names], schema=_SCHEMA)


def _fault(user: str, item: str, words: Sequence[str]) -> str:
    return id_fault(user) or id_fault(item) or ("" if words else "missing tag")
