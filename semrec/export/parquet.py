"""Exports vectors as one Parquet file, which any tool reads: id, vector, payload."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from semrec.export.base import Exporter, vectors_of
from semrec.workspace.storage import Storage

__all__ = ["ParquetExporter"]


class ParquetExporter(Exporter):
    """The file `<location>/<collection>.parquet`, ascending by id, replaced as a whole; a location is any fsspec URL."""

    name: ClassVar[str] = "parquet"

    def __init__(self, storage: Storage, file: str, rows: pa.Table) -> None:
        self._storage, self._file, self._rows = storage, file, rows

    @classmethod
    def open(cls, location: str, collection: str, dimension: int, *, empty: bool) -> ParquetExporter:
        storage, file = Storage(location), f"{collection}.parquet"
        if empty or not storage.exists(file):
            vector = pa.list_(pa.float32(), dimension)
            schema = pa.schema([("id", pa.string()), ("vector", vector), ("payload", pa.string())])
            return cls(storage, file, schema.empty_table())
        return cls(storage, file, pq.read_table(pa.BufferReader(storage.read_bytes(file))))

    def put(self, rows: pa.Table) -> None:
        self.delete(rows.column("id").to_pylist())
        self._rows = pa.concat_tables([self._rows, rows.cast(self._rows.schema)])

    def delete(self, ids: Sequence[str]) -> None:
        gone = pc.is_in(self._rows.column("id"), value_set=pa.array(ids, pa.string()))
        self._rows = self._rows.filter(pc.invert(gone))

    def search(self, queries_QD: np.ndarray, k: int) -> list[list[tuple[str, float]]]:
        scores_QN = queries_QD @ vectors_of(self._rows).T
        ids = self._rows.column("id").to_pylist()
        order_QK = np.argsort(-scores_QN, axis=1, kind="stable")[:, :k]
        return [[(ids[n], float(scores[n])) for n in order] for scores, order in zip(scores_QN, order_QK, strict=True)]

    def count(self) -> int:
        return int(self._rows.num_rows)

    def close(self) -> None:
        sink = pa.BufferOutputStream()
        pq.write_table(self._rows.sort_by("id"), sink)
        self._storage.write_bytes(self._file, sink.getvalue().to_pybytes())
