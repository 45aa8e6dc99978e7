"""The content model with ridge regression is its plain formula, and keeps the contract of learned models."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.learned_contract import LearnedModelContract
from helpers.learned_world import NUM_USERS, embeddings, planted_events, training_data
from semrec.models.base import ItemVectors
from semrec.models.content_ridge import ContentRidgeModel


class TestContentRidge(LearnedModelContract):
    model = ContentRidgeModel
    learns_from_text_alone = True


def test_users_are_the_ridge_solution_over_centred_embeddings() -> None:
    model, items_ID = ContentRidgeModel.fit(
        training_data(planted_events(), content=embeddings()), {"regularization": 0.3}
    )
    E = embeddings().astype(np.float64) - embeddings().mean(axis=0, dtype=np.float64)
    E /= np.linalg.norm(E, axis=1, keepdims=True)
    assert items_ID == pytest.approx(E, abs=1e-6)
    users = model.user_vectors(planted_events(), ItemVectors.from_vectors(items_ID), NUM_USERS)
    gram = E.T @ E
    for u in (0, 10, 50):
        own = planted_events().keep((planted_events().user == u) & (planted_events().value > 2.5))
        plain = np.linalg.solve(gram + 0.3 * np.trace(gram) / len(gram) * np.eye(len(gram)), E[own.row].sum(axis=0))
        cosine = users.vectors_UD[u] @ plain / np.linalg.norm(users.vectors_UD[u]) / np.linalg.norm(plain)
        assert cosine == pytest.approx(1, abs=1e-6)


def test_an_item_without_an_embedding_keeps_none() -> None:
    content = embeddings()
    content[7] = 0
    _, items_ID = ContentRidgeModel.fit(training_data(planted_events(), content=content), {})
    assert not items_ID[7].any()
    assert items_ID[8].any()
