"""The models of images and documents keep the contract of learned models, over the principal components of what they read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest

from semrec.models.base import model_class
from semrec.models.beside import BESIDE_MODELS, ImageRidgeModel, PrimitivesRidgeModel
from semrec.settings import BESIDE_KINDS
from tests.semrec.models.learned_contract import LearnedModelContract
from tests.semrec.models.learned_world import embeddings, planted_events, training_data


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


def test_each_kind_has_its_model() -> None:
    assert tuple(BESIDE_MODELS) == BESIDE_KINDS
    assert all(model_class(kind).modality == modality for modality, kind in BESIDE_MODELS.items())
