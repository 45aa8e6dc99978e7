"""Draw the map of the catalogue that the service's page shows, from the item vectors of a release.

semrec map --workspace W
ray job submit --working-dir . -- python -m jobs.draw_map --workspace s3://bucket/w
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli_common import (
    IN_ONE_TASK,
    ConsoleProgress,
    OpenCompute,
    exit_on_error,
    run_as_program,
    with_compute,
    with_workspace,
)
from jobs.printing import say

if TYPE_CHECKING:
    from semrec.workspace.folder import Workspace

__all__ = ["main"]


@exit_on_error
@with_workspace()
@with_compute(*IN_ONE_TASK)
def main(
    workspace: Workspace,
    open_compute: OpenCompute,
    release: Annotated[str | None, typer.Option(help="Release (default: the live one, else the newest).")] = None,
) -> None:
    """Draw the map of a release's items, unless it is there."""
    from cluster.stages.map import draw_release_map

    with open_compute() as compute:
        release_id = draw_release_map(workspace, release, compute=compute, progress=ConsoleProgress())
    say(f"release {release_id} has a map: the page of `semrec serve` shows it, without a restart")


if __name__ == "__main__":
    run_as_program(main)
