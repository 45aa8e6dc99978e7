"""Build the release of the present catalogue, embedding, interactions and users.

semrec release --workspace W
python -m jobs.build_release --workspace W
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli_common import (
    ON_CPUS,
    ConsoleProgress,
    OpenCompute,
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
@with_workspace("release.eligibility", "release.half_life_days", "release.as_of", "models.kinds")
@with_compute(*ON_CPUS)
def main(
    workspace: Workspace,
    settings: Settings,
    open_compute: OpenCompute,
    embedding: Annotated[str | None, typer.Option(help="Embedding to use, where there are several.")] = None,
) -> None:
    """Build the immutable release that scoring and serving read."""
    from cluster.stages.learn import build_learned_release
    from cluster.stages.release import find_beside, find_embedding

    beside = find_beside(workspace.storage, settings.encoder.beside)
    name = embedding or find_embedding(workspace.storage, tuple(beside.values()))
    with open_compute() as compute:
        _, result = build_learned_release(
            workspace, settings, embedding=name, compute=compute, progress=ConsoleProgress(), beside=beside
        )
    matrix = result.manifest.matrix
    say(
        f"release {result.release_id}: {matrix.num_items:,} items x {matrix.dimension}, "
        f"{result.manifest.num_users:,} users"
    )


if __name__ == "__main__":
    run_as_program(main)
