"""Verify a finished run: digests, every user exactly once, lists against the reference engine.

semrec verify --workspace W
python -m jobs.verify_run --workspace W --run 0123456789abcdef
"""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.printing import one_line, say
from jobs.shell import (
    Address,
    ConsoleProgress,
    InProcessOption,
    WorkspaceOption,
    compute_options,
    reported,
    run,
)

__all__ = ["main"]


@reported
def main(
    workspace: WorkspaceOption,
    run_id: Annotated[str | None, typer.Option("--run", help="Run to verify (default: the newest).")] = None,
    sample: Annotated[int, typer.Option(min=0, help="Users to score again with the reference engine.")] = 8,
    in_process: InProcessOption = False,
    address: Address = None,
) -> None:
    """Verify a run; exit code 1 when a part is bad."""
    from cluster.compute import open_compute
    from cluster.stages.verify import verify
    from semrec.workspace.folder import Workspace

    opened = Workspace.open(workspace)
    with open_compute(compute_options(in_process, address, None, None)) as compute:
        found = verify(opened, run_id, compute=compute, progress=ConsoleProgress(), num_sampled=sample)
    for problem in found.problems:
        say(("bad", "red"), f" {one_line(problem)}")
    if not found.ok:
        say("`semrec score` does these parts again.")
        raise typer.Exit(1)
    say(f"run {found.run} is good")


if __name__ == "__main__":
    run(main)
