"""A release of two models is built, scored, verified, served, folded into and explained, and batch equals online."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from cluster.compute import InProcess
from cluster.stages.release import ReleaseResult, build_release
from cluster.stages.score import score_users
from helpers.serving_world import World, event_table, make_world, put
from semrec.changes.events import Event
from semrec.changes.overlay import OverlayView
from semrec.data import import_interactions
from semrec.errors import CorruptArtefactError, InputError
from semrec.online.anonymous import ContentVector, Weighted, anonymous_profile, anonymous_query
from semrec.online.explain import explain
from semrec.online.parity import hits_differ
from semrec.online.published import PublishedLists
from semrec.online.release import OnlineRelease
from semrec.online.users import rank_query_of
from semrec.progress import NoProgress
from semrec.release.reader import Release
from semrec.runs.health import measure_health
from semrec.runs.publish import publish
from semrec.runs.verify import verify_run
from semrec.settings import ReleaseSettings, ScoreSettings
from semrec.workspace.folder import Workspace
from semrec.workspace.manifests import ModelSpec

K, DIMENSION = 6, 4  # three of the content, one of popularity
NOTHING = OverlayView.empty()
MODELS = (
    ModelSpec(kind="content", exponent=2),
    ModelSpec(kind="popularity", exponent=-1, weights=((0, 3.0), (6, 1.5))),
)


def build(workspace: Workspace, models: tuple[ModelSpec, ...] = MODELS) -> ReleaseResult:
    return build_release(
        workspace, ReleaseSettings(), embedding=None, compute=InProcess(), progress=NoProgress(), models=models
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The serving world with a second model, scored and published."""
    plain = make_world(tmp_path_factory.mktemp("models"))
    storage, silent = plain.workspace.storage, NoProgress()
    release_id = build(plain.workspace).release_id
    scored = score_users(
        plain.workspace, ScoreSettings(k=K), engine="cpu", compute=InProcess(), progress=silent, release_id=release_id
    )
    assert verify_run(storage, scored.run_id, num_sampled=40).problems == []
    assert measure_health(storage, scored.run_id).num_excluded == 0
    publish(storage, scored.run_id)
    return World(plain.workspace, release_id, scored.run_id, plain.items, plain.stated)


@pytest.fixture(scope="module")
def served(world: World) -> OnlineRelease:
    return world.serve()


def test_the_release_names_its_models_and_stores_them_side_by_side(world: World) -> None:
    release = Release(world.workspace.storage, world.release_id)
    assert [record.kind for record in release.manifest.matrix.models] == ["content", "popularity"]
    assert [component.name for component in release.components.components] == ["content", "popularity"]
    assert (release.dimension, release.embedding_dimension) == (DIMENSION, DIMENSION - 1)
    stored_ID = release.shard().vectors()
    largest = max(item.popularity for item in world.items.values())
    for row, item_id in enumerate(release.item_ids.to_pylist()):
        item = world.items[item_id]
        assert stored_ID[row, :3].tolist() == (4 * item.vector).tolist()
        assert stored_ID[row, 3] == pytest.approx(0.5 * np.log1p(item.popularity) / np.log1p(largest))


def test_a_score_is_the_content_score_plus_the_weighted_popularity(world: World, served: OnlineRelease) -> None:
    plain = Release(world.workspace.storage, build(world.workspace, ()).release_id)
    stored_ID, weights = served.release.shard().vectors(), set()
    for part in range(4):
        alone, both = plain.user_part(part), served.release.user_part(part)
        assert both.source_U.tolist() == alone.source_U.tolist()
        for user in both.of_source("personal"):
            vector = both.queries.vectors_QD[user]
            assert vector[:3].tobytes() == alone.queries.vectors_QD[user].tobytes()
            weights.add(float(vector[3]))
    assert weights == {3.0, 1.5}
    assert stored_ID.shape == (70, DIMENSION)


@pytest.mark.parametrize("edges", [(0, 70), (0, 33, 70)])
def test_batch_equals_online_for_every_user(world: World, served: OnlineRelease, edges: tuple[int, ...]) -> None:
    run = PublishedLists(world.workspace.storage, world.run_id)
    shards = [world.serve(start=a, stop=b) for a, b in itertools.pairwise(edges)]
    user_ids, sources = run.sample(40), set()
    for user_id in user_ids:
        state, published = served.user(user_id), run.list_of(user_id)
        rank_query = rank_query_of(state, k=K)
        hits = sorted(
            (hit for shard in shards for hit in shard.rank([rank_query], NOTHING)[0].hits),
            key=lambda hit: (-hit.score, hit.item_id),
        )[:K]
        assert published is not None and hits_differ(hits, published.hits) is None
        assert state.source == published.source
        sources.add(published.source)
    assert len(user_ids) == 40 and sources == {"personal", "popularity"}


def test_a_stored_history_folds_in_to_the_stored_vector(served: OnlineRelease) -> None:
    num_personal = 0
    for user in (f"user-{n}" for n in range(40)):
        state, profile = served.user(user), served.profile(user)
        assert (state.vector is None) == (profile.vector is None)
        if state.vector is not None:
            num_personal += 1
            assert profile.vector.tobytes() == state.vector.tobytes()
    assert num_personal > 20


