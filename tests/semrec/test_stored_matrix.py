"""The item matrix is stored as two halves and norms, is read where it lies, and schema 1 reads as the same matrix."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from whole_path import directions, make_world, part_digests, release, score

import semrec.release.matrix
from semrec.contracts import SCHEMA_VERSION
from semrec.errors import CorruptArtefactError, InputError
from semrec.release import Release
from semrec.runs import verify_run
from semrec.scoring.formats import STORED_NORMS, row_norms
from semrec.scoring.halves import split_halves
from semrec.workspace.digests import fingerprint, sha256_hex
from semrec.workspace.folder import Workspace
from semrec.workspace.manifests import ReleaseManifest
from semrec.workspace.storage import Storage


def as_schema_1(storage: Storage, release_id: str, rows_per_block: int) -> None:
    """Makes the release what schema 1 wrote: float32 blocks, no halves, no coarse format, `schema` 1 everywhere."""
    folder, vectors = f"releases/{release_id}", Release(storage, release_id).shard().vectors()
    for name in storage.list_sizes(f"{folder}/matrix"):
        storage.delete(f"{folder}/matrix/{name}")
    blocks = []
    for number, start in enumerate(range(0, len(vectors), rows_per_block)):
        sink, path = io.BytesIO(), f"{folder}/matrix/block-{number:05d}.npy"
        np.save(sink, vectors[start : start + rows_per_block])
        data = sink.getvalue()
        storage.write_bytes(path, data)
        num_rows = len(vectors[start : start + rows_per_block])
        blocks.append({"file": path, "num_rows": num_rows, "num_bytes": len(data), "sha256": sha256_hex(data)})
    items = storage.read_json(f"{folder}/matrix.json")["items"]
    matrix = {"blocks": blocks, "fingerprint": fingerprint([items["content_digest"], [b["sha256"] for b in blocks]])}
    paths = [f"{folder}/{name}.json" for name in ("manifest", "matrix", "plan")]
    paths += [f"{folder}/ledger/{name}" for name in storage.list_sizes(f"{folder}/ledger")]
    for path in paths:
        body = {**storage.read_json(path), "schema": 1}
        body.pop("coarse", None)
        if path.endswith("/matrix.json"):
            body |= matrix
        if path.endswith("/manifest.json"):
            body["matrix"] |= matrix
        storage.write_json(path, body)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_world(tmp_path / "w", silent_users=["user-77"])


def opened(workspace: Workspace) -> Release:
    return Release(workspace.storage, release(workspace).release_id)


def test_a_block_is_two_halves_and_norms_each_with_its_digest(workspace: Workspace) -> None:
    found = opened(workspace)
    (block,) = found.manifest.matrix.blocks
    expected = {"norms": row_norms(directions())}
    expected["high"], expected["low"] = split_halves(directions())
    for name, array in expected.items():
        record = getattr(block, name)
        data = found.storage.read_bytes(f"{found.folder}/matrix/block-00000.{name}.npy")
        assert record.file == f"{found.folder}/matrix/block-00000.{name}.npy"
        assert (record.num_rows, record.num_bytes, record.sha256) == (8, len(data), sha256_hex(data))
        stored = np.load(io.BytesIO(data))
        assert (stored.dtype, stored.tobytes()) == (array.dtype, array.tobytes())
    assert sorted(found.storage.list_sizes(f"{found.folder}/matrix")) == [
        f"block-00000.{name}.npy" for name in sorted(expected)
    ]


def test_a_shard_within_one_block_is_memory_mapped(workspace: Workspace) -> None:
    for start, stop in ((0, 8), (2, 5)):
        shard = opened(workspace).shard(start, stop)
        for array in (shard.high_ID, shard.low_ID, shard.norms_IN):
            assert isinstance(array, np.memmap)
            assert not array.flags.owndata
        assert (shard.first_row, shard.num_items, shard.dimension) == (start, stop - start, 2)
        assert shard.norms_IN.tobytes() == row_norms(directions())[start:stop].tobytes()


def test_the_size_of_the_matrix_is_that_of_its_arrays(workspace: Workspace) -> None:
    shard = opened(workspace).shard()
    assert opened(workspace).matrix_bytes == shard.high_ID.nbytes + shard.low_ID.nbytes + shard.norms_IN.nbytes


def test_norms_of_other_formats_than_todays_are_computed_anew(workspace: Workspace) -> None:
    """Their record names the columns; a record without names has those of the formats that there were then."""
    release_id = release(workspace).release_id
    manifest = workspace.storage.read_json(f"releases/{release_id}/manifest.json")
    norms = manifest["matrix"]["blocks"][0]["norms"]
    assert norms["columns"] == list(STORED_NORMS)
    for columns, is_stored in ((None, True), (list(STORED_NORMS), True), (["norm", "residual_of_another"], False)):
        norms["columns"] = columns
        if columns is None:
            del norms["columns"]
        workspace.storage.write_json(f"releases/{release_id}/manifest.json", manifest)
        shard = Release(workspace.storage, release_id).shard()
        assert isinstance(shard.norms_IN, np.memmap) == is_stored
        assert shard.norms_IN.tobytes() == row_norms(directions()).tobytes()


@pytest.mark.parametrize(("start", "stop"), [(-1, 4), (0, 9), (5, 4), (3, 3), (8, None)])
def test_rows_that_are_not_there_are_refused(workspace: Workspace, start: int, stop: int | None) -> None:
    found = opened(workspace)
    for read in (found.shard, found.popularity_shard):
        with pytest.raises(InputError) as caught:
            read(start, stop)
        assert caught.value.got == f"rows {start} to {8 if stop is None else stop} of the item matrix"
        assert caught.value.expected == "a range within 0 to 8, not empty"


@pytest.mark.parametrize("rows_per_block", [3, 8])
def test_a_release_of_schema_1_scores_to_the_same_bytes(
    tmp_path: Path, workspace: Workspace, rows_per_block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(semrec.release.matrix, "ROWS_PER_BLOCK", rows_per_block)
    expected = score(workspace, release_id=release(workspace).release_id)
    old = make_world(tmp_path / "old", silent_users=["user-77"])
    release_id = release(old).release_id
    as_schema_1(old.storage, release_id, rows_per_block)
    found = Release(old.storage, release_id)
    assert (found.manifest.schema_version, found.coarse("cpu")) == (1, "bfloat16")
    found.check()
    for start in range(8):
        for stop in range(start + 1, 9):
            shard = found.shard(start, stop)
            assert shard.vectors().tobytes() == directions()[start:stop].tobytes()
            assert shard.norms_IN.tobytes() == row_norms(directions())[start:stop].tobytes()
    for options in ({}, {"engine": "reference"}, {"num_shards": 3}):
        result = score(old, release_id=release_id, **options)
        assert (result.run_id, result.parts.computed) == (expected.run_id, 4)  # one fingerprint for both schemas
        assert result.manifest.content_digest == expected.manifest.content_digest
        assert verify_run(old.storage, result.run_id, num_sampled=9).problems == []
        for part in range(4):
            old.storage.delete(f"runs/{result.run_id}/ledger/part-{part:05d}.json")


def test_a_release_of_schema_1_is_finished_as_it_stands(workspace: Workspace) -> None:
    first = release(workspace)
    storage, folder = workspace.storage, f"releases/{first.release_id}"
    as_schema_1(storage, first.release_id, 8)
    storage.delete(f"{folder}/users/part-00001.parquet")
    again = release(workspace)
    assert (again.release_id, again.parts.computed, again.parts.committed) == (first.release_id, 1, 3)
    assert part_digests(again.manifest.users) == part_digests(first.manifest.users)
    assert list(storage.list_sizes(f"{folder}/matrix")) == ["block-00000.npy"]
    assert ReleaseManifest.read(storage, first.release_id).schema_version == SCHEMA_VERSION
    assert Release(storage, first.release_id).shard().vectors().tobytes() == directions().tobytes()


def test_a_damaged_block_of_schema_1_is_named(workspace: Workspace) -> None:
    release_id = release(workspace).release_id
    as_schema_1(workspace.storage, release_id, 3)
    path = f"releases/{release_id}/matrix/block-00001.npy"
    data = bytearray(workspace.storage.read_bytes(path))
    data[-1] ^= 1
    workspace.storage.write_bytes(path, bytes(data))
    with pytest.raises(CorruptArtefactError, match=path):
        Release(workspace.storage, release_id).check()


ARCHIVE = io.BytesIO()
np.savez(ARCHIVE, a=np.zeros(3))
HEADERS = {
    "empty": b"",
    "text": b"not an array, but as long as one",
    "archive": ARCHIVE.getvalue(),
    "pickle": b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (8,), }".ljust(127) + b"\n",
    "huge": b"\x93NUMPY\x01\x00v\x00{'descr': '<u2', 'fortran_order': False, 'shape': (%d,), }".ljust(127) % 10**30
    + b"\n",
    "negative": b"\x93NUMPY\x01\x00v\x00{'descr': '<u2', 'fortran_order': False, 'shape': (-8,), }".ljust(127) + b"\n",
    "no type": b"\x93NUMPY\x01\x00v\x00{'descr': 7, 'fortran_order': False, 'shape': (8,), }".ljust(127) + b"\n",
}


@pytest.mark.parametrize("kind", HEADERS)
def test_what_is_no_array_is_named(workspace: Workspace, kind: str) -> None:
    """As long as the recorded file, whose length is all that is looked at before it is mapped."""
    release_id = release(workspace).release_id
    (record,) = [block.high for block in opened(workspace).manifest.matrix.blocks]
    data = HEADERS[kind][: record.num_bytes].ljust(record.num_bytes, b"x")
    workspace.storage.write_bytes(record.file, data)
    with pytest.raises(
        CorruptArtefactError, match=rf"releases/{release_id}/matrix/block-00000.high.npy is not an array"
    ):
        opened(workspace).shard()
