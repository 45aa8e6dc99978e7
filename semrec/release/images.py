"""Stores the URIs of items' images in a release, for who shows items, and looks them up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from semrec.contracts import contents_of
from semrec.sorted_ids import SortedIds
from semrec.workspace.manifests import CatalogueManifest
from semrec.workspace.records import TableFile
from semrec.workspace.storage import Storage
from semrec.workspace.tables import read_table, write_table

__all__ = ["ImageUris", "read_images", "write_images"]


@dataclass(frozen=True, eq=False)
class ImageUris:
    """The URIs of those items that have an image. `rows_N` int64, ascending, are their rows in the item matrix."""

    rows_N: np.ndarray
    uris: pa.ChunkedArray

    def of(self, row: int) -> str | None:
        """The URI of the image of a row's item; None for one without."""
        place = int(np.searchsorted(self.rows_N, row))
        if place == len(self.rows_N) or self.rows_N[place] != row:
            return None
        uri: str = self.uris[place].as_py()
        return uri


def write_images(storage: Storage, folder: str, catalogue: CatalogueManifest, item_ids: SortedIds) -> TableFile | None:
    """Writes rows and URIs as `<folder>/images.parquet`; None where no item has an image. One part is in memory at a time."""
    tables = []
    for part in catalogue.parts:
        with_image = contents_of(read_table(storage, part), "image")
        rows = item_ids.rows_of(with_image["item_id"])
        table = pa.table([pa.array(rows, pa.int64()), with_image["content"]], names=["row", "uri"])
        tables.append(table.filter(pa.array(rows >= 0)))
    images = pa.concat_tables(tables).sort_by("row") if tables else None
    return write_table(storage, f"{folder}/images", images, digest_in_name=False) if images else None


def read_images(storage: Storage, file: TableFile) -> ImageUris:
    """Reads what `write_images` wrote."""
    table = read_table(storage, file)
    return ImageUris(table["row"].to_numpy(), table["uri"])
