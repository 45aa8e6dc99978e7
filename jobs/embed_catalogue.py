"""Embed the catalogue's texts, or another kind of its content: all that has no committed vector.

semrec embed --workspace W
semrec embed --encoder image --workspace W
ray job submit --working-dir . -- python -m jobs.embed_catalogue --workspace s3://bucket/w
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.cli_common import (
    ON_GPUS,
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
@with_workspace(
    "encoder.kind",
    "encoder.model",
    "encoder.image_model",
    "encoder.dtype",
    "encoder.backend",
    "encoder.max_tokens",
    "encoder.beside",
    "quarantine.max_share",
)
@with_compute(*ON_GPUS)
def main(workspace: Workspace, settings: Settings, open_compute: OpenCompute, device: str) -> None:
    """Embed the catalogue: only content that has no committed vector."""
    from cluster.stages.embed import embed_all
    from semrec.encoders.settings import embed_settings

    chosen = embed_settings({**settings.encoder.model_dump(), "device": device})
    with open_compute() as compute:
        results = embed_all(
            workspace,
            chosen,
            compute=compute,
            progress=ConsoleProgress(),
            max_rejected=settings.quarantine.max_share,
        )
    for result in results.values():
        say(f"embedding {result.name}: {result.manifest.num_items:,} items")


if __name__ == "__main__":
    run_as_program(main)
