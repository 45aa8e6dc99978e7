"""Exports vectors to Qdrant: a server by its URL, or a local folder."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
import pyarrow as pa

from semrec.export.base import Exporter, vectors_of

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

__all__ = ["QdrantExporter"]

#: Qdrant's ids are numbers or UUIDs: a text's is UUID version 5 in this namespace.
_NAMESPACE: Final = uuid.UUID("6c1f3b6e-5f0e-5d0f-9a57-6f1f0f5c2a11")


class QdrantExporter(Exporter):
    """A collection of the metric Dot. A point's payload is the row's, and `id`."""

    name: ClassVar[str] = "qdrant"

    def __init__(self, client: QdrantClient, collection: str, *, is_server: bool) -> None:
        self._client, self._collection, self._is_server = client, collection, is_server

    @classmethod
    def open(cls, location: str, collection: str, dimension: int, *, empty: bool) -> QdrantExporter:
        from qdrant_client import QdrantClient, models

        is_server = location.startswith(("http://", "https://"))
        client = QdrantClient(url=location) if is_server else QdrantClient(path=location)
        if empty and client.collection_exists(collection):
            client.delete_collection(collection)
        if not client.collection_exists(collection):
            vectors = models.VectorParams(size=dimension, distance=models.Distance.DOT)
            client.create_collection(collection, vectors_config=vectors)
        return cls(client, collection, is_server=is_server)

    def put(self, rows: pa.Table) -> None:
        from qdrant_client import models

        points = [
            models.PointStruct(id=_point_id(name), vector=vector.tolist(), payload={**json.loads(payload), "id": name})
            for name, vector, payload in zip(
                rows.column("id").to_pylist(), vectors_of(rows), rows.column("payload").to_pylist(), strict=True
            )
        ]
        self._client.upsert(self._collection, points, wait=True)

    def delete(self, ids: Sequence[str]) -> None:
        from qdrant_client import models

        self._client.delete(self._collection, models.PointIdsList(points=[_point_id(name) for name in ids]), wait=True)

    def search(self, queries_QD: np.ndarray, k: int) -> list[list[tuple[str, float]]]:
        from qdrant_client import models

        exact = models.SearchParams(exact=True) if self._is_server else None  # a local folder knows no other way
        lists = []
        for query in queries_QD:
            answer = self._client.query_points(
                self._collection, query=query.tolist(), limit=k, search_params=exact, with_payload=["id"]
            )
            lists.append([(str((point.payload or {})["id"]), point.score) for point in answer.points])
        return lists

    def count(self) -> int:
        return self._client.count(self._collection, exact=True).count

    def close(self) -> None:
        self._client.close()


def _point_id(name: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, name))
