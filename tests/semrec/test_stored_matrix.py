"""The item matrix is stored as ids and blocks of halves, norms and words, and is read where it lies."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from helpers.whole_path import directions, make_world, release
from semrec.errors import CorruptArtefactError, InputError
from semrec.release.reader import Release
from semrec.scoring.formats import STORED_NORMS, row_norms
from semrec.scoring.halves import split_halves
from semrec.workspace.digests import sha256_hex
from semrec.workspace.folder import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_world(tmp_path / "w", silent_users=["user-77"])


def opened(workspace: Workspace) -> Release:
    return Release(workspace.storage, release(workspace).release_id)


def test_a_block_is_halves_norms_and_words_each_with_its_digest(workspace: Workspace) -> None:
    found = opened(workspace)
    (block,) = found.manifest.matrix.blocks
    expected = {"norms": row_norms(directions()), "words": np.ones((8, 1), np.uint64)}
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
    for columns, is_stored in ((None, False), (list(STORED_NORMS), True), (["norm", "residual_of_another"], False)):
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
