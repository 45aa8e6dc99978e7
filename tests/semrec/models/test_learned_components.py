"""All learned models stand side by side in one release: one vector, the same bytes online, and a score that adds up."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.learned_world import NUM_USERS, embeddings, planted_events, training_data
from semrec.models.base import Events, ItemVectors, model_class
from semrec.models.components import Components, ModelSpec

SPECS = [
    ModelSpec(kind="content_ridge", weights=((0, 1.0), (5, 0.25))),
    ModelSpec(kind="nsvd", settings={"dimension": 5}, exponent=-2),
    ModelSpec(kind="ials", settings={"dimension": 6}, exponent=3, weights=((0, 0.5),)),
    ModelSpec(kind="popularity", weights=((0, 0.5),)),
]


@pytest.fixture(scope="module")
def release() -> tuple[Components, np.ndarray]:
    """The components, and the stored item vectors of all of them."""
    data = training_data(planted_events(), content=embeddings())
    fitted = [model_class(spec.kind).fit(data, spec.settings) for spec in SPECS]
    components = Components.side_by_side([model for model, _ in fitted], SPECS, "latest")
    stored = [c.stored(items) for c, (_, items) in zip(components.components, fitted, strict=True)]
    return components, np.concatenate(stored, axis=1)


def test_a_folded_in_user_has_the_bytes_of_the_batch(release: tuple[Components, np.ndarray]) -> None:
    components, stored_ID = release
    items = ItemVectors.from_vectors(stored_ID)
    users = components.user_vectors(planted_events(), items, NUM_USERS)
    assert users.has_vector_U.all()
    for user in (0, 7, NUM_USERS - 1):
        own = planted_events().keep(planted_events().user == user)
        vector, _ = components.fold_in(
            Events(np.zeros(len(own.user), np.int64), own.row, own.value, own.timestamp), items
        )
        assert vector is not None
        assert vector.tobytes() == users.vectors_UD[user].tobytes()


def test_the_parts_of_a_score_add_up(release: tuple[Components, np.ndarray]) -> None:
    components, stored_ID = release
    own = planted_events().keep(planted_events().user == 0)
    vector, histories = components.fold_in(own, ItemVectors.from_vectors(stored_ID))
    assert vector is not None
    scores_K = stored_ID[:9].astype(np.float64) @ vector
    assert sum(history.score_parts(stored_ID[:9]) for history in histories) == pytest.approx(scores_K, abs=1e-5)
    by_terms_K = sum(h.contributions(stored_ID[:9]).sum(axis=1) for h in histories[:3])
    assert by_terms_K + histories[3].score_parts(stored_ID[:9]) == pytest.approx(scores_K, abs=1e-3)
    assert [history.component.name for history in histories] == ["content_ridge", "nsvd", "ials", "popularity"]


def test_a_new_item_and_words_of_a_search_have_vectors(release: tuple[Components, np.ndarray]) -> None:
    components, stored_ID = release
    cold_ND = components.cold_items({"text": embeddings()[-2:]})
    assert (
        cold_ND[:, :-1].tobytes() == stored_ID[-2:, :-1].tobytes()
    )  # but for popularity, of which a new item has none
    vector, _ = components.fold_in_weights(
        np.ones(1), ItemVectors.from_vectors(cold_ND[:1], np.array([-1])), is_search=True
    )
    assert vector is not None
    assert np.isfinite(vector).all()
