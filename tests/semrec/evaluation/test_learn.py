"""Learning finds planted tastes, beats popularity with an interval that excludes zero, and says what it could not choose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from semrec.evaluation import learn as learning
from semrec.evaluation.learn import AUTO_KINDS, LearnedModels, blend_vectors, learn
from semrec.evaluation.ranks import ModelVectors
from semrec.evaluation.report import evaluate_models
from semrec.evaluation.splits import Split, split_events
from semrec.evaluation.yardsticks import YARDSTICKS
from semrec.models.base import MODELS, Events, model_class
from semrec.models.content_ridge import ContentRidgeModel
from semrec.models.ials import IalsModel
from semrec.models.nsvd import NsvdModel

NUM_USERS, NUM_ITEMS = 150, 80


def planted(seed: int = 0) -> tuple[Events, np.ndarray]:
    """Users of four groups like the items of their group; embeddings tell the groups roughly."""
    draws = np.random.default_rng(seed)
    group_I = np.arange(NUM_ITEMS) % 4
    rows = [
        (user, int(row), 5.0, n)
        for user in range(NUM_USERS)
        for n, row in enumerate(draws.choice(np.flatnonzero(group_I == user % 4), 7, replace=False))
    ]
    user, row, value, time_s = (np.array(column) for column in zip(*rows, strict=True))
    embeddings = 2 + draws.standard_normal((4, 8))[group_I] + 0.8 * draws.standard_normal((NUM_ITEMS, 8))
    return Events(user, row, value.astype(np.float32), time_s), embeddings.astype(np.float32)


def search_little(patch: pytest.MonkeyPatch, ials_grid: dict[str, tuple[float, ...]]) -> None:
    """Has nsvd and ials searched over a few values, and content_ridge not at all."""
    patch.setattr(ContentRidgeModel, "search_grid", ())
    patch.setattr(NsvdModel, "search_grid", ({"dimension": (2, 4)},))
    patch.setattr(IalsModel, "search_grid", (ials_grid,))


def divided(events: Events) -> Split:
    return split_events(events, "leave-last-out", num_users=NUM_USERS, num_items=NUM_ITEMS, neutral_value=2.5)


@pytest.fixture(scope="module")
def learned() -> LearnedModels:
    events, embeddings = planted()
    with pytest.MonkeyPatch.context() as patch:
        search_little(patch, {"dimension": (2, 4), "regularization": (0.003, 0.03)})
        return learn(divided(events), {"text": embeddings}, 2.5)


def test_the_blend_beats_popularity_with_an_interval_that_excludes_zero(learned: LearnedModels) -> None:
    report = evaluate_models(learned.vectors, divided(planted()[0]), ks=(10,))
    gain = report.comparisons["blend - popularity"]["ndcg@10"]
    assert gain.low > 0
    means = {name: result.means["ndcg@10"] for name, result in report.results.items()}
    assert means["blend"] > 0.8 * max(means.values())


def test_the_best_of_the_trials_is_taken(learned: LearnedModels) -> None:
    for kind in ("nsvd", "ials"):
        trials = [trial for trial in learned.trials if trial.kind == kind]
        assert {trial.settings["dimension"] for trial in trials} > {2, 4}  # and the default
        assert learned.settings[kind] == max(trials, key=lambda trial: trial.ndcg).settings
    assert learned.notes == []


def test_settings_that_depend_on_each_other_are_searched_together(learned: LearnedModels) -> None:
    tried = {
        (trial.settings["dimension"], trial.settings["regularization"])
        for trial in learned.trials
        if trial.kind == "ials"
    }
    assert tried == {(64, 0.01), (2, 0.003), (2, 0.03), (4, 0.003), (4, 0.03)}  # the defaults, and every pair


def test_what_stands_beside_has_the_weight_that_it_earns() -> None:
    """Images that tell the groups against texts that tell nothing, and the other way round."""
    events, telling = planted()
    noise = np.random.default_rng(9).standard_normal(telling.shape).astype(np.float32)
    kinds = ("content_ridge", "image_ridge")
    weights = {
        name: learn(divided(events), {"text": text, "image": image}, 2.5, kinds=kinds, search=False).weights
        for name, text, image in (("image", noise, telling), ("text", telling, noise))
    }
    assert weights["image"]["image_ridge"] == [(0, 1.0)]
    assert weights["text"]["image_ridge"] == [(0, 1 / 16)]
    assert all(found["content_ridge"] == [(0, 1.0)] for found in weights.values())


def test_content_keeps_a_say_though_it_adds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ials_alone = [((0.0, 0.0, 1.0, 0.0), 0.5)]
    monkeypatch.setattr(learning, "choose_weights", lambda *_, **__: (np.array(ials_alone[0][0]), ials_alone))
    chosen = learn(divided(planted()[0]), {"text": planted()[1]}, 2.5, search=False)
    of_others = {kind: pairs for kind, pairs in chosen.weights.items() if kind != "hubness"}
    assert of_others == {
        "content_ridge": [(0, 1 / 16)], "nsvd": [(0, 0.0)], "ials": [(0, 1.0)], "popularity": [(0, 0.0)]
    }  # fmt: skip


def test_the_half_life_is_that_of_the_workspace() -> None:
    split, content, second = divided(planted()[0]), {"text": planted()[1]}, 1 / 86_400

    def vectors_with(**options: Any) -> np.ndarray:
        return learn(split, content, 2.5, kinds=("content",), search=False, **options).vectors["content"].users_UD

    of_a_second = vectors_with(half_life_days=second)
    np.testing.assert_array_equal(of_a_second, vectors_with(settings={"content": {"half_life_days": second}}))
    assert np.abs(of_a_second - vectors_with()).max() > 0.01


def test_an_item_that_scores_high_for_everybody_is_lowered_where_that_costs_no_quality() -> None:
    """Users score the items of their group between 0.5 and 1; item 0 has 0.9 for everybody, and nobody is held out with it."""
    split, random = divided(planted()[0]), np.random.default_rng(0)
    items_ID = np.eye(4, dtype=np.float32)[np.arange(NUM_ITEMS) % 4] * random.uniform(0.5, 1, (NUM_ITEMS, 1))
    items_ID[0] = 0.9
    users_UD = np.eye(4, dtype=np.float32)[np.arange(NUM_USERS) % 4]
    models = {"ials": ModelVectors(items_ID.astype(np.float32), users_UD, np.ones(NUM_USERS, bool))}
    weight = learning._choose_hubness_weight(models, {"ials": [(0, 1.0)]}, split)
    assert weight == 0.3

    def share_of_lists(weight: float) -> float:
        blend = blend_vectors(
            models | {"hubness": learning._fit_hubness(models["ials"])},
            {"ials": [(0, 1.0)], "hubness": [(0, weight)]},
            split.history,
        )
        assert blend.has_vector_U.all()
        best_U5 = np.argsort(-(blend.users_UD @ blend.items_ID.T), axis=1)[:, :5]
        return float((best_U5 == 0).any(axis=1).mean())

    assert share_of_lists(0.0) > 0.7
    assert share_of_lists(weight) < 0.3


def test_no_target_leaks_into_what_is_learned(learned: LearnedModels) -> None:
    """With the targets' items replaced by others, everything that is chosen and trained stays the same."""
    events, embeddings = planted()
    split = divided(events)
    again = learn(split, {"text": embeddings}, 2.5, settings=learned.settings, search=False)
    moved = Split(split.method, split.train, split.history, split.target_offsets, (split.target_rows + 1) % NUM_ITEMS,
                  NUM_ITEMS)  # fmt: skip
    other = learn(moved, {"text": embeddings}, 2.5, settings=learned.settings, search=False)
    assert other.weights == again.weights
    assert other.vectors["blend"].users_UD.tobytes() == again.vectors["blend"].users_UD.tobytes()


