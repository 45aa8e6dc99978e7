"""The models of images and documents keep the contract of learned models, over the principal components of what they read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest

from helpers.learned_contract import LearnedModelContract
from helpers.learned_world import NUM_ITEMS, embeddings, planted_events, training_data
from semrec.errors import InputError
from semrec.models.base import Events, model_class
from semrec.models.beside import BESIDE_MODELS, ImageRidgeModel, PrimitivesRidgeModel, shared_by_likes
from semrec.settings import BESIDE_KINDS


class TestImageRidge(LearnedModelContract):
    model = ImageRidgeModel
    settings: ClassVar[Mapping[str, Any]] = {"dimension": 5}
    learns_from_text_alone = True


class TestPrimitivesRidge(LearnedModelContract):
    model = PrimitivesRidgeModel
    learns_from_text_alone = True


def test_item_vectors_are_principal_components() -> None:
    content = embeddings()
    content[7] = 0
    data = training_data(planted_events(), content=content, modality="image")
    model, items_ID = ImageRidgeModel.fit(data, {"dimension": 3})
    shown = content.any(axis=1)
    E = content.astype(np.float64) - content[shown].mean(axis=0, dtype=np.float64)
    E = np.where(shown[:, None], E / np.linalg.norm(E, axis=1, keepdims=True), 0)
    _, lengths, axes = np.linalg.svd(E, full_matrices=False)
    assert np.abs(items_ID) == pytest.approx(np.abs(E @ axes[:3].T), abs=1e-5)  # an axis has no sign of its own
    assert model.arrays()["explained"] == pytest.approx((lengths[:3] ** 2).sum() / (lengths**2).sum(), rel=1e-6)
    assert (
        model.found()
        == f"image_ridge: 3 of 12 dimensions keep {float(model.arrays()['explained']):.1%} of the variance"
    )
    assert not items_ID[7].any()
    assert not model.cold_items({"text": embeddings()[:2]}).any()  # items whose text alone is known
    whole, _ = ImageRidgeModel.fit(data, {})
    assert (whole.dimension, float(whole.arrays()["explained"])) == (12, pytest.approx(1))


def test_dimensions_are_chosen_by_what_the_likes_of_a_user_share() -> None:
    rng = np.random.default_rng(2)
    side = np.arange(NUM_ITEMS) % 2 * 2.0 - 1  # users like one side, along an axis with little variance
    content = np.stack([0.1 * side, *rng.standard_normal((3, NUM_ITEMS))], axis=1).astype(np.float32)
    user = np.repeat(np.arange(40), 8)
    row = np.array([2 * one + u % 2 for u in range(40) for one in rng.permutation(NUM_ITEMS // 2)[:8]])
    events = Events(user, row, np.full(len(user), 5, np.float32), np.zeros(len(user), np.int64))
    data = training_data(events, content=content, modality="image")

    def loading(selection: str) -> float:
        model, _ = ImageRidgeModel.fit(data, {"dimension": 1, "selection": selection})
        assert 0 < float(model.arrays()["explained"]) <= 1
        return float(np.abs(model.arrays()["axes_CF"][0, 0]))

    assert (loading("likes") > 0.9, loading("variance") < 0.1) == (True, True)
    E = ImageRidgeModel.fit(data, {})[0].centred(content).astype(np.float64)
    likes = [E[row[user == one]] for one in range(40)]
    mean = np.mean([own.mean(axis=0) for own in likes], axis=0)
    pairs = sum(((own - mean).sum(axis=0) ** 2 - ((own - mean) ** 2).sum(axis=0)) / len(own) for own in likes)
    np.testing.assert_allclose(shared_by_likes(E, np.eye(4), data), np.maximum(pairs, 0), rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match="selection 'luck' of the image_ridge model"):
        ImageRidgeModel.fit(data, {"selection": "luck"})


def test_each_kind_has_its_model() -> None:
    assert tuple(BESIDE_MODELS) == BESIDE_KINDS
    assert all(model_class(kind).modality == modality for modality, kind in BESIDE_MODELS.items())
