"""The whole path in one call: take in what was changed online, then embed, release, score, verify, publish.

Each step redoes only what changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cluster.compute import Compute
from cluster.stages.embed import EmbedResult, embed_catalogue
from cluster.stages.release import ReleaseResult, build_release
from cluster.stages.score import ScoreResult, score_users
from cluster.stages.verify import tell_live, verify
from semrec.changes.compact import fold_changes
from semrec.encoders import EmbedSettings
from semrec.errors import IncompleteRunError
from semrec.progress import Progress
from semrec.release import ReleaseSettings
from semrec.runs import Allowed, Live, ScoreSettings, Verification, check_against_live, publish
from semrec.workspace.folder import Workspace
from semrec.workspace.quarantine import DEFAULT_MAX_SHARE

__all__ = ["PipelineResult", "PipelineSettings", "run_pipeline"]


@dataclass(frozen=True)
class PipelineSettings:
    """The settings of all stages."""

    embed: EmbedSettings = field(default_factory=lambda: EmbedSettings())
    release: ReleaseSettings = field(default_factory=lambda: ReleaseSettings())
    score: ScoreSettings = field(default_factory=lambda: ScoreSettings())
    engine: str | None = None
    num_shards: int | None = None
    max_rejected: float = DEFAULT_MAX_SHARE
    allowed: Allowed = field(default_factory=Allowed)


@dataclass(frozen=True)
class PipelineResult:
    """What each stage returned."""

    embed: EmbedResult
    release: ReleaseResult
    score: ScoreResult
    verification: Verification
    live: Live


def run_pipeline(
    workspace: Workspace, settings: PipelineSettings, *, compute: Compute, progress: Progress
) -> PipelineResult:
    """Everything from the catalogue, with what was changed online since, to the live pair.

    Raises what the stages raise; nothing goes live unverified, nor empty or with less eligibility unless it is `allowed`.
    """
    if folded := compute.run(fold_changes, workspace):
        progress.note(str(folded))
    embedded = embed_catalogue(
        workspace, settings.embed, compute=compute, progress=progress, max_rejected=settings.max_rejected
    )
    released = build_release(workspace, settings.release, embedding=embedded.name, compute=compute, progress=progress)
    check_against_live(workspace.storage, released.release_id, settings.allowed)  # before hours of scoring, not after
    scored = score_users(
        workspace,
        settings.score,
        compute=compute,
        progress=progress,
        release_id=released.release_id,
        engine=settings.engine,
        num_shards=settings.num_shards,
    )
    verification = verify(workspace, scored.run_id, compute=compute, progress=progress)
    if not verification.ok:
        raise IncompleteRunError(
            f"run {scored.run_id} has {len(verification.problems)} bad parts ({verification.problems[0]})",
            expected="a run without a fault",
            remedy="Run `semrec score` to repair it, then `semrec verify`.",
        )
    live = publish(workspace.storage, scored.run_id, settings.allowed)
    tell_live(live, compute.metrics)
    return PipelineResult(embedded, released, scored, verification, live)
