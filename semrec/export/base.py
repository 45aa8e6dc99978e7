"""What can hold vectors: the interface of an exporter, and the registry of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Final, Self

import numpy as np
import pyarrow as pa

from semrec.errors import InputError
from semrec.registry import Registry, import_class

__all__ = ["EXPORTERS", "Exporter", "open_exporter", "vectors_of"]

#: Name -> module and class. Each imports the package that it needs when it is opened.
EXPORTERS: Final[Registry] = {
    "parquet": ("semrec.export.parquet", "ParquetExporter"),
    "faiss": ("semrec.export.faiss", "FaissExporter"),
    "qdrant": ("semrec.export.qdrant", "QdrantExporter"),
    "lancedb": ("semrec.export.lancedb", "LanceExporter"),
    "milvus": ("semrec.export.milvus", "MilvusExporter"),
}


def open_exporter(name: str, location: str, collection: str, dimension: int, *, empty: bool) -> Exporter:
    """Opens a collection by an exporter's name, see `Exporter.open`.

    Raises InputError when there is no such exporter, or its package is not installed.
    """
    kind: type[Exporter] = import_class(EXPORTERS, name, "exporter")
    try:
        return kind.open(location, collection, dimension, empty=empty)
    except ImportError as error:
        raise InputError(
            f"an export to {name} without its package ({error})",
            expected="that package",
            remedy=f"pip install 'semrec[{name}]'.",
        ) from error


class Exporter(ABC):
    """A collection of vectors at a place that is not ours, each under an id, with a payload.

    Ids are text; a payload is one JSON object. Scores are inner products. Open it, call what is wanted, close it: what was
    put is there for others when `close` has returned.
    """

    name: ClassVar[str]

    @classmethod
    @abstractmethod
    def open(cls, location: str, collection: str, dimension: int, *, empty: bool) -> Self:
        """Opens the collection at a location (a folder, file or URL), and makes it when it is not there.

        `empty`: whether what it holds goes first.
        """

    @abstractmethod
    def put(self, rows: pa.Table) -> None:
        """Adds rows, or replaces those of their ids: columns id (string), vector (fixed list of float32), payload (string)."""

    @abstractmethod
    def delete(self, ids: Sequence[str]) -> None:
        """Removes rows by id; an unknown id is none of them."""

    @abstractmethod
    def search(self, queries_QD: np.ndarray, k: int) -> list[list[tuple[str, float]]]:
        """The k rows of the largest inner product with each query, largest first, by the engine's exact way."""

    @abstractmethod
    def count(self) -> int:
        """The number of rows."""

    @abstractmethod
    def close(self) -> None:
        """Makes what was put durable."""


def vectors_of(rows: pa.Table) -> np.ndarray:
    """The vectors of rows as `put` takes them: float32 [N, D]."""
    column = rows.column("vector").combine_chunks()
    vectors_ND: np.ndarray = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    return vectors_ND
