"""Build the release of the present catalogue, embedding, interactions and users.

semrec release --workspace W
python -m jobs.build_release --workspace W
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from jobs.printing import say
from jobs.shell import (
    Address,
    AsOf,
    ConsoleProgress,
    CpusPerWorker,
    Eligibility,
    HalfLife,
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
    half_life_days: HalfLife = None,
    eligibility: Eligibility = None,
    as_of: AsOf = None,
    in_process: InProcessOption = False,
    address: Address = None,
    workers: Workers = None,
    cpus_per_worker: CpusPerWorker = None,
) -> None:
    """Build the immutable release that scoring and serving read."""
    from cluster.compute import open_compute
    from cluster.stages.release import build_release
    from semrec.runs import inherited_settings
    from semrec.workspace.folder import Workspace

    opened, progress = Workspace.open(workspace), ConsoleProgress()
    given: dict[str, Any] = {"eligibility": eligibility, "half_life_days": half_life_days, "as_of": as_of}
    settings, kept = inherited_settings(opened.storage, **given)
    if kept:
        progress.note(kept)
    with open_compute(compute_options(in_process, address, workers, cpus_per_worker)) as compute:
        result = build_release(opened, settings, embedding=embedding, compute=compute, progress=progress)
    matrix = result.manifest["matrix"]
    say(
        f"release {result.release_id}: {matrix['num_items']:,} items x {matrix['dimension']}, "
        f"{result.manifest['num_users']:,} users"
    )


if __name__ == "__main__":
    run(main)
