"""Defines manifests: the JSON beside every artefact that says what it is, what it was made from and what its digests are.

One class for each kind, with the path where it stands in a workspace: read together they are the map of what a workspace
holds. A manifest is written last, in one atomic step, so an artefact that has one is whole.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field

from semrec.contracts import SCHEMA_VERSION
from semrec.errors import MissingArtefactError, SchemaError
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
    "Manifest",
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
    "check_schema",
    "newest_finished",
    "read_manifest",
    "write_manifest",
]

_M = TypeVar("_M", bound="Manifest")


class Manifest(Record):
    """The base of all manifests: `kind` and `schema` in the JSON, and the path.

    The keys of the present schema are exact. A manifest of the schema before may lack keys that have a default here and
    may have keys that are not used any more: those are dropped when it is read.
    """

    KIND: ClassVar[str]
    #: Where it stands, with {} for the names of what it belongs to: of a release, of a run, of an embedding.
    PATH: ClassVar[str] = ""
    #: What to do when it is not there, or not what it should be.
    REMEDY: ClassVar[str] = ""

    schema_version: int = Field(SCHEMA_VERSION, alias="schema")

    @classmethod
    def path(cls, *names: str) -> str:
        """Returns the path of the manifest that belongs to `names`."""
        return cls.PATH.format(*names)

    @classmethod
    def exists(cls, storage: Storage, *names: str) -> bool:
        """Returns whether there is one: then what it describes is whole."""
        return storage.exists(cls.path(*names))

    @classmethod
    def read(cls, storage: Storage, *names: str, remedy: str | None = None) -> Self:
        """Reads it from its path. Raises as `read_manifest` does."""
        return read_manifest(storage, cls.path(*names), cls, remedy=cls.REMEDY if remedy is None else remedy)

    @classmethod
    def read_if_there(cls, storage: Storage, *names: str, remedy: str | None = None) -> Self | None:
        """Reads it from its path, or returns None when there is none. Raises as `read_manifest` does."""
        return cls.read(storage, *names, remedy=remedy) if cls.exists(storage, *names) else None

    def write(self, storage: Storage, *names: str) -> None:
        """Writes it at its path, atomically."""
        write_manifest(storage, self.path(*names), self)


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


# Reading and writing


def write_manifest(storage: Storage, path: str, manifest: Manifest) -> None:
    """Writes a manifest at `path`, atomically, with the present schema."""
    storage.write_json(path, {**manifest.to_json(), "kind": manifest.KIND, "schema": SCHEMA_VERSION})


def read_manifest(storage: Storage, path: str, kind: type[_M], *, remedy: str) -> _M:
    """Reads the manifest of a kind at `path`.

    Raises MissingArtefactError with `remedy` when there is none, SchemaError when it is of another kind or version,
    CorruptArtefactError when it is no JSON, or naming the keys that are wrong.
    """
    if not storage.exists(path):
        raise MissingArtefactError(f"no {path} in {storage.uri}", expected=f"a {kind.KIND} manifest", remedy=remedy)
    body = storage.read_json(path)
    stored_kind = body.pop("kind", None)
    if stored_kind != kind.KIND:
        raise SchemaError(
            f"{path} is a manifest of kind {stored_kind!r}", expected=f"kind {kind.KIND!r}", remedy=remedy
        )
    check_schema(body.get("schema"), path)
    if body["schema"] < SCHEMA_VERSION:
        body = {key: value for key, value in body.items() if key in _stored_keys(kind)}
    return kind.from_json(body, name=path, remedy=remedy)


def _stored_keys(kind: type[Manifest]) -> set[str]:
    return {field.alias or name for name, field in kind.model_fields.items()}


def check_schema(version: object, path: str) -> None:
    """Accepts schema N and N-1; raises SchemaError for any other."""
    accepted = [v for v in (SCHEMA_VERSION, SCHEMA_VERSION - 1) if v >= 1]
    if version in accepted:
        return
    newer = isinstance(version, int) and version > SCHEMA_VERSION
    raise SchemaError(
        f"{path} has schema {version!r}",
        expected=f"schema {' or '.join(map(str, accepted))}",
        remedy="Upgrade semrec to the version that wrote it."
        if newer
        else "Make the artefact again with this version.",
    )


def newest_finished(storage: Storage, folder: str, *, remedy: str) -> str:
    """Finds the subfolder of `folder` whose manifest.json was written last. Raises MissingArtefactError when none has one."""
    finished = {
        name: storage.modified_s(f"{folder}/{name}/manifest.json")
        for name in storage.list_folders(folder)
        if storage.exists(f"{folder}/{name}/manifest.json")
    }
    if not finished:
        raise MissingArtefactError(f"nothing finished in {folder}/", expected="one at least", remedy=remedy)
    return max(finished, key=lambda name: finished[name])
