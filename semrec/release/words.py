"""Builds the index of words of a release from titles and texts, stores it, and reads it memory-mapped."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from semrec.lexical.index import WordIndex, build_index
from semrec.lexical.terms import Fields, fields_of
from semrec.release.arrays import map_ids, read_array, write_array, write_ids
from semrec.sorted_ids import SortedIds
from semrec.workspace.manifests import CatalogueManifest
from semrec.workspace.records import WordIndexFiles
from semrec.workspace.storage import Storage
from semrec.workspace.tables import read_table

__all__ = ["read_word_index", "write_word_index"]


def write_word_index(
    storage: Storage, folder: str, catalogue: CatalogueManifest, item_ids: SortedIds
) -> WordIndexFiles | None:
    """Writes the index of the items' titles and texts as `<folder>/index/*.npy`; None where they have no term at all.

    Document r is the item of row r. One part of the catalogue's texts is in memory at a time.
    """
    index = build_index(_documents(storage, catalogue, item_ids), len(item_ids))
    if not len(index.terms):
        return None
    stem = f"{folder}/index"
    return WordIndexFiles(
        terms=write_ids(storage, f"{stem}/terms", index.terms),
        offsets=write_array(storage, f"{stem}/offsets.npy", index.offsets_T1),
        rows=write_array(storage, f"{stem}/rows.npy", index.rows_P),
        scores=write_array(storage, f"{stem}/scores.npy", index.scores_P),
        mean_title_length=index.mean_lengths[0],
        mean_length=index.mean_lengths[1],
    )


def read_word_index(storage: Storage, files: WordIndexFiles, num_items: int) -> WordIndex:
    """Opens the index of a release of so many items, memory-mapped."""
    offsets, rows, scores = (read_array(storage, file) for file in (files.offsets, files.rows, files.scores))
    mean_lengths = (files.mean_title_length, files.mean_length)
    return WordIndex(map_ids(storage, files.terms), offsets, rows, scores, num_items, mean_lengths)


def _documents(
    storage: Storage, catalogue: CatalogueManifest, item_ids: SortedIds
) -> Iterator[tuple[np.ndarray, Fields]]:
    """Reads the rows, titles and texts of each part of the catalogue; items without a row are left out."""
    for part in catalogue.parts:
        table = read_table(storage, part, ["item_id", "title", "text"])
        rows = item_ids.rows_of(table.column("item_id"))
        items = table.filter(pa.array(rows >= 0))
        yield rows[rows >= 0], fields_of(items.column("title"), items.column("text"))