def test_too_few_users_choose_nothing_and_say_so() -> None:
    events, embeddings = planted()
    few = events.keep(events.user < 40)
    split = split_events(few, "leave-last-out", num_users=40, num_items=NUM_ITEMS, neutral_value=2.5)
    found = learn(split, {"text": embeddings}, 2.5)
    assert found.trials == []
    assert found.weights == {kind: [(0, model_class(kind).default_weight)] for kind in AUTO_KINDS}
    assert "40 users to choose settings by, fewer than 100" in found.notes[0]


def test_weights_go_by_the_number_of_events() -> None:
    everyone = np.ones(3, bool)
    models = {
        name: ModelVectors(np.full((2, 1), n, np.float32), np.full((3, 1), n, np.float32), everyone)
        for n, name in ((1, "a"), (2, "b"))
    }
    history = Events(*(np.array(x) for x in ([1, 2, 2, 2], [0, 0, 1, 1], [1.0] * 4, [0] * 4)))
    blended = blend_vectors(models, {"a": [(0, 1.0), (2, 0.5)], "b": [(0, 0.0), (2, 1.0)]}, history)
    assert blended.users_UD.tolist() == [[1, 0], [1, 0], [0.5, 2]]
    assert blended.items_ID.tolist() == [[1, 2], [1, 2]]


def test_a_yardstick_has_no_name_of_a_model() -> None:
    assert not set(YARDSTICKS) & set(MODELS)