def test_events_fold_in_to_the_bytes_of_the_next_release(tmp_path: Path) -> None:
    plain = make_world(tmp_path)
    before = OnlineRelease(plain.workspace.storage, build(plain.workspace).release_id)
    newest = 1_000_000 + 10**7
    events = [Event(f"user-{n}", f"n{7 * n % 70:02d}", 1.0 + n % 3, newest + n) for n in range(0, 45, 2)]
    rows = [(event.user_id, event.item_id, event.value, event.timestamp) for event in events]
    stored = [
        (user, item, value, time_s)
        for user in {event.user_id for event in events} | {f"user-{n}" for n in range(40)}
        for user, item, value, time_s in before.users._histories.events(user).to_pandas().itertuples(index=False)
    ]
    import_interactions(plain.workspace, [event_table(sorted({*stored, *rows}))])
    after = OnlineRelease(plain.workspace.storage, build(plain.workspace).release_id)
    for event in events:
        now, then = before.user(event.user_id, [event]), after.user(event.user_id)
        assert now.vector is not None and then.vector is not None
        assert now.vector.tobytes() == then.vector.tobytes()
        assert before.user(event.user_id) is None or now.seen_rows.tolist() == then.seen_rows.tolist()


def test_explanations_name_the_model_and_add_up(served: OnlineRelease) -> None:
    num_explained = 0
    for user in (f"user-{n}" for n in range(40)):
        recent = [Event(user, "n07", 2.0, 12_000_000)] if user.endswith("5") else []
        state, profile = served.user(user, recent), served.profile(user, recent)
        (ranked,) = served.rank([rank_query_of(state, k=K)], NOTHING)
        for hit, explained in zip(
            ranked.hits, explain(served, profile, ranked.hits, NOTHING, num_parts=20), strict=True
        ):
            if state.vector is None:
                assert explained.parts == []
                continue
            num_explained += 1
            total = sum(part.contribution for part in explained.parts) + explained.rest
            assert total == pytest.approx(explained.score, rel=1e-5, abs=1e-5)
            (popular,) = (part for part in explained.parts if part.component == "popularity")
            row = served.items.row_of[hit.item_id]
            expected = float(state.vector[3]) * float(served.release.shard().vectors()[row, 3])
            assert (popular.name, popular.contribution) == ("popularity", pytest.approx(expected))
            assert {part.component for part in explained.nearest} == {"content"}
    assert num_explained > 100


def test_what_changes_online_gets_its_vector_from_the_models(world: World, served: OnlineRelease) -> None:
    vector = np.array([1, 2, 0], np.float32)
    view = OverlayView.of([put("n33", vector, {}, 1), put("zz", vector, {}, 2)])
    stored = served.vector_of("n33", NOTHING)
    assert served.vector_of("n33", view).tolist() == [4, 8, 0, stored[3]]  # what was learned of it stays
    assert served.vector_of("zz", view).tolist() == [4, 8, 0, 0]
    rank_query = rank_query_of(served.user("user-1"), k=80)
    (ranked,) = served.rank([rank_query], view)
    scores = {hit.item_id: float(hit.score) for hit in ranked.hits}
    assert scores["zz"] == pytest.approx(float(rank_query.vector @ served.vector_of("zz", view)), rel=1e-5, abs=1e-5)
    folded = served.user("somebody-new", [Event("somebody-new", "zz", 2.0, 12_000_000)], view)
    expected = vector / np.linalg.norm(vector)
    np.testing.assert_allclose(folded.vector, [*expected, 3.0], rtol=1e-6)


def test_likes_lean_on_popularity_and_likeness_does_not(served: OnlineRelease) -> None:
    liked = anonymous_profile(served, NOTHING, liked=[Weighted("n01")])
    words = anonymous_profile(served, NOTHING, contents=[ContentVector("blue", np.array([0, 1, 0], np.float32))])
    assert (liked.vector[3], words.vector[3]) == (3.0, 0.0)
    assert served.similar("n01", NOTHING).vector[3] == 0.0
    (ranked,) = served.rank([anonymous_query(served, liked, k=K)], NOTHING)
    for explained in explain(served, liked, ranked.hits, NOTHING):
        assert [part.name for part in explained.parts if part.component == "content"] == ["n01"]
    nobody = anonymous_profile(served, NOTHING)
    assert nobody.vector is None


def test_what_a_model_learned_from_is_part_of_the_plan(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    first, again = build(world.workspace), build(world.workspace)
    assert (again.release_id, again.parts.computed) == (first.release_id, 0)
    other = build(world.workspace, (MODELS[0], ModelSpec(kind="popularity")))
    assert other.release_id != first.release_id
    with pytest.raises(InputError, match="model 'oracle'"):
        build(world.workspace, (ModelSpec(kind="oracle"),))
    with pytest.raises(InputError, match="one at least that goes by a user's events"):
        build(world.workspace, (ModelSpec(kind="popularity"),))


def test_a_model_that_this_version_does_not_know_is_no_release(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    built, storage = build(world.workspace), world.workspace.storage
    path = f"releases/{built.release_id}/manifest.json"
    manifest = storage.read_json(path)
    manifest["matrix"]["models"][1]["kind"] = "oracle"
    storage.write_json(path, manifest)
    with pytest.raises(InputError, match="model 'oracle'"):
        _ = Release(storage, built.release_id).components
    del manifest["matrix"]["models"][1]["kind"]
    storage.write_json(path, manifest)
    with pytest.raises(CorruptArtefactError, match="kind"):
        Release(storage, built.release_id)
