"""Exports vectors to Milvus: a server by its URI, or a local file by milvus-lite."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
import pyarrow as pa

from semrec.export.base import Exporter, vectors_of
from semrec.limits import MAX_ID_CHARS

if TYPE_CHECKING:
    from pymilvus import MilvusClient

__all__ = ["MilvusExporter"]

_MOST_BYTES_OF_ID: Final = 4 * MAX_ID_CHARS


class MilvusExporter(Exporter):
    """A collection of the metric IP under a FLAT index, which is exact; `payload` is a JSON field."""

    name: ClassVar[str] = "milvus"

    def __init__(self, client: MilvusClient, collection: str) -> None:
        self._client, self._collection = client, collection

    @classmethod
    def open(cls, location: str, collection: str, dimension: int, *, empty: bool) -> MilvusExporter:
        from pymilvus import DataType, MilvusClient

        client = MilvusClient(location)
        if empty and client.has_collection(collection):
            client.drop_collection(collection)
        if not client.has_collection(collection):
            schema = client.create_schema()
            schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=_MOST_BYTES_OF_ID)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimension)
            schema.add_field("payload", DataType.JSON)
            index = client.prepare_index_params()
            index.add_index("vector", index_type="FLAT", metric_type="IP")
            client.create_collection(collection, schema=schema, index_params=index)
        client.load_collection(collection)
        return cls(client, collection)

    def put(self, rows: pa.Table) -> None:
        columns = (rows.column("id").to_pylist(), vectors_of(rows), rows.column("payload").to_pylist())
        data = [
            {"id": name, "vector": vector, "payload": json.loads(payload)}
            for name, vector, payload in zip(*columns, strict=True)
        ]
        self._client.upsert(self._collection, data)

    def delete(self, ids: Sequence[str]) -> None:
        if ids:
            # As a filter: the client itself puts ids into one with their quotes as they are.
            self._client.delete(self._collection, filter=f"id in {json.dumps(list(ids), ensure_ascii=False)}")

    def search(self, queries_QD: np.ndarray, k: int) -> list[list[tuple[str, float]]]:
        answers = self._client.search(
            self._collection, list(queries_QD), limit=k, search_params={"metric_type": "IP"}, consistency_level="Strong"
        )
        return [[(hit["id"], float(hit["distance"])) for hit in hits] for hits in answers]

    def count(self) -> int:
        (row,) = self._client.query(self._collection, filter="", output_fields=["count(*)"], consistency_level="Strong")
        return int(row["count(*)"])

    def close(self) -> None:
        self._client.close()
