"""Builds the item matrix of a release: vectors, ids, eligibility words and popularity, rows in ascending item_id."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.contracts import ATTRIBUTES_TYPE
from semrec.data.event_files import read_interactions
from semrec.errors import InputError
from semrec.models.base import reads_modality
from semrec.models.components import Components
from semrec.models.graph import RELATIONS, walk_vectors
from semrec.release.arrays import write_array, write_block, write_ids
from semrec.release.attributes import FlatAttributes, attribute_names
from semrec.release.facets import write_facets
from semrec.release.images import write_images
from semrec.release.plan import ReleaseJob
from semrec.release.relations import RelationSources, item_relations, make_graph, write_graph
from semrec.release.trained import read_trained
from semrec.release.training import fit_models, write_models
from semrec.release.words import write_word_index
from semrec.scoring.eligibility import Clause, Layout
from semrec.scoring.types import rows_not_finite
from semrec.settings import DEFAULT_ELIGIBILITY
from semrec.sorted_ids import SortedIds
from semrec.workspace.digests import fingerprint
from semrec.workspace.folder import Workspace
from semrec.workspace.manifests import (
    ClauseValues,
    EmbeddingManifest,
    InteractionsManifest,
    ItemMatrix,
    MatrixBlock,
    MatrixManifest,
    UsersManifest,
)
from semrec.workspace.scratch import ScratchFolder
from semrec.workspace.storage import Storage
from semrec.workspace.tables import read_parts, read_table, write_table

__all__ = [
    "ROWS_PER_BLOCK",
    "build_matrix",
    "layout_of",
    "pack_words",
    "unpack_words",
]

#: One block is memory-mapped as it is; several are copied together. 262,144 rows of 384 dimensions are 407 MB.
ROWS_PER_BLOCK = 262_144


def build_matrix(workspace: Workspace, job: ReleaseJob) -> MatrixManifest:
    """Fits the release's models and writes ids, item vectors, words, indexes, popularity and what the models have beside, as
    `semrec.contracts` lists them, and items.parquet; then `matrix.json`.

    Returns what that holds. A release that has its `matrix.json` is left as it is. Needs the ids, titles and attributes of
    the catalogue in memory as Arrow columns, not the vectors: those pass through a temporary memory-mapped file. Raises
    InputError naming an item whose vector is not finite, or an attribute of eligibility that neither an item nor a user has,
    or a model that cannot learn from the data.
    """
    storage, folder = workspace.storage, job.folder
    if MatrixManifest.exists(storage, job.release_id):
        return MatrixManifest.read(storage, job.release_id, remedy="Remove the release's folder.")
    ids, shown, flat, names = _read_items(storage, job)
    layout, words_IW = _words(job, flat, storage, names)
    sources, graph = RelationSources(job.relations, job.ontology, job.inputs.relations_from), None
    if sources:
        graph, subclasses = make_graph(storage, sources, ids, flat, names)
    graph_files = write_graph(storage, folder, graph, subclasses) if graph and graph.num_relations else None
    del flat  # of all items: before the vectors come, which set the peak of memory
    items_file = write_table(storage, f"{folder}/items", shown, digest_in_name=False)
    del shown
    images = write_images(storage, folder, job.catalogue, ids)
    embeddings = {"text": job.embedding, **job.beside}
    facets = write_facets(storage, folder, job.catalogue, embeddings.values(), ids)
    word_index = write_word_index(storage, folder, job.catalogue, embeddings.values(), ids)
    popularity_I = count_popularity(storage, ids, job.interactions, job.inputs.as_of)
    with ScratchFolder("release") as scratch:
        content = {
            modality: _embeddings(storage, Path(scratch) / f"{modality}-embeddings", ids, embedding)
            for modality, embedding in embeddings.items()
        }
        if graph and reads_modality(RELATIONS, (spec.kind for spec in job.inputs.models)):
            content[RELATIONS] = walk_vectors(item_relations(graph, ids))
        components, vectors = fit_models(
            storage, job.inputs, job.interactions, ids, content, popularity_I, read_trained(storage, job.release_id)
        )
        blocks = _write_blocks(storage, folder, ids, components, vectors, words_IW)
        models = write_models(storage, folder, components)
    id_files = write_ids(storage, f"{folder}/ids", ids)
    rows = [[block.sha256, block.words.sha256 if block.words else None] for block in blocks]
    manifest = MatrixManifest(
        num_items=len(ids),
        num_items_without_vector=job.catalogue.num_items - len(ids),
        dimension=components.dimension,
        embedding_dimension=job.embedding.dimension,
        layout=tuple(ClauseValues(attribute=clause.attribute, values=clause.values) for clause in layout.clauses),
        items=items_file,
        ids=id_files,
        blocks=blocks,
        popularity=write_array(storage, f"{folder}/popularity.npy", popularity_I),
        models=models,
        **({"graph": graph_files} if graph_files else {}),
        **({"word_index": word_index} if word_index else {}),
        **({"images": images} if images else {}),
        **({"facets": facets} if facets else {}),
        fingerprint=fingerprint([id_files.offsets.sha256, id_files.data.sha256, rows]),
    )
    manifest.write(storage, job.release_id)
    return manifest


def layout_of(matrix: ItemMatrix) -> Layout:
    """Returns the layout of the eligibility words that the items of a matrix have."""
    return Layout(tuple(Clause(clause.attribute, clause.values) for clause in matrix.layout))


def count_popularity(
    storage: Storage, item_ids: SortedIds, interactions: InteractionsManifest | None, as_of: int | None
) -> np.ndarray:
    """Counts distinct users who interacted with each item up to `as_of`: float32 [I]. One part in memory at a time."""
    # All events of a user are in one part, so pairs that are distinct in a part are distinct altogether.
    counts = np.zeros(len(item_ids), np.int64)
    for part in interactions.parts if interactions else ():
        pairs = (
            read_interactions(storage, part, as_of)
            .select(["user_id", "item_id"])
            .group_by(["user_id", "item_id"])
            .aggregate([])
        )
        rows = item_ids.rows_of(pairs.column("item_id"))
        np.add.at(counts, rows[rows >= 0], 1)
    return counts.astype(np.float32)


def pack_words(words_NW: np.ndarray) -> pa.Array:
    """Packs eligibility words, uint64 [N, W], into a list column. Lists of fixed size 0 crash some readers, so W may vary."""
    offsets = np.arange(len(words_NW) + 1) * words_NW.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(words_NW.reshape(-1), pa.uint64()))


def unpack_words(column: pa.ChunkedArray, num_words: int) -> np.ndarray:
    """Reverses `pack_words`: uint64 [N, W]."""
    return column.combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(len(column), num_words)


def _read_items(storage: Storage, job: ReleaseJob) -> tuple[SortedIds, pa.Table, FlatAttributes, set[str]]:
    """Reads the items that have a vector, ascending in their ids: ids; title and attributes; the attributes flat. And the names
    of all attributes in the catalogue.
    """
    embedded = read_parts(storage, job.embedding.parts, ["item_id"]).column("item_id")
    items = read_parts(storage, job.catalogue.parts, ["item_id", "title", "attributes"])
    names = attribute_names(items.column("attributes"))
    items = items.filter(pc.is_in(items.column("item_id"), value_set=embedded.combine_chunks()))
    items = items.sort_by("item_id")
    attributes = items.column("attributes").cast(ATTRIBUTES_TYPE)
    shown = pa.table([items.column("title"), attributes], names=["title", "attributes"])
    return SortedIds.of(items.column("item_id")), shown, FlatAttributes(attributes), names


def _words(job: ReleaseJob, flat: FlatAttributes, storage: Storage, known: set[str]) -> tuple[Layout, np.ndarray]:
    """Returns the clauses of the release and the words of all items, uint64 [I, W]; `known` are the items' attributes."""
    layout = Layout.of_values({name: flat.values_of(name) for name in job.inputs.eligibility})
    _check_known([clause.attribute for clause in layout.clauses if not clause.values], known, storage, job.users)
    return layout, layout.words_of([flat.codes_of(c.attribute, list(c.values)) for c in layout.clauses], flat.num_items)


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


