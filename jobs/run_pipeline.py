"""The whole path: embed, release, score, verify, publish; redoing only what changed.

semrec run --workspace W --k 20
ray job submit --working-dir . -- python -m jobs.run_pipeline --workspace s3://bucket/w --k 20
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
    MaxRejected,
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
    model: Annotated[
        str, typer.Option(help="Encoder: a sentence-transformers name or a local folder.")
    ] = "all-MiniLM-L6-v2",
    engine: Annotated[str | None, typer.Option(help="reference, cpu or cuda (default: by device).")] = None,
    shards: Annotated[int | None, typer.Option(min=1, help="Force this many shards of the item matrix.")] = None,
    max_rejected: MaxRejected = 0.01,
    in_process: InProcessOption = False,
    address: Address = None,
    workers: Workers = None,
    cpus_per_worker: CpusPerWorker = None,
    device: DeviceOption = "auto",
    device_wait: DeviceWait = 900.0,
) -> None:
    """Embed, release, score, verify and publish."""
    from cluster.compute import open_compute
    from cluster.stages.pipeline import PipelineSettings, run_pipeline
    from semrec.embedding import embed_settings
    from semrec.runs import ScoreSettings
    from semrec.workspace import Workspace

    settings = PipelineSettings(
        embed=embed_settings({"model": model, "device": device}),
        score=ScoreSettings(k=k),
        engine=engine,
        num_shards=shards,
        max_rejected=max_rejected,
    )
    opened = Workspace.open(workspace)
    kind = device.partition(":")[0]  # the encoder may be sent to one GPU of several
    options = compute_options(in_process, address, workers, cpus_per_worker, device=kind, device_wait_s=device_wait)
    with open_compute(options) as compute:
        say((compute.describe(), "dim"))
        result = run_pipeline(opened, settings, compute=compute, progress=ConsoleProgress())
    say(f"live: release {result.live.release}, run {result.live.run}")


if __name__ == "__main__":
    run(main)
