"""Stores the facets of a release's items, which encoders read in their texts, and opens them for filters."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from semrec.encoders.facets import facets_of
from semrec.sorted_ids import SortedIds
from semrec.workspace.manifests import CatalogueManifest, EmbeddingManifest
from semrec.workspace.records import TableFile
from semrec.workspace.storage import Storage
from semrec.workspace.tables import read_table, write_table

__all__ = ["write_facets"]


def write_facets(
    storage: Storage,
    folder: str,
    catalogue: CatalogueManifest,
    embeddings: Iterable[EmbeddingManifest],
    item_ids: SortedIds,
) -> TableFile | None:
    """Writes `<folder>/facets.parquet`, a column of each facet by its name, list<string>, rows as those of the item matrix.

    None where no encoder has a facet. One part of the catalogue's texts is in memory at a time. Raises EncoderError where an
    encoder is another than the embedding's.
    """
    facets = facets_of(embedding.encoder for embedding in embeddings)
    if not facets:
        return None
    places, tables = [], []
    for part in catalogue.parts:
        items = read_table(storage, part, ["item_id", "text"])
        rows = item_ids.rows_of(items.column("item_id"))
        texts = items.column("text").filter(pa.array(rows >= 0)).to_pylist()
        places.append(rows[rows >= 0])
        tables.append(pa.table({facet.name: facet.of_texts(texts) for facet in facets}))
    order = np.argsort(np.concatenate(places))
    return write_table(
        storage, f"{folder}/facets", pa.concat_tables(tables).take(pa.array(order)), digest_in_name=False
    )
