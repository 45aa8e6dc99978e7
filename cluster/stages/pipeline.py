"""Runs the whole path in one call: compacts what was changed online, embeds, learns, releases, scores, verifies, publishes.

Each step redoes only what changed.
"""

from __future__ import annotations

from dataclasses import dataclass

from cluster.compute import Compute
from cluster.stages.embed import EmbedResult, embed_all
from cluster.stages.learn import build_learned_release
from cluster.stages.release import ReleaseResult
from cluster.stages.score import ScoreResult, score_users
from cluster.stages.verify import export_live, verify
from semrec.changes.compact import compact_changes
from semrec.encoders.settings import EmbedSettings
from semrec.errors import IncompleteRunError
from semrec.evaluation.choose import ModelChoice
from semrec.export.published import PublishedExports, export_places, export_published
from semrec.progress import Progress
from semrec.runs.gates import NOTHING_ALLOWED, Allowed, check_approximate_allowed
from semrec.runs.live import Live
from semrec.runs.publish import check_against_live, check_settings_for_live, publish
from semrec.runs.verify import Verification
from semrec.scoring.approximate import check_approximate
from semrec.settings import Settings
from semrec.workspace.folder import Workspace

__all__ = ["PipelineResult", "run_pipeline"]


@dataclass(frozen=True)
class PipelineResult:
    """The results of the stages."""

    embed: EmbedResult
    models: ModelChoice
    release: ReleaseResult
    score: ScoreResult
    verification: Verification
    live: Live
    exports: PublishedExports


def run_pipeline(
    workspace: Workspace,
    settings: Settings,
    *,
    compute: Compute,
    progress: Progress,
    encoder: EmbedSettings | None = None,
    engine: str | None = None,
    num_shards: int | None = None,
    allowed: Allowed = NOTHING_ALLOWED,
) -> PipelineResult:
    """Does everything from the catalogue, with what was changed online since, to the live pair.

    `encoder` is that of the settings with the device for it, None for wherever `compute` works; `engine` and `num_shards`
    are as `score_users` has them. Raises what the stages raise; nothing goes live unverified, nor empty or with less
    eligibility unless it is `allowed`. What fails of the exports to `publish.export` stands in the result, and undoes nothing.
    """
    # Before hours of work, not after.
    export_places(settings.publish)
    if settings.score.approximate:
        check_approximate(settings.release.coarse_format, engine)
        check_approximate_allowed("score.approximate = true", allowed)
    for change in check_settings_for_live(workspace.storage, settings.release):
        progress.note(change)
    if applied := compute.run(compact_changes, workspace):
        progress.note(str(applied))
    encoder = encoder or EmbedSettings(**settings.encoder.model_dump())
    embedded = embed_all(
        workspace,
        encoder,
        compute=compute,
        progress=progress,
        max_rejected=settings.quarantine.max_share,
    )
    choice, released = build_learned_release(
        workspace,
        settings,
        embedding=embedded[encoder.kind].name,
        compute=compute,
        progress=progress,
        beside={kind: embedded[kind].name for kind in encoder.beside},
    )
    check_against_live(workspace.storage, released.release_id, allowed)  # before hours of scoring, not after
    scored = score_users(
        workspace,
        settings.score,
        compute=compute,
        progress=progress,
        release_id=released.release_id,
        engine=engine,
        num_shards=num_shards,
    )
    verification = verify(
        workspace,
        scored.run_id,
        compute=compute,
        progress=progress,
        num_sampled=settings.verify.num_sampled_users,
    )
    if not verification.ok:
        raise IncompleteRunError(
            f"run {scored.run_id} has {len(verification.problems)} bad parts ({verification.problems[0]})",
            expected="a run without a fault",
            remedy="Run `semrec score` to repair it, then `semrec verify`.",
        )
    live = publish(workspace.storage, scored.run_id, allowed)
    export_live(live, compute.metrics)
    exports: PublishedExports = compute.run(export_published, workspace.storage, live.release, settings.publish)
    for place in exports.places:
        progress.note(str(place))
    for exporter in {place.exporter for place in exports.places}:  # one of its places that failed is a failure
        failed = any(place.error for place in exports.places if place.exporter == exporter)
        compute.metrics.set("semrec_export_failed", float(failed), exporter=exporter)
    return PipelineResult(embedded[encoder.kind], choice, released, scored, verification, live, exports)
