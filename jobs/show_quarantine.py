"""Show the rows that a stage rejected.

semrec quarantine -w W
semrec quarantine import --rows 50 -w W
python -m jobs.show_quarantine -w W
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli_common import exit_on_error, run_as_program, with_workspace
from jobs.printing import one_line, say

if TYPE_CHECKING:
    from semrec.workspace.folder import Workspace

__all__ = ["main"]


@exit_on_error
@with_workspace()
def main(
    workspace: Workspace,
    stage: Annotated[str, typer.Argument(help="The stage that rejected them.")] = "import",
    rows: Annotated[int, typer.Option(min=1, help="Rows to show.")] = 20,
) -> None:
    """Show the rows that the last imports rejected, with file, line and reason."""
    from semrec.workspace.quarantine import rejected_rows

    lines, num_rows = rejected_rows(workspace.storage, stage, rows)
    for line in lines:
        say(one_line(line))
    say(
        f"{num_rows:,} rows in quarantine/{stage}"
        + (f", {num_rows - len(lines):,} not shown" if num_rows > rows else "")
    )


if __name__ == "__main__":
    run_as_program(main)
