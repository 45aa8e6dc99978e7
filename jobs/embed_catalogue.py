"""Embed every catalogue text that has no committed vector.

semrec embed --workspace W
ray job submit --working-dir . -- python -m jobs.embed_catalogue --workspace s3://bucket/w
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

__all__ = ["main"]


@reported
def main(
    workspace: WorkspaceOption,
    model: Annotated[
        str, typer.Option(help="Encoder: a sentence-transformers name or a local folder.")
    ] = "all-MiniLM-L6-v2",
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    max_tokens: Annotated[int, typer.Option(min=8, help="Longer texts are cut here.")] = 256,
    max_rejected: MaxRejected = 0.01,
    in_process: InProcessOption = False,
    address: Address = None,
    workers: Workers = None,
    cpus_per_worker: CpusPerWorker = None,
    device: DeviceOption = "auto",
    device_wait: DeviceWait = 900.0,
) -> None:
    """Embed the catalogue: only texts that have no committed vector."""
    from cluster.compute import open_compute
    from cluster.stages.embed import embed_catalogue
    from semrec.encoders import embed_settings
    from semrec.workspace.folder import Workspace

    settings = embed_settings({"model": model, "device": device, "dtype": dtype, "max_tokens": max_tokens})
    opened = Workspace.open(workspace)
    kind = device.partition(":")[0]  # the encoder may be sent to one GPU of several
    options = compute_options(in_process, address, workers, cpus_per_worker, device=kind, device_wait_s=device_wait)
    with open_compute(options) as compute:
        result = embed_catalogue(
            opened, settings, compute=compute, progress=ConsoleProgress(), max_rejected=max_rejected
        )
    say(f"embedding {result.name}: {result.manifest['num_items']:,} items")


if __name__ == "__main__":
    run(main)
