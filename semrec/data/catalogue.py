"""Writes the catalogue: items through buckets of their ids (duplicates), then into parts by the hash of their text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from semrec.contracts import CATALOGUE_SCHEMA, CONTENT_TYPE, buckets_of, part_name, text_hash
from semrec.data.known import ChangedItems, HasItems, KnownItems
from semrec.data.online import ItemChanges, item_changes, log_ends
from semrec.data.rejects import ReadStats
from semrec.data.rows import ITEM_ROWS_SCHEMA, first_of_each, stored_rows
from semrec.data.spill import BucketSpill
from semrec.data.staging import Staged, applied_entry, applied_sequence, stored_manifest, stored_parts
from semrec.data.tags import TagSpill
from semrec.workspace.digests import fingerprint
from semrec.workspace.folder import Workspace
from semrec.workspace.manifests import CatalogueManifest
from semrec.workspace.records import PartFile
from semrec.workspace.storage import Storage
from semrec.workspace.tables import TableFile, read_table, write_table

__all__ = ["NUM_ID_BUCKETS", "items_in", "known_items", "num_parts_for", "stage_items"]

#: Enough for 100 million items: 100,000 are in memory at once.
NUM_ID_BUCKETS: Final = 1024
_ITEMS_PER_PART: Final = 2_048
_MAX_DRIFT: Final = 8


def stage_items(
    workspace: Workspace,
    tables: Iterable[pa.Table],
    *,
    append: bool,
    until: int,
    stats: ReadStats,
    scratch: Path,
    tags: TagSpill | None = None,
) -> Staged:
    """Writes the parts of all items in `tables` (ITEM_ROWS_SCHEMA); with `append`, over the items stored already.

    Of two rows with one id the first counts; a new row wins over a stored one. `until` is the last item change made online
    that is older than these rows: with `append` the changes up to it that no parts hold yet are laid over the stored items
    and below the new ones, else they are replaced with the stored items. Rejected: "duplicate id", and the tags of items that
    do not exist. Raises TooManyRejectedError before any part is written.
    """
    storage = workspace.storage
    manifest = stored_manifest(storage, CatalogueManifest)
    held = applied_sequence(manifest)
    changes = item_changes(storage, held, until) if append else ItemChanges()
    stored = stored_parts(manifest) if append else {}
    by_id = BucketSpill(scratch / "items-by-id", ITEM_ROWS_SCHEMA, NUM_ID_BUCKETS)
    for table in chain(tables, _changed(storage, stored, changes), _stored_rows(storage, stored, changes)):
        by_id.add(table, buckets_of(table.column("item_id").combine_chunks(), NUM_ID_BUCKETS))
    most_parts = max(num_parts_for(by_id.num_rows), manifest.num_parts if manifest else 1)
    by_text = BucketSpill(scratch / "items-by-text", CATALOGUE_SCHEMA, most_parts)
    for items in _distinct(by_id, tags, stats):
        by_text.add(items, buckets_of(items.column("text_hash").combine_chunks(), most_parts))
    stats.check()
    num_parts = num_parts_for(by_text.num_rows, manifest.num_parts if manifest else None)
    parts = []
    for part in range(num_parts):
        # Part counts are powers of two, so a part is the finer buckets that leave its number as remainder.
        rows = pa.concat_tables(by_text.read(bucket) for bucket in range(part, most_parts, num_parts))
        rows = rows.sort_by("item_id")  # Arrow compares text by bytes
        file = write_table(workspace.storage, f"catalogue/{part_name(part).replace('part', 'items')}", rows)
        parts.append(PartFile.of(part, file))
        stats.report(sum(p.num_rows for p in parts), "write catalogue")
    return Staged(
        CatalogueManifest(
            num_items=sum(p.num_rows for p in parts),
            num_parts=len(parts),
            parts=tuple(parts),
            fingerprint=fingerprint([p.content_digest for p in parts]),
            **applied_entry(until),
        ),
        num_put=len(changes.put),
        num_deleted=len(changes.deleted),
        num_online_replaced=0 if append else max(0, until - held),
    )


def known_items(storage: Storage) -> HasItems:
    """Reads the items that exist now: those of the live catalogue, as the changes made online since have left them.

    Raises MissingArtefactError without a catalogue.
    """
    remedy = "Import the items first: interactions name items of the catalogue."
    manifest = CatalogueManifest.read(storage, remedy=remedy)
    items = items_in(storage, manifest.parts)
    changes = item_changes(storage, manifest.applied_sequence, log_ends(storage).items)
    exists = dict.fromkeys(changes.deleted, False) | {row.item_id: True for row in changes.put}
    return ChangedItems(items, exists) if exists else items


def items_in(storage: Storage, files: Iterable[TableFile]) -> KnownItems:
    """Reads the ids in the catalogue's parts in `files`."""
    return KnownItems(read_table(storage, file, ["item_id"]).column("item_id").combine_chunks() for file in files)


