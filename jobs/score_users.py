"""Score all users of a release against all eligible items.

semrec score --workspace W --k 20
ray job submit --working-dir . -- python -m jobs.score_users --workspace s3://bucket/w --k 100
"""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.printing import say
from jobs.shell import (
    Address,
    ConsoleProgress,
    CpusPerWorker,
    DeviceOption,
    DeviceWait,
    InProcessOption,
    Workers,
    WorkspaceOption,
    compute_options,
    reported,
    run,
)
from semrec.limits import MAX_K

__all__ = ["main"]


@reported
def main(
    workspace: WorkspaceOption,
    k: Annotated[int, typer.Option(min=1, max=MAX_K, help="Recommendations per user.")] = 20,
    release: Annotated[str | None, typer.Option(help="Release to score (default: the newest).")] = None,
    engine: Annotated[str | None, typer.Option(help="reference, cpu or cuda (default: by device).")] = None,
    shards: Annotated[int | None, typer.Option(min=1, help="Force this many shards of the item matrix.")] = None,
    resume: Annotated[str | None, typer.Option(help="Run that this submission must continue.")] = None,
    in_process: InProcessOption = False,
    address: Address = None,
    workers: Workers = None,
    cpus_per_worker: CpusPerWorker = None,
    device: DeviceOption = "auto",
    device_wait: DeviceWait = 900.0,
) -> None:
    """Score all users; parts that are committed are not done again."""
    from cluster.compute import open_compute
    from cluster.stages.score import score_users
    from semrec.runs import ScoreSettings
    from semrec.workspace.folder import Workspace

    opened = Workspace.open(workspace)
    options = compute_options(in_process, address, workers, cpus_per_worker, device=device, device_wait_s=device_wait)
    with open_compute(options) as compute:
        result = score_users(
            opened,
            ScoreSettings(k=k),
            compute=compute,
            progress=ConsoleProgress(),
            release_id=release,
            engine=engine,
            num_shards=shards,
            resume=resume,
        )
    digest = result.manifest["content_digest"][:16]
    say(f"run {result.run_id}: {result.manifest['num_rows']:,} users, content digest {digest}")


if __name__ == "__main__":
    run(main)
