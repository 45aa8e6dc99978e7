"""Make a verified run and its release live.

semrec publish --workspace W
python -m jobs.publish_run --workspace W --run 0123456789abcdef
"""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.printing import say
from jobs.shell import AllowEmpty, AllowLostEligibility, WorkspaceOption, reported, run

__all__ = ["main"]


@reported
def main(
    workspace: WorkspaceOption,
    run_id: Annotated[str | None, typer.Option("--run", help="Run to publish (default: the newest).")] = None,
    allow_empty: AllowEmpty = False,
    allow_lost_eligibility: AllowLostEligibility = False,
) -> None:
    """Publish a verified run: release and run go live in one step."""
    from semrec.runs import Allowed, newest_run, publish
    from semrec.workspace.folder import Workspace

    storage = Workspace.open(workspace).storage
    allowed = Allowed(allow_empty, allow_lost_eligibility)
    live = publish(storage, run_id or newest_run(storage), allowed)
    say(f"live: release {live.release}, run {live.run}")


if __name__ == "__main__":
    run(main)
