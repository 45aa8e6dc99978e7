"""Components: several models in one inner product give the weighted sum of what each gives alone."""

from __future__ import annotations

import numpy as np
import pytest

from semrec.errors import InputError
from semrec.models.base import Events, ItemVectors, TrainingData
from semrec.models.components import Component, Components, ModelSpec
from semrec.models.content import ContentModel
from semrec.models.popularity import PopularityModel

NUM_ITEMS, DIMENSION, NUM_USERS = 9, 4, 6
RULE = {"half_life_days": 30.0, "neutral_value": 0.5}


def problem() -> tuple[np.ndarray, np.ndarray, Events]:
    """Content vectors, popularity, and events of users 0 to 4; user 4's are worth nothing, user 5 has none."""
    rng = np.random.default_rng(8)
    user = np.sort(rng.integers(0, 5, 30))
    value = np.where(user == 4, 0.5, rng.integers(1, 5, 30)).astype(np.float32)
    events = Events(user, rng.integers(0, NUM_ITEMS, 30), value, np.sort(rng.integers(0, 10**7, 30)))
    vectors_ID = rng.standard_normal((NUM_ITEMS, DIMENSION)).astype(np.float32)
    return vectors_ID, np.arange(NUM_ITEMS, dtype=np.float32), events


def two_models(
    *, exponents: tuple[int, int] = (0, 0), weights: tuple[tuple[int, float], ...] = ((0, 1.0),)
) -> tuple[Components, np.ndarray, Events, np.ndarray, np.ndarray]:
    """Content and popularity side by side with their stored item vectors, events, and each model's own item vectors."""
    content_ID, popularity_I, events = problem()
    data = TrainingData(NUM_ITEMS, {"text": content_ID}, popularity_I, lambda: iter([events]))
    content, _ = ContentModel.fit(data, RULE)
    popularity, popular_ID = PopularityModel.fit(data, {})
    specs = [
        ModelSpec(kind="content", exponent=exponents[0]),
        ModelSpec(kind="popularity", exponent=exponents[1], weights=weights),
    ]
    components = Components.side_by_side([content, popularity], specs, "sum")
    first, second = components.components
    stored_ID = np.concatenate([first.stored(content_ID), second.stored(popular_ID)], axis=1)
    return components, stored_ID, events, content_ID, popular_ID


def test_one_component_gives_the_bytes_of_its_model() -> None:
    content_ID, _, events = problem()
    content = ContentModel(RULE, DIMENSION)
    alone = content.user_vectors(events, ItemVectors.from_vectors(content_ID), NUM_USERS)
    components = Components.side_by_side([content], [ModelSpec(kind="content")], "sum")
    together = components.user_vectors(events, ItemVectors.from_vectors(content_ID), NUM_USERS)
    assert together.vectors_UD.tobytes() == alone.vectors_UD.tobytes()
    assert together.has_vector_U.tolist() == alone.has_vector_U.tolist() == [True] * 4 + [False] * 2


@pytest.mark.parametrize("exponents", [(0, 0), (5, -3)])
def test_a_score_is_the_weighted_sum_of_the_models_scores(exponents: tuple[int, int]) -> None:
    components, stored_ID, events, content_ID, popular_ID = two_models(exponents=exponents, weights=((0, 0.25),))
    assert components.dimension == DIMENSION + 1
    vectors_UD, has_vector_U = components.user_vectors(events, ItemVectors.from_vectors(stored_ID), NUM_USERS)
    own = ContentModel(RULE, DIMENSION).user_vectors(events, ItemVectors.from_vectors(content_ID), NUM_USERS)
    assert vectors_UD[:, :DIMENSION].tobytes() == own.vectors_UD.tobytes()  # the exponent changes no bit
    assert has_vector_U.tolist() == [True] * 4 + [False] * 2
    assert not vectors_UD[4:].any()  # nobody is asked for by popularity alone: that is another source
    expected_UI = 2.0 ** exponents[0] * own.vectors_UD @ content_ID.T + 0.25 * 2.0 ** exponents[1] * popular_ID[:, 0]
    np.testing.assert_allclose(vectors_UD[:4] @ stored_ID.T, expected_UI[:4], rtol=1e-5, atol=1e-6)


