"""Reads and writes manifests: what all kinds have in common, their place, their schema and their checks."""

from __future__ import annotations

from typing import ClassVar, Self, TypeVar

from pydantic import Field

from semrec.contracts import SCHEMA_VERSION
from semrec.errors import MissingArtefactError, SchemaError
from semrec.workspace.records import Record
from semrec.workspace.storage import Storage

__all__ = ["Manifest", "check_schema", "newest_finished", "read_manifest", "write_manifest"]

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
