"""EASE solves its published problem, item-kNN keeps the nearest, and both find planted tastes."""

from __future__ import annotations

import numpy as np
import pytest
from test_learn import divided, planted

from semrec.errors import InputError
from semrec.evaluation import yardsticks
from semrec.evaluation.learn import fit_model
from semrec.evaluation.report import evaluate_models
from semrec.evaluation.yardsticks import ease_weights, item_knn_weights

LIKES_UJ = (np.random.default_rng(0).random((40, 7)) < 0.4).astype(np.float64)


def test_ease_is_ridge_regression_of_each_item_on_the_others() -> None:
    weights_JJ = ease_weights(LIKES_UJ.T @ LIKES_UJ, regularization=5.0)
    for item in range(7):
        others = np.delete(np.arange(7), item)
        X, y = LIKES_UJ[:, others], LIKES_UJ[:, item]
        expected = np.linalg.solve(X.T @ X + 5.0 * np.eye(6), X.T @ y)
        np.testing.assert_allclose(weights_JJ[others, item], expected, atol=1e-10)
        assert weights_JJ[item, item] == 0


def test_item_knn_keeps_the_nearest_of_each_item() -> None:
    counts_JJ = LIKES_UJ.T @ LIKES_UJ
    weights_JJ = item_knn_weights(counts_JJ, num_neighbours=2, shrinkage=3.0)
    for item in range(7):
        cosines = [counts_JJ[item, j] / (np.sqrt(counts_JJ[item, item] * counts_JJ[j, j]) + 3.0) for j in range(7)]
        cosines[item] = 0.0
        nearest = np.argsort(cosines)[-2:]
        assert set(np.flatnonzero(weights_JJ[:, item])) == set(nearest)
        np.testing.assert_allclose(weights_JJ[nearest, item], np.array(cosines)[nearest])
    assert (item_knn_weights(counts_JJ, num_neighbours=50, shrinkage=3.0) > 0).sum() == 7 * 6


@pytest.mark.parametrize("kind", ["ease", "item_knn"])
def test_they_beat_popularity_on_planted_tastes(kind: str) -> None:
    events, embeddings = planted()
    split = divided(events)
    models = {name: fit_model(name, {}, split, {"text": embeddings}, 2.5) for name in ("popularity", kind)}
    report = evaluate_models(models, split, ks=(10,))
    assert report.comparisons[f"{kind} - popularity"]["ndcg@10"].low > 0


def test_too_many_items_for_a_square_matrix_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yardsticks, "_MOST_ITEMS", 79)
    with pytest.raises(InputError, match="80 liked items for ease"):
        fit_model("ease", {}, divided(planted()[0]), {}, 2.5)
