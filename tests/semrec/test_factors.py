"""Factors that are trained in parts of a workspace are those of one process, byte for byte, interrupted or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cluster.compute import InProcess
from cluster.stages.release import ReleaseResult, build_release
from helpers.learned_world import NUM_ITEMS, embeddings, planted_events
from helpers.whole_path import events_table
from semrec.bench.generated import EMBEDDING_NAME, write_catalogue
from semrec.data import import_interactions
from semrec.models.ials import IalsModel
from semrec.models.ials_training import train_ials
from semrec.models.nsvd import NsvdModel, degree_scales, truncated_svd
from semrec.models.sparse import SparseRows, liked_of_data
from semrec.progress import NoProgress
from semrec.release.reader import Release
from semrec.settings import ReleaseSettings
from semrec.workspace.folder import Workspace
from semrec.workspace.manifests import ModelSpec

ROWS_PER_BLOCK = 17
SETTINGS = {"dimension": 6, "num_epochs": 4, "min_improvement": 0.0}
SVD_SETTINGS = {"dimension": 5, "num_passes": 3}
MODELS = (
    ModelSpec(kind="content_ridge"),
    ModelSpec(kind="ials", settings=SETTINGS),
    ModelSpec(kind="nsvd", settings=SVD_SETTINGS),
)


def make_world(folder: Path) -> Workspace:
    """The planted users and items, in four buckets."""
    workspace = Workspace.create(str(folder / "w"), num_buckets=4)
    write_catalogue(workspace, [f"i{row:02}" for row in range(NUM_ITEMS)], embeddings())
    events = planted_events()
    columns = zip(
        events.user.tolist(), events.row.tolist(), events.value.tolist(), events.timestamp.tolist(), strict=True
    )
    rows = [(f"u{user}", f"i{row:02}", value, time_s) for user, row, value, time_s in columns]
    import_interactions(workspace, [events_table(rows)], repeats="latest", neutral_value=2.5)
    return workspace


def build(workspace: Workspace, progress: NoProgress | None = None, min_interactions: int = 1) -> ReleaseResult:
    return build_release(
        workspace, ReleaseSettings(), embedding=EMBEDDING_NAME, compute=InProcess(), progress=progress or NoProgress(),
        models=MODELS, min_interactions=min_interactions, rows_per_block=ROWS_PER_BLOCK,
    )  # fmt: skip


def item_vectors(workspace: Workspace, result: ReleaseResult) -> np.ndarray:
    return Release(workspace.storage, result.release_id).shard().vectors()


class Interrupted(NoProgress):
    """Raises at the n-th step of a stage."""

    def __init__(self, step: int) -> None:
        self.steps_left = step

    def advance(self, count: int) -> None:
        self.steps_left -= 1
        if self.steps_left == 0:
            raise KeyboardInterrupt


def test_parts_give_the_bytes_of_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = make_world(tmp_path)
    likes: list[SparseRows] = []

    def fit(data, settings):  # type: ignore[no-untyped-def]
        likes.append(liked_of_data(data))
        return original(data, settings)

    original = IalsModel.fit
    monkeypatch.setattr(IalsModel, "fit", fit)
    result = build(workspace)
    ials = train_ials(likes[0], {**IalsModel.defaults, **SETTINGS}, rows_per_block=ROWS_PER_BLOCK)
    counts_I, exponent = likes[0].column_counts, NsvdModel.defaults["degree_exponent"]
    normalised = likes[0].scaled(degree_scales(likes[0].lengths, exponent), degree_scales(counts_I, exponent))
    _, vectors_ID = truncated_svd(normalised, **SVD_SETTINGS, rows_per_block=ROWS_PER_BLOCK)
    stored_ID = item_vectors(workspace, result)[:, embeddings().shape[1] :]
    liked = np.flatnonzero(counts_I)  # the others' are predicted from content
    assert stored_ID[liked, :6].tobytes() == ials.factors_CD[liked].tobytes()
    expected_ID = (vectors_ID * degree_scales(counts_I, -exponent)[:, None]).astype(np.float32)
    # Components are scaled by a power of two, which loses no bit.
    ratio = stored_ID[liked[0], 6] / expected_ID[liked[0], 0]
    assert np.log2(ratio) % 1 == 0
    assert stored_ID[liked, 6:].tobytes() == (expected_ID[liked] * ratio).tobytes()
    training = f"releases/{result.release_id}/training/ials"
    assert workspace.storage.list_sizes(f"releases/{result.release_id}/training/likes") == {}
    assert sorted(workspace.storage.list_sizes(training)) == [f"epoch-{epoch:05d}.json" for epoch in (1, 2, 3, 4)]
    assert workspace.storage.list_sizes(f"{training}/epoch-00003/items") == {}  # replaced by those of epoch 4
    assert len(workspace.storage.list_sizes(f"{training}/epoch-00004/items")) == 1 + -(-NUM_ITEMS // ROWS_PER_BLOCK)


def test_an_interrupted_training_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    workspace, other = make_world(tmp_path), make_world(tmp_path / "undisturbed")
    for step in (4, 5, 8):  # in the second epoch; at the end of the third, before its checkpoint; in nSVD's first pass
        with pytest.raises(KeyboardInterrupt):
            build(workspace, Interrupted(step))
    last = Interrupted(100)
    result = build(workspace, last)
    assert item_vectors(workspace, result).tobytes() == item_vectors(other, build(other)).tobytes()
    assert 100 - last.steps_left == 1 + 1 + 2 * 3 + 1 + 4  # likes, scales, steps of three passes, the last; user parts


def test_few_interactions_are_trained_by_one_process(tmp_path: Path) -> None:
    workspace = make_world(tmp_path)
    result = build(workspace, min_interactions=10**6)
    assert workspace.storage.list_folders(f"releases/{result.release_id}/training") == []
