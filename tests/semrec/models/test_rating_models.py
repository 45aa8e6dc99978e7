"""Rating models against the formulas of their papers in plain lines, against scikit-surprise, and on planted ratings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import semrec.models.ratings
from semrec.bench.ratings import generate_ratings
from semrec.errors import InputError, MissingArtefactError, TrainingError
from semrec.models.ratings.base import RATING_MODELS, rating_model_class
from semrec.models.ratings.cross_validation import cross_validate
from semrec.models.ratings.table import RatingTable, divide_folds, read_ratings
from semrec.models.sparse import SparseRows

TABLE = generate_ratings(60, 40, 900)
USERS_N, ITEMS_N = np.divmod(np.arange(60 * 40), 40)  # all pairs


def predict_all(kind: str, settings: dict[str, Any] | None = None, table: RatingTable = TABLE) -> np.ndarray:
    return rating_model_class(kind)(settings).fit(table.rows(np.arange(len(table)))).predict(USERS_N, ITEMS_N)


@pytest.mark.parametrize("implicit", [False, True], ids=["svd", "svd++"])
def test_svd_takes_the_steps_of_the_paper(implicit: bool) -> None:
    """Koren 2008, section 4.1: after each rating, step by step, also for the y of every item of the user."""
    settings = {"dimension": 3, "num_epochs": 3, "learning_rate": 0.02, "decay": 0.9, "regularization": 0.7,
                "bias_regularization": 0.3, "frequency_exponent": 0.5, "initial_std": 0.2, "seed": 5}  # fmt: skip
    draws = np.random.default_rng(5)
    p, q, y = (0.2 * draws.standard_normal((count, 3), np.float32).astype(np.float64) for count in (60, 40, 40))
    bias_u, bias_i, mean = np.zeros(60), np.zeros(40), TABLE.value_N.mean()
    count_u, count_i = (np.bincount(numbers) for numbers in (TABLE.user_N, TABLE.item_N))
    for epoch in range(3):
        rate = 0.02 * 0.9**epoch
        for u, i, value in zip(TABLE.user_N, TABLE.item_N, TABLE.value_N, strict=True):
            rated = TABLE.item_N[TABLE.user_N == u]
            ridge_u, ridge_i = 0.7 * len(rated) ** -0.5, 0.7 * count_i[i] ** -0.5
            user = p[u] + implicit * y[rated].sum(axis=0) * len(rated) ** -0.5
            error = value - (mean + bias_u[u] + bias_i[i] + q[i] @ user)
            bias_u[u] += rate * (error - 0.3 * len(rated) ** -0.5 * bias_u[u])
            bias_i[i] += rate * (error - 0.3 * count_i[i] ** -0.5 * bias_i[i])
            item = q[i].copy()
            q[i] += rate * (error * user - ridge_i * item)
            p[u] += rate * (error * item - ridge_u * p[u])
            if implicit:
                y[rated] += rate * (error * item * len(rated) ** -0.5 - ridge_u * y[rated])
    assert count_u.min() > 0
    users = p + [implicit * y[TABLE.item_N[TABLE.user_N == u]].sum(axis=0) * count_u[u] ** -0.5 for u in range(60)]
    expected = mean + bias_u[:, None] + bias_i + users @ q.T
    given = predict_all("svd++" if implicit else "svd", settings)
    np.testing.assert_allclose(given, np.clip(expected, 1, 5).ravel(), atol=2e-5)


@pytest.mark.parametrize(
    ("kind", "settings", "peer", "options"),
    [
        ("slope_one", {"weighted": False}, "SlopeOne", {}),
        ("knn", {"num_neighbours": 7}, "KNNBasic", {"k": 7, "verbose": False}),
        ("knn_centred", {"num_neighbours": 7}, "KNNWithMeans", {"k": 7, "verbose": False}),
        (
            "knn_baseline",
            {"num_neighbours": 7, "by": "item"},
            "KNNBaseline",
            {"k": 7, "verbose": False, "sim_options": {"user_based": False}},
        ),
    ],
)
def test_equals_scikit_surprise(kind: str, settings: dict[str, Any], peer: str, options: dict[str, Any]) -> None:
    surprise = pytest.importorskip("surprise")
    data = surprise.Dataset(surprise.Reader(rating_scale=(1, 5)))
    columns = (TABLE.user_N.tolist(), TABLE.item_N.tolist(), TABLE.value_N.tolist())
    train = data.construct_trainset([(*row, None) for row in zip(*columns, strict=True)])
    expected = getattr(surprise, peer)(**options).fit(train)
    is_new_N = ~np.isin(USERS_N * 40 + ITEMS_N, TABLE.user_N * 40 + TABLE.item_N)
    estimates = [expected.predict(*pair).est for pair in zip(USERS_N[is_new_N], ITEMS_N[is_new_N], strict=True)]
    np.testing.assert_allclose(predict_all(kind, settings)[is_new_N], estimates, atol=1e-6)


@pytest.mark.parametrize("kind", RATING_MODELS)
def test_model_beats_the_mean_and_repeats_itself(kind: str) -> None:
    table = generate_ratings(60, 40, 1_500)
    scores = cross_validate(kind, table, num_folds=3)
    assert scores.rmse < 0.985 * table.value_N.std()
    assert 0 < scores.mae < scores.rmse
    np.testing.assert_array_equal(predict_all(kind), predict_all(kind))


@pytest.mark.parametrize("kind", RATING_MODELS)
def test_what_is_unknown_gets_a_rating_within_the_range(kind: str) -> None:
    """User 2 and item 2 have no rating; all ratings are equal, one user has one."""
    few = SparseRows.from_pairs(np.array([0, 0, 1]), np.array([0, 1, 0]), np.full(3, 4.0), 3, 3)
    model = rating_model_class(kind)().fit(few)
    np.testing.assert_array_equal(model.predict(np.array([0, 1, 2, 2]), np.array([2, 1, 0, 2])), 4.0)
    assert model.predict(np.zeros(0, np.int64), np.zeros(0, np.int64)).shape == (0,)


def test_nmf_finds_factors_that_are_not_negative() -> None:
    draws = np.random.default_rng(0)
    values_UI = (draws.random((30, 2)) @ draws.random((2, 25))).astype(np.float32)
    rows, columns = np.nonzero(draws.random((30, 25)) < 0.7)
    model = rating_model_class("nmf")({"dimension": 2, "num_epochs": 400, "regularization": 0.0})
    model.fit(SparseRows.from_pairs(rows, columns, values_UI[rows, columns], 30, 25))
    held_out = np.nonzero(values_UI)
    assert np.abs(model.predict(*held_out) - values_UI[held_out]).mean() < 0.02


def test_bad_input_is_an_error() -> None:
    ratings = TABLE.rows(np.arange(len(TABLE)))
    with pytest.raises(InputError, match="settings rank of SvdModel"):
        rating_model_class("svd")({"rank": 3})
    with pytest.raises(InputError, match="rating model 'als'"):
        rating_model_class("als")
    with pytest.raises(InputError, match="no rating"):
        rating_model_class("knn")().fit(TABLE.rows(np.zeros(0, np.int64)))
    with pytest.raises(InputError, match="not finite"):
        rating_model_class("svd")().fit(
            SparseRows.from_pairs(np.zeros(1, int), np.zeros(1, int), np.array([np.nan]), 1, 1)
        )
    with pytest.raises(InputError, match="negative rating"):
        rating_model_class("nmf")().fit(SparseRows.from_pairs(np.zeros(1, int), np.zeros(1, int), -np.ones(1), 1, 1))
    with pytest.raises(InputError, match="by 'film'"):
        rating_model_class("knn")({"by": "film"}).fit(ratings)
    with pytest.raises(MissingArtefactError, match="fitted"):
        rating_model_class("slope_one")().predict(USERS_N, ITEMS_N)
    with pytest.raises(InputError, match="user outside the ratings"):
        rating_model_class("slope_one")().fit(ratings).predict(np.array([60]), np.array([0]))


@pytest.mark.parametrize("kind", ["svd", "svd++"])
def test_divergence_is_an_error(kind: str) -> None:
    with pytest.raises(TrainingError, match="a mean squared error of"):
        predict_all(kind, {"learning_rate": 0.8, "decay": 1.0})


CSV = "userId,movieId,rating,timestamp\n7,ab,1,5\n7,ab,3.5,6\n8,ab,2,1\n"
TABS, COLONS = "7\tab\t3.5\t6\n8\tab\t2\t1\n", "7::ab::3.5\n8::ab::2\n"


@pytest.mark.parametrize("lines", [CSV, TABS, COLONS], ids=["ratings.csv", "u.data", "ratings.dat"])
def test_files_of_ratings_are_read(tmp_path: Path, lines: str) -> None:
    path = tmp_path / "ratings"
    path.write_text(lines)
    table = read_ratings(path)
    assert (table.user_N.tolist(), table.item_N.tolist(), table.value_N.tolist()) == ([0, 1], [0, 0], [3.5, 2])
    assert (table.num_users, table.num_items) == (2, 1)


@pytest.mark.parametrize("lines", ["", "a,b\n1,2\n", "user,item,rating\n1,2,good\n", "1,2,3\n1,2\n"])
def test_other_files_are_refused_by_name(tmp_path: Path, lines: str) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text(lines)
    with pytest.raises(InputError, match=r"ratings\.csv: .*expected lines of user, item and rating"):
        read_ratings(path)


def test_only_the_first_folds_are_measured_where_that_is_asked() -> None:
    table = generate_ratings(40, 30, 400)
    trained, tested = next(iter(divide_folds(len(table), 3, 0)))
    model = rating_model_class("slope_one")().fit(table.rows(trained))
    errors_N = model.predict(table.user_N[tested], table.item_N[tested]) - table.value_N[tested]
    scores = cross_validate("slope_one", table, num_folds=3, measured_folds=1)
    assert scores.rmse == pytest.approx(np.sqrt((errors_N**2).mean()))


def test_folds_are_those_of_scikit_surprise() -> None:
    surprise = pytest.importorskip("surprise")
    from surprise.model_selection import KFold

    data = surprise.Dataset(surprise.Reader(rating_scale=(0, 22)))
    data.raw_ratings = [(n, n, float(n), None) for n in range(23)]
    expected = [[int(row[0]) for row in test] for _, test in KFold(5, random_state=3).split(data)]
    folds = list(divide_folds(23, 5, 3))
    assert [tested.tolist() for _, tested in folds] == expected
    assert all(sorted([*trained, *tested]) == list(range(23)) for trained, tested in folds)
    with pytest.raises(InputError, match="1 folds of 23 ratings"):
        list(divide_folds(23, 1))


def test_the_example_of_the_readme_runs(tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    rows = zip(TABLE.user_N, TABLE.item_N, TABLE.value_N, strict=True)
    path.write_text("".join(f"{user},{item},{value}\n" for user, item, value in rows))
    text = Path(semrec.models.ratings.__file__).with_name("README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {"path": path}
    exec(compile(example, "README.md", "exec"), names)
    assert len(names["stars_N"]) == len(TABLE)
