"""Builds the index of the words of a release's items, stores it, and reads it memory-mapped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa

from semrec.lexical.index import WordIndex, build_index
from semrec.lexical.item_words import ItemWords
from semrec.lexical.terms import Fields, fields_of
from semrec.release.arrays import map_ids, read_array, write_array, write_ids
from semrec.sorted_ids import SortedIds
from semrec.workspace.manifests import CatalogueManifest, EmbeddingManifest
from semrec.workspace.records import WordIndexFiles
from semrec.workspace.storage import Storage
from semrec.workspace.tables import read_table

__all__ = ["read_word_index", "write_word_index"]

_DOCUMENTS_PER_BLOCK: Final = 256  # of texts of 65,536 characters at most


def write_word_index(
    storage: Storage,
    folder: str,
    catalogue: CatalogueManifest,
    embeddings: Iterable[EmbeddingManifest],
    item_ids: SortedIds,
) -> WordIndexFiles | None:
    """Writes the index of the items' titles and texts as `<folder>/index/*.npy`; None where nothing has any term at all.

    Of items with a document, whose text an embedding keeps, another one as `<folder>/index/documents/*.npy`. Row r of both is
    the item of row r. One part of texts is in memory at a time.
    """
    titles = build_index(_items(storage, catalogue, item_ids), len(item_ids))
    # Of items without a document, which may be most, neither their number nor their mean length is to know.
    documents = build_index(_documents(storage, embeddings, item_ids), len(item_ids), skips_empty=True)
    if not len(titles.terms) and not len(documents.terms):
        return None
    more: dict[str, Any] = {"mean_title_length": titles.mean_lengths[0]}
    if len(documents.terms):
        num_documents = {"num_documents": documents.num_documents}
        more["documents"] = _write_index(storage, f"{folder}/index/documents", documents, num_documents)
    return _write_index(storage, f"{folder}/index", titles, more)


def read_word_index(storage: Storage, files: WordIndexFiles, num_items: int) -> ItemWords:
    """Opens the index of a release of so many items, memory-mapped."""
    titles = _read_index(storage, files, num_items)
    if files.documents is None:
        return ItemWords(titles)
    return ItemWords(titles, _read_index(storage, files.documents, files.documents.num_documents or 0))


def _write_index(storage: Storage, stem: str, index: WordIndex, more: dict[str, Any]) -> WordIndexFiles:
    return WordIndexFiles(
        terms=write_ids(storage, f"{stem}/terms", index.terms),
        offsets=write_array(storage, f"{stem}/offsets.npy", index.offsets_T1),
        rows=write_array(storage, f"{stem}/rows.npy", index.rows_P),
        scores=write_array(storage, f"{stem}/scores.npy", index.scores_P),
        mean_length=index.mean_lengths[1],
        **more,
    )


def _read_index(storage: Storage, files: WordIndexFiles, num_documents: int) -> WordIndex:
    offsets, rows, scores = (read_array(storage, file) for file in (files.offsets, files.rows, files.scores))
    mean_lengths = (files.mean_title_length, files.mean_length)
    return WordIndex(map_ids(storage, files.terms), offsets, rows, scores, num_documents, mean_lengths)


def _items(storage: Storage, catalogue: CatalogueManifest, item_ids: SortedIds) -> Iterator[tuple[np.ndarray, Fields]]:
    """Reads the rows, titles and texts of each part of the catalogue; items without a row are left out."""
    for part in catalogue.parts:
        table = read_table(storage, part, ["item_id", "title", "text"])
        rows = item_ids.rows_of(table.column("item_id"))
        items = table.filter(pa.array(rows >= 0))
        yield rows[rows >= 0], fields_of(items.column("title"), items.column("text"))


def _documents(
    storage: Storage, embeddings: Iterable[EmbeddingManifest], item_ids: SortedIds
) -> Iterator[tuple[np.ndarray, Fields]]:
    """Reads the rows and texts of the documents of each part of embeddings that keep them, some at a time."""
    for part in (part for embedding in embeddings if embedding.has_texts for part in embedding.parts):
        table = read_table(storage, part, ["item_id", "text"])
        rows = item_ids.rows_of(table.column("item_id"))
        for start in range(0, len(rows), _DOCUMENTS_PER_BLOCK):
            block = slice(start, start + _DOCUMENTS_PER_BLOCK)
            texts = table.column("text")[block].cast(pa.string()).filter(pa.array(rows[block] >= 0)).combine_chunks()
            yield rows[block][rows[block] >= 0], Fields(pa.array([""] * len(texts), pa.string()), texts)
