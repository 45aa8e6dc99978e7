"""Measures rating models beside those of scikit-surprise: the same folds in the same run, errors and CPU time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any, Final

import numpy as np

from semrec.models.ratings.base import RATING_MODELS, rating_model_class
from semrec.models.ratings.cross_validation import cross_validate, measure_folds
from semrec.models.ratings.table import RatingTable
from semrec.progress import Progress

__all__ = ["RatingsMeasurement", "bench_ratings", "generate_ratings", "has_peer"]

#: Kind -> the class of scikit-surprise that does the same, with its own default settings.
_PEERS: Final = {
    "svd": "SVD", "svd++": "SVDpp", "nmf": "NMF", "slope_one": "SlopeOne", "knn": "KNNBasic", "knn_centred": "KNNWithMeans",
    "knn_baseline": "KNNBaseline",
}  # fmt: skip


@dataclass(frozen=True)
class RatingsMeasurement:
    """Means over the folds; CPU seconds of one fold, to fit and predict. `times_faster`: CPU time of the peer by ours."""

    model: str
    library: str
    rmse: float
    mae: float
    fit_cpu_s: float
    predict_cpu_s: float
    times_faster: float | None


def bench_ratings(
    table: RatingTable,
    *,
    kinds: Sequence[str] = tuple(RATING_MODELS),
    num_folds: int = 5,
    measured_folds: int | None = None,
    seed: int = 0,
    peers: bool = True,
    progress: Progress,
) -> Iterator[RatingsMeasurement]:
    """Each model with its default settings and, where scikit-surprise is installed and `peers` allows, its peer's after it.

    `measured_folds`: only the first so many of the folds, for peers that take minutes each.
    """
    peers = peers and has_peer()
    folds: dict[str, Any] = {"num_folds": num_folds, "measured_folds": measured_folds, "seed": seed}
    for kind in kinds:
        _compile(kind)
        progress.note(f"{kind} in {num_folds} folds")
        ours = cross_validate(kind, table, **folds)
        own_s = ours.fit_cpu_s + ours.predict_cpu_s
        peer = _cross_validate_peer(kind, table, folds) if peers and kind in _PEERS else None
        times_faster = (peer.fit_cpu_s + peer.predict_cpu_s) / own_s if peer else None
        yield RatingsMeasurement(kind, "semrec", ours.rmse, ours.mae, ours.fit_cpu_s, ours.predict_cpu_s, times_faster)
        if peer:
            yield peer


def has_peer() -> bool:
    """Whether scikit-surprise is installed."""
    return find_spec("surprise") is not None


def generate_ratings(
    num_users: int = 900, num_items: int = 1_600, num_ratings: int = 100_000, seed: int = 0
) -> RatingTable:
    """Ratings of 1 to 5 from biases, four factors and noise; popular items are rated by many."""
    random = np.random.default_rng(seed)
    user_N = (random.random(num_ratings) ** 1.5 * num_users).astype(np.int64)
    item_N = (random.random(num_ratings) ** 2.5 * num_items).astype(np.int64)
    user_N, item_N = np.divmod(np.unique(user_N * num_items + item_N), num_items)
    factors_UD, factors_ID = (random.standard_normal((count, 4)) * 0.5 for count in (num_users, num_items))
    biases_N = random.normal(0, 0.4, num_users)[user_N] + random.normal(0, 0.5, num_items)[item_N]
    values_N = 3.5 + biases_N + (factors_UD[user_N] * factors_ID[item_N]).sum(axis=1)
    values_N += random.normal(0, 0.8, len(values_N))
    return RatingTable(user_N, item_N, np.clip(np.rint(values_N), 1, 5).astype(np.float32), num_users, num_items)


def _compile(kind: str) -> None:
    """Lets a model compile its loops before it is timed."""
    small = generate_ratings(20, 20, 200)
    rating_model_class(kind)().fit(small.rows(np.arange(len(small)))).predict(small.user_N, small.item_N)


def _cross_validate_peer(kind: str, table: RatingTable, folds: dict[str, Any]) -> RatingsMeasurement:
    import surprise

    peer_class = getattr(surprise, _PEERS[kind])
    options: dict[str, Any] = {"random_state": folds["seed"]} if kind in ("svd", "svd++", "nmf") else {}
    if kind.startswith("knn"):
        options["verbose"] = False
    low, high = float(table.value_N.min()), float(table.value_N.max())
    data = surprise.Dataset(surprise.Reader(rating_scale=(low, high)))
    pairs = zip(table.user_N.tolist(), table.item_N.tolist(), table.value_N.tolist(), strict=True)
    raw = [(user, item, value, None) for user, item, value in pairs]

    def prepare(trained: np.ndarray, tested: np.ndarray) -> tuple[Callable[[], Any], Callable[[], Any]]:
        train = data.construct_trainset([raw[n] for n in trained])
        test = data.construct_testset([raw[n] for n in tested])
        peer = peer_class(**options)
        return partial(peer.fit, train), partial(peer.test, test)

    def read(predictions: Any) -> np.ndarray:
        return np.array([prediction.est for prediction in predictions])

    means = measure_folds(table, prepare, **folds, read=read)
    return RatingsMeasurement(kind, "scikit-surprise", *means, None)
