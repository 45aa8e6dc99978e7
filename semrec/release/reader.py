"""Opens a release and reads its item matrix and user parts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.errors import CorruptArtefactError
from semrec.graph.graph import Graph
from semrec.graph.inference import Subclasses
from semrec.lexical.item_words import ItemWords
from semrec.models.components import Components
from semrec.release.arrays import check_matrix, read_ids, read_popularity, read_rows, read_words
from semrec.release.images import ImageUris, read_images
from semrec.release.matrix import layout_of, unpack_words
from semrec.release.relations import read_graph
from semrec.release.sources import Source, source_named
from semrec.release.training import read_components
from semrec.release.words import read_word_index
from semrec.scoring.formats import DEFAULT_FORMAT, matrix_bytes
from semrec.scoring.types import ItemShard, Queries
from semrec.sorted_ids import SortedIds
from semrec.workspace.manifest import newest_finished
from semrec.workspace.manifests import ReleaseManifest
from semrec.workspace.storage import Storage
from semrec.workspace.tables import read_table

__all__ = ["Release", "UserPart", "newest_release"]


@dataclass(frozen=True)
class UserPart:
    """The users of one part, ascending user_id. Each has one of the release's `sources`, by its place there."""

    user_ids: pa.Array
    queries: Queries  # vectors of users without one are zeros
    sources: tuple[str, ...]
    source_U: np.ndarray  # int8 [U]
    stated: pa.Array | None = None  # ATTRIBUTES_TYPE [U]: their values of the attributes that eligibility goes by

    def with_vector(self) -> np.ndarray:
        """Returns the rows of the users who have a vector of their own: int64, ascending."""
        return np.flatnonzero(self.queries.vectors_QD.any(axis=1))

    def of_source(self, name: str) -> np.ndarray:
        """Returns the rows of the users who have a source: int64, ascending."""
        return np.flatnonzero(self.source_U == self.sources.index(name))

    def source_of(self, user: int) -> str:
        """Returns the source of the user at a place."""
        return self.sources[self.source_U[user]]


