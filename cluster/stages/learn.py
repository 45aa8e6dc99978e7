"""Chooses the models of a release, in one call away from the driver."""

from __future__ import annotations

from cluster.compute import Compute
from semrec.evaluation.choose import ModelChoice, choose_models
from semrec.progress import Progress
from semrec.settings import Settings
from semrec.workspace.folder import Workspace

__all__ = ["learn_models"]


def learn_models(
    workspace: Workspace, settings: Settings, *, embedding: str, compute: Compute, progress: Progress
) -> ModelChoice:
    """Chooses the models for a release of the present data, as `choose_models` does, and says in a line what they gain."""
    progress.start("learn", 0, "models")
    choice: ModelChoice = compute.run(
        choose_models, workspace, settings.models, embedding=embedding, as_of=settings.release.as_of
    )
    progress.finish(str(choice))
    return choice
