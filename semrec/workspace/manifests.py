"""Manifests: the JSON beside every artefact that says what it is, what it was made from and what its digests are."""

from __future__ import annotations

from typing import Any

from semrec.contracts import SCHEMA_VERSION
from semrec.errors import MissingArtefactError, SchemaError
from semrec.workspace.storage import Storage

__all__ = ["check_schema", "newest_finished", "read_manifest", "write_manifest"]


def write_manifest(storage: Storage, path: str, kind: str, body: dict[str, Any]) -> None:
    """Writes `body` as a manifest of `kind` at `path`, atomically."""
    storage.write_json(path, {"kind": kind, "schema": SCHEMA_VERSION, **body})


def read_manifest(storage: Storage, path: str, kind: str, *, remedy: str) -> dict[str, Any]:
    """The manifest of `kind` at `path`.

    Raises MissingArtefactError with `remedy` when there is none, SchemaError when it is of another kind or version.
    """
    if not storage.exists(path):
        raise MissingArtefactError(f"no {path} in {storage.uri}", expected=f"a {kind} manifest", remedy=remedy)
    manifest = storage.read_json(path)
    if manifest.get("kind") != kind:
        raise SchemaError(
            f"{path} is a manifest of kind {manifest.get('kind')!r}", expected=f"kind {kind!r}", remedy=remedy
        )
    check_schema(manifest.get("schema"), path)
    return manifest


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
    """The subfolder of `folder` whose manifest.json was written last. Raises MissingArtefactError when none has one."""
    finished = {
        name: storage.modified_s(f"{folder}/{name}/manifest.json")
        for name in storage.list_folders(folder)
        if storage.exists(f"{folder}/{name}/manifest.json")
    }
    if not finished:
        raise MissingArtefactError(f"nothing finished in {folder}/", expected="one at least", remedy=remedy)
    return max(finished, key=lambda name: finished[name])