class Release:
    """An opened release. Arrays are read on first use and memory-mapped where that is possible.

    Who scores reads neither titles nor attributes: those are for who shows items and checks lists.

    `manifest` is that of a release whose own is not written yet.
    """

    def __init__(self, storage: Storage, release_id: str, manifest: ReleaseManifest | None = None) -> None:
        self.storage, self.release_id = storage, release_id
        self.folder = f"releases/{release_id}"
        self.manifest = manifest or ReleaseManifest.read(storage, release_id)
        self.layout = layout_of(self.manifest.matrix)

    @property
    def num_items(self) -> int:
        return self.manifest.matrix.num_items

    @property
    def dimension(self) -> int:
        return self.manifest.matrix.dimension

    @property
    def sources(self) -> list[Source]:
        """The sources that rank the lists of the release's users."""
        return [source_named(name) for name in self.manifest.sources]

    @property
    def matrix_bytes(self) -> int:
        """Size of the item matrix."""
        return matrix_bytes(self.num_items, self.dimension)

    @cached_property
    def components(self) -> Components:
        """The models that gave the release its vectors, side by side."""
        return read_components(self.storage, self.manifest.matrix, self.manifest.settings)

    @property
    def embedding_dimension(self) -> int:
        """Dimension of the encoder's vectors, which items and texts come with online."""
        return self.manifest.matrix.embedding_dimension or self.dimension

    @cached_property
    def ids(self) -> SortedIds:
        """The item ids; row r is row r of the matrix."""
        return read_ids(self.storage, self.manifest.matrix)

    @cached_property
    def item_ids(self) -> pa.Array:
        """All item ids as text, in memory."""
        return self.ids.array().cast(pa.string())

    @cached_property
    def items(self) -> pa.Table:
        """item_id, title, attributes; row r is row r of the matrix."""
        shown = read_table(self.storage, self.manifest.matrix.items, ["title", "attributes"])
        return shown.add_column(0, "item_id", self.item_ids)

    @cached_property
    def images(self) -> ImageUris | None:
        """The URIs of the items' images; None in a release where no item has one."""
        file = self.manifest.matrix.images
        return read_images(self.storage, file) if file else None

    def facets(self) -> pa.Table | None:
        """Reads the facets of the items, a column each by its name, rows as in the matrix; None where no encoder has one."""
        file = self.manifest.matrix.facets
        return read_table(self.storage, file) if file else None

    @cached_property
    def graph(self) -> Graph | None:
        """The relations of items and entities, memory-mapped; None in a release without any."""
        files = self.manifest.matrix.graph
        return read_graph(self.storage, files) if files else None

    @cached_property
    def word_index(self) -> ItemWords | None:
        """The index of the items' words, memory-mapped; None in a release that was built without."""
        files = self.manifest.matrix.word_index
        return read_word_index(self.storage, files, self.num_items) if files else None

    @property
    def subclasses(self) -> Subclasses:
        """Attribute -> value -> the values that the release's ontology puts below it; {} without one."""
        return self.manifest.matrix.subclasses

    def attributes(self) -> pa.ChunkedArray:
        """Reads the attributes of all items, ATTRIBUTES_TYPE, each time anew."""
        return read_table(self.storage, self.manifest.matrix.items, ["attributes"]).column("attributes")

    def check(self) -> None:
        """Hashes the stored matrix and popularity. Raises CorruptArtefactError naming the first file that differs."""
        check_matrix(self.storage, self.manifest.matrix)

    def coarse(self, engine: str) -> str:
        """Returns the name of the coarse format that was the fastest for an engine when the release was built, or the default.

        Where that is wrong on this machine, which need not be the one that built the release, another; that is logged.
        """
        from semrec.scoring.formats.check import usable_format  # torch is not for those who only read

        choice = self.manifest.coarse
        recorded = choice.cpu if choice and engine == "cpu" else DEFAULT_FORMAT
        return usable_format(engine, recorded, self.dimension)

    def shard(self, start: int = 0, stop: int | None = None) -> ItemShard:
        """Reads rows start:stop of the item matrix, with their eligibility words; memory-mapped when one block holds them all.

        Raises InputError when the release has no such rows.
        """
        stop = self.num_items if stop is None else stop
        high_ID, low_ID, norms_IN = read_rows(self.storage, self.manifest.matrix, start, stop)
        return ItemShard(high_ID, low_ID, norms_IN, self.words(start, stop), self.layout.clause_starts, start)

    def popularity_shard(self, start: int = 0, stop: int | None = None) -> ItemShard:
        """Returns the same rows as a matrix of one dimension, whose score is the popularity."""
        stop = self.num_items if stop is None else stop
        counts = read_popularity(self.storage, self.manifest.matrix, start, stop)
        return ItemShard.from_vectors(counts[:, None], self.words(start, stop), self.layout.clause_starts, start)

    def user_part(self, part: int) -> UserPart:
        """Reads the users of one part."""
        table = read_table(self.storage, self.manifest.users[part])
        vectors = table.column("vector").combine_chunks()
        has_vector_U = vectors.is_valid().to_numpy(zero_copy_only=False)
        dense = np.zeros((table.num_rows, self.dimension), np.float32)
        dense[has_vector_U] = vectors.drop_null().flatten().to_numpy().reshape(-1, self.dimension)
        seen = table.column("seen_rows").combine_chunks()
        offsets = np.concatenate([[0], np.cumsum(seen.value_lengths().to_numpy(zero_copy_only=False))]).astype(np.int64)
        rows = seen.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
        words = unpack_words(table.column("words"), self.num_words)
        # A release of contract 1 does not say what its users state, only the bits that it made of it.
        stated = table.column("stated").combine_chunks() if "stated" in table.column_names else None
        names = self.manifest.sources
        source_indices = pc.index_in(table.column("source"), value_set=pa.array(names))
        if source_indices.null_count:
            raise CorruptArtefactError(
                f"{self.manifest.users[part].file} has users of another source than {', '.join(names)}",
                expected="sources that the release's manifest lists",
                remedy="Remove the release's folder and build it again.",
            )
        source_U = source_indices.to_numpy().astype(np.int8)
        user_ids = table.column("user_id").combine_chunks()
        return UserPart(user_ids, Queries(dense, words, offsets, rows), names, source_U, stated)

    @property
    def num_words(self) -> int:
        """Eligibility words per item and user."""
        return sum(clause.num_words for clause in self.layout.clauses)

    def words(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Reads the eligibility words of the items of rows start:stop: uint64 [stop - start, W]."""
        return read_words(self.storage, self.manifest.matrix, start, self.num_items if stop is None else stop)


def newest_release(storage: Storage) -> str:
    """Returns the id of the release that was finished last. Raises MissingArtefactError when there is none."""
    return newest_finished(storage, "releases", remedy="Run `semrec release`.")
