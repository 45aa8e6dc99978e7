"""Splits hold out what they say, keep the rest, and refuse what they cannot divide."""

from __future__ import annotations

import numpy as np
import pytest

from semrec.errors import InputError
from semrec.evaluation.splits import SPLITS, Split, check_no_overlap, split_events
from semrec.models.base import Events

NUM_ITEMS = 50


def events(*rows: tuple[int, int, float, int]) -> Events:
    """Events of (user, item row, value, timestamp)."""
    user, row, value, time_s = (np.array(column) for column in zip(*rows, strict=True))
    return Events(user.astype(np.int64), row.astype(np.int64), value.astype(np.float32), time_s.astype(np.int64))


def generated(num_users: int = 60, seed: int = 3) -> Events:
    """Users with 1 to 20 distinct items, values 1 to 5, times in no order."""
    draws = np.random.default_rng(seed)
    rows = [
        (user, int(row), float(draws.integers(1, 6)), int(draws.integers(1, 10_000)))
        for user in range(num_users)
        for row in draws.permutation(NUM_ITEMS)[: draws.integers(1, 21)]
    ]
    return events(*rows)


def pairs(some: Events) -> set[tuple[int, int]]:
    return set(zip(some.user.tolist(), some.row.tolist(), strict=True))


def targets(split: Split) -> set[tuple[int, int]]:
    owner = np.repeat(np.arange(split.num_users), np.diff(split.target_offsets))
    return set(zip(owner.tolist(), split.target_rows.tolist(), strict=True))


def test_the_last_liked_item_is_held_out_and_later_disliked_ones_stay_seen() -> None:
    history = events((0, 4, 5, 30), (0, 2, 1, 40), (0, 7, 4, 10), (0, 9, 5, 20), (1, 3, 5, 1), (2, 1, 1, 1))
    split = split_events(history, "leave-last-out", num_users=3, num_items=NUM_ITEMS, neutral_value=2.5)
    assert targets(split) == {(0, 4)}
    assert pairs(split.train) == {(0, 2), (0, 7), (0, 9), (1, 3), (2, 1)}
    assert (split.counts["tested_users"], split.counts["untested_users"]) == (1, 2)  # one liked item, none


def test_the_latest_of_repeated_events_counts_and_equal_times_go_by_item() -> None:
    history = events((0, 4, 5, 9), (0, 4, 1, 10), (0, 6, 5, 5), (0, 5, 5, 5), (0, 1, 5, 5))
    split = split_events(history, "leave-last-out", num_users=1, num_items=NUM_ITEMS, neutral_value=2.5)
    assert targets(split) == {(0, 6)}  # item 4 is no longer liked
    assert len(split.train.user) == 3


@pytest.mark.parametrize("method", SPLITS)
def test_no_target_is_seen_and_nothing_is_trained_twice(method: str) -> None:
    split = split_events(generated(), method, num_users=60, num_items=NUM_ITEMS, neutral_value=2.5, share=0.3)
    liked = {(u, r) for u, r, v in zip(*(a.tolist() for a in (generated().user, generated().row, generated().value)),
                                       strict=True) if v > 2.5}  # fmt: skip
    assert targets(split) <= liked
    assert not targets(split) & pairs(split.history)
    assert pairs(split.train) <= pairs(split.history)
    assert len(pairs(split.train)) == len(split.train.user)
    assert split.counts["targets"] == len(split.target_rows) > 0
    for u in range(60):
        rows = split.target_rows[split.target_offsets[u] : split.target_offsets[u + 1]]
        assert (np.diff(rows) > 0).all()


def test_the_last_share_is_at_least_one_and_never_all() -> None:
    split = split_events(generated(), "last-share", num_users=60, num_items=NUM_ITEMS, neutral_value=0, share=0.2)
    num_liked_U = np.bincount(generated().user, minlength=60)
    expected = np.where(num_liked_U < 2, 0, np.ceil(0.2 * num_liked_U)).astype(int)
    assert np.diff(split.target_offsets).tolist() == expected.tolist()


def test_users_of_the_strong_split_train_nothing() -> None:
    split = split_events(generated(), "strong", num_users=60, num_items=NUM_ITEMS, neutral_value=0, share=0.25)
    assert len(split.tested_users) > 5
    assert not set(split.train.user.tolist()) & set(split.tested_users.tolist())
    assert set(split.tested_users.tolist()) <= set(split.history.user.tolist())


def test_cold_items_train_nothing_and_compete_alone() -> None:
    split = split_events(generated(), "cold-items", num_users=60, num_items=NUM_ITEMS, neutral_value=2.5, share=0.2)
    assert split.candidates is not None
    assert len(split.candidates) == 10
    assert not set(split.train.row.tolist()) & set(split.candidates.tolist())
    assert set(split.target_rows.tolist()) <= set(split.candidates.tolist())


def test_time_divides_globally() -> None:
    split = split_events(generated(), "global-time", num_users=60, num_items=NUM_ITEMS, neutral_value=0, share=0.2)
    held_out = len(split.target_rows) / len(generated().user)
    assert 0.15 < held_out < 0.25
    all_times = {(u, r): t for u, r, t in zip(*(a.tolist() for a in (generated().user, generated().row,
                                                                     generated().timestamp)), strict=True)}  # fmt: skip
    assert max(split.train.timestamp) < min(all_times[pair] for pair in targets(split))


def test_the_same_seed_gives_the_same_split() -> None:
    first, again, other = (
        split_events(generated(), "cold-items", num_users=60, num_items=NUM_ITEMS, neutral_value=0, seed=seed)
        for seed in (1, 1, 2)
    )
    assert targets(first) == targets(again) != targets(other)


@pytest.mark.parametrize(
    ("history", "method", "message"),
    [
        (events((0, 1, np.nan, 1)), "leave-last-out", "nan"),
        (events((0, 1, np.inf, 1)), "leave-last-out", "inf"),
        (events((5, 1, 1, 1)), "leave-last-out", "user 5"),
        (events((0, 50, 1, 1)), "leave-last-out", "item row 50"),
        (events((0, 1, 5, 1)), "leave-last-out", "no user has an item to ask for"),
        (
            events((0, 1, 1, 1), (0, 2, 1, 2)),
            "leave-last-out",
            "no user has an item to ask for",
        ),  # all equal, none liked
        (events((0, 1, -5, 1), (0, 2, -1, 2)), "last-share", "no user has an item to ask for"),  # negative values
        (events((0, 1, 5, 7), (0, 2, 5, 7)), "global-time", "without different timestamps"),
        (events((0, 1, 5, 1)), "random", "split 'random'"),
    ],
)
def test_what_cannot_be_split_is_refused(history: Events, method: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        split_events(history, method, num_users=2, num_items=NUM_ITEMS, neutral_value=2.5)


def test_overlap_of_train_and_test_is_refused_with_the_count() -> None:
    train, test = events((0, 1, 1, 1), (0, 2, 1, 1), (1, 1, 1, 1)), events((0, 2, 1, 1), (1, 1, 1, 1), (1, 2, 1, 1))
    with pytest.raises(InputError, match="2 pairs of train stand in test"):
        check_no_overlap(train, test, NUM_ITEMS)
    check_no_overlap(train, events((1, 2, 1, 1)), NUM_ITEMS)