def test_folding_in_gives_the_bytes_of_the_batch_and_contributions_that_add_up() -> None:
    components, stored_ID, events, _, _ = two_models(exponents=(2, 1), weights=((0, 0.0), (7, 0.5), (9, 0.75)))
    items = ItemVectors.from_vectors(stored_ID)
    vectors_UD, has_vector_U = components.user_vectors(events, items, NUM_USERS)
    seen_weights = set()
    for user in range(NUM_USERS):
        mine = events.keep(events.user == user)
        alone = Events(np.zeros_like(mine.user), mine.row, mine.value, mine.timestamp)
        vector_D, histories = components.fold_in(alone, items)
        assert (vector_D is not None) == has_vector_U[user]
        if vector_D is None:
            continue
        assert vector_D.tobytes() == vectors_UD[user].tobytes()
        content, popularity = histories
        seen_weights.add(popularity.weight)
        assert popularity.weight == (0.0 if len(mine.user) < 7 else 0.5 if len(mine.user) < 9 else 0.75)
        added_I = content.contributions(stored_ID).sum(axis=1) + popularity.score_parts(stored_ID)
        np.testing.assert_allclose(added_I, stored_ID.astype(np.float64) @ vector_D, rtol=1e-5, atol=1e-6)
    assert len(seen_weights) > 1


def test_of_repeated_events_the_last_counts_where_the_release_says_so() -> None:
    content_ID, _, events = problem()
    content, items = ContentModel(RULE, DIMENSION), ItemVectors.from_vectors(content_ID)
    last = Components.side_by_side([content], [ModelSpec(kind="content")], "latest")
    found, _ = last.user_vectors(events, items, NUM_USERS)
    expected, _ = content.user_vectors(events.latest(), items, NUM_USERS)
    every, _ = content.user_vectors(events, items, NUM_USERS)
    assert found.tobytes() == expected.tobytes() != every.tobytes()


def test_a_return_takes_away_what_was_bought() -> None:
    # User 0 gave item 0 back; user 1 bought three and gave one back; user 2 gave back what nobody knows of.
    user, row = np.array([0, 0, 0, 1, 1, 1, 2]), np.array([0, 0, 2, 1, 1, 3, 4])
    value = np.array([1, -1, 1, 3, -1, 1, -1], np.float32)
    events = Events(user, row, value, np.array([100, 200, 200, 0, 86_400, 86_400, 5]))
    counted = events.counted("sum", 0.0)
    assert counted.row.tolist() == [0, 2, 1, 3, 4]
    assert counted.value.tolist() == [-1, 1, 2, 1, -1]
    assert events.counted("sum", 0.5).value.tolist() == [-1, 1, np.float32(0.5 + 2.5 * 2 / 2.5), 1, -1]
    assert events.counted("sum", -2.0) is events  # values around a middle below 0 are ratings
    assert events.counted("latest", 0.0).value.tolist() == [-1, 1, -1, 1, -1]
    content_ID, _, _ = problem()
    items = ItemVectors.from_vectors(content_ID)
    content = ContentModel({**RULE, "neutral_value": 0.0}, DIMENSION)
    components = Components.side_by_side([content], [ModelSpec(kind="content")], "sum")
    vectors_UD, has_vector_U = components.user_vectors(events, items, 3)
    unit_ID = content_ID / np.linalg.norm(content_ID, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors_UD[0], unit_ID[2], rtol=1e-6)
    decay = 2.0 ** (-1 / RULE["half_life_days"])  # bought a day before the other
    expected_D = 2 * decay * content_ID[1].astype(np.float64) + content_ID[3]
    np.testing.assert_allclose(vectors_UD[1], expected_D / np.linalg.norm(expected_D), rtol=1e-6)
    assert has_vector_U.tolist() == [True, True, False]
    mine = events.keep(events.user == 1)
    folded_D, _ = components.fold_in(Events(mine.user - 1, mine.row, mine.value, mine.timestamp), items)
    assert folded_D is not None
    assert folded_D.tobytes() == vectors_UD[1].tobytes()


