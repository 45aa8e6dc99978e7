"""Half-steps are the plain solution of their equations, the loss falls, and iALS keeps the contract of learned models."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from helpers.learned_contract import LearnedModelContract
from helpers.learned_world import NUM_ITEMS, NUM_USERS, planted_events
from semrec.errors import TrainingError
from semrec.models.half_step import FixedSide, fixed_side, solve_rows
from semrec.models.ials import IalsModel
from semrec.models.ials_training import solve_block, train_ials, training_loss
from semrec.models.sparse import SparseRows, liked_matrix

SETTINGS: dict[str, Any] = {
    **IalsModel.defaults,
    "dimension": 6,
    "unobserved_weight": 0.2,
    "regularization": 0.02,
    "min_improvement": 0.0,
}
STEP: dict[str, Any] = {"unobserved_weight": 0.2, "regularization": 0.02, "frequency_exponent": 0.7}


class TestIals(LearnedModelContract):
    model = IalsModel
    settings = {"dimension": 6, "unobserved_weight": 0.2, "regularization": 0.02}  # noqa: RUF012


def liked() -> SparseRows:
    return liked_matrix(planted_events(), NUM_USERS, NUM_ITEMS, 2.5)


@pytest.mark.parametrize("dimension", [4, 8, 9, 30])  # rows have 8 likes: primal below, dual above
def test_rows_solve_the_plain_equations(dimension: int) -> None:
    factors_CD = np.random.default_rng(0).standard_normal((NUM_ITEMS, dimension)).astype(np.float32)
    found_RD = solve_rows(liked(), fixed_side(factors_CD), STEP) @ fixed_side(factors_CD).factors_CD.T
    H = factors_CD.astype(np.float64)
    for u in range(0, NUM_USERS, 7):
        own = H[liked().columns[liked().offsets[u] : liked().offsets[u + 1]]]
        ridge = 0.02 * (len(own) + 0.2 * NUM_ITEMS) ** 0.7
        w = np.linalg.solve(own.T @ own + 0.2 * H.T @ H + ridge * np.eye(dimension), own.sum(axis=0))
        assert found_RD[u] == pytest.approx(H @ w, abs=2e-5)


def test_targets_other_than_one_are_met() -> None:
    """A half-step is linear in its targets, so that dislikes count against an item."""
    fixed = fixed_side(np.random.default_rng(0).standard_normal((NUM_ITEMS, 16)).astype(np.float32))
    halved = SparseRows(liked().offsets, liked().columns, liked().values * np.float32(-0.5), NUM_ITEMS)
    assert solve_rows(halved, fixed, STEP) == pytest.approx(-0.5 * solve_rows(liked(), fixed, STEP), abs=1e-6)


def test_items_that_nobody_liked_change_nothing() -> None:
    factors_CD = np.random.default_rng(0).standard_normal((NUM_ITEMS, 8)).astype(np.float32)
    longer_CD = np.concatenate([factors_CD, np.zeros((5 * NUM_ITEMS, 8), np.float32)])
    longer = SparseRows(liked().offsets, liked().columns, liked().values, 6 * NUM_ITEMS)
    short, long = fixed_side(factors_CD), fixed_side(longer_CD)
    found_UI, longer_UI = (
        solve_rows(rows, fixed, STEP) @ fixed.factors_CD[:NUM_ITEMS].T
        for rows, fixed in ((liked(), short), (longer, long))
    )
    assert longer_UI == pytest.approx(found_UI, abs=1e-6)


def test_the_eigenbasis_changes_no_inner_product() -> None:
    factors_CD = np.random.default_rng(0).standard_normal((NUM_ITEMS, 5)).astype(np.float32)
    fixed = fixed_side(factors_CD)
    assert fixed.factors_CD @ fixed.factors_CD.T == pytest.approx(factors_CD @ factors_CD.T, abs=1e-5)
    gram_DD = fixed.factors_CD.T @ fixed.factors_CD
    assert gram_DD == pytest.approx(np.diag(fixed.eigenvalues_D), abs=1e-4)


def test_the_loss_is_the_plain_one_and_falls_every_epoch() -> None:
    seen: list[tuple[int, float]] = []
    sides: list[FixedSide] = []

    def note(epoch: int, loss: float, items: FixedSide) -> bool:
        seen.append((epoch, loss))
        sides.append(items)
        return epoch == 5

    train_ials(liked(), SETTINGS, on_epoch=note)
    assert [epoch for epoch, _ in seen] == [1, 2, 3, 4, 5]  # told to stop
    losses = [loss for _, loss in seen]
    assert all(after < before for before, after in pairwise(losses))
    users = fixed_side(solve_rows(liked(), sides[-1], SETTINGS))
    user_sums = solve_block(liked(), sides[-1], SETTINGS)[1]
    items_ID, item_sums = solve_block(liked().transposed(), users, SETTINGS)
    scores_UI = users.factors_CD.astype(np.float64) @ items_ID.T
    R = np.zeros((NUM_USERS, NUM_ITEMS))
    R[np.repeat(np.arange(NUM_USERS), liked().lengths), liked().columns] = 1
    plain = (R * (1 - scores_UI) ** 2).sum() + 0.2 * (scores_UI**2).sum()
    for counts, factors, others in ((R.sum(1), users.factors_CD, R.any(0).sum()), (R.sum(0), items_ID, R.any(1).sum())):
        plain += (0.02 * (counts + 0.2 * others) * (factors.astype(np.float64) ** 2).sum(axis=1)).sum()
    assert training_loss(users.eigenvalues_D, user_sums, item_sums, SETTINGS) == pytest.approx(plain, rel=1e-5)
    assert plain < losses[-1]


def test_any_number_of_threads_gives_the_same_bytes() -> None:
    one, two = (train_ials(liked(), SETTINGS, num_threads=number, rows_per_block=17) for number in (1, 2))
    assert one.factors_CD.tobytes() == two.factors_CD.tobytes()
    whole = train_ials(liked(), SETTINGS)
    assert whole.factors_CD @ whole.factors_CD.T == pytest.approx(one.factors_CD @ one.factors_CD.T, abs=1e-4)


def test_training_stops_when_an_epoch_gains_little() -> None:
    epochs: list[int] = []

    def note(epoch: int, loss: float, items: FixedSide) -> bool:
        epochs.append(epoch)
        return False

    train_ials(liked(), {**SETTINGS, "min_improvement": 0.5, "num_epochs": 50}, on_epoch=note)
    assert 2 <= len(epochs) < 50


def test_a_warm_start_begins_where_the_last_training_ended() -> None:
    losses: list[float] = []

    def note(epoch: int, loss: float, items: FixedSide) -> bool:
        losses.append(loss)
        return False

    trained = train_ials(liked(), {**SETTINGS, "num_epochs": 8}, on_epoch=note)
    train_ials(liked(), {**SETTINGS, "num_epochs": 1}, start_ID=trained.factors_CD, on_epoch=note)
    assert losses[8] < losses[7] < losses[0]


def test_a_loss_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(TrainingError, match="not finite"):
        train_ials(liked(), {**SETTINGS, "regularization": float("nan")})
