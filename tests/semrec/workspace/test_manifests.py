"""A manifest is read as what it says it is, at a schema that this build knows. Errors cross process borders whole."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
from pathlib import Path

import pytest
from pydantic import Field

import semrec.errors
from semrec.contracts import SCHEMA_VERSION
from semrec.errors import CorruptArtefactError, MissingArtefactError, SchemaError, SemrecError
from semrec.workspace.manifest import Manifest, check_schema, newest_finished, write_manifest
from semrec.workspace.manifests import WorkspaceManifest
from semrec.workspace.storage import Storage

PATH = "parcels/a/manifest.json"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "w"))


class Parcel(Manifest):
    """A small kind of manifest."""

    KIND = "parcel"
    PATH = "parcels/{}/manifest.json"
    REMEDY = "Send it."

    count: int
    weight_g: float = Field(0.0, alias="weight")


def test_a_manifest_is_read_as_it_was_written(storage: Storage) -> None:
    Parcel(count=3).write(storage, "a")
    assert storage.read_json(PATH) == {"kind": "parcel", "schema": SCHEMA_VERSION, "count": 3}
    assert Parcel.read(storage, "a") == Parcel(count=3)
    Parcel(count=3, weight_g=2.0).write(storage, "b")
    assert storage.read_json("parcels/b/manifest.json")["weight"] == 2.0
    assert (Parcel.read(storage, "b").weight_g, Parcel.read_if_there(storage, "c")) == (2.0, None)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"count": None}, "count: Input should be a valid integer"),
        ({"cuont": 3}, "cuont: Extra inputs are not permitted"),
        ({"weight": "heavy"}, "weight: Input should be a valid number"),
    ],
)
def test_a_wrong_key_is_named_with_its_file(storage: Storage, change: dict[str, object], problem: str) -> None:
    storage.write_json(PATH, {"kind": "parcel", "schema": SCHEMA_VERSION, "count": 3, **change})
    with pytest.raises(CorruptArtefactError) as caught:
        Parcel.read(storage, "a")
    assert caught.value.got.startswith(f"{PATH} has wrong keys or values ({problem}")
    assert caught.value.remedy == "Send it."


def test_a_missing_key_is_named_with_its_file(storage: Storage) -> None:
    storage.write_json(PATH, {"kind": "parcel", "schema": SCHEMA_VERSION})
    with pytest.raises(CorruptArtefactError, match=r"parcels/a/manifest\.json has wrong keys .*count: Field required"):
        Parcel.read(storage, "a")


def test_what_an_older_schema_had_beside_is_dropped(storage: Storage) -> None:
    storage.write_json(PATH, {"kind": "parcel", "schema": SCHEMA_VERSION - 1, "count": 3, "colour": "red"})
    assert Parcel.read(storage, "a") == Parcel(count=3, schema=SCHEMA_VERSION - 1)


def test_a_missing_manifest_is_named_with_what_to_do(storage: Storage) -> None:
    with pytest.raises(MissingArtefactError) as caught:
        Parcel.read(storage, "a", remedy="Pack it.")
    assert str(caught.value) == f"no {PATH} in {storage.uri}; expected a parcel manifest. Pack it."


def test_a_manifest_of_another_kind_is_refused_by_name(storage: Storage) -> None:
    write_manifest(storage, PATH, WorkspaceManifest(num_buckets=3))
    with pytest.raises(
        SchemaError, match=r"parcels/a/manifest\.json is a manifest of kind 'workspace'; expected kind 'parcel'"
    ):
        Parcel.read(storage, "a")


def test_a_damaged_manifest_is_named(storage: Storage) -> None:
    Parcel(count=3).write(storage, "a")
    storage.write_bytes(PATH, storage.read_bytes(PATH)[:-4])
    with pytest.raises(CorruptArtefactError, match=r"parcels/a/manifest\.json in .* is not JSON"):
        Parcel.read(storage, "a")


@pytest.mark.parametrize(
    ("version", "accepted"), [(5, True), (4, True), (3, False), (6, False), (None, False), ("5", False)]
)
def test_this_schema_and_the_one_before_are_read_and_no_other(
    monkeypatch: pytest.MonkeyPatch, version: object, accepted: bool
) -> None:
    monkeypatch.setattr("semrec.workspace.manifest.SCHEMA_VERSION", 5)
    if accepted:
        check_schema(version, "x.json")
        return
    with pytest.raises(SchemaError) as caught:
        check_schema(version, "x.json")
    assert (caught.value.got, caught.value.expected) == (f"x.json has schema {version!r}", "schema 5 or 4")
    assert ("Upgrade semrec" in caught.value.remedy) == (version == 6)


def test_the_first_schema_has_none_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semrec.workspace.manifest.SCHEMA_VERSION", 1)
    with pytest.raises(SchemaError, match=r"x\.json has schema 0; expected schema 1\. Make the artefact again"):
        check_schema(0, "x.json")


def test_the_newest_is_the_one_finished_last(storage: Storage) -> None:
    for name, finished_s in (("a", 300), ("b", 500), ("c", 400)):
        path = Parcel.path(name)
        Parcel(count=1).write(storage, name)
        os.utime(storage.full_path(path), (finished_s, finished_s))
    storage.write_json("parcels/unfinished/plan.json", {})
    assert newest_finished(storage, "parcels", remedy="") == "b"
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
