"""Exports vectors to a LanceDB table: a local folder or an object store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa

from semrec.export.base import Exporter

if TYPE_CHECKING:
    from lancedb.table import Table

__all__ = ["LanceExporter"]


class LanceExporter(Exporter):
    """A table of the columns id, vector, payload, without an index: searches are exact."""

    name: ClassVar[str] = "lancedb"

    def __init__(self, table: Table) -> None:
        self._table = table

    @classmethod
    def open(cls, location: str, collection: str, dimension: int, *, empty: bool) -> LanceExporter:
        import lancedb  # starts a thread

        database = lancedb.connect(location)
        vector = pa.list_(pa.float32(), dimension)
        schema = pa.schema([("id", pa.string()), ("vector", vector), ("payload", pa.string())])
        mode = {"mode": "overwrite"} if empty else {"exist_ok": True}
        return cls(database.create_table(collection, schema=schema, **mode))

    def put(self, rows: pa.Table) -> None:
        self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(rows)

    def delete(self, ids: Sequence[str]) -> None:
        quoted = ", ".join("'" + name.replace("'", "''") + "'" for name in ids)
        if quoted:
            self._table.delete(f"id IN ({quoted})")

    def search(self, queries_QD: np.ndarray, k: int) -> list[list[tuple[str, float]]]:
        lists = []
        for query in queries_QD:
            found = self._table.search(query).distance_type("dot").bypass_vector_index().select(["id", "_distance"])
            rows = found.limit(k).to_arrow()
            # LanceDB's distance is 1 - inner product.
            scores = 1 - rows.column("_distance").to_numpy()
            lists.append(list(zip(rows.column("id").to_pylist(), scores.tolist(), strict=True)))
        return lists

    def count(self) -> int:
        return int(self._table.count_rows())

    def close(self) -> None:
        """Does nothing: every call is a version of the table by itself."""
