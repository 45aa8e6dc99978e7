"""Defines records: the typed pieces of JSON that manifests and the ledger are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from semrec.errors import CorruptArtefactError
from semrec.workspace.digests import fingerprint

__all__ = [
    "AppliedSequences",
    "ApproximateRule",
    "ArrayFile",
    "ClauseValues",
    "CoarseChoice",
    "EventFiles",
    "GraphFiles",
    "IdFiles",
    "InteractionsPart",
    "ItemMatrix",
    "MatrixBlock",
    "ModelRecord",
    "ModelSpec",
    "NormsFile",
    "PartFile",
    "Record",
    "TableFile",
    "UserPartFile",
    "WordIndexFiles",
]

_SHOWN_PROBLEMS = 3


class Record(BaseModel):
    """Reads and writes a JSON object with known keys: immutable, and another key than these is an error.

    What was given is written, a default that was not given is not. So what is read is written back as it was, and a key
    that most artefacts have no use for takes no place in them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON object, by its stored keys."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, name: str, remedy: str) -> Self:
        """Reads the JSON object that `name` holds: a file, for messages.

        Raises CorruptArtefactError naming the file and the keys that are missing, unknown or of the wrong type.
        """
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            problems = [
                f"{'.'.join(map(str, problem['loc'])) or 'the whole'}: {problem['msg']}"
                for problem in error.errors(include_url=False, include_context=False, include_input=False)
            ]
            more = f" and {len(problems) - _SHOWN_PROBLEMS} more" if len(problems) > _SHOWN_PROBLEMS else ""
            raise CorruptArtefactError(
                f"{name} has wrong keys or values ({'; '.join(problems[:_SHOWN_PROBLEMS])}{more})",
                expected=f"the keys of {cls.__name__} in semrec/workspace",
                remedy=remedy,
            ) from None


class TableFile(Record):
    """One stored table: where it is and what it must be."""

    file: str  # path relative to the workspace
    num_rows: int
    num_bytes: int
    content_digest: str  # of the logical rows
    sha256: str  # of the file


class PartFile(TableFile):
    """The table of one part."""

    part: int

    @classmethod
    def of(cls, part: int, table: TableFile, **more: object) -> Self:
        """Returns the record of a part whose rows are in `table`."""
        return cls.model_validate({"part": part, **more, **_table_fields(table)})

    @property
    def table(self) -> TableFile:
        """The table without the number of the part."""
        return TableFile.model_validate(_table_fields(self))


class ArrayFile(Record):
    """One stored .npy file; `num_rows` is the length of its first axis."""

    file: str
    num_rows: int
    num_bytes: int
    sha256: str  # of the file


class NormsFile(ArrayFile):
    """The norms of a block of the item matrix, by the names of their columns (`semrec.scoring.formats`)."""

    columns: tuple[str, ...] = ("norm", "residual_bfloat16", "scale_int8", "residual_int8")


class ClauseValues(Record):
    """One attribute that eligibility goes by: value v of `values` owns bit v + 1 of the clause's words."""

    attribute: str
    values: tuple[str, ...]


class MatrixBlock(Record):
    """A block of rows of the item matrix as two 16-bit halves, norms and eligibility words.

    `sha256` is that of the float32 rows as .npy. No `words`: the release has no clause, or schema 2 wrote it.
    """

    num_rows: int
    sha256: str
    high: ArrayFile
    low: ArrayFile
    norms: NormsFile
    words: ArrayFile | None = None


class IdFiles(Record):
    """Ids in ascending order of their UTF-8 bytes, see `semrec.sorted_ids`: offsets int64 [N + 1], and the bytes."""

    offsets: ArrayFile
    data: ArrayFile


class GraphFiles(Record):
    """The relations of a release as compressed rows, see `semrec.graph.graph.Graph`.

    `given`: which relations attributes or the ontology state. Of a release with an ontology: the `axioms` by which relations
    were inferred, the `rules` (`semrec.graph.closure.PairRule`) that changed relations are under, and the `subclasses` of the
    attributes' values: attribute -> value -> the values below it, however far.
    """

    nodes: IdFiles
    predicates: tuple[str, ...]
    offsets: ArrayFile
    targets: ArrayFile
    edge_predicates: ArrayFile
    weights: ArrayFile
    axioms: tuple[str, ...] = ()
    edge_axioms: ArrayFile | None = None  # none: nothing was inferred
    subclasses: dict[str, dict[str, tuple[str, ...]]] = Field(default_factory=dict)
    given: ArrayFile | None = None  # none: attributes and ontology state none
    rules: tuple[tuple[str, str, str, bool], ...] = ()

    @property
    def files(self) -> tuple[ArrayFile, ...]:
        nodes, optional = self.nodes, [file for file in (self.edge_axioms, self.given) if file]
        return (nodes.offsets, nodes.data, self.offsets, self.targets, self.edge_predicates, self.weights, *optional)


