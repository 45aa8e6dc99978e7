"""The item matrix of a release: vectors, ids, eligibility words and popularity, rows in ascending item_id."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.contracts import ATTRIBUTES_TYPE
from semrec.errors import InputError
from semrec.models.components import Components
from semrec.release.arrays import write_array, write_block
from semrec.release.training import fit_models, write_models
from semrec.scoring.eligibility import Clause, Layout
from semrec.scoring.types import rows_not_finite
from semrec.settings import DEFAULT_ELIGIBILITY
from semrec.workspace.digests import fingerprint
from semrec.workspace.folder import Workspace
from semrec.workspace.manifests import (
    CatalogueManifest,
    ClauseValues,
    EmbeddingManifest,
    InteractionsManifest,
    ItemMatrix,
    MatrixBlock,
    MatrixManifest,
    ReleaseInputs,
    UsersManifest,
)
from semrec.workspace.storage import Storage
from semrec.workspace.tables import read_table, write_table

__all__ = [
    "ROWS_PER_BLOCK",
    "attribute_dicts",
    "attribute_names",
    "build_matrix",
    "layout_of",
    "pack_words",
    "unpack_words",
]

#: One block is memory-mapped as it is; several are copied together. 262,144 rows of 384 dimensions are 407 MB.
ROWS_PER_BLOCK = 262_144


def build_matrix(
    workspace: Workspace,
    release_id: str,
    *,
    catalogue: CatalogueManifest,
    embedding: EmbeddingManifest,
    interactions: InteractionsManifest | None,
    users: UsersManifest | None,
    inputs: ReleaseInputs,
) -> MatrixManifest:
    """Fits the release's models and writes items.parquet, matrix/block-*.{high,low,norms}.npy, popularity.npy and what the
    models have beside their item vectors; then `matrix.json`.

    Returns what that holds. A release that has its `matrix.json` is left as it is. Needs the ids of the catalogue in memory,
    not the vectors: those pass through a temporary memory-mapped file. Raises InputError naming an item whose vector is not
    finite, or an attribute of eligibility that neither an item nor a user has, or a model that cannot learn from the data.
    """
    storage, folder = workspace.storage, f"releases/{release_id}"
    if MatrixManifest.exists(storage, release_id):
        return MatrixManifest.read(storage, release_id, remedy="Remove the release's folder.")
    items, layout = _items_table(storage, catalogue, embedding, users, inputs.eligibility)
    items_file = write_table(storage, f"{folder}/items", items, digest_in_name=False)
    item_ids = items.column("item_id").combine_chunks()
    popularity_I = count_popularity(workspace, items.column("item_id"), interactions, inputs.as_of)
    with tempfile.TemporaryDirectory(prefix="semrec-") as scratch:
        content_ID = _embeddings(storage, Path(scratch) / "embeddings", item_ids, embedding)
        components, vectors = fit_models(storage, inputs, interactions, item_ids, content_ID, popularity_I)
        blocks = _write_blocks(storage, folder, item_ids, components, vectors)
        models = write_models(storage, folder, components)
    popularity_file = write_array(storage, f"{folder}/popularity.npy", popularity_I)
    manifest = MatrixManifest(
        num_items=items.num_rows,
        num_items_without_vector=catalogue.num_items - items.num_rows,
        dimension=components.dimension,
        embedding_dimension=embedding.dimension,
        layout=tuple(ClauseValues(attribute=clause.attribute, values=clause.values) for clause in layout.clauses),
        items=items_file,
        blocks=blocks,
        popularity=popularity_file,
        models=models,
        fingerprint=fingerprint([items_file.content_digest, [block.sha256 for block in blocks]]),
    )
    manifest.write(storage, release_id)
    return manifest


def layout_of(matrix: ItemMatrix) -> Layout:
    """The layout of the eligibility words that the items of a matrix have."""
    return Layout(tuple(Clause(clause.attribute, clause.values) for clause in matrix.layout))


def attribute_dicts(column: pa.ChunkedArray) -> list[dict[str, list[str]]]:
    """A column of ATTRIBUTES_TYPE as dictionaries; null becomes {}."""
    return [dict(row or ()) for row in column.to_pylist()]


def attribute_names(column: pa.ChunkedArray) -> set[str]:
    """The names of all attributes in a column of ATTRIBUTES_TYPE that have a value somewhere."""
    names: set[str] = set()
    for chunk in column.chunks:
        maps = chunk.drop_null()  # what a null entry covers is not part of the column
        has_value = pc.greater(pc.list_value_length(maps.items), 0)
        names |= set(maps.keys.filter(pc.fill_null(has_value, False)).unique().to_pylist())
    return names


def count_popularity(
    workspace: Workspace, item_ids: pa.ChunkedArray, interactions: InteractionsManifest | None, as_of: int | None
) -> np.ndarray:
    """Distinct users who interacted with each item up to `as_of`: float32 [I]. One part in memory at a time."""
    counts = np.zeros(len(item_ids), np.int64)
    for part in interactions.parts if interactions else ():
        table = read_table(workspace.storage, part, ["user_id", "item_id", "timestamp"])
        if as_of is not None:
            table = table.filter(pc.less_equal(table.column("timestamp"), as_of))
        pairs = table.select(["user_id", "item_id"]).group_by(["user_id", "item_id"]).aggregate([])
        rows = pc.index_in(pairs.column("item_id"), value_set=item_ids)
        counts += np.bincount(rows.drop_null().to_numpy(), minlength=len(counts))
    return counts.astype(np.float32)


def pack_words(words_NW: np.ndarray) -> pa.Array:
    """Eligibility words, uint64 [N, W], as a list column. Lists of fixed size zero crash some readers, so W may vary."""
    offsets = np.arange(len(words_NW) + 1) * words_NW.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(words_NW.reshape(-1), pa.uint64()))


def unpack_words(column: pa.ChunkedArray, num_words: int) -> np.ndarray:
    """`pack_words` undone: uint64 [N, W]."""
    return column.combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(len(column), num_words)


def _items_table(
    storage: Storage,
    catalogue: CatalogueManifest,
    embedding: EmbeddingManifest,
    users: UsersManifest | None,
    eligibility: tuple[str, ...],
) -> tuple[pa.Table, Layout]:
    embedded = pa.concat_tables(read_table(storage, part, ["item_id"]) for part in embedding.parts)
    columns = ["item_id", "title", "attributes"]
    items = pa.concat_tables(read_table(storage, part, columns) for part in catalogue.parts)
    names_of_items = attribute_names(items.column("attributes"))
    items = items.filter(pc.is_in(items.column("item_id"), value_set=embedded.column("item_id").combine_chunks()))
    items = items.sort_by("item_id")
    attributes = attribute_dicts(items.column("attributes"))
    layout = Layout.of_items(eligibility, attributes)
    _check_known([clause.attribute for clause in layout.clauses if not clause.values], names_of_items, storage, users)
    packed = pack_words(layout.item_words(attributes))
    ids, titles = items.column("item_id"), items.column("title")
    attribute_column = items.column("attributes").cast(ATTRIBUTES_TYPE)
    table = pa.table([ids, titles, attribute_column, packed], names=["item_id", "title", "attributes", "words"])
    return table, layout


def _check_known(
    without_values: list[str], names_of_items: set[str], storage: Storage, users: UsersManifest | None
) -> None:
    """Refuses a clause on an attribute that nobody has: it is misspelt, or its column was not imported.

    The clauses that a release has by default are not refused: they ask nothing of anybody until a user states them.
    """
    unknown = [name for name in without_values if name not in {*names_of_items, *DEFAULT_ELIGIBILITY}]
    if not unknown:
        return
    names_of_users: set[str] = set()
    for part in users.parts if users else ():
        table = read_table(storage, part, ["attributes"])
        names_of_users |= attribute_names(table.column("attributes"))
    for name in unknown:
        if name not in names_of_users:
            raise InputError(
                f"eligibility by {name!r}, an attribute that neither items nor users have",
                expected=f"an attribute of items ({_listed(names_of_items)}) or of users ({_listed(names_of_users)})",
                remedy="Correct the name, or import items and users with that attribute.",
            )


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "there is none"


def _embeddings(storage: Storage, path: Path, item_ids: pa.Array, embedding: EmbeddingManifest) -> np.ndarray:
    """The encoder's vectors in the order of `item_ids`, float32 [I, D], memory-mapped in a new file at `path`."""
    shape = (len(item_ids), embedding.dimension)
    if not shape[0]:
        raise InputError("no item has a vector", expected="one at least", remedy="Import a catalogue and embed it.")
    content_ID = np.memmap(path, np.float32, "w+", shape=shape)
    for part in embedding.parts:
        table = read_table(storage, part, ["item_id", "vector"])
        rows = pc.index_in(table.column("item_id"), value_set=item_ids).to_numpy()
        vectors = table.column("vector").combine_chunks().flatten().to_numpy(zero_copy_only=False)
        content_ID[rows] = vectors.astype(np.float32, copy=False).reshape(-1, shape[1])
    _check_finite(content_ID, item_ids)
    return content_ID


def _write_blocks(
    storage: Storage, folder: str, item_ids: pa.Array, components: Components, vectors: Sequence[np.ndarray]
) -> tuple[MatrixBlock, ...]:
    """Writes the item vectors of each component, float32 [I, D of it], side by side."""
    blocks = []
    for number, start in enumerate(range(0, len(item_ids), ROWS_PER_BLOCK)):
        rows = slice(start, start + ROWS_PER_BLOCK)
        block_ID = components.stored_items([np.asarray(own_ID[rows]) for own_ID in vectors])
        _check_finite(block_ID, item_ids[rows])
        blocks.append(write_block(storage, f"{folder}/matrix/block-{number:05d}", block_ID))
    return tuple(blocks)


def _check_finite(matrix: np.ndarray, item_ids: pa.Array) -> None:
    bad = rows_not_finite(matrix)
    if len(bad):
        raise InputError(
            f"the vector of item {item_ids[int(bad[0])].as_py()!r} is not finite ({len(bad)} such items)",
            expected="finite numbers",
            remedy="Correct or drop the item, then embed again.",
        )
