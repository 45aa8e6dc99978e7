"""Choose the models of a workspace's releases, by what they reach on held-out likes, and keep the choice with its evidence.

Each user's last like is held out for the figures. What trains is divided once more, to choose settings and weights by: so the
figures are of items that nothing was chosen by. The models of a release then learn from all interactions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from pydantic import Field

from semrec.errors import InputError
from semrec.evaluation.dataset import Dataset, read_dataset
from semrec.evaluation.learn import AUTO_KINDS, LearnedModels, fit_model, learn
from semrec.evaluation.report import EvaluationReport, evaluate_models
from semrec.evaluation.splits import split_events
from semrec.models.base import MODELS, model_class, reads_modality
from semrec.models.beside import BESIDE_MODELS
from semrec.models.graph import RELATIONS
from semrec.release.relations import RelationSources
from semrec.settings import ModelsSettings
from semrec.settings_file import read_settings
from semrec.workspace.digests import fingerprint
from semrec.workspace.folder import Workspace
from semrec.workspace.manifest import Manifest
from semrec.workspace.manifests import EmbeddingManifest, InteractionsManifest, ModelSpec

__all__ = ["ModelChoice", "choose_models"]

_CONTENT_ALONE: Final = ("content",)
_METRIC: Final = "ndcg@10"


class ModelChoice(Manifest):
    """The models of releases from now on, and why: without any, a release has the content model.

    `settings` and `weights` (pairs of a number of events and the weight from there on, of scores with unit variance) by kind.
    `ndcg`: nDCG@10 of popularity and of what was chosen, on `num_users` held-out likes; `interval`: 95 %, of what was chosen;
    `gain`: the difference and its 95 % interval. `searched_ndcg`: what the settings reached when they were found. `trials`:
    kind, settings and nDCG@100 of each. `inputs`: fingerprints of settings and data, while which are the same the choice holds.
    """

    KIND = "model_choice"
    PATH = "models/choice.json"
    REMEDY = "Run `semrec run`, which chooses anew."

    models: tuple[ModelSpec, ...] = ()
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    weights: dict[str, tuple[tuple[int, float], ...]] = Field(default_factory=dict)
    num_users: int = 0
    ndcg: dict[str, float] = Field(default_factory=dict)
    interval: tuple[float, float] | None = None
    gain: tuple[float, float, float] | None = None
    searched_ndcg: float = 0.0
    trials: tuple[tuple[str, dict[str, Any], float], ...] = ()
    notes: tuple[str, ...] = ()
    inputs: dict[str, str] = Field(default_factory=dict)

    def __str__(self) -> str:
        """What was chosen and what it gains, in a line."""
        if not self.models:
            return "; ".join(["the content model", *self.notes])
        names = [f"{kind} {values['dimension']}" if "dimension" in values else kind for kind, values in self._used()]
        phrases = [" + ".join(names)]
        if self.gain:
            difference, low, high = self.gain
            phrases.append(
                f"nDCG@10 {self.ndcg['chosen']:.4f} on {self.num_users:,} held-out likes, {difference:+.4f} "
                f"[{low:+.4f}, {high:+.4f}] over popularity"
            )
        return "; ".join([*phrases, *self.notes])

    def _used(self) -> list[tuple[str, dict[str, Any]]]:
        return [(spec.kind, spec.settings) for spec in self.models]


def choose_models(
    workspace: Workspace,
    settings: ModelsSettings,
    *,
    embedding: str,
    beside: Mapping[str, str] | None = None,
    as_of: int | None = None,
) -> ModelChoice:
    """Chooses the models for a release of the present data, or finds the choice that was made for them.

    `beside`: modality -> name of its embedding, for whose model auto stands, too. Settings that were searched before are kept
    for new data as long as they reach on it what they reached then, less `settings.max_fall`. Events after `as_of` (s UTC)
    are left out. With fewer interactions than `settings.min_interactions`, or none that tell models apart, it is the content
    model, or those of all modalities at equal weights, with the reason in `notes`; nothing is stored then. Raises InputError
    for models that are not known or cannot stand together, TrainingError when no training converges.
    """
    storage = workspace.storage
    interactions = InteractionsManifest.read_if_there(storage)
    is_auto = settings.kinds == ("auto",)
    beside = beside or {}
    own_kinds = tuple(BESIDE_MODELS[modality] for modality in beside)
    kinds = (*AUTO_KINDS, *own_kinds) if is_auto else settings.kinds
    if kinds == _CONTENT_ALONE:
        return ModelChoice()
    _check_kinds(kinds)
    num_interactions = interactions.num_rows if interactions else 0
    if interactions is None or (is_auto and num_interactions < settings.min_interactions):
        return ModelChoice(
            models=_by_content(own_kinds),
            notes=(
                f"{num_interactions:,} interactions are too few to learn from (from {settings.min_interactions:,} on)",
            ),
        )
    encoder = EmbeddingManifest.read(storage, embedding)
    with_relations = reads_modality(RELATIONS, kinds)
    release = read_settings(storage).release
    sources = RelationSources.of_workspace(storage, release.relations_from)
    of_relations = sources.fingerprints if with_relations else []
    inputs = {
        "settings": fingerprint([settings.model_dump(mode="json"), encoder.encoder]),
        "data": fingerprint(
            [
                interactions.fingerprint,
                encoder.fingerprint,
                as_of,
                release.half_life_days,
                *(EmbeddingManifest.read(storage, name).fingerprint for name in beside.values()),
                *of_relations,
            ]
        ),
    }
    before = ModelChoice.read_if_there(storage)
    if before and before.inputs == inputs:
        return before
    dataset = read_dataset(
        workspace, embedding=embedding, beside=beside, as_of=as_of, max_users=settings.search_users,
        with_relations=with_relations,
    )  # fmt: skip
    try:
        is_kept = before is not None and before.inputs["settings"] == inputs["settings"]
        choice = _measured(dataset, settings, kinds, before if is_kept else None)
        if is_kept and choice.ndcg["chosen"] < (1 - settings.max_fall) * choice.searched_ndcg:
            choice = _measured(dataset, settings, kinds)
    except InputError as error:
        if not is_auto:
            raise
        return ModelChoice(models=_by_content(own_kinds), notes=(f"nothing is learned: {error.got}",))
    choice = choice.model_copy(update={"inputs": inputs})
    choice.write(storage)
    return choice


def _measured(
    dataset: Dataset, settings: ModelsSettings, kinds: tuple[str, ...], before: ModelChoice | None = None
) -> ModelChoice:
    """Fits and measures models, with the settings and weights of `before`, or such as are searched."""
    split = split_events(
        dataset.events, "leave-last-out", num_users=dataset.num_users, num_items=dataset.num_items,
        neutral_value=dataset.neutral_value,
    )  # fmt: skip
    learned = learn(
        split, dataset.content, dataset.neutral_value, kinds=kinds,
        settings=before.settings if before else settings.by_kind(),
        weights={kind: list(pairs) for kind, pairs in before.weights.items()} if before else None,
        search=settings.search and before is None, half_life_days=dataset.half_life_days,
    )  # fmt: skip
    name = "blend" if len(kinds) > 1 else kinds[0]
    popularity = learned.vectors.get("popularity")
    popularity = popularity or fit_model("popularity", {}, split, dataset.content, dataset.neutral_value)
    report = evaluate_models({"popularity": popularity, name: learned.vectors[name]}, split, ks=(10,))
    ndcg = {"popularity": report.results["popularity"].means[_METRIC], "chosen": report.results[name].means[_METRIC]}
    choice = before or ModelChoice(
        settings={kind: learned.settings[kind] for kind in kinds},
        weights={kind: tuple(learned.weights.get(kind, ((0, 1.0),))) for kind in kinds},
        searched_ndcg=ndcg["chosen"],
        trials=tuple((trial.kind, trial.settings, trial.ndcg) for trial in learned.trials),
        notes=tuple(learned.notes),
    )
    return choice.model_copy(
        update={
            "models": _specs(learned, choice),
            "num_users": len(split.tested_users),
            "ndcg": ndcg,
            "interval": report.results[name].intervals[_METRIC],
            "gain": _gain(report, name),
        }
    )


def _gain(report: EvaluationReport, name: str) -> tuple[float, float, float] | None:
    comparison = report.comparisons.get(f"{name} - popularity", {}).get(_METRIC)
    return (comparison.difference, comparison.low, comparison.high) if comparison else None


def _specs(learned: LearnedModels, choice: ModelChoice) -> tuple[ModelSpec, ...]:
    """The models that have a weight, as a release stores them.

    The exponent brings item vectors to a length near 1, so that a coarse format loses as little of each model. The weight
    takes it back, and for a model that is not personal also gives its scores unit variance: its users' vectors have none.
    """
    specs = []
    for kind, weights in choice.weights.items():
        if not any(weight for _, weight in weights):
            continue
        vectors = learned.vectors.get(kind) or learned.hubness
        assert vectors is not None
        mean_square = float(np.square(vectors.items_ID, dtype=np.float64).sum(axis=1).mean())
        exponent = -round(math.log2(mean_square) / 2) if mean_square else 0
        scale = math.ldexp(1.0, -exponent)
        if not model_class(kind).is_personal:
            scale *= float(vectors.users_UD[0, 0])
        specs.append(
            ModelSpec(
                kind=kind,
                settings=choice.settings[kind],
                exponent=exponent,
                weights=tuple((num_events, weight * scale) for num_events, weight in weights),
            )
        )
    return tuple(specs)


def _by_content(beside_kinds: tuple[str, ...]) -> tuple[ModelSpec, ...]:
    """The models where nothing is learned: that of the texts and those beside it at equal weights, or none but `content`."""
    return tuple(ModelSpec(kind=kind) for kind in ("content_ridge", *beside_kinds)) if beside_kinds else ()


def _check_kinds(kinds: tuple[str, ...]) -> None:
    """Raises InputError for models of which a release cannot be made."""
    is_blend = all(model_class(kind).default_weight is not None for kind in kinds)
    if not is_blend or not any(model_class(kind).is_personal for kind in kinds):
        raise InputError(
            f"models.kinds {', '.join(kinds)}",
            expected="auto, content alone, or models of unit score variance of which one goes by users' events: "
            f"{', '.join(kind for kind in MODELS if model_class(kind).default_weight is not None)}",
            remedy="Set it with `semrec config set models.kinds`; content_ridge stands beside others, content alone.",
        )