class WordIndexFiles(Record):
    """The index of the words of a release, see `semrec.lexical.index.WordIndex`.

    `mean_length` of a text and `mean_title_length` are in terms; the latter is 0 where titles were indexed as part of texts.
    `documents`: the index of the items' documents, of which there are `num_documents`, by the same rows.
    """

    terms: IdFiles
    offsets: ArrayFile
    rows: ArrayFile
    scores: ArrayFile
    mean_length: float
    mean_title_length: float = 0.0
    num_documents: int | None = None  # none: as many as the release has items
    documents: WordIndexFiles | None = None  # of a release with items whose documents were read

    @property
    def files(self) -> tuple[ArrayFile, ...]:
        of_documents = self.documents.files if self.documents else ()
        return (self.terms.offsets, self.terms.data, self.offsets, self.rows, self.scores, *of_documents)


class ModelSpec(Record):
    """One model that a release is to have: its name (`semrec.models.base.MODELS`) and its settings.

    Its item vectors are stored times 2 ** `exponent`. `weights` are pairs (number of events, weight): from so many events
    on a user has that weight.
    """

    kind: str
    settings: dict[str, Any] = Field(default_factory=dict)  # of each kind of model its own
    exponent: int = Field(0, ge=-64, le=64)
    weights: tuple[tuple[int, float], ...] = ((0, 1.0),)


class ModelRecord(ModelSpec):
    """A fitted model of a release: its item vectors are `dimension` columns of the item matrix."""

    dimension: int
    arrays: dict[str, ArrayFile] = Field(default_factory=dict)  # what else it needs to make a user's vector, by name
    fingerprint: str


class ItemMatrix(Record):
    """The stored item matrix: rows in ascending item_id, the vectors of `models` side by side in their order.

    No `models`: the content model, whose settings are those of the release. `embedding_dimension` is that of the encoder's
    vectors, `dimension` where it is not said. `items` are titles and attributes. No `ids`: schema 2, whose `items` have ids
    and words, too.
    """

    num_items: int
    num_items_without_vector: int
    dimension: int
    layout: tuple[ClauseValues, ...]
    items: TableFile
    ids: IdFiles | None = None
    blocks: tuple[MatrixBlock, ...]
    popularity: ArrayFile
    models: tuple[ModelRecord, ...] = ()
    embedding_dimension: int | None = None
    graph: GraphFiles | None = None  # of a release that has relations
    word_index: WordIndexFiles | None = None  # of a release that can be searched by words
    images: TableFile | None = None  # of a release with items that have an image: their rows and URIs
    facets: TableFile | None = None  # of a release with an encoder that has facets: a column of values for each
    fingerprint: str

    @property
    def subclasses(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Attribute -> value -> the values that an ontology puts below it, however far; {} without an ontology."""
        return self.graph.subclasses if self.graph else {}


def _table_fields(table: TableFile) -> dict[str, object]:
    return {name: getattr(table, name) for name in TableFile.model_fields}


class EventFiles(TableFile):
    """The events of one user bucket: a table, and those that were `appended` to it, whose rows come on top of it.

    `rows_digest` is the content digest of the rows of all of them in order, as of one file; older appends have none.
    """

    appended: tuple[TableFile, ...] = ()
    rows_digest: str | None = None

    @property
    def num_events(self) -> int:
        """The rows of all files."""
        return self.num_rows + sum(file.num_rows for file in self.appended)

    @property
    def digest(self) -> str:
        """The identity of the events: the content digest of the rows, whatever files they came in."""
        if not self.appended or self.rows_digest:
            return self.rows_digest or self.content_digest
        return fingerprint([self.content_digest, *(file.content_digest for file in self.appended)])


class InteractionsPart(EventFiles, PartFile):
    """The interactions of one user bucket. `newest_timestamp` in seconds since 1970 UTC; None without any."""

    num_users: int
    newest_timestamp: int | None

    @property
    def files(self) -> EventFiles:
        """The files of the events, without the rest of the part's record."""
        appended = {"appended": self.appended, "rows_digest": self.rows_digest} if self.appended else {}
        return EventFiles.model_validate({**_table_fields(self), **appended})


class UserPartFile(PartFile):
    """The users of one part; `popularity` counts those who have no vector."""

    popularity: int


class AppliedSequences(Record):
    """The last item change, event and change of a relation made online that an artefact holds or replaces; 0: none."""

    items: int = 0
    events: int = 0
    relations: int = 0


class ApproximateRule(Record):
    """How lists are approximate (`semrec.scoring.approximate`): C K rows are fetched by codes of a coarse format."""

    coarse: str
    over_fetch: int = Field(ge=1)  # C


class CoarseChoice(Record):
    """The coarse format for the cpu engine, the measured users/s of each format, and the machine that was measured."""

    cpu: str
    measured: dict[str, int] | None = None
    machine: str | None = None
