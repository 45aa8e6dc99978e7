"""Verify a finished run: digests, every user exactly once, lists against the reference engine.

semrec verify --workspace W
python -m jobs.verify_run --workspace W --run 0123456789abcdef
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
from jobs.printing import one_line, say

if TYPE_CHECKING:
    from semrec.settings import Settings
    from semrec.workspace.folder import Workspace

__all__ = ["main"]


@exit_on_error
@with_workspace("verify.num_sampled_users")
@with_compute(*IN_ONE_TASK)
def main(
    workspace: Workspace,
    settings: Settings,
    open_compute: OpenCompute,
    run_id: Annotated[str | None, typer.Option("--run", help="Run to verify (default: the newest).")] = None,
) -> None:
    """Verify a run; exit code 1 when a part is bad."""
    from cluster.stages.verify import verify

    num_sampled = settings.verify.num_sampled_users
    with open_compute() as compute:
        verification = verify(workspace, run_id, compute=compute, progress=ConsoleProgress(), num_sampled=num_sampled)
    for problem in verification.problems:
        say(("bad", "red"), f" {one_line(problem)}")
    if not verification.ok:
        say("`semrec score` does these parts again.")
        raise typer.Exit(1)
    say(f"run {verification.run} is good")


if __name__ == "__main__":
    run_as_program(main)
