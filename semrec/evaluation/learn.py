"""Fit models on a split, with settings and blend weights chosen on a validation split inside its train part.

Nothing of the split's targets is looked at: the validation split holds out the last liked items of what trains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any, Final

import numpy as np

from semrec.errors import InputError, TrainingError
from semrec.evaluation.metrics import user_metrics
from semrec.evaluation.ranks import ModelVectors, count_popularity, rank_split
from semrec.evaluation.splits import Split, split_events
from semrec.evaluation.yardsticks import YARDSTICKS, fit_yardstick
from semrec.models.base import MODELS, BlendSample, Events, ItemVectors, TrainingData, model_class
from semrec.models.blend import MIN_VALIDATION_USERS, choose_weights
from semrec.models.hubness import HubnessModel
from semrec.models.unit_scores import score_covariance, unit_score_users
from semrec.progress import NoProgress, Progress
from semrec.settings import DEFAULT_HALF_LIFE_DAYS

__all__ = ["AUTO_KINDS", "LearnedModels", "Trial", "blend_vectors", "fit_model", "learn"]

#: What `models.kinds = auto` stands for.
AUTO_KINDS: Final = ("content_ridge", "nsvd", "ials", "popularity", "hubness")

_TRIAL_EPOCHS: Final = 5
_CRITERION_K: Final = 100  # nDCG@100: an item that rises from place 60 to 20 says something, too
_HUBNESS: Final = "hubness"
_USERS_PER_BAND: Final = 500  # with fewer validation users, a band's own weights would be chance
_HUBNESS_WEIGHTS: Final = (0.3, 0.2, 0.1)
_BESIDE_WEIGHTS: Final = (0.25, 0.5, 1.0)  # of what is not text, beside 1 for the best of the others
_TOLERATED_LOSS: Final = 0.5  # of nDCG@100 by the weight of hubness, in standard errors


@dataclass(frozen=True)
class Trial:
    """One training on the validation split: its settings and nDCG@100."""

    kind: str
    settings: dict[str, Any]
    ndcg: float


@dataclass(frozen=True)
class LearnedModels:
    """Models fitted on a split's train part, and how they were chosen.

    `vectors` by name, with "blend" where two models or more can stand side by side; `hubness` is in the blend, and ranks
    nothing alone. `weights`: model -> pairs (number of events, weight), ascending: from so many events on a user has that
    weight, as a release's components take them. `notes` say what could not be chosen, and why.
    """

    vectors: dict[str, ModelVectors]
    settings: dict[str, dict[str, Any]]
    weights: dict[str, list[tuple[int, float]]]
    trials: list[Trial] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    hubness: ModelVectors | None = None


def learn(
    split: Split,
    content: Mapping[str, np.ndarray],
    neutral_value: float,
    *,
    kinds: tuple[str, ...] = AUTO_KINDS,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    weights: Mapping[str, list[tuple[int, float]]] | None = None,
    search: bool = True,
    half_life_days: float = DEFAULT_HALF_LIFE_DAYS,
    progress: Progress | None = None,
) -> LearnedModels:
    """Fits the models `kinds` and their blend.

    `settings` by kind stand as they are; the others are searched on a validation split where `search` allows and it has at
    least 100 users, else they are the models' defaults. So are the `weights` of the blend. Raises what `fit_model` raises.
    """
    progress = progress or NoProgress()
    chosen = {kind: dict((settings or {}).get(kind, {})) for kind in kinds}
    corrects_hubness = _HUBNESS in kinds
    kinds = tuple(kind for kind in kinds if kind != _HUBNESS)
    trials, notes, tuned = list[Trial](), list[str](), dict[str, ModelVectors]()
    fit = partial(fit_model, content=content, neutral_value=neutral_value, half_life_days=half_life_days)
    validation = _validation(split, neutral_value, notes) if search or weights is None else None
    if validation is not None and search:
        for kind in kinds:
            if _defaults_and_grid(kind)[1]:
                chosen[kind], tuned[kind], tried = _searched(kind, chosen[kind], validation, fit, progress)
                trials += tried
    vectors = {}
    for kind in kinds:
        progress.note(f"fits {kind} {chosen[kind] or ''}".rstrip())
        vectors[kind] = fit(kind, chosen[kind], split)
    default_weights = {kind: model_class(kind).default_weight for kind in kinds if kind not in YARDSTICKS}
    blended = {kind: weight for kind, weight in default_weights.items() if weight is not None}
    if corrects_hubness and not any(model_class(kind).is_personal for kind in blended):
        raise InputError(
            f"hubness beside {', '.join(blended) or 'no model that it can correct'}",
            expected="a model that goes by users' events and stands beside others",
            remedy="Name ials, say, or leave hubness out.",
        )
    blend_weights, hubness = dict(weights or {}), None
    if len(blended) + corrects_hubness > 1:
        own = {kind: vectors[kind] for kind in blended}
        if validation is not None and not weights:
            held = {kind: tuned.get(kind) or fit(kind, chosen[kind], validation) for kind in blended}
            of_text = {kind: vectors for kind, vectors in held.items() if model_class(kind).modality == "text"}
            blend_weights = _weights_by_activity(of_text, validation)
            for kind in [kind for kind in held if kind not in of_text]:
                blend_weights[kind] = [(0, _choose_beside_weight(held, blend_weights, kind, validation))]
            if corrects_hubness:
                blend_weights[_HUBNESS] = [(0, _choose_hubness_weight(held, blend_weights, validation))]
        if not blend_weights:
            defaults = blended | ({_HUBNESS: HubnessModel.default_weight} if corrects_hubness else {})
            blend_weights = {kind: [(0, weight)] for kind, weight in defaults.items()}
        if _HUBNESS in blend_weights:
            hubness = _fit_hubness(blend_vectors(own, blend_weights, split.history))
            own[_HUBNESS] = hubness
        vectors["blend"] = blend_vectors(own, blend_weights, split.history)
    return LearnedModels(vectors, chosen, blend_weights, trials, notes, hubness)


def fit_model(
    kind: str,
    settings: Mapping[str, Any],
    split: Split,
    content: Mapping[str, np.ndarray],
    neutral_value: float,
    half_life_days: float = DEFAULT_HALF_LIFE_DAYS,
) -> ModelVectors:
    """Fits one model on the split's train part and folds its users in from their histories.

    User vectors of models beside popularity come as the model gives them; that of popularity has unit score variance, too.
    Raises InputError for an unknown model or when it cannot learn from the data, TrainingError when training diverges.
    """
    if kind in YARDSTICKS:
        return fit_yardstick(kind, settings, split, neutral_value)
    popularity_I = count_popularity(split.train, split.num_items)
    data = TrainingData(
        split.num_items, content, popularity_I, lambda: iter([split.train]), neutral_value, half_life_days
    )
    model, items_ID = model_class(kind).fit(data, settings)
    users = model.user_vectors(split.history, ItemVectors.from_vectors(items_ID), split.num_users)
    if model.is_personal:
        return ModelVectors(items_ID, users.vectors_UD, users.has_vector_U)
    scaled_UD = unit_score_users(users.vectors_UD, score_covariance(items_ID))
    return ModelVectors(items_ID, scaled_UD, users.has_vector_U)


def blend_vectors(
    models: Mapping[str, ModelVectors], weights: Mapping[str, list[tuple[int, float]]], history: Events
) -> ModelVectors:
    """The models' vectors side by side, with each user's weights by the number of events in `history`."""
    num_users = len(next(iter(models.values())).users_UD)
    num_events_U = np.bincount(history.user, minlength=num_users)
    items, users, has_vector_U = [], [], np.zeros(num_users, bool)
    for kind, vectors in models.items():
        numbers, values = zip(*weights[kind], strict=True)
        weights_U = np.array(values, np.float32)[np.searchsorted(numbers, num_events_U, side="right") - 1]
        if not weights_U.any():
            continue
        items.append(vectors.items_ID)
        users.append(vectors.users_UD * weights_U[:, None])
        if kind not in MODELS or model_class(kind).is_personal:  # as in a release, others give nobody a vector alone
            has_vector_U |= vectors.has_vector_U & (weights_U > 0)
    return ModelVectors(np.concatenate(items, axis=1), np.concatenate(users, axis=1), has_vector_U)


def _validation(split: Split, neutral_value: float, notes: list[str]) -> Split | None:
    """The last liked items of what trains, or None with the reason in `notes`."""
    try:
        validation = split_events(
            split.train,
            "leave-last-out",
            num_users=split.num_users,
            num_items=split.num_items,
            neutral_value=neutral_value,
        )
    except InputError as error:
        notes.append(f"no validation split ({error.got}): default settings and weights")
        return None
    if len(validation.tested_users) < MIN_VALIDATION_USERS:
        notes.append(
            f"{len(validation.tested_users)} users to choose settings by, fewer than {MIN_VALIDATION_USERS}: default settings "
            "and weights"
        )
        return None
    return validation


def _searched(
    kind: str,
    given: Mapping[str, Any],
    validation: Split,
    fit: Callable[[str, Mapping[str, Any], Split], ModelVectors],
    progress: Progress,
) -> tuple[dict[str, Any], ModelVectors, list[Trial]]:
    """The best settings that were tried beside the given ones, the model that they gave, and all trials.

    A training that diverges counts as 0. Trainings of a search are short: which settings are best shows early.
    """
    defaults, grid = _defaults_and_grid(kind)
    best, trials = {**defaults, **given}, list[Trial]()
    short = {"num_epochs": min(_TRIAL_EPOCHS, best["num_epochs"])} if "num_epochs" in best else {}
    best_vectors: ModelVectors | None = None

    def tried(settings: dict[str, Any]) -> float:
        nonlocal best_vectors
        try:
            vectors = fit(kind, settings | short, validation)
        except TrainingError as error:
            progress.note(f"{kind} {settings}: {error.got}")
            ndcg = 0.0
        else:
            ndcg = float(_validation_ndcg(vectors, validation).mean())
            if best_vectors is None or ndcg > max((trial.ndcg for trial in trials), default=0.0):
                best_vectors = vectors
        trials.append(Trial(kind, settings, ndcg))
        progress.note(f"{kind} {settings}: nDCG@{_CRITERION_K} {ndcg:.4f}")
        return ndcg

    highest = tried(best)
    for together in grid:
        start, free = best, [name for name in together if name not in given]
        for values in product(*(together[name] for name in free)):
            settings = {**start, **dict(zip(free, values, strict=True))}
            if settings == start:
                continue
            ndcg = tried(settings)
            if ndcg > highest:
                highest, best = ndcg, settings
    if best_vectors is None:
        raise TrainingError(
            f"{len(trials)} trainings of {kind} that all diverged",
            expected="one that converges",
            remedy=f"Leave {kind} out of models.kinds, or set its regularization.",
        )
    return best, best_vectors, trials


def _defaults_and_grid(kind: str) -> tuple[Mapping[str, Any], Sequence[Mapping[str, tuple[Any, ...]]]]:
    described = YARDSTICKS[kind] if kind in YARDSTICKS else model_class(kind)
    return described.defaults, described.search_grid


def _validation_ndcg(vectors: ModelVectors, validation: Split) -> np.ndarray:
    """nDCG@100 of each tested user: float64."""
    ranking = rank_split(vectors, validation, k=1)
    name = f"ndcg@{_CRITERION_K}"
    values_U = user_metrics(validation.target_offsets, ranking.ranks, (_CRITERION_K,), ("ndcg",))[name]
    return values_U[validation.tested_users]


def _fit_hubness(blend: ModelVectors) -> ModelVectors:
    """The hubness model of a blend. A user whom nothing else knows gets no vector by it."""
    sample = BlendSample(lambda: iter([blend.items_ID]), blend.users_UD[blend.has_vector_U])
    data = TrainingData(len(blend.items_ID), {}, np.zeros(0, np.float32), lambda: iter([]), blend=sample)
    _, items_I1 = HubnessModel.fit(data, {})
    num_users = len(blend.users_UD)
    return ModelVectors(items_I1, np.ones((num_users, 1), np.float32), np.zeros(num_users, bool))


def _choose_hubness_weight(
    models: Mapping[str, ModelVectors], weights: Mapping[str, list[tuple[int, float]]], validation: Split
) -> float:
    """The largest weight that costs less than half a standard error of nDCG@100.

    Hubs are right for many users, so the best nDCG alone would keep most of them; what it costs to show others instead is
    less than can be measured.
    """
    hubness = _fit_hubness(blend_vectors(models, weights, validation.history))
    ndcg_of = {}
    for weight in (*_HUBNESS_WEIGHTS, 0.0):
        blend = blend_vectors({**models, _HUBNESS: hubness}, {**weights, _HUBNESS: [(0, weight)]}, validation.history)
        ndcg_of[weight] = _validation_ndcg(blend, validation)
    best_U = max(ndcg_of.values(), key=np.mean)
    least = best_U.mean() - _TOLERATED_LOSS * best_U.std() / np.sqrt(len(best_U))
    return next(weight for weight, ndcg_U in ndcg_of.items() if ndcg_U.mean() >= least)


def _choose_beside_weight(
    models: Mapping[str, ModelVectors], weights: Mapping[str, list[tuple[int, float]]], kind: str, validation: Split
) -> float:
    """The weight with the best nDCG@100 beside those that were chosen: all combinations would take many times as long."""
    ndcg_of = {}
    for weight in (model_class(kind).least_weight, *_BESIDE_WEIGHTS):
        tried = {**weights, kind: [(0, weight)]}
        blend = blend_vectors({name: models[name] for name in tried}, tried, validation.history)
        ndcg_of[weight] = float(_validation_ndcg(blend, validation).mean())
    return max(ndcg_of, key=lambda weight: ndcg_of[weight])


def _weights_by_activity(models: Mapping[str, ModelVectors], validation: Split) -> dict[str, list[tuple[int, float]]]:
    """Weights on the validation split, apart for three bands of users by their number of events where they are enough."""
    num_events_U = np.bincount(validation.history.user, minlength=validation.num_users)
    tested = validation.tested_users
    edges = [0]
    if len(tested) >= 3 * _USERS_PER_BAND:
        edges += sorted({int(number) for number in np.quantile(num_events_U[tested], [1 / 3, 2 / 3])} - {0})
    order = np.lexsort((validation.history.row, validation.history.user))
    seen_offsets = np.concatenate([[0], np.cumsum(num_events_U)]).astype(np.int64)
    seen_rows = validation.history.row[order]
    weights: dict[str, list[tuple[int, float]]] = {kind: [] for kind in models}
    is_personal = [model_class(kind).is_personal for kind in models]
    for start, stop in zip(edges, [*edges[1:], np.iinfo(np.int64).max], strict=True):
        is_member_U = (num_events_U >= start) & (num_events_U < stop)
        _, table = choose_weights(
            [(vectors.items_ID, vectors.users_UD) for vectors in models.values()],
            *_targets_of(validation, is_member_U),
            seen_offsets,
            seen_rows,
            k=_CRITERION_K,
        )
        # What is the same for everybody makes no list of a user's own: where it is best alone, the next best is taken.
        chosen = next(combination for combination, _ in table if np.any(np.array(combination)[is_personal]))
        for kind, weight in zip(models, chosen, strict=True):
            weights[kind].append((start, max(weight, model_class(kind).least_weight)))
    return weights


def _targets_of(split: Split, is_member_U: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Targets of some users in CSR; the others have none."""
    lengths_U = np.diff(split.target_offsets)
    is_target_of_member = np.repeat(is_member_U, lengths_U)
    offsets = np.concatenate([[0], np.cumsum(np.where(is_member_U, lengths_U, 0))]).astype(np.int64)
    return offsets, split.target_rows[is_target_of_member]
