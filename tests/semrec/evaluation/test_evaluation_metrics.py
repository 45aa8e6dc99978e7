"""Metrics are those of ranx where it is installed, and of hand-worked values everywhere."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from semrec.evaluation.metrics import item_cohorts, list_metrics, user_cohorts, user_metrics
from semrec.scoring.types import TopK

OFFSETS = np.array([0, 2, 2, 3, 6])
RANKS = np.array([3, 1, 12, 40, 2, 11])


def test_hand_worked_values() -> None:
    found = user_metrics(OFFSETS, RANKS, ks=(10,))
    second, third = 1 / math.log2(3), 1 / math.log2(4)
    expected = {
        "recall@10": [1, 0, 1 / 3],
        "ndcg@10": [(1 + third) / (1 + second), 0, second / (1 + second + third)],
        "hr@10": [1, 0, 1],
        "map@10": [(1 + 2 / 3) / 2, 0, 1 / 2 / 3],
        "mrr@10": [1, 0, 0.5],
    }
    for name, values in expected.items():
        assert found[name][[0, 2, 3]] == pytest.approx(values), name
        assert math.isnan(found[name][1])  # without targets


RANX = """
import json, sys
from ranx import Qrels, Run, evaluate

given = json.load(sys.stdin)
run = Run(given["run"])
evaluate(Qrels(given["qrels"]), run, given["metrics"], make_comparable=False, threads=1)
json.dump(run.scores, sys.stdout)
"""


def test_own_metrics_are_those_of_ranx() -> None:
    if importlib.util.find_spec("ranx") is None:
        pytest.skip("NOT TESTED: ranx is not installed (the test extra has it)")
    draws, num_users, num_items = np.random.default_rng(5), 40, 60
    lengths = draws.integers(1, 8, num_users)
    targets = [draws.permutation(num_items)[:length].tolist() for length in lengths]
    scores_UI = draws.permutation(num_users * num_items).reshape(num_users, num_items).astype(float)
    ranks = [int((scores_UI[u] > scores_UI[u, row]).sum()) + 1 for u in range(num_users) for row in targets[u]]
    names = {"recall": "recall", "ndcg": "ndcg", "hr": "hit_rate", "map": "map", "mrr": "mrr"}
    given = {
        "qrels": {f"u{u}": {f"i{row}": 1 for row in targets[u]} for u in range(num_users)},
        "run": {f"u{u}": {f"i{row}": scores_UI[u, row] for row in range(num_items)} for u in range(num_users)},
        "metrics": [f"{theirs}@{k}" for theirs in names.values() for k in (5, 20)],
    }
    # As plain Python, in a process of its own: compiling ranx takes minutes, running it a moment.
    done = subprocess.run(
        [sys.executable, "-c", RANX], input=json.dumps(given), env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    by_metric = json.loads(done.stdout)
    found = user_metrics(np.concatenate([[0], np.cumsum(lengths)]), np.array(ranks), ks=(5, 20))
    for ours, theirs in names.items():
        for k in (5, 20):
            expected = [by_metric[f"{theirs}@{k}"][f"u{u}"] for u in range(num_users)]
            assert found[f"{ours}@{k}"] == pytest.approx(expected, abs=1e-9), ours


def lists(*rows: list[int]) -> TopK:
    flat = np.array([row for some in rows for row in some], np.int64)
    return TopK(np.concatenate([[0], np.cumsum([len(some) for some in rows])]), flat, np.zeros(len(flat), np.float32))


def test_the_shape_of_lists_by_hand() -> None:
    popularity_I = np.array([4, 2, 1, 0], np.float32)
    content_ID = np.array([[1, 0], [2, 0], [0, 3], [0, 0]], np.float32)
    found = list_metrics(lists([0, 1, 3], [0, 2], [0]), 2, popularity_I, 8, content_ID)
    assert found["coverage@2"] == 0.75  # the third item of the first list lies beyond K
    assert found["top_item_reach@2"] == 1.0
    assert found["top10_items_reach@2"] == 1.0
    assert found["novelty@2"] == pytest.approx((1 + 2 + 1 + 3 + 1) / 5)
    assert found["diversity@2"] == pytest.approx((0 + 1) / 2)  # parallel, orthogonal
    # u = 0, 1, 1, 3: sum of (2 n - 5) u = -1 + 1 + 9 over 4 * 5
    assert found["gini@2"] == pytest.approx(9 / 20)


def test_equal_shares_have_no_inequality_and_one_item_has_all() -> None:
    alike = list_metrics(lists([0], [1], [2], [3]), 1, np.ones(4, np.float32), 4)
    single = list_metrics(lists([2], [2]), 1, np.ones(4, np.float32), 4)
    assert alike["gini@1"] == 0
    assert single["gini@1"] == pytest.approx(0.75)
    assert single["top_item_reach@1"] == 1.0
    assert alike["top_item_reach@1"] == 0.25


def test_cohorts() -> None:
    users = user_cohorts(np.array([0, 1, 5, 9, 0]))
    assert {name: np.flatnonzero(mask).tolist() for name, mask in users.items()} == {
        "new": [0, 4], "light": [1, 2], "heavy": [3]
    }  # fmt: skip
    items = item_cohorts(np.array([0, 2, 9, 5, 2], np.float32))
    assert {name: np.flatnonzero(mask).tolist() for name, mask in items.items()} == {
        "head": [2], "tail": [1, 3, 4], "cold": [0]
    }  # fmt: skip
