"""Models are chosen on held-out likes, kept while they hold, chosen anew where they fall, and scaled for a release."""

from __future__ import annotations

import numpy as np
import pytest
from test_learn import NUM_ITEMS, NUM_USERS, planted, search_little

from cluster.compute import InProcess
from cluster.stages.release import build_release
from helpers.whole_path import events_table
from semrec.bench.generated import EMBEDDING_NAME, write_catalogue
from semrec.data import import_interactions
from semrec.errors import InputError
from semrec.evaluation import choose as choosing
from semrec.evaluation.choose import ModelChoice, choose_models
from semrec.models.base import MODELS
from semrec.models.nsvd import NsvdModel
from semrec.progress import NoProgress
from semrec.release.reader import Release
from semrec.settings import ModelsSettings, ReleaseSettings
from semrec.workspace.folder import Workspace

SETTINGS = ModelsSettings(min_interactions=500, ials_dimension=4)
IALS_GRID = {"dimension": (2, 4), "regularization": (0.01, 0.03)}


@pytest.fixture(autouse=True)
def small_search(monkeypatch: pytest.MonkeyPatch) -> None:
    search_little(monkeypatch, IALS_GRID)


def import_events(workspace: Workspace, num_users: int = NUM_USERS) -> None:
    events, _ = planted()
    rows = zip(events.user.tolist(), events.row.tolist(), events.value.tolist(), events.timestamp.tolist(), strict=True)
    mine = [(f"u{user}", f"i{row:02}", value, time_s) for user, row, value, time_s in rows if user < num_users]
    import_interactions(workspace, [events_table(mine)], repeats="latest", neutral_value=2.5)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Users of four groups who like the items of their group, and the choice made for them."""
    workspace = Workspace.create(str(tmp_path_factory.mktemp("choose") / "w"), num_buckets=4)
    embeddings = planted()[1]
    write_catalogue(workspace, [f"i{row:02}" for row in range(NUM_ITEMS)], embeddings)
    import_events(workspace)
    with pytest.MonkeyPatch.context() as patch:
        search_little(patch, IALS_GRID)
        choose_models(workspace, SETTINGS, embedding=EMBEDDING_NAME)
    return workspace


def stored(world: Workspace) -> ModelChoice:
    return ModelChoice.read(world.storage)


def test_the_choice_gains_over_popularity_and_is_kept_with_its_trials(world: Workspace) -> None:
    choice = stored(world)
    assert choice.gain is not None and choice.gain[1] > 0
    assert choice.ndcg["chosen"] - choice.ndcg["popularity"] == pytest.approx(choice.gain[0])
    assert choice.num_users == NUM_USERS
    assert {spec.kind for spec in choice.models} & {"nsvd", "ials", "content_ridge"}
    assert choice.settings["ials"]["dimension"] == 4  # set, so not searched
    assert {settings["dimension"] for kind, settings, _ in choice.trials if kind == "ials"} == {4}
    assert {settings["dimension"] for kind, settings, _ in choice.trials if kind == "nsvd"} >= {2, 4}
    assert "over popularity" in str(choice) and "150 held-out likes" in str(choice)


def test_in_a_release_each_model_has_the_score_variance_of_its_weight(world: Workspace) -> None:
    choice = stored(world)
    built = build_release(
        world,
        ReleaseSettings(),
        embedding=EMBEDDING_NAME,
        compute=InProcess(),
        progress=NoProgress(),
        models=choice.models,
    )
    release = Release(world.storage, built.release_id)
    items_ID, users_QD = release.shard().vectors(), release.user_part(0).queries.vectors_QD
    *components, hubness = release.components.components
    for component in components:
        scores_QI = users_QD[:, component.columns] @ items_ID[:, component.columns].T
        ((_, weight),) = choice.weights[component.name]
        np.testing.assert_allclose(scores_QI.std(axis=1), weight, rtol=0.2)  # held-out likes are popularity, too
        assert 0.4 < np.linalg.norm(items_ID[:, component.columns], axis=1).mean() < 2
    users_UD = np.concatenate([release.user_part(part).queries.vectors_QD for part in range(4)])
    others = slice(0, hubness.columns.start)
    scores_UI = users_UD[:, others] @ items_ID[:, others].T
    taken_I = users_QD[0, hubness.columns] @ items_ID[:, hubness.columns].T
    ((_, weight),) = choice.weights["hubness"]
    np.testing.assert_allclose(taken_I, -weight * (scores_UI.mean(axis=0) + scores_UI.std(axis=0)), rtol=1e-4)


def test_the_same_data_and_settings_keep_the_choice_without_training(
    world: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "learn", None)
    assert choose_models(world, SETTINGS, embedding=EMBEDDING_NAME) == stored(world)


def test_new_data_keep_settings_that_hold_and_search_again_where_they_fell(world: Workspace) -> None:
    first = stored(world)
    import_events(world, NUM_USERS - 10)
    second = choose_models(world, SETTINGS, embedding=EMBEDDING_NAME)
    assert (second.settings, second.weights, second.trials) == (first.settings, first.weights, first.trials)
    assert (second.num_users, second.searched_ndcg) == (NUM_USERS - 10, first.searched_ndcg)
    second.model_copy(update={"searched_ndcg": 1.0, "trials": (), "inputs": {**second.inputs, "data": "older"}}).write(
        world.storage
    )
    third = choose_models(world, SETTINGS, embedding=EMBEDDING_NAME)
    assert len(third.trials) > 2 and third.searched_ndcg == third.ndcg["chosen"] < 1


def test_too_few_interactions_learn_nothing_and_say_so(world: Workspace) -> None:
    choice = choose_models(world, ModelsSettings(min_interactions=50_000), embedding=EMBEDDING_NAME)
    assert choice.models == ()
    assert "are too few to learn from (from 50,000 on)" in str(choice)
    assert choose_models(world, ModelsSettings(kinds=("content",)), embedding=EMBEDDING_NAME) == ModelChoice()


@pytest.mark.parametrize("kinds", [("popularity",), ("content", "ials"), ("als",), ("popularity", "hubness")])
def test_models_that_make_no_release_are_refused(world: Workspace, kinds: tuple[str, ...]) -> None:
    with pytest.raises(InputError):
        choose_models(world, ModelsSettings(kinds=kinds), embedding=EMBEDDING_NAME)


def test_one_model_alone_needs_no_weights(world: Workspace) -> None:
    choice = choose_models(
        world, ModelsSettings(kinds=("nsvd",), search=False, nsvd_dimension=3), embedding=EMBEDDING_NAME
    )
    (spec,) = choice.models
    assert (spec.kind, spec.settings, spec.weights) == ("nsvd", {"dimension": 3}, ((0, 2.0**-spec.exponent),))
    assert choice.trials == ()


class AnotherModel(NsvdModel):
    """A model that is listed and known to nothing else."""

    kind = "another"


@pytest.mark.parametrize("kinds", [("another", "popularity"), ("another", "ials", "popularity", "hubness")])
def test_a_model_is_blended_that_is_only_listed(
    world: Workspace, kinds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "another", (__name__, "AnotherModel"))
    choice = choose_models(world, SETTINGS.model_copy(update={"kinds": kinds}), embedding=EMBEDDING_NAME)
    assert set(choice.weights) == set(kinds) and choice.gain is not None and choice.gain[1] > 0
    assert {spec.kind for spec in choice.models} == {kind for kind, pairs in choice.weights.items() if dict(pairs)[0]}
    assert {trial[1]["dimension"] for trial in choice.trials if trial[0] == "another"} > {2, 4}