def num_parts_for(num_items: int, present: int | None = None) -> int:
    """Returns a power of two with at most 2,048 items a part on average; `present` stays while within a factor of 8 of it.

    Parts that stay the same from one import to the next keep their files, and what was made from them.
    """
    ideal = 1
    while ideal * _ITEMS_PER_PART < num_items:
        ideal *= 2
    if present is not None and ideal <= present * _MAX_DRIFT and present <= ideal * _MAX_DRIFT:
        return present
    return ideal


def _changed(storage: Storage, stored: dict[int, TableFile], changes: ItemChanges) -> Iterator[pa.Table]:
    """Yields the items put online. What is rejected was acknowledged once: it is set aside and told, and stops no release.

    A change made online states no content beside the text, so what an item has of it stays.
    """
    if changes.put:
        stats = ReadStats(storage, "online-items", max_rejected=1.0)
        content_of = _stored_content(storage, stored, changes.item_ids)
        put = [replace(row, content=content_of.get(row.item_id, {})) for row in changes.put]
        yield from replace(changes, put=put).tables(stats)
        stats.flush()


def _stored_content(storage: Storage, stored: dict[int, TableFile], item_ids: pa.Array) -> dict[str, dict[str, str]]:
    """Returns item_id -> modality -> value, of those stored items among `item_ids` that have content beside the text."""
    content_of = {}
    for file in stored.values():
        items = _with_content(read_table(storage, file))
        known = items.filter(pc.and_(pc.is_in(items["item_id"], value_set=item_ids), items["content"].is_valid()))
        for row in known.to_pylist():
            content_of[row["item_id"]] = {modality: entry["value"] for modality, entry in row["content"]}
    return content_of


def _with_content(items: pa.Table) -> pa.Table:
    """Returns the rows of a part, with an empty column `content` where the part is of a schema that had none."""
    if "content" in items.column_names:
        return items
    return items.append_column("content", pa.nulls(items.num_rows, CONTENT_TYPE))


def _stored_rows(storage: Storage, stored: dict[int, TableFile], changes: ItemChanges) -> Iterator[pa.Table]:
    """Yields the stored rows of unchanged items. They come last, and so lose against a new row with their id."""
    changed = changes.item_ids
    for file in stored.values():
        table = _with_content(read_table(storage, file))
        if len(changed):
            table = table.filter(pc.invert(pc.is_in(table.column("item_id"), value_set=changed)))
        yield stored_rows(table, ITEM_ROWS_SCHEMA)


def _distinct(by_id: BucketSpill, tags: TagSpill | None, stats: ReadStats) -> Iterator[pa.Table]:
    """Yields each id once, with its tags: CATALOGUE_SCHEMA. One table when all is in memory, else one per bucket of ids."""
    on_disk = by_id.on_disk or (tags is not None and tags.on_disk)
    for bucket in range(NUM_ID_BUCKETS) if on_disk else [None]:
        rows = by_id.read_all() if bucket is None else by_id.read(bucket)
        rows = first_of_each(rows, "item_id", stats=stats)
        if tags is not None:
            rows = tags.add_to_texts(rows, bucket)
        hashes = pa.array([text_hash(text) for text in rows.column("text").to_pylist()], pa.string())
        columns = {"text_hash": hashes, **{name: rows.column(name) for name in rows.schema.names}}
        yield pa.table([columns[name] for name in CATALOGUE_SCHEMA.names], schema=CATALOGUE_SCHEMA)
