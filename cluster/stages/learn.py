"""Learns: chooses the models of a release in one call away from the driver, then builds the release with them."""

from __future__ import annotations

from collections.abc import Mapping

from cluster.compute import Compute
from cluster.stages.release import ReleaseResult, build_release
from semrec.evaluation.choose import ModelChoice, choose_models
from semrec.progress import Progress
from semrec.release.metrics import EvaluationManifest, MetricValue
from semrec.settings import Settings
from semrec.workspace.folder import Workspace

__all__ = ["build_learned_release"]


def build_learned_release(
    workspace: Workspace,
    settings: Settings,
    *,
    embedding: str,
    compute: Compute,
    progress: Progress,
    beside: Mapping[str, str] | None = None,
) -> tuple[ModelChoice, ReleaseResult]:
    """Builds the release of the present data with the models that `choose_models` gives for them, and says what they gain.

    What they reached on held-out likes is stored with the release, for the gates of publishing.
    """
    progress.start("learn", 0, "models")
    choice: ModelChoice = compute.run(
        choose_models, workspace, settings.models, embedding=embedding, beside=beside, as_of=settings.release.as_of
    )
    progress.finish(str(choice))
    released = build_release(
        workspace,
        settings.release,
        embedding=embedding,
        compute=compute,
        progress=progress,
        models=choice.models,
        beside=beside,
    )
    if choice.interval:
        low, high = choice.interval
        measured = MetricValue(value=choice.ndcg["chosen"], low=low, high=high)
        EvaluationManifest(metrics={"ndcg@10": measured}).write(workspace.storage, released.release_id)
    return choice, released
