"""Reports tell a better model from a worse one, and no difference from one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from semrec.errors import InputError
from semrec.evaluation.intervals import bootstrap_intervals, compare_paired
from semrec.evaluation.ranks import ModelVectors, count_popularity
from semrec.evaluation.report import compare_results, evaluate_models
from semrec.evaluation.splits import split_events
from semrec.models.base import Events


def test_the_interval_of_a_mean_is_the_textbook_one() -> None:
    draws = np.random.default_rng(1).normal(3.0, 2.0, (400, 1))
    means, lows, highs = bootstrap_intervals(draws)
    half_width = 1.96 * draws.std() / 20
    assert means[0] == pytest.approx(draws.mean())
    assert lows[0] == pytest.approx(draws.mean() - half_width, abs=0.15 * half_width)
    assert highs[0] == pytest.approx(draws.mean() + half_width, abs=0.15 * half_width)
    assert np.array_equal(bootstrap_intervals(draws)[1], lows)  # seeded
    with pytest.raises(InputError, match="no tested user"):
        bootstrap_intervals(np.zeros((0, 1)))


def test_paired_comparisons_see_what_unpaired_intervals_do_not() -> None:
    draws = np.random.default_rng(2)
    base_UM = draws.normal(0, 10, (300, 1))
    slightly_better_UM = base_UM + 0.2 + draws.normal(0, 0.5, (300, 1))
    [found] = compare_paired(slightly_better_UM, base_UM)
    assert found.low > 0
    assert found.p_value < 0.01
    assert found.is_significant
    [none] = compare_paired(base_UM, base_UM)
    assert (none.difference, none.p_value, none.is_significant) == (0, 1, False)
    with pytest.raises(InputError, match="shape"):
        compare_paired(base_UM, base_UM[1:])


def test_a_model_that_knows_the_taste_beats_popularity_significantly() -> None:
    """Two groups of users, each with its own half of the items: popularity cannot know which."""
    draws, num_users, num_items = np.random.default_rng(4), 80, 40
    user = np.repeat(np.arange(num_users), 6)
    row = np.concatenate([draws.permutation(20)[:6] + 20 * (u % 2) for u in range(num_users)])
    events = Events(user, row, np.ones(len(user), np.float32), np.arange(len(user)))
    split = split_events(events, "leave-last-out", num_users=num_users, num_items=num_items, neutral_value=0)
    half_I, half_U = np.arange(num_items) >= 20, np.arange(num_users) % 2 == 1
    all_users, everyone = np.ones((num_users, 1), np.float32), np.ones(num_users, bool)
    knowing = ModelVectors(
        np.eye(2, dtype=np.float32)[half_I.astype(int)], np.eye(2, dtype=np.float32)[half_U.astype(int)], everyone
    )
    popular = ModelVectors(count_popularity(split.train, num_items)[:, None], all_users, everyone)
    report = evaluate_models({"popularity": popular, "taste": knowing}, split, ks=(10,))
    comparison = report.comparisons["taste - popularity"]["recall@10"]
    assert comparison.low > 0
    assert comparison.difference == pytest.approx(
        report.results["taste"].means["recall@10"] - report.results["popularity"].means["recall@10"]
    )
    found = json.loads(json.dumps(report.to_json()))
    low, high = found["metrics"]["taste"]["ndcg@10_ci"]
    assert low < found["metrics"]["taste"]["ndcg@10"] < high
    assert found["protocol"]["tested_users"] == num_users
    assert found["protocol"]["sampled"] is False
    assert {"users: light", "items: head", "items: tail"} <= set(report.results["taste"].cohorts)
    groups = report.results["taste"].cohorts
    assert sum(group["users"] for name, group in groups.items() if name.startswith("users")) == num_users
    by_target = [group for name, group in groups.items() if name.startswith("items")]
    weighted = sum(group["targets"] * group["recall@10"] for group in by_target) / num_users
    assert weighted == pytest.approx(report.results["taste"].means["recall@10"])
    with pytest.raises(InputError, match="common metric"):
        compare_results(report.results["taste"], evaluate_models({"p": popular}, split, ks=(5,)).results["p"])
