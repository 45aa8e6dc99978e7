"""Weights are those that a plain loop over all combinations would choose, and too little evidence chooses none."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from semrec.errors import InputError
from semrec.models.blend import choose_weights

NUM_USERS, NUM_ITEMS = 120, 40


def world() -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray, np.ndarray, np.ndarray]:
    """Three models: one knows the target roughly, one a little, one nothing; and the scores they are made of."""
    draws = np.random.default_rng(2)
    targets_U = draws.integers(0, NUM_ITEMS, NUM_USERS)
    models = []
    for knowledge in (2.0, 0.8, 0.0):
        scores_UI = draws.standard_normal((NUM_USERS, NUM_ITEMS))
        scores_UI[np.arange(NUM_USERS), targets_U] += knowledge
        models.append((np.eye(NUM_ITEMS, dtype=np.float32), scores_UI.astype(np.float32)))
    seen_rows = np.array([next(i for i in (0, 1) if i != t) for t in targets_U])  # one seen item each
    return models, targets_U, np.arange(NUM_USERS + 1), seen_rows


def test_the_chosen_weights_are_those_of_a_plain_loop() -> None:
    models, targets_U, offsets, seen_rows = world()
    weights, table = choose_weights(models, offsets, targets_U, offsets, seen_rows, k=10)
    plain = {}
    for tried in product((0.0, 0.25, 0.5, 1.0), repeat=3):
        if max(tried) < 1:
            continue
        scores_UI = sum(np.float32(w) * users for w, (_, users) in zip(tried, models, strict=True))
        scores_UI[np.arange(NUM_USERS), seen_rows] = -np.inf
        own_U = scores_UI[np.arange(NUM_USERS), targets_U]
        before_U = (scores_UI > own_U[:, None]).sum(axis=1)
        plain[tried] = float(np.where(before_U < 10, 1 / np.log2(2 + before_U), 0).mean())
    assert dict(table) == pytest.approx(plain, abs=1e-6)
    assert plain[tuple(weights)] == pytest.approx(max(plain.values()))
    assert weights[0] == 1.0
    assert weights[2] < weights[0]  # the model that knows nothing
    assert 0 < weights[1] < 1


def test_too_few_users_choose_nothing() -> None:
    models, targets_U, offsets, seen_rows = world()
    with pytest.raises(InputError, match="50 users with a held-out item"):
        choose_weights(models, np.minimum(offsets, 50), targets_U[:50], offsets, seen_rows)
