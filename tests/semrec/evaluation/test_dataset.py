"""Published splits are read in every form that they come in, and refused where they cannot be meant."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from semrec.errors import InputError, SchemaError
from semrec.evaluation.dataset import PublishedSplit, read_dataset, read_published
from semrec.settings import Settings
from semrec.settings_file import change_settings, write_settings
from semrec.workspace.folder import Workspace
from semrec.workspace.manifests import CatalogueManifest, EmbeddingManifest, InteractionsManifest, InteractionsPart
from semrec.workspace.records import PartFile
from semrec.workspace.tables import write_table


def written(folder: Path, **texts: str) -> list[Path]:
    paths = [folder / name for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def pairs(published: PublishedSplit) -> tuple[set[tuple[int, str]], set[tuple[int, str]]]:
    """(train, test) as users by number and items by id."""
    split, ids = published.split, published.dataset.item_ids
    train = {(int(u), ids[row]) for u, row in zip(split.train.user, split.train.row, strict=True)}
    owner = np.repeat(np.arange(split.num_users), np.diff(split.target_offsets))
    return train, {(int(u), ids[row]) for u, row in zip(owner, split.target_rows, strict=True)}


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("u1 a b c\nu2 a\n\n", "u1 d\nu2 b c\nu3\n"),  # LightGCN, with an empty line and a user without items
        ("u1\ta\t5\t30\nu1\tb\t4\t10\nu1\tc\t1\t20\nu2\ta\t3\t1\n", "u1\td\t1\t9\nu2\tb\nu2\tc\n"),
        ("u1,a\nu1,b\nu1,c\nu2,a\n", "u1::d\nu2::b\nu2::c\n"),
    ],
)
def test_the_forms_of_published_files(tmp_path: Path, train: str, test: str) -> None:
    published = read_published(*written(tmp_path, train=train, test=test))
    assert pairs(published) == ({(0, "a"), (0, "b"), (0, "c"), (1, "a")}, {(0, "d"), (1, "b"), (1, "c")})
    assert published.dataset.item_ids == ["a", "b", "c", "d"]
    if "30" in train:
        assert [published.dataset.item_ids[row] for row in published.split.train.row[:3]] == ["b", "c", "a"]  # by time


def test_candidates_of_each_target(tmp_path: Path) -> None:
    files = written(tmp_path, train="u1 a\nu2 b\n", test="u1 c\nu2 a\n", candidates="(u2,a)\tc\td\n(u1,c) b d e\n")
    published = read_published(*files)
    ids, offsets, rows = published.dataset.item_ids, published.candidate_offsets, published.candidate_rows
    assert offsets is not None and rows is not None
    listed = [[ids[row] for row in rows[a:b]] for a, b in pairwise(offsets)]
    assert listed == [["b", "d", "e"], ["c", "d"]]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"train": "u a b\n", "test": "u b c a\n"}, "2 pairs of train stand in test"),
        ({"train": "\n", "test": "u a\n"}, "no pair in .*train"),
        ({"train": "u,\n", "test": "u a\n"}, "line 1 of .*train has an empty user or item"),
        ({"train": "u a\n", "test": "u b\n", "candidates": "(u,c) a\n"}, "no candidates of user u and item b"),
        ({"train": "u a\n", "test": "u b\n", "candidates": "u b c\n"}, "line 1 of .*candidates"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, texts: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_published(*written(tmp_path, **texts))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_published(tmp_path / "absent", tmp_path / "absent")


def test_a_workspace_is_read_with_its_embedding_by_item_id(tmp_path: Path) -> None:
    """Rows ascend by item_id; an item without a vector has zeros; an embedding of another catalogue is refused."""
    workspace = Workspace.create(str(tmp_path), num_buckets=2)
    storage = workspace.storage
    items = write_table(storage, "catalogue/items", pa.table({"item_id": ["c", "a", "b"]}))
    CatalogueManifest(num_items=3, num_parts=1, parts=(PartFile.of(0, items),), fingerprint="f1").write(storage)
    events = pa.table(
        {"user_id": ["u", "u", "v"], "item_id": ["b", "gone", "c"], "value": pa.array([4, 5, 2], pa.float32()),
         "timestamp": [7, 8, 9]}
    )  # fmt: skip
    part = write_table(storage, "interactions/part", events)
    InteractionsManifest(
        num_rows=3, num_users=2, num_buckets=1, newest_timestamp=9, repeats="sum", neutral_value=2.5, fingerprint="g1",
        parts=(InteractionsPart.of(0, part, num_users=2, newest_timestamp=9),),
    ).write(storage)  # fmt: skip
    assert (read_dataset(workspace).content, read_dataset(workspace).half_life_days) == ({}, 180.0)
    write_settings(storage, change_settings(Settings(), {"release.half_life_days": 30.0}))
    assert read_dataset(workspace).half_life_days == 30.0
    vectors = pa.FixedSizeListArray.from_arrays(pa.array([1, 2, 3, 4], pa.float32()), 2)
    part = write_table(storage, "embeddings/e/part", pa.table({"item_id": ["c", "a"], "vector": vectors}))
    embedding = EmbeddingManifest(
        name="e", encoder={}, catalogue="f1", num_items=2, dimension=2, parts=(PartFile.of(0, part),), fingerprint="e1"
    )
    embedding.write(storage, "e")
    dataset = read_dataset(workspace)
    assert (dataset.item_ids, dataset.num_users, dataset.neutral_value) == (["a", "b", "c"], 2, 2.5)
    assert dataset.content["text"].tolist() == [[3, 4], [0, 0], [1, 2]]
    assert sorted(zip(dataset.events.row.tolist(), dataset.events.timestamp.tolist(), strict=True)) == [(1, 7), (2, 9)]
    with pytest.raises(InputError, match="embedding 'other'"):
        read_dataset(workspace, embedding="other")
    embedding.model_copy(update={"catalogue": "f0"}).write(storage, "e")
    with pytest.raises(SchemaError, match="was made from catalogue f0"):
        read_dataset(workspace)
