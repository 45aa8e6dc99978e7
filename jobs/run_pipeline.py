"""Run the whole path: embed, learn, release, score, verify, publish; redoing only what changed.

semrec run --workspace W
ray job submit --working-dir . -- python -m jobs.run_pipeline --workspace s3://bucket/w
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.cli_common import (
    ON_GPUS,
    AllowApproximate,
    AllowEmpty,
    AllowLostClause,
    AllowWorse,
    ConsoleProgress,
    Engine,
    OpenCompute,
    Require,
    Shards,
    exit_on_error,
    run_as_program,
    with_compute,
    with_workspace,
)
from jobs.printing import say

if TYPE_CHECKING:
    from semrec.settings import Settings
    from semrec.workspace.folder import Workspace

__all__ = ["main"]


@exit_on_error
@with_workspace(
    "encoder.kind",
    "encoder.model",
    "encoder.image_model",
    "encoder.beside",
    "release.eligibility",
    "release.half_life_days",
    "release.as_of",
    "models.kinds",
    "score.k",
    "score.approximate",
    "quarantine.max_share",
)
@with_compute(*ON_GPUS)
def main(
    workspace: Workspace,
    settings: Settings,
    open_compute: OpenCompute,
    device: str,
    engine: Engine = None,
    shards: Shards = None,
    allow_empty: AllowEmpty = False,
    allow_lost_clause: AllowLostClause = None,
    allow_worse: AllowWorse = False,
    allow_approximate: AllowApproximate = False,
    require: Require = None,
) -> None:
    """Embed, learn, release, score, verify and publish."""
    from cluster.stages.pipeline import run_pipeline
    from semrec.encoders.settings import embed_settings
    from semrec.export.published import check_exports
    from semrec.runs.gates import Allowed
    from semrec.runs.status import describe_live

    encoder = embed_settings({**settings.encoder.model_dump(), "device": device})
    with open_compute() as compute:
        say((compute.describe(), "dim"))
        result = run_pipeline(
            workspace,
            settings,
            compute=compute,
            progress=ConsoleProgress(),
            encoder=encoder,
            engine=engine,
            num_shards=shards,
            allowed=Allowed(
                allow_empty,
                frozenset(allow_lost_clause or ()),
                allow_worse,
                allow_approximate,
                required=tuple(require or ()),
            ),
        )
    say(f"live: {describe_live(workspace.storage, result.live)}")
    check_exports(result.exports)


if __name__ == "__main__":
    run_as_program(main)
