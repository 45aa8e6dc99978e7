"""Evaluate models on one split and put the result together: means with intervals, cohorts, list shape, comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from semrec.errors import InputError
from semrec.evaluation.dataset import PublishedSplit
from semrec.evaluation.intervals import Comparison, bootstrap_intervals, compare_paired
from semrec.evaluation.metrics import item_cohorts, list_metrics, user_cohorts, user_metrics
from semrec.evaluation.ranks import ModelVectors, Ranking, count_popularity, rank_listed, rank_split
from semrec.evaluation.splits import SPLITS, Split

__all__ = [
    "EvaluationReport",
    "ModelResult",
    "compare_results",
    "evaluate_listed",
    "evaluate_models",
    "measure_ranking",
]

_LIST_LENGTH = 10  # of the lists whose shape is measured


@dataclass(frozen=True)
class ModelResult:
    """What one model reached on one split.

    `means` metric -> mean over tested users; `intervals` accuracy metric -> its 95 % interval; `cohorts` cohort -> metric ->
    mean; `per_user` accuracy metric -> float64 [tested users], for paired comparisons.
    """

    means: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    cohorts: dict[str, dict[str, float]]
    per_user: dict[str, np.ndarray] = field(repr=False)
    num_by_popularity: int = 0

    def to_json(self) -> dict[str, Any]:
        """{"ndcg@10": ..., "ndcg@10_ci": [low, high], ..., "cohorts": ..., "users_by_popularity": ...}."""
        metrics: dict[str, Any] = {}
        for name, mean in self.means.items():
            metrics[name] = mean
            if name in self.intervals:
                metrics[f"{name}_ci"] = list(self.intervals[name])
        return {**metrics, "cohorts": self.cohorts, "users_by_popularity": self.num_by_popularity}


@dataclass(frozen=True)
class EvaluationReport:
    """Models on one split: `protocol` says how it was made, `comparisons` "blend - popularity" -> metric -> Comparison."""

    protocol: dict[str, Any]
    results: dict[str, ModelResult]
    comparisons: dict[str, dict[str, Comparison]]
    settings: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON: protocol, metrics by model, comparisons, settings."""
        return {
            "protocol": self.protocol,
            "metrics": {name: result.to_json() for name, result in self.results.items()},
            "comparisons": {
                pair: {metric: vars(comparison) for metric, comparison in metrics.items()}
                for pair, metrics in self.comparisons.items()
            },
            "settings": self.settings,
        }


def evaluate_models(
    models: Mapping[str, ModelVectors],
    split: Split,
    *,
    ks: tuple[int, ...] = (10, 20, 100),
    content_ID: np.ndarray | None = None,
    baseline: str | None = "popularity",
    settings: dict[str, Any] | None = None,
    engine: str = "cpu",
) -> EvaluationReport:
    """Ranks the split's targets by every model, unsampled, and compares each with `baseline` where that is one of them.

    `content_ID` are item vectors for the diversity of the lists. Raises what `rank_split` raises.
    """
    results = {}
    for name, vectors in models.items():
        ranking = rank_split(vectors, split, k=max(_LIST_LENGTH, *ks), engine=engine)
        results[name] = measure_ranking(ranking, split, ks=ks, content_ID=content_ID)
    return EvaluationReport(_protocol(split), results, _comparisons(results, baseline), settings or {})


def evaluate_listed(
    models: Mapping[str, ModelVectors],
    published: PublishedSplit,
    *,
    ks: tuple[int, ...] = (10, 20, 100),
    settings: dict[str, Any] | None = None,
) -> EvaluationReport:
    """Ranks each target among the candidates that a published split lists for it; every target counts as a user of its own.

    Such tables sample their negatives, which flatters every model: the figures compare with that table alone. Raises
    InputError when the split lists no candidates.
    """
    split, offsets, rows = published.split, published.candidate_offsets, published.candidate_rows
    if offsets is None or rows is None:
        raise InputError("a split without candidates", expected="candidates", remedy="Rank among the whole catalogue.")
    owner = np.repeat(np.arange(split.num_users), np.diff(split.target_offsets))
    each = np.arange(len(split.target_rows) + 1)
    results = {}
    for name, vectors in models.items():
        per_user = user_metrics(each, rank_listed(vectors, owner, split.target_rows, offsets, rows), ks)
        results[name] = ModelResult(*_means_and_intervals(per_user), {}, per_user)
    protocol = _protocol(split) | {"ranked_among": "the listed candidates", "sampled": True}
    return EvaluationReport(protocol, results, _comparisons(results, "popularity"), settings or {})


