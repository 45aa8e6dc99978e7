"""A manifest is read as what it says it is, at a schema that this build knows. Errors cross process borders whole."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
from pathlib import Path

import pytest

import semrec.errors
from semrec.contracts import SCHEMA_VERSION
from semrec.errors import CorruptArtefactError, MissingArtefactError, SchemaError, SemrecError
from semrec.workspace.manifests import check_schema, newest_finished, read_manifest, write_manifest
from semrec.workspace.storage import Storage

PATH = "releases/a/manifest.json"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "w"))


def test_a_manifest_is_read_as_it_was_written(storage: Storage) -> None:
    write_manifest(storage, PATH, "release", {"count": 3})
    expected = {"kind": "release", "schema": SCHEMA_VERSION, "count": 3}
    assert read_manifest(storage, PATH, "release", remedy="") == expected


def test_a_missing_manifest_is_named_with_what_to_do(storage: Storage) -> None:
    with pytest.raises(MissingArtefactError) as caught:
        read_manifest(storage, PATH, "release", remedy="Run `semrec release`.")
    assert str(caught.value) == f"no {PATH} in {storage.uri}; expected a release manifest. Run `semrec release`."


def test_a_manifest_of_another_kind_is_refused_by_name(storage: Storage) -> None:
    write_manifest(storage, PATH, "run", {})
    with pytest.raises(
        SchemaError, match=r"releases/a/manifest\.json is a manifest of kind 'run'; expected kind 'release'"
    ):
        read_manifest(storage, PATH, "release", remedy="")


def test_a_damaged_manifest_is_named(storage: Storage) -> None:
    write_manifest(storage, PATH, "run", {})
    storage.write_bytes(PATH, storage.read_bytes(PATH)[:-4])
    with pytest.raises(CorruptArtefactError, match=r"releases/a/manifest\.json in .* is not JSON"):
        read_manifest(storage, PATH, "run", remedy="")


@pytest.mark.parametrize(
    ("version", "accepted"), [(5, True), (4, True), (3, False), (6, False), (None, False), ("5", False)]
)
def test_this_schema_and_the_one_before_are_read_and_no_other(
    monkeypatch: pytest.MonkeyPatch, version: object, accepted: bool
) -> None:
    monkeypatch.setattr("semrec.workspace.manifests.SCHEMA_VERSION", 5)
    if accepted:
        check_schema(version, "x.json")
        return
    with pytest.raises(SchemaError) as caught:
        check_schema(version, "x.json")
    assert (caught.value.got, caught.value.expected) == (f"x.json has schema {version!r}", "schema 5 or 4")
    assert ("Upgrade semrec" in caught.value.remedy) == (version == 6)


def test_the_first_schema_has_none_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semrec.workspace.manifests.SCHEMA_VERSION", 1)
    with pytest.raises(SchemaError, match=r"x\.json has schema 0; expected schema 1\. Make the artefact again"):
        check_schema(0, "x.json")


def test_the_newest_is_the_one_finished_last(storage: Storage) -> None:
    for name, finished_s in (("a", 300), ("b", 500), ("c", 400)):
        path = f"runs/{name}/manifest.json"
        write_manifest(storage, path, "run", {})
        os.utime(storage.full_path(path), (finished_s, finished_s))
    storage.write_json("runs/unfinished/plan.json", {})
    assert newest_finished(storage, "runs", remedy="") == "b"
    with pytest.raises(MissingArtefactError, match="nothing finished in releases/"):
        newest_finished(storage, "releases", remedy="")


ERRORS = [kind for _, kind in inspect.getmembers(semrec.errors, inspect.isclass) if issubclass(kind, SemrecError)]


@pytest.mark.parametrize("kind", ERRORS)
def test_errors_survive_pickling_and_copying(kind: type[SemrecError]) -> None:
    error = kind("3 parts", expected="none", remedy="Try again.")
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is kind
        assert (other.got, other.expected, other.remedy) == ("3 parts", "none", "Try again.")
        assert str(other) == "3 parts; expected none. Try again."


def test_every_error_is_listed() -> None:
    assert {kind.__name__ for kind in ERRORS} == set(semrec.errors.__all__)
    assert len(ERRORS) >= 14