def test_a_new_item_is_made_of_its_content_and_a_changed_one_keeps_what_was_learned() -> None:
    components, stored_ID, _, _, _ = two_models(exponents=(1, 0))
    content_ND = np.ones((2, DIMENSION), np.float32)
    assert components.cold_items({"text": content_ND}).tolist() == [[2, 2, 2, 2, 0]] * 2
    changed_ND = components.changed_items(stored_ID[3:5], {"text": content_ND})
    assert changed_ND[:, :DIMENSION].tolist() == [[2, 2, 2, 2]] * 2
    assert changed_ND[:, DIMENSION].tolist() == stored_ID[3:5, DIMENSION].tolist()


def test_popularity_has_no_say_in_what_is_like_an_item_or_some_words() -> None:
    components, stored_ID, _, _, _ = two_models()
    assert not components.comparing(stored_ID)[:, DIMENSION].any()
    assert components.comparing(stored_ID)[:, :DIMENSION].tobytes() == stored_ID[:, :DIMENSION].tobytes()
    items = ItemVectors.from_vectors(stored_ID[:1])
    liked, _ = components.fold_in_weights(np.ones(1), items)
    searched, _ = components.fold_in_weights(np.ones(1), items, is_search=True)
    assert liked is not None and searched is not None
    assert (liked[DIMENSION], searched[DIMENSION]) == (1.0, 0.0)
    assert liked[:DIMENSION].tobytes() == searched[:DIMENSION].tobytes()
    nothing, _ = components.fold_in_weights(np.zeros(0), ItemVectors.from_vectors(stored_ID[:0]))
    assert nothing is None


@pytest.mark.parametrize(
    "weights",
    [(), ((1, 1.0),), ((0, 1.0), (0, 2.0)), ((0, -1.0),), ((0, float("nan")),), ((0, 1.0), (5, float("inf")))],
)
def test_weights_that_mean_nothing_are_refused(weights: tuple[tuple[int, float], ...]) -> None:
    with pytest.raises(InputError, match="weights"):
        Component(PopularityModel({}), slice(0, 1), weights=weights)


def test_models_that_cannot_stand_together_are_refused() -> None:
    content, popularity = ContentModel(RULE, DIMENSION), PopularityModel({})
    for models in ([content, content], [popularity], []):
        with pytest.raises(InputError, match="models of different names"):
            Components.side_by_side(models, [ModelSpec(kind=model.kind) for model in models], "sum")


def test_an_exponent_that_loses_bits_is_refused() -> None:
    component = Component(PopularityModel({}), slice(0, 1), exponent=60)
    assert component.stored(np.ones((1, 1), np.float32)).tolist() == [[2.0**60]]
    with pytest.raises(InputError, match="exponent nearer to 0"):
        component.stored(np.full((1, 1), 1e30, np.float32))


def test_popularity_lies_between_0_and_1_and_takes_no_settings() -> None:
    _, popularity_I, _ = problem()
    data = TrainingData(NUM_ITEMS, {"text": np.zeros((NUM_ITEMS, 1), np.float32)}, popularity_I, lambda: iter(()))
    _, vectors_I1 = PopularityModel.fit(data, {})
    np.testing.assert_allclose(vectors_I1[:, 0], np.log1p(popularity_I) / np.log1p(8), rtol=1e-6)
    nobody = TrainingData(2, {}, np.zeros(2, np.float32), lambda: iter(()))
    assert PopularityModel.fit(nobody, {})[1].tolist() == [[0.0], [0.0]]
    with pytest.raises(InputError, match="settings power of the popularity model"):
        PopularityModel.fit(data, {"power": 2})
