"""Measures the training of iALS beside `implicit`: CPU time of each to equal quality on the same likes, and peak memory.

One user in a few has a like held out, on which nDCG@10 is measured after every epoch, outside of the measured time: a library
with a cheaper but inexact step needs more epochs. Both train on one thread, so that CPU time is work and not waiting.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
from threadpoolctl import threadpool_limits

from semrec.evaluation.metrics import user_metrics
from semrec.evaluation.ranks import ModelVectors, rank_split
from semrec.evaluation.splits import Split
from semrec.machine import resident_bytes
from semrec.models.base import Events
from semrec.models.half_step import FixedSide, fixed_side, solve_rows
from semrec.models.ials_training import train_ials
from semrec.models.sparse import SparseRows
from semrec.progress import Progress

__all__ = ["TrainingMeasurement", "bench_models", "generate_likes", "has_peer"]

_TESTED_USERS: Final = 2_000
_EQUAL_SHARE: Final = 0.99  # of the lower of the two best nDCG: the last percent is noise
#: In `implicit` a pair that nobody liked weighs 1 and regularisation does not grow with a row's likes, so that ours has no
#: equivalent of its own: these multiples of ours for the mean row are tried.
_PEER_MULTIPLES: Final = (0.1, 0.3, 1.0)

#: Is told the item factors and how to compute the users', which is not part of the measured time.
_AfterEpoch = Callable[[np.ndarray, Callable[[], np.ndarray]], None]


@dataclass(frozen=True)
class TrainingMeasurement:
    """A library with the best of its regularizations; `cpu_s_to_equal` until 99 % of the nDCG@10 that both reach.

    `peak_bytes`: of the process after the first epoch, interactions included; None for a peer, which comes second.
    """

    library: str
    regularization: float
    best_ndcg: float
    num_epochs: int
    cpu_s_per_epoch: float
    epochs_to_equal: int
    cpu_s_to_equal: float
    peak_bytes: int | None


@dataclass(frozen=True)
class _Run:
    """One training: nDCG@10 and CPU seconds from its start after each epoch; the process's peak memory after the first."""

    library: str
    regularization: float
    ndcg: list[float]
    cpu_s: list[float]
    peak_bytes: list[int]

    @property
    def best_ndcg(self) -> float:
        return max(self.ndcg)


def has_peer() -> bool:
    """Whether `implicit` is installed."""
    return find_spec("implicit") is not None


def bench_models(
    likes: SparseRows,
    settings: dict[str, Any],
    *,
    regularizations: Sequence[float],
    peers: bool = True,
    progress: Progress,
) -> list[TrainingMeasurement]:
    """iALS with these settings and, where it is installed and `peers` allows, implicit's ALS with its default solver.

    `likes` users x items, whatever their values. `settings` those of `IalsModel`; the best of `regularizations` is taken.
    """
    split, train = _hold_out(likes)
    _train_ours(train.between(0, 50), {**settings, "num_epochs": 1, "regularization": 0.1}, lambda *_: None)  # compiles
    runs = []
    with threadpool_limits(1):
        for value in regularizations:
            runs.append(_measure("semrec", value, {**settings, "regularization": value}, train, split, progress))
        if peers and has_peer():
            a = settings["unobserved_weight"]
            weighted_count = train.lengths.mean() + a * train.num_columns
            for multiple in _PEER_MULTIPLES:
                value = float(f"{multiple * max(regularizations) * weighted_count / a:.2g}")
                runs.append(_measure("implicit", value, {**settings, "regularization": value}, train, split, progress))
    best = [max((run for run in runs if run.library == library), key=lambda run: run.best_ndcg)
            for library in dict.fromkeys(run.library for run in runs)]  # fmt: skip
    equal = _EQUAL_SHARE * min(run.best_ndcg for run in best)
    # What was evaluated of a training before is in the peak of the next ones.
    return [_row(run, equal, runs[0].peak_bytes[0] if run.library == "semrec" else None) for run in best]


