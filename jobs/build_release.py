"""Build the release of the present catalogue, embedding, interactions and users.

semrec release --workspace W
python -m jobs.build_release --workspace W
"""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.printing import say
from jobs.shell import (
    Address,
    ConsoleProgress,
    CpusPerWorker,
    InProcessOption,
    Workers,
    WorkspaceOption,
    compute_options,
    reported,
    run,
)

__all__ = ["main"]


@reported
def main(
    workspace: WorkspaceOption,
    embedding: Annotated[str | None, typer.Option(help="Embedding to use, where there are several.")] = None,
    half_life_days: Annotated[float, typer.Option(help="Days after which an event counts half.")] = 180.0,
    eligibility: Annotated[
        list[str] | None, typer.Option(help="Attribute that users and items must share; repeat for several.")
    ] = None,
    as_of: Annotated[int | None, typer.Option(help="Seconds since 1970 UTC; later events are left out.")] = None,
    in_process: InProcessOption = False,
    address: Address = None,
    workers: Workers = None,
    cpus_per_worker: CpusPerWorker = None,
) -> None:
    """Build the immutable release that scoring and serving read."""
    from cluster.compute import open_compute
    from cluster.stages.release import build_release
    from semrec.release import ReleaseSettings
    from semrec.workspace import Workspace

    given = {"eligibility": tuple(eligibility)} if eligibility is not None else {}
    settings = ReleaseSettings(half_life_days=half_life_days, as_of=as_of, **given)
    opened = Workspace.open(workspace)
    with open_compute(compute_options(in_process, address, workers, cpus_per_worker)) as compute:
        result = build_release(opened, settings, embedding=embedding, compute=compute, progress=ConsoleProgress())
    matrix = result.manifest["matrix"]
    say(
        f"release {result.release_id}: {matrix['num_items']:,} items x {matrix['dimension']}, "
        f"{result.manifest['num_users']:,} users"
    )


if __name__ == "__main__":
    run(main)
