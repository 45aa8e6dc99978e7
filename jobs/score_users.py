"""Score all users of a release against all eligible items.

semrec score --workspace W
ray job submit --working-dir . -- python -m jobs.score_users --workspace s3://bucket/w --k 100
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli_common import (
    ON_GPUS,
    ConsoleProgress,
    Engine,
    OpenCompute,
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
@with_workspace("score.k", "score.approximate")
@with_compute(*ON_GPUS)
def main(
    workspace: Workspace,
    settings: Settings,
    open_compute: OpenCompute,
    release: Annotated[str | None, typer.Option(help="Release to score (default: the newest).")] = None,
    engine: Engine = None,
    shards: Shards = None,
    resume: Annotated[str | None, typer.Option(help="Run that this submission must continue.")] = None,
) -> None:
    """Score all users; parts that are committed are not done again."""
    from cluster.stages.score import score_users

    with open_compute() as compute:
        result = score_users(
            workspace,
            settings.score,
            compute=compute,
            progress=ConsoleProgress(),
            release_id=release,
            engine=engine,
            num_shards=shards,
            resume=resume,
        )
    digest = result.manifest.content_digest[:16]
    say(f"run {result.run_id}: {result.manifest.num_rows:,} users, content digest {digest}")


if __name__ == "__main__":
    run_as_program(main)