def generate_likes(num_users: int, num_items: int, num_likes: int, seed: int = 0) -> SparseRows:
    """About so many likes of users with three tastes each: of 50 kinds of items, popular ones far more often."""
    random, num_kinds = np.random.default_rng(seed), 50
    items_per_kind = num_items // num_kinds
    user_N = np.repeat(np.arange(num_users), random.multinomial(num_likes * 5 // 4, np.full(num_users, 1 / num_users)))
    kinds_U3 = random.integers(0, num_kinds, (num_users, 3))
    kind_N = kinds_U3[user_N, random.choice(3, len(user_N), p=(0.6, 0.3, 0.1))]
    place_N = (random.random(len(user_N)) ** 3 * items_per_kind).astype(np.int64)
    user_N, item_N = np.divmod(np.unique(user_N * num_items + kind_N * items_per_kind + place_N), num_items)
    return SparseRows.from_pairs(user_N, item_N, np.ones(len(user_N), np.float32), num_users, num_items)


def _hold_out(likes: SparseRows) -> tuple[Split, SparseRows]:
    """One random like of up to 2,000 users as target; the others train."""
    random, user_N = np.random.default_rng(0), np.repeat(np.arange(likes.num_rows), likes.lengths)
    several = np.flatnonzero(likes.lengths > 1)
    tested = np.sort(random.choice(several, min(_TESTED_USERS, len(several)), replace=False))
    held = likes.offsets[tested] + random.integers(0, likes.lengths[tested])
    is_held = np.zeros(len(user_N), bool)
    is_held[held] = True
    rest = ~is_held
    ones = np.ones(int(rest.sum()), np.float32)
    train = SparseRows.from_pairs(user_N[rest], likes.columns[rest], ones, likes.num_rows, likes.num_columns)
    offsets = np.concatenate([[0], np.cumsum(np.isin(np.arange(likes.num_rows), tested))]).astype(np.int64)
    events = Events(user_N[rest], likes.columns[rest].astype(np.int64), ones, np.zeros(len(ones), np.int64))
    return Split("held out", events, events, offsets, likes.columns[held].astype(np.int64), likes.num_columns), train


def _measure(
    library: str, regularization: float, settings: dict[str, Any], train: SparseRows, split: Split, progress: Progress
) -> _Run:
    run, evaluating_s, started_s = _Run(library, regularization, [], [], []), 0.0, time.process_time()

    def after_epoch(items_ID: np.ndarray, solve_users: Callable[[], np.ndarray]) -> None:
        nonlocal evaluating_s
        now_s = time.process_time()
        run.cpu_s.append(now_s - started_s - evaluating_s)
        run.peak_bytes.append(resident_bytes()["peak_resident_bytes"])
        users_UD = solve_users()
        vectors = ModelVectors(items_ID, users_UD, np.ones(len(users_UD), bool))
        ranks = rank_split(vectors, split, k=1).ranks
        run.ndcg.append(float(np.nanmean(user_metrics(split.target_offsets, ranks, (10,), ("ndcg",))["ndcg@10"])))
        evaluating_s += time.process_time() - now_s

    (_train_ours if library == "semrec" else _train_peer)(train, settings, after_epoch)
    progress.note(
        f"{library}, regularization {regularization:g}: nDCG@10 {run.best_ndcg:.4f}, "
        f"{run.cpu_s[-1] / len(run.cpu_s):.2f} CPU s an epoch"
    )
    return run


def _train_ours(train: SparseRows, settings: dict[str, Any], after_epoch: _AfterEpoch) -> None:
    def on_epoch(epoch: int, loss: float, items: FixedSide) -> bool:
        after_epoch(items.factors_CD, lambda: solve_rows(train, items, settings))
        return False

    train_ials(train, settings, on_epoch=on_epoch)


def _train_peer(train: SparseRows, settings: dict[str, Any], after_epoch: _AfterEpoch) -> None:
    """implicit's ALS: conjugate gradients on the CPU, as it comes. A like weighs (1 + a) / a against 1, as in ours."""
    from implicit.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix

    a = settings["unobserved_weight"]
    matrix = csr_matrix((train.values, train.columns, train.offsets), shape=(train.num_rows, train.num_columns))
    model = AlternatingLeastSquares(
        factors=settings["dimension"], regularization=settings["regularization"], alpha=(1 + a) / a,
        iterations=settings["num_epochs"], num_threads=1, random_state=settings["seed"],
    )  # fmt: skip

    def callback(*_: object) -> None:
        # Its users are of the items before; those of the items as they are now make the better lists.
        items = fixed_side(np.array(model.item_factors))
        exact = settings | {"regularization": a * settings["regularization"], "frequency_exponent": 0.0}
        after_epoch(items.factors_CD, lambda: solve_rows(train, items, exact))

    model.fit(matrix, show_progress=False, callback=callback)


def _row(run: _Run, equal: float, peak_bytes: int | None) -> TrainingMeasurement:
    epoch = next(n for n, ndcg in enumerate(run.ndcg) if ndcg >= equal)
    return TrainingMeasurement(
        run.library, run.regularization, run.best_ndcg, len(run.ndcg), run.cpu_s[-1] / len(run.cpu_s), epoch + 1,
        run.cpu_s[epoch], peak_bytes,
    )  # fmt: skip
