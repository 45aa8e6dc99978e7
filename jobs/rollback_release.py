"""Make the pair that was live before live again.

semrec rollback --workspace W
python -m jobs.rollback_release --workspace W
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.cli_common import exit_on_error, run_as_program, with_workspace
from jobs.printing import say

if TYPE_CHECKING:
    from semrec.workspace.folder import Workspace

__all__ = ["main"]


@exit_on_error
@with_workspace()
def main(workspace: Workspace) -> None:
    """Roll back: the earlier release and run go live in one step."""
    from semrec.runs.publish import rollback
    from semrec.runs.status import describe_live

    live = rollback(workspace.storage)
    say(f"live: {describe_live(workspace.storage, live)}")


if __name__ == "__main__":
    run_as_program(main)