def measure_ranking(
    ranking: Ranking, split: Split, *, ks: tuple[int, ...] = (10, 20, 100), content_ID: np.ndarray | None = None
) -> ModelResult:
    """The metrics of one ranking of a split's targets."""
    tested = ranking.users
    per_user = {name: values[tested] for name, values in user_metrics(split.target_offsets, ranking.ranks, ks).items()}
    means, intervals = _means_and_intervals(per_user)
    popularity_I = count_popularity(split.train, split.num_items)
    means |= list_metrics(ranking.lists, _LIST_LENGTH, popularity_I, split.num_users, content_ID)
    cohorts = _cohorts(ranking, split, per_user, popularity_I, ks)
    return ModelResult(means, intervals, cohorts, per_user, ranking.num_by_popularity)


def compare_results(better: ModelResult, worse: ModelResult) -> dict[str, Comparison]:
    """Paired comparisons by every accuracy metric that both have. Raises InputError when there is none."""
    shared = [name for name in better.per_user if name in worse.per_user]
    if not shared:
        raise InputError(
            "two results without a common metric", expected="one at least", remedy="Use the same lengths K."
        )
    better_UM, worse_UM = (np.stack([result.per_user[name] for name in shared], axis=1) for result in (better, worse))
    return dict(zip(shared, compare_paired(better_UM, worse_UM), strict=True))


def _means_and_intervals(
    per_user: dict[str, np.ndarray],
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    means_M, lows_M, highs_M = bootstrap_intervals(np.stack(list(per_user.values()), axis=1))
    means = dict(zip(per_user, means_M.tolist(), strict=True))
    return means, dict(zip(per_user, zip(lows_M.tolist(), highs_M.tolist(), strict=True), strict=True))


def _protocol(split: Split) -> dict[str, Any]:
    return {
        "split": split.method,
        "description": SPLITS.get(split.method, "train and test as published"),
        "ranked_among": "the whole catalogue" if split.candidates is None else "the cold items",
        "seen_items": "excluded",
        "sampled": False,
        **split.counts,
    }


def _comparisons(results: dict[str, ModelResult], baseline: str | None) -> dict[str, dict[str, Comparison]]:
    if baseline not in results:
        return {}
    others = [name for name in results if name != baseline]
    return {f"{name} - {baseline}": compare_results(results[name], results[str(baseline)]) for name in others}


def _cohorts(
    ranking: Ranking, split: Split, per_user: dict[str, np.ndarray], popularity_I: np.ndarray, ks: tuple[int, ...]
) -> dict[str, dict[str, float]]:
    """Metrics of groups: users by their number of events, means over users; items by popularity, means over targets."""
    num_events_U = np.bincount(split.history.user, minlength=split.num_users)[ranking.users]
    cohorts: dict[str, dict[str, float]] = {}
    for name, members_U in user_cohorts(num_events_U).items():
        if members_U.any():
            means = {metric: float(values[members_U].mean()) for metric, values in per_user.items()}
            cohorts[f"users: {name}"] = {"users": int(members_U.sum()), **means}
    for name, members_I in item_cohorts(popularity_I).items():
        ranks = ranking.ranks[members_I[split.target_rows]]
        if len(ranks):
            means = {f"recall@{k}": float((ranks <= k).mean()) for k in ks}
            cohorts[f"items: {name}"] = {"targets": len(ranks), **means}
    return cohorts
