"""Exports vectors as a faiss index with ids of its own, and the texts that they stand for beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa

from semrec.export.base import Exporter, vectors_of

if TYPE_CHECKING:
    import faiss

__all__ = ["FaissExporter"]


class FaissExporter(Exporter):
    """`<collection>.faiss`, an IndexIDMap2 over IndexFlatIP, and `<collection>.json`: {id: [number in it, payload]}.

    A location is a local folder. The index is written before the texts, each replaced as a whole.
    """

    name: ClassVar[str] = "faiss"

    def __init__(self, folder: Path, collection: str, index: faiss.Index, known: dict[str, list[object]]) -> None:
        self._folder, self._collection, self._index, self._known = folder, collection, index, known

    @classmethod
    def open(cls, location: str, collection: str, dimension: int, *, empty: bool) -> FaissExporter:
        import faiss

        folder = Path(location)
        folder.mkdir(parents=True, exist_ok=True)
        index_file, texts_file = folder / f"{collection}.faiss", folder / f"{collection}.json"
        if empty or not texts_file.exists():
            return cls(folder, collection, faiss.IndexIDMap2(faiss.IndexFlatIP(dimension)), {})
        return cls(folder, collection, faiss.read_index(str(index_file)), json.loads(texts_file.read_bytes()))

    def put(self, rows: pa.Table) -> None:
        ids, payloads = rows.column("id").to_pylist(), rows.column("payload").to_pylist()
        self.delete(ids)
        first = 1 + max((int(str(number)) for number, _ in self._known.values()), default=-1)
        numbers = np.arange(first, first + len(ids), dtype=np.int64)
        self._index.add_with_ids(np.ascontiguousarray(vectors_of(rows)), numbers)
        self._known.update(zip(ids, map(list, zip(numbers.tolist(), payloads, strict=True)), strict=True))

    def delete(self, ids: Sequence[str]) -> None:
        numbers = [self._known.pop(name)[0] for name in ids if name in self._known]
        if numbers:
            import faiss

            self._index.remove_ids(faiss.IDSelectorBatch(np.array(numbers, np.int64)))

    def search(self, queries_QD: np.ndarray, k: int) -> list[list[tuple[str, float]]]:
        scores_QK, numbers_QK = self._index.search(np.ascontiguousarray(queries_QD), min(k, self.count()))
        names = {number: name for name, (number, _) in self._known.items()}
        return [
            [(names[number], float(score)) for number, score in zip(numbers, scores, strict=True)]
            for numbers, scores in zip(numbers_QK.tolist(), scores_QK.tolist(), strict=True)
        ]

    def count(self) -> int:
        return int(self._index.ntotal)

    def close(self) -> None:
        import faiss

        for suffix, content in (
            ("faiss", faiss.serialize_index(self._index).tobytes()),
            ("json", json.dumps(self._known).encode()),
        ):
            written = self._folder / f".{self._collection}.{suffix}"
            written.write_bytes(content)
            written.replace(self._folder / f"{self._collection}.{suffix}")
