"""Defines manifests: the JSON beside every artefact that says what it is, what it was made from and what its digests are.

One class for each kind, with the path where it stands in a workspace: read together they are the map of what a workspace
holds. A manifest is written last, in one atomic step, so an artefact that has one is whole.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from semrec.workspace.manifest import Manifest
from semrec.workspace.records import (
    AppliedSequences,
    ApproximateRule,
    ClauseValues,
    CoarseChoice,
    EventFiles,
    IdFiles,
    InteractionsPart,
    ItemMatrix,
    MatrixBlock,
    ModelRecord,
    ModelSpec,
    PartFile,
    Record,
    UserPartFile,
)
from semrec.workspace.storage import Storage

__all__ = [
    "AppliedSequences",
    "CatalogueManifest",
    "ClauseValues",
    "CoarseChoice",
    "EmbeddingManifest",
    "EmbeddingRunManifest",
    "EventFiles",
    "FinishedManifest",
    "IdFiles",
    "InteractionsManifest",
    "InteractionsPart",
    "ItemMatrix",
    "MatrixBlock",
    "MatrixManifest",
    "ModelRecord",
    "ModelSpec",
    "OntologyManifest",
    "PlanManifest",
    "ReleaseInputs",
    "ReleaseManifest",
    "RunManifest",
    "UserPartFile",
    "UsersManifest",
    "WorkspaceManifest",
]


class WorkspaceManifest(Manifest):
    """A workspace. The number of user buckets is fixed when it is created."""

    KIND = "workspace"
    PATH = "workspace.json"
    REMEDY = "Use a workspace made by semrec."

    num_buckets: int


# What was imported


class CatalogueManifest(Manifest):
    """All items, in parts by the hash of their text.

    `applied_sequence` is the last item change made online that the parts hold or replace; 0: none.
    """

    KIND = "catalogue"
    PATH = "catalogue/manifest.json"
    REMEDY = "Import a catalogue."

    num_items: int
    num_parts: int
    parts: tuple[PartFile, ...]
    fingerprint: str
    applied_sequence: int = Field(0, alias="folded")


class UsersManifest(Manifest):
    """The listed users, one part per user bucket."""

    KIND = "users"
    PATH = "users/manifest.json"
    REMEDY = "Import the users again."

    num_users: int
    num_buckets: int
    parts: tuple[PartFile, ...]
    fingerprint: str


class InteractionsManifest(Manifest):
    """All interactions, one part per user bucket, and how their values become weights (`semrec.data.WeightRule`).

    `applied_sequence` is the last event received online that the parts hold or replace; 0: none. `files` are the SHA-256 of
    the source files with rows in the parts, the first 32 hexadecimal digits, of the last 10,000 files.
    """

    KIND = "interactions"
    PATH = "interactions/manifest.json"
    REMEDY = "Import the interactions again."

    num_rows: int
    num_users: int
    num_buckets: int
    newest_timestamp: int | None
    repeats: Literal["sum", "latest"]
    neutral_value: float
    parts: tuple[InteractionsPart, ...]
    fingerprint: str
    applied_sequence: int = Field(0, alias="folded")
    files: tuple[str, ...] = ()


class RelationsManifest(Manifest):
    """The relations of items and other things, as subject, predicate and object: one part per bucket of subjects.

    `applied_sequence` is the last change made online that the parts hold or replace; 0: none.
    """

    KIND = "relations"
    PATH = "relations/manifest.json"
    REMEDY = "Import the relations again."

    num_rows: int
    num_buckets: int
    parts: tuple[PartFile, ...]
    fingerprint: str
    applied_sequence: int = Field(0, alias="folded")


class OntologyManifest(RelationsManifest):
    """The triples of an ontology, in one part: what follows from relations, and which classes lie below which.

    It is not changed online.
    """

    KIND = "ontology"
    PATH = "ontology/manifest.json"
    REMEDY = "Import the ontology again."


# What was planned, and finished


class PlanManifest(Manifest):
    """The plan of a run: see `semrec.workspace.ledger.Plan`. Each part is [part, fingerprint, number of rows]."""

    KIND = "plan"

    contract: int
    plan_kind: str
    settings: dict[str, Any]  # of each kind of plan its own
    parts: tuple[tuple[int, str, int], ...]


class FinishedManifest(Manifest):
    """The completion marker of a plan whose parts are all committed; written by the ledger."""

    plan: str
    num_rows: int
    content_digest: str  # of the parts' digests, in order
    counts: dict[str, int]
    parts: tuple[PartFile, ...]


class EmbeddingRunManifest(FinishedManifest):
    """One finished run of an embedding."""

    KIND = "embedding_run"
    PATH = "embeddings/{}/runs/{}/manifest.json"
    REMEDY = "Run `semrec embed`."

    catalogue: str  # fingerprint


class EmbeddingManifest(Manifest):
    """The vectors of a catalogue by one encoder.

    `encoder` is the encoder's identity as its own class writes it (`semrec.encoders`), open to kinds of encoders to come.
    `has_texts`: the parts have what each content says, `text`, for the index of words.
    """

    KIND = "embedding"
    PATH = "embeddings/{}/manifest.json"
    REMEDY = "Run `semrec embed`."

    name: str
    encoder: dict[str, Any]
    run: str | None = None  # None: its vectors come from no run
    catalogue: str  # fingerprint
    num_items: int  # with a vector
    num_rejected: int = 0
    num_parts: int | None = None
    dimension: int
    has_texts: bool = False
    parts: tuple[PartFile, ...]
    fingerprint: str

    @classmethod
    def names(cls, storage: Storage) -> list[str]:
        """The names of the embeddings that are whole."""
        return [name for name in storage.list_folders("embeddings") if cls.exists(storage, name)]


# The release


class MatrixManifest(ItemMatrix, Manifest):
    """The item matrix of a release whose user parts may still be missing."""

    KIND = "matrix"
    PATH = "releases/{}/matrix.json"
    REMEDY = "Build the item matrix first."

    @property
    def matrix(self) -> ItemMatrix:
        """The matrix without what makes it a manifest."""
        return ItemMatrix.model_validate({name: getattr(self, name) for name in ItemMatrix.model_fields})


class ReleaseInputs(Record):
    """The fingerprints of a release's inputs, and the settings that shape it."""

    as_of: int | None
    catalogue: str
    embedding: str
    embedding_name: str
    half_life_days: float
    eligibility: tuple[str, ...]
    neutral_value: float
    repeats: Literal["sum", "latest"]
    models: tuple[ModelSpec, ...] = ()  # none: the content model
    beside: dict[str, str] = Field(default_factory=dict)  # modality -> fingerprint of the embedding that models read
    relations: str | None = None
    ontology: str | None = None
    relations_from: tuple[str, ...] = ()
    coarse_format: str | None = None  # None: the one that is measured to be the fastest
    facets: dict[str, int] = Field(default_factory=dict)  # name -> version, see semrec.encoders.facets


