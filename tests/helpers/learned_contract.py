"""The contract of every learned model, stated once: a model's own test class inherits it and says which model it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest

from helpers.learned_world import (
    NUM_GROUPS,
    NUM_ITEMS,
    NUM_USERS,
    embeddings,
    group_of_items,
    planted_events,
    training_data,
)
from semrec.errors import InputError
from semrec.models.base import Events, ItemVectors, TrainingData, VectorModel


def events_of(user: int, events: Events, number: int = 0) -> Events:
    """One user's events, with the user counted as `number`."""
    own = events.keep(events.user == user)
    return Events(np.full(len(own.user), number), own.row, own.value, own.timestamp)


class LearnedModelContract:
    """Set `model` and `settings` in a subclass."""

    model: ClassVar[type[VectorModel]]
    settings: ClassVar[Mapping[str, Any]] = {}
    learns_from_text_alone: ClassVar[bool] = False

    def data(self, events: Events, content: np.ndarray | None = None) -> TrainingData:
        """Training data with content of the model's modality."""
        return training_data(events, content=content, modality=self.model.modality)

    @pytest.fixture(scope="class")
    def fitted(self) -> tuple[VectorModel, np.ndarray]:
        return self.model.fit(self.data(planted_events(), content=embeddings()), self.settings)

    def test_users_prefer_unseen_items_of_their_own_group(self, fitted: tuple[VectorModel, np.ndarray]) -> None:
        model, items_ID = fitted
        users = model.user_vectors(planted_events(), ItemVectors.from_vectors(items_ID), NUM_USERS)
        assert users.has_vector_U.all()
        scores_UI = users.vectors_UD @ items_ID.T
        scores_UI[planted_events().user, planted_events().row] = -np.inf
        best_U3 = np.argsort(-scores_UI, axis=1)[:, :3]
        is_own = group_of_items()[best_U3] == (np.arange(NUM_USERS) % NUM_GROUPS)[:, None]
        assert is_own.mean() > 0.95

    def test_every_user_has_scores_of_variance_one(self, fitted: tuple[VectorModel, np.ndarray]) -> None:
        model, items_ID = fitted
        users = model.user_vectors(planted_events(), ItemVectors.from_vectors(items_ID), NUM_USERS)
        assert (users.vectors_UD @ items_ID.T).std(axis=1) == pytest.approx(np.ones(NUM_USERS), rel=1e-4)

    def test_training_again_gives_the_same_bytes(self, fitted: tuple[VectorModel, np.ndarray]) -> None:
        model, items_ID = fitted
        again, items_again_ID = self.model.fit(self.data(planted_events(), content=embeddings()), self.settings)
        assert items_again_ID.tobytes() == items_ID.tobytes()
        assert {name: array.tobytes() for name, array in again.arrays().items()} == {
            name: array.tobytes() for name, array in model.arrays().items()
        }

    def test_one_user_alone_and_a_stored_model_give_the_same_bytes(
        self, fitted: tuple[VectorModel, np.ndarray]
    ) -> None:
        model, items_ID = fitted
        everybody = model.user_vectors(planted_events(), ItemVectors.from_vectors(items_ID), NUM_USERS)
        stored = self.model.load(model.settings, model.dimension, model.arrays())
        for user in (0, 1, 2, NUM_USERS - 1):
            own = events_of(user, planted_events())
            # Online the items of a history come alone, here in another order than that of the release.
            rows = np.random.default_rng(user).permutation(np.unique(own.row))
            number_of_row = np.argsort(rows)[np.searchsorted(np.sort(rows), own.row)]
            alone = Events(own.user, number_of_row, own.value, own.timestamp)
            history = stored.fold_in(alone, ItemVectors.from_vectors(items_ID[rows], rows))
            assert history.vector is not None
            assert history.vector.tobytes() == everybody.vectors_UD[user].tobytes()

    def test_contributions_add_up_to_the_score(self, fitted: tuple[VectorModel, np.ndarray]) -> None:
        model, items_ID = fitted
        own = events_of(4, planted_events())
        history = model.fold_in(own, ItemVectors.from_vectors(items_ID))
        liked = np.sort(own.row[own.value > 2.5])
        assert history.rows_L.tolist() == liked.tolist()
        assert history.vector is not None
        added_KL = model.contributions(history, items_ID[:10])
        assert added_KL.sum(axis=1) == pytest.approx(items_ID[:10] @ history.vector, abs=2e-4)

    def test_likes_without_events_and_dislikes(self, fitted: tuple[VectorModel, np.ndarray]) -> None:
        model, items_ID = fitted
        items = ItemVectors.from_vectors(items_ID)
        weights_N = np.zeros(NUM_ITEMS)
        weights_N[[0, 3, 6]] = 2.0
        liked = model.fold_in_weights(weights_N, items).vector
        opposite = model.fold_in_weights(-weights_N, items).vector
        assert liked is not None and opposite is not None
        assert opposite == pytest.approx(-liked, abs=1e-5)
        by_group = [
            float((items_ID[:54] @ liked)[group_of_items()[:54] == group].mean()) for group in range(NUM_GROUPS)
        ]
        assert np.argmax(by_group) == 0
        assert model.fold_in_weights(np.zeros(NUM_ITEMS), items).vector is None

    def test_who_likes_nothing_has_no_vector(self, fitted: tuple[VectorModel, np.ndarray]) -> None:
        model, items_ID = fitted
        disliking = Events(np.array([1]), np.array([3]), np.array([1.0], np.float32), np.array([7]))
        users = model.user_vectors(disliking, ItemVectors.from_vectors(items_ID), 2)
        assert not users.has_vector_U.any()
        assert not users.vectors_UD.any()
        nobody = disliking.keep(np.zeros(1, bool))
        assert model.user_vectors(nobody, ItemVectors.from_vectors(items_ID), 0).vectors_UD.shape == (
            0,
            model.dimension,
        )
        assert model.fold_in(nobody, ItemVectors.from_vectors(items_ID)).vector is None

    def test_the_last_event_with_an_item_decides(self, fitted: tuple[VectorModel, np.ndarray]) -> None:
        model, items_ID = fitted
        items = ItemVectors.from_vectors(items_ID)
        changed = Events(
            np.zeros(3, np.int64), np.array([3, 6, 3]), np.array([5, 5, 1], np.float32), np.array([1, 2, 3])
        )
        single = Events(np.zeros(1, np.int64), np.array([6]), np.array([5], np.float32), np.array([2]))
        assert np.array_equal(model.fold_in(changed, items).vector, model.fold_in(single, items).vector)

    def test_items_without_likes_get_their_vectors_from_content(self, fitted: tuple[VectorModel, np.ndarray]) -> None:
        model, items_ID = fitted
        cold = np.arange(NUM_ITEMS - 6, NUM_ITEMS)
        predicted = model.cold_items({self.model.modality: embeddings()[cold]})
        assert predicted.tobytes() == items_ID[cold].tobytes()
        assert model.cold_items({self.model.modality: embeddings()[cold[2:3]]})[0].tobytes() == predicted[2].tobytes()
        users = model.user_vectors(planted_events(), ItemVectors.from_vectors(items_ID), NUM_USERS)
        best_U = np.argmax(users.vectors_UD @ items_ID[cold].T, axis=1)
        assert (group_of_items()[cold][best_U] == np.arange(NUM_USERS) % NUM_GROUPS).mean() > 0.9

    def test_without_content_cold_items_have_no_vector(self) -> None:
        if self.learns_from_text_alone:
            with pytest.raises(InputError, match="no item has an embedding"):
                self.model.fit(self.data(planted_events(), content=np.zeros((NUM_ITEMS, 4), np.float32)), {})
            with pytest.raises(InputError, match="all alike"):
                self.model.fit(self.data(planted_events(), content=np.full((NUM_ITEMS, 4), 0.3, np.float32)), {})
            return
        model, items_ID = self.model.fit(self.data(planted_events()), self.settings)
        assert not items_ID[NUM_ITEMS - 6 :].any()
        assert items_ID[: NUM_ITEMS - 6].any(axis=1).all()
        assert (
            model.cold_items({self.model.modality: embeddings()[:2]}).tolist()
            == np.zeros((2, model.dimension)).tolist()
        )

    def test_impossible_data_is_refused(self) -> None:
        if self.learns_from_text_alone:
            return
        some = planted_events()
        with pytest.raises(InputError, match="no liked item"):
            self.model.fit(self.data(some.keep(some.value < 2)), self.settings)
        broken = Events(
            some.user, some.row, np.where(some.row == 3, np.nan, some.value).astype(np.float32), some.timestamp
        )
        with pytest.raises(InputError, match="not finite"):
            self.model.fit(self.data(broken), self.settings)

    def test_unknown_settings_are_refused(self) -> None:
        with pytest.raises(InputError, match="settings breadth"):
            self.model.fit(self.data(planted_events(), content=embeddings()), {"breadth": 3})

    def test_one_user_with_one_like_can_be_learned_from(self) -> None:
        """Fewer users than dimensions: there is one direction, and nothing breaks."""
        single = Events(np.zeros(1, np.int64), np.array([5]), np.array([5], np.float32), np.array([1]))
        model, items_ID = self.model.fit(self.data(single, content=embeddings()), self.settings)
        users = model.user_vectors(single, ItemVectors.from_vectors(items_ID), 1)
        assert np.isfinite(items_ID).all()
        assert np.isfinite(users.vectors_UD).all()

    def test_a_bot_that_likes_everything_leaves_others_their_taste(self) -> None:
        some, bot = planted_events(), NUM_USERS - 1
        everything = np.arange(NUM_ITEMS - 6)
        others = some.keep(some.user != bot)
        with_bot = Events(
            np.concatenate([others.user, np.full(len(everything), bot)]),
            np.concatenate([others.row, everything]),
            np.concatenate([others.value, np.full(len(everything), 5, np.float32)]),
            np.concatenate([others.timestamp, np.zeros(len(everything), np.int64)]),
        )
        model, items_ID = self.model.fit(self.data(with_bot, content=embeddings()), self.settings)
        users = model.user_vectors(others, ItemVectors.from_vectors(items_ID), NUM_USERS)
        scores_UI = users.vectors_UD[:bot] @ items_ID.T
        scores_UI[others.user, others.row] = -np.inf
        best_U = np.argmax(scores_UI, axis=1)
        assert (group_of_items()[best_U] == np.arange(bot) % NUM_GROUPS).mean() > 0.95