def _embeddings(storage: Storage, path: Path, item_ids: SortedIds, embedding: EmbeddingManifest) -> np.ndarray:
    """Reads an encoder's vectors in the order of `item_ids`, float32 [I, D], memory-mapped in a new file at `path`.

    Zeros for an item without one; items that are not among `item_ids` are left out.
    """
    shape = (len(item_ids), embedding.dimension)
    if not shape[0]:
        raise InputError("no item has a vector", expected="one at least", remedy="Import a catalogue and embed it.")
    content_ID = np.memmap(path, np.float32, "w+", shape=shape)
    for part in embedding.parts:
        table = read_table(storage, part, ["item_id", "vector"])
        rows = item_ids.rows_of(table.column("item_id"))
        vectors = table.column("vector").combine_chunks().flatten().to_numpy(zero_copy_only=False)
        content_ID[rows[rows >= 0]] = vectors.astype(np.float32, copy=False).reshape(-1, shape[1])[rows >= 0]
    _check_finite(content_ID, item_ids)
    return content_ID


def _write_blocks(
    storage: Storage,
    folder: str,
    item_ids: SortedIds,
    components: Components,
    vectors: Sequence[np.ndarray],
    words_IW: np.ndarray,
) -> tuple[MatrixBlock, ...]:
    """Writes the item vectors of each component, float32 [I, D of it], side by side, and the words, uint64 [I, W]."""
    blocks = []
    for number, start in enumerate(range(0, len(item_ids), ROWS_PER_BLOCK)):
        rows = slice(start, start + ROWS_PER_BLOCK)
        block_ID = components.stored_items([np.asarray(own_ID[rows]) for own_ID in vectors])
        _check_finite(block_ID, item_ids, start)
        blocks.append(write_block(storage, f"{folder}/matrix/block-{number:05d}", block_ID, words_IW[rows]))
    return tuple(blocks)


def _check_finite(vectors_ND: np.ndarray, item_ids: SortedIds, start: int = 0) -> None:
    """Raises InputError for a vector that is not finite; the first is that of row `start`."""
    bad = rows_not_finite(vectors_ND)
    if len(bad):
        raise InputError(
            f"the vector of item {item_ids.take(start + bad[:1])[0].as_py()!r} is not finite ({len(bad)} such items)",
            expected="finite numbers",
            remedy="Correct or drop the item, then embed again.",
        )
