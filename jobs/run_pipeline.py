"""The whole path: embed, release, score, verify, publish; redoing only what changed.

semrec run --workspace W --k 20
ray job submit --working-dir . -- python -m jobs.run_pipeline --workspace s3://bucket/w --k 20
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from jobs.printing import say
from jobs.shell import (
    Address,
    AllowEmpty,
    AllowLostEligibility,
    AsOf,
    ConsoleProgress,
    CpusPerWorker,
    DeviceOption,
    DeviceWait,
    Eligibility,
    HalfLife,
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
    eligibility: Eligibility = None,
    half_life_days: HalfLife = None,
    as_of: AsOf = None,
    max_rejected: MaxRejected = 0.01,
    allow_empty: AllowEmpty = False,
    allow_lost_eligibility: AllowLostEligibility = False,
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
    from semrec.encoders import embed_settings
    from semrec.runs import Allowed, ScoreSettings, inherited_settings
    from semrec.workspace.folder import Workspace

    opened, progress = Workspace.open(workspace), ConsoleProgress()
    given: dict[str, Any] = {"eligibility": eligibility, "half_life_days": half_life_days, "as_of": as_of}
    release, kept = inherited_settings(opened.storage, **given)
    if kept:
        progress.note(kept)
    settings = PipelineSettings(
        embed=embed_settings({"model": model, "device": device}),
        release=release,
        score=ScoreSettings(k=k),
        engine=engine,
        num_shards=shards,
        max_rejected=max_rejected,
        allowed=Allowed(allow_empty, allow_lost_eligibility),
    )
    kind = device.partition(":")[0]  # the encoder may be sent to one GPU of several
    options = compute_options(in_process, address, workers, cpus_per_worker, device=kind, device_wait_s=device_wait)
    with open_compute(options) as compute:
        say((compute.describe(), "dim"))
        result = run_pipeline(opened, settings, compute=compute, progress=progress)
    say(f"live: release {result.live.release}, run {result.live.run}")


if __name__ == "__main__":
    run(main)
