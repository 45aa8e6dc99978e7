"""Measure rating models by cross-validation, and search their settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from semrec.models.ratings.base import rating_model_class
from semrec.models.ratings.table import RatingTable, divide_folds

__all__ = ["RatingScores", "cross_validate", "measure_folds", "score_ratings"]


@dataclass(frozen=True)
class RatingScores:
    """Means over the folds: root mean squared error, mean absolute error, and seconds of CPU time to fit and to predict."""

    kind: str
    settings: dict[str, Any]
    rmse: float
    mae: float
    fit_cpu_s: float
    predict_cpu_s: float


def cross_validate(
    kind: str,
    table: RatingTable,
    settings: Mapping[str, Any] | None = None,
    *,
    num_folds: int = 5,
    measured_folds: int | None = None,
    seed: int = 0,
) -> RatingScores:
    """Fits a model on all folds but one and predicts that one, in turn; only the first `measured_folds`, if given.

    Raises what `RatingModel.fit` raises.
    """
    model_class = rating_model_class(kind)
    all_settings = model_class(settings).settings

    def prepare(trained: np.ndarray, tested: np.ndarray) -> tuple[Callable[[], Any], Callable[[], np.ndarray]]:
        ratings, model = table.rows(trained), model_class(settings)
        return partial(model.fit, ratings), partial(model.predict, table.user_N[tested], table.item_N[tested])

    return RatingScores(
        kind,
        all_settings,
        *measure_folds(table, prepare, num_folds=num_folds, measured_folds=measured_folds, seed=seed),
    )


def measure_folds(
    table: RatingTable,
    prepare: Callable[[np.ndarray, np.ndarray], tuple[Callable[[], Any], Callable[[], Any]]],
    *,
    num_folds: int,
    measured_folds: int | None = None,
    seed: int,
    read: Callable[[Any], np.ndarray] = np.asarray,
) -> tuple[float, float, float, float]:
    """Means over the folds, or the first `measured_folds` of them, of RMSE, MAE, and CPU seconds to fit and to predict.

    `prepare` has the places of what trains and what tests, and returns what fits and what predicts; these two are timed.
    `read` makes float64 [n] of a prediction.
    """
    measured = []
    for trained, tested in islice(divide_folds(len(table), num_folds, seed), measured_folds):
        fit, predict = prepare(trained, tested)
        started_s = time.process_time()
        fit()
        fitted_s = time.process_time()
        predicted = predict()
        ended_s = time.process_time()
        errors = score_ratings(read(predicted), table.value_N[tested])
        measured.append((*errors, fitted_s - started_s, ended_s - fitted_s))
    rmse, mae, fit_cpu_s, predict_cpu_s = np.mean(measured, axis=0).tolist()
    return rmse, mae, fit_cpu_s, predict_cpu_s


def score_ratings(predicted_N: np.ndarray, value_N: np.ndarray) -> tuple[float, float]:
    """RMSE and MAE."""
    errors_N = predicted_N - value_N
    return float(np.sqrt((errors_N**2).mean())), float(np.abs(errors_N).mean())
