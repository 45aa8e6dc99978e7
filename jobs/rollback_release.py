"""Make the pair that was live before live again.

semrec rollback --workspace W
python -m jobs.rollback_release --workspace W
"""

from __future__ import annotations

from jobs.printing import say
from jobs.shell import WorkspaceOption, reported, run

__all__ = ["main"]


@reported
def main(workspace: WorkspaceOption) -> None:
    """Roll back: the earlier release and run go live in one step."""
    from semrec.runs import rollback
    from semrec.workspace.folder import Workspace

    live = rollback(Workspace.open(workspace).storage)
    say(f"live: release {live.release}, run {live.run}")


if __name__ == "__main__":
    run(main)
