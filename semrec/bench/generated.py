"""Generated inputs of any size: catalogues with given vectors, and users with interactions. For benches and tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from semrec.contracts import part_name
from semrec.data import ItemRow, import_items
from semrec.workspace.digests import fingerprint
from semrec.workspace.folder import Workspace
from semrec.workspace.manifests import CatalogueManifest, EmbeddingManifest
from semrec.workspace.records import PartFile
from semrec.workspace.storage import Storage
from semrec.workspace.tables import read_table, write_table

__all__ = ["EMBEDDING_NAME", "generated_events", "write_catalogue", "write_embedding", "write_embedding_part"]

EMBEDDING_NAME: Final = "generated"
_NEWEST_S: Final = 1_700_000_000
_BATCH_USERS: Final = 5_000


def write_catalogue(
    workspace: Workspace,
    item_ids: list[str],
    vectors_ID: np.ndarray,
    attributes: list[dict[str, list[str]]] | None = None,
) -> None:
    """Imports items with these ids and gives them these vectors as a finished embedding called `generated`."""
    rows = attributes or [{} for _ in item_ids]
    items = (ItemRow(i, f"title of {i}", f"text of {i}", a) for i, a in zip(item_ids, rows, strict=True))
    import_items(workspace, items)
    write_embedding(workspace, dict(zip(item_ids, vectors_ID, strict=True)))


def write_embedding(workspace: Workspace, vector_of: dict[str, np.ndarray], name: str = EMBEDDING_NAME) -> None:
    """Writes `vector_of` as an embedding of the present catalogue; items without a vector stay without."""
    storage = workspace.storage
    catalogue = CatalogueManifest.read(storage)
    dimension = len(next(iter(vector_of.values())))
    parts = []
    for part in catalogue.parts:
        items = read_table(storage, part, ["item_id", "text_hash"])
        items = items.filter(pa.array([i in vector_of for i in items.column("item_id").to_pylist()], pa.bool_()))
        ids, hashes = items.column("item_id").to_pylist(), items.column("text_hash").to_pylist()
        vectors_ND = np.array([vector_of[i] for i in ids], np.float32).reshape(-1, dimension)
        parts.append(write_embedding_part(storage, part.part, ids, hashes, vectors_ND, name))
    manifest = EmbeddingManifest(
        name=name,
        encoder={"model": name},
        catalogue=catalogue.fingerprint,
        num_items=len(vector_of),
        dimension=dimension,
        parts=tuple(parts),
        fingerprint=fingerprint([part.content_digest for part in parts]),
    )
    manifest.write(storage, name)


def write_embedding_part(
    storage: Storage,
    part: int,
    item_ids: list[str],
    hashes: list[str],
    vectors_ND: np.ndarray,
    name: str = EMBEDDING_NAME,
) -> PartFile:
    """Writes one part of a generated embedding: float32 [N, D] of the items, ascending in their ids."""
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(vectors_ND.reshape(-1)), vectors_ND.shape[1])
    table = pa.table(
        [pa.array(item_ids, pa.string()), pa.array(hashes, pa.string()), vectors],
        names=["item_id", "text_hash", "vector"],
    )
    return PartFile.of(part, write_table(storage, f"embeddings/{name}/{part_name(part)}", table))


def generated_events(
    item_ids: list[str], num_users: int, *, events_per_user: int, seed: int, new_every: int = 50
) -> Iterator[pa.Table]:
    """Events of `num_users` users in batches: items drawn by a Zipf-like popularity, times within two years.

    Every `new_every`-th user appears with one event of value 0 only, and so has no vector.
    """
    weight = 1.0 / np.arange(1, len(item_ids) + 1) ** 0.8
    edges = np.cumsum(weight / weight.sum())
    ids = np.array(item_ids, dtype=object)
    for start in range(0, num_users, _BATCH_USERS):
        rng = np.random.default_rng([seed, start])
        users = np.arange(start, min(start + _BATCH_USERS, num_users))
        owner = np.repeat(users, events_per_user)
        drawn = np.minimum(np.searchsorted(edges, rng.random(len(owner))), len(ids) - 1)
        value = np.where(owner % new_every == new_every - 1, 0.0, 1.0)
        time_s = _NEWEST_S - rng.integers(0, 2 * 365 * 86_400, len(owner))
        yield pa.table(
            {
                "user_id": pa.array([f"user-{u:08d}" for u in owner], pa.string()),
                "item_id": pa.array(ids[drawn], pa.string()),
                "value": pa.array(value, pa.float32()),
                "timestamp": pa.array(time_s, pa.int64()),
            }
        )
