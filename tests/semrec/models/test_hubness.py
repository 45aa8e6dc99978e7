"""The hubness model lowers items by their scores over all users, computed from the users' mean and covariance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers.learned_world import NUM_ITEMS, planted_events, training_data
from semrec.errors import InputError
from semrec.models.base import BlendSample, ItemVectors
from semrec.models.hubness import HubnessModel

DATA = training_data(planted_events())


def test_items_are_lowered_by_the_mean_and_deviation_of_their_scores() -> None:
    random = np.random.default_rng(0)
    items_ID, users_UD = (1 + random.standard_normal((rows, 6), np.float32) for rows in (NUM_ITEMS, 50))
    blend = BlendSample(lambda: iter([items_ID[:7], items_ID[7:]]), users_UD)
    model, hubness_I1 = HubnessModel.fit(replace(DATA, blend=blend), {})
    scores_UI = users_UD.astype(np.float64) @ items_ID.T
    np.testing.assert_allclose(hubness_I1[:, 0], -(scores_UI.mean(axis=0) + scores_UI.std(axis=0)), rtol=1e-5)

    again = HubnessModel.load(model.settings, 1, model.arrays())
    assert again.cold_items({"text": items_ID[:3]}).tolist() == [[np.median(hubness_I1)]] * 3
    users = again.user_vectors(planted_events(), ItemVectors.from_vectors(hubness_I1), 2)
    assert users.vectors_UD.tolist() == [[1.0], [1.0]] and not again.is_personal


@pytest.mark.parametrize("blend", [None, BlendSample(lambda: iter([]), np.zeros((0, 6), np.float32))])
def test_without_scores_there_is_nothing_to_correct(blend: BlendSample | None) -> None:
    with pytest.raises(InputError, match="without scores to correct"):
        HubnessModel.fit(replace(DATA, blend=blend), {})