class ReleaseManifest(Manifest):
    """A finished release: all that scoring and serving read.

    `newest_timestamp` is that of all imported events, also of those that `as_of` leaves out, None in a release that did not
    note it. `interactions` has the files of each user bucket that it was built from, none without interactions.
    """

    KIND = "release"
    PATH = "releases/{}/manifest.json"
    REMEDY = "Build it with `semrec release`."

    release: str
    contract: int
    settings: ReleaseInputs
    as_of: int | None
    newest_timestamp: int | None = None
    encoder: dict[str, Any]  # see EmbeddingManifest
    beside_encoders: dict[str, dict[str, Any]] = Field(default_factory=dict)  # modality -> that of `settings.beside`
    counts: dict[str, int]
    num_users: int
    matrix: ItemMatrix
    #: What its users' lists are ranked by, see semrec.release.sources.
    sources: tuple[str, ...] = ("personal", "popularity")
    interactions: tuple[EventFiles, ...]
    users: tuple[UserPartFile, ...]
    applied: AppliedSequences = Field(AppliedSequences(), alias="folded")
    coarse: CoarseChoice | None = None


class RunManifest(FinishedManifest):
    """A finished scoring of all users of a release. How exact an approximate one is stands in `semrec.workspace.recall`."""

    KIND = "run"
    PATH = "runs/{}/manifest.json"
    REMEDY = "Run `semrec score` to the end."

    run: str
    release: str
    k: int
    as_of: int | None
    approximate: ApproximateRule | None = None  # None: exact
