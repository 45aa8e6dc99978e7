"""Describe a release's users by a few kinds of taste.

semrec archetypes --workspace W
semrec archetypes --workspace W --count 5 --json archetypes.json
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from jobs.cli_common import Json, exit_on_error, run_as_program, with_workspace
from jobs.printing import show_table

if TYPE_CHECKING:
    from semrec.workspace.folder import Workspace

__all__ = ["main"]


@exit_on_error
@with_workspace()
def main(
    workspace: Workspace,
    count: Annotated[int, typer.Option(min=1, help="Archetypes.")] = 8,
    release: Annotated[str | None, typer.Option(help="Release (default: the live one, else the newest).")] = None,
    json: Json = None,
) -> None:
    """Show which kinds of taste a release's users have, how many are of each, and what they like more than others.

    They are stored with the release: the page of `semrec serve` offers them, without a restart.
    """
    import json as json_library
    from pathlib import Path

    from semrec.release.reader import Release
    from semrec.reports.archetypes import ArchetypesManifest, find_archetypes
    from semrec.runs.status import live_or_newest

    release_id = release or live_or_newest(workspace.storage)
    archetypes = find_archetypes(Release(workspace.storage, release_id), count)
    ArchetypesManifest(archetypes=tuple(archetypes)).write(workspace.storage, release_id)
    table = Table("archetype", "users", "share", "likes more than others", "for instance", box=None)
    for archetype in archetypes:
        table.add_row(
            archetype.name,
            f"{archetype.num_users:,}",
            f"{archetype.share:.0%}",
            "; ".join(archetype.titles[:3]),
            ", ".join(archetype.user_ids[:3]),
        )
    show_table(table, width=160)
    if json:
        rows = [archetype.model_dump(mode="json") for archetype in archetypes]
        text = json_library.dumps({"release": release_id, "archetypes": rows}, indent=1, ensure_ascii=False)
        Path(json).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    run_as_program(main)
