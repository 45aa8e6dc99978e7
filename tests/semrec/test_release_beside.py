"""Texts and images side by side in one release: each has a say of its own, and who lacks one is not judged by it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cluster.compute import InProcess
from cluster.stages.learn import build_learned_release
from cluster.stages.release import find_beside, find_embedding
from semrec.bench.generated import EMBEDDING_NAME, write_catalogue, write_embedding
from semrec.changes.overlay import ItemChange, OverlayView
from semrec.data import import_interactions
from semrec.errors import InputError, MissingArtefactError
from semrec.online.anonymous import ContentVector, anonymous_profile, anonymous_query
from semrec.online.explain import explain
from semrec.online.release import OnlineRelease
from semrec.online.users import rank_query_of
from semrec.progress import NoProgress
from semrec.release.plan import plan_release
from semrec.settings import ReleaseSettings, Settings
from semrec.workspace.folder import Workspace
from semrec.workspace.manifests import EmbeddingManifest

NOTHING = OverlayView.empty()
IDS = [f"i{n:02d}" for n in range(24)]
WITHOUT_IMAGE = {"i05", "i06"}


def directions(groups: list[int], dimension: int, seed: int) -> np.ndarray:
    """Unit vectors: those of one group are alike."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((max(groups) + 1, dimension))[groups] + 0.1 * rng.standard_normal((24, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


TEXTS, IMAGES = directions([n % 3 for n in range(24)], 6, 1), directions([n // 3 % 4 for n in range(24)], 9, 2)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> OnlineRelease:
    workspace = Workspace.create(str(tmp_path_factory.mktemp("w")), num_buckets=1)
    write_catalogue(workspace, IDS, TEXTS)
    write_embedding(workspace, {i: v for i, v in zip(IDS, IMAGES, strict=True) if i not in WITHOUT_IMAGE}, "images")
    import_interactions(workspace, [pa.table({"user_id": ["ann"], "item_id": ["i00"]})])
    _, released = build_learned_release(
        workspace, Settings(), embedding=EMBEDDING_NAME, beside={"image": "images"},
        compute=InProcess("cpu"), progress=NoProgress(),
    )  # fmt: skip
    return OnlineRelease(workspace.storage, released.release_id)


def test_lists_go_by_both_and_name_the_share_of_each(served: OnlineRelease) -> None:
    matrix = served.release.manifest.matrix
    assert [(model.kind, model.dimension) for model in matrix.models] == [("content_ridge", 6), ("image_ridge", 9)]
    assert list(served.release.manifest.settings.beside) == ["image"]
    assert list(served.release.manifest.beside_encoders) == ["image"]
    state = served.user("ann")
    assert state is not None
    (ranked,) = served.rank([rank_query_of(state, k=23)], NOTHING)
    assert ranked.hits[0].item_id == "i12"  # the only one of the text's group and of the image's
    (first, *_) = explain(served, served.profile("ann"), ranked.hits[:1], NOTHING)
    parts = {part.component: part.contribution for part in first.parts}
    assert set(parts) == {"content_ridge", "image_ridge"} and min(parts.values()) > 0
    assert sum(parts.values()) == pytest.approx(first.score, rel=1e-5)


def test_an_item_without_an_image_is_ranked_by_its_text_alone(served: OnlineRelease) -> None:
    vectors = served.vectors_of(IDS, NOTHING)
    assert [i for i, vector in zip(IDS, vectors, strict=True) if not vector[6:].any()] == sorted(WITHOUT_IMAGE)
    state = served.user("ann")
    assert state is not None
    (ranked,) = served.rank([rank_query_of(state, k=23)], NOTHING)
    places = {hit.item_id: place for place, hit in enumerate(ranked.hits)}
    # Of the same texts: before those with another image, behind the one with the same.
    assert places["i12"] < places["i06"] < min(places[i] for i in ("i03", "i09", "i15", "i18", "i21"))


def test_words_say_nothing_of_images(served: OnlineRelease) -> None:
    profile = anonymous_profile(served, NOTHING, contents=[ContentVector("a text", TEXTS[1])])
    query = anonymous_query(served, profile)
    assert query.vector is not None and not query.vector[6:].any() and query.vector[:6].any()


def test_a_new_text_leaves_an_item_its_image(served: OnlineRelease) -> None:
    changes = [ItemChange(n, i, False, i, "", {}, TEXTS[1]) for n, i in enumerate(["i00", "new"], 1)]
    view = OverlayView.of(changes)
    before = served.vector_of("i00", NOTHING)
    changed, new = served.vectors_of(["i00", "new"], view)
    assert changed[6:].tobytes() == before[6:].tobytes() and not np.array_equal(changed[:6], before[:6])
    assert new[:6].tobytes() == changed[:6].tobytes() and not new[6:].any()


def test_the_embeddings_of_a_release_are_told_apart_by_kind(tmp_path: Path) -> None:
    workspace = Workspace.create(str(tmp_path), num_buckets=1)
    write_catalogue(workspace, IDS, TEXTS)
    write_embedding(workspace, dict(zip(IDS, IMAGES, strict=True)), "posters")
    storage = workspace.storage
    made_by = {"encoder": {"kind": "image", "model": "a model"}}
    EmbeddingManifest.read(storage, "posters").model_copy(update=made_by).write(storage, "posters")
    assert find_beside(storage, ["image"]) == {"image": "posters"}
    assert find_embedding(storage, ["posters"]) == EMBEDDING_NAME
    with pytest.raises(InputError, match="Name one with --embedding"):
        find_embedding(storage)
    with pytest.raises(MissingArtefactError, match="no embedding of documents"):
        find_beside(storage, ["document"])
    EmbeddingManifest.read(storage, "posters").write(storage, "older")
    with pytest.raises(InputError, match=r"embeddings older, posters; .* remove the folders of the others"):
        find_beside(storage, ["image"])


def test_a_release_of_models_that_read_no_images_does_not_depend_on_them(tmp_path: Path) -> None:
    workspace = Workspace.create(str(tmp_path), num_buckets=1)
    write_catalogue(workspace, IDS, TEXTS)
    write_embedding(workspace, dict(zip(IDS, IMAGES, strict=True)), "images")
    plain = plan_release(workspace, EMBEDDING_NAME, ReleaseSettings())
    assert plan_release(workspace, EMBEDDING_NAME, ReleaseSettings(), beside={"image": "images"}) == plain
