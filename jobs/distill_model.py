"""Distil a sentence-transformers model to a static one, which embeds texts many times faster.

semrec distill models/static --model all-MiniLM-L6-v2
semrec config set encoder.kind static -w W && semrec config set encoder.model models/static -w W
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.cli_common import exit_on_error, run_as_program
from jobs.printing import say
from semrec.settings import DEFAULT_MODEL

__all__ = ["main"]


@exit_on_error
def main(
    folder: Annotated[Path, typer.Argument(help="New folder for the static model.")],
    model: Annotated[
        str, typer.Option(help="Its teacher: a sentence-transformers model, as encoder.model.")
    ] = DEFAULT_MODEL,
    dimension: Annotated[int, typer.Option(min=1, help="Dimensions of its vectors.")] = 256,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N, for the teacher.")] = "auto",
) -> None:
    """Distil a model of texts to a static one, for encoder.kind static."""
    from semrec.encoders.distill import distill_model

    distill_model(model, folder, dimension=dimension, device=device)
    say(f"{folder}: embed with it by --encoder static --model {folder}")


if __name__ == "__main__":
    run_as_program(main)
