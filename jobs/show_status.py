"""Show what a workspace holds: inputs, embeddings, releases, runs with their progress, and what is live.

semrec status --workspace W
python -m jobs.show_status --workspace W
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from jobs.cli_common import exit_on_error, run_as_program, with_workspace
from jobs.printing import one_line, say, show_table

if TYPE_CHECKING:
    from semrec.workspace.folder import Workspace

__all__ = ["main"]


@exit_on_error
@with_workspace()
def main(
    workspace: Workspace, as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False
) -> None:
    """Show what is there, how far each run is, and what is live."""
    from dataclasses import asdict

    from semrec.runs.status import read_status

    status = read_status(workspace)
    if as_json:
        say(json.dumps(asdict(status), indent=2))
        return
    say(f"workspace {one_line(status.uri)}, {status.num_buckets} user buckets")
    for line in status.inputs:
        say(f"  {one_line(line)}")
    table = Table("run", "release", "K", "parts", "users", "state", "lists", title="runs", title_justify="left")
    for run in status.runs:
        parts = f"{run.num_committed}/{run.num_parts}"
        table.add_row(run.run, run.release, str(run.k), parts, f"{run.num_users:,}", run.state, run.lists)
    if status.runs:
        show_table(table)
    say(f"live: {status.live or 'nothing'}")
    for line in status.exports:
        say(one_line(line))


if __name__ == "__main__":
    run_as_program(main)
