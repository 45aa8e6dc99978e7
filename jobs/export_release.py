"""Hand the vectors of a release to another store: only what changed since the last time, and proven where asked.

semrec export qdrant --workspace W --to http://127.0.0.1:6333
semrec export parquet --workspace W --to s3://bucket/vectors --users
semrec export lancedb --workspace W --to ./lance --verify 50
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli_common import ConsoleProgress, exit_on_error, run_as_program, with_workspace
from jobs.printing import say

if TYPE_CHECKING:
    from semrec.workspace.folder import Workspace

__all__ = ["main"]


@exit_on_error
@with_workspace()
def main(
    workspace: Workspace,
    exporter: Annotated[str, typer.Argument(help="parquet, faiss, qdrant, lancedb or milvus.")],
    to: Annotated[str, typer.Option(help="Where to: a folder, file or URL, as the exporter has it.")],
    users: Annotated[bool, typer.Option("--users", help="Hand over users' vectors, too.")] = False,
    verify: Annotated[int, typer.Option(min=0, help="Users whose exact lists there are compared with ours.")] = 0,
    release: Annotated[str | None, typer.Option(help="Release (default: the live one, else the newest).")] = None,
) -> None:
    """Export item vectors with their titles and attributes."""
    from semrec.errors import IncompleteRunError
    from semrec.export.release import export_release, verify_export
    from semrec.release.reader import Release
    from semrec.runs.status import live_or_newest

    opened = Release(workspace.storage, release or live_or_newest(workspace.storage))
    export_release(opened, exporter, to, progress=ConsoleProgress())
    if users:
        export_release(opened, exporter, to, kind="users", progress=ConsoleProgress())
    if verify:
        verified = verify_export(opened, exporter, to, num_users=verify)
        say(f"verify   {verified.num_equal} of {verified.num_users} lists equal, {verified.num_rows:,} items there")
        if not verified.ok:
            others = ", ".join(verified.unequal[:5]) or "nobody"
            raise IncompleteRunError(
                f"{to} holds {verified.num_rows:,} items and answered other lists for {others}",
                expected=f"{verified.num_expected:,} items and the lists of the release",
                remedy="See that nobody else writes there; remove the collection and export again.",
            )


if __name__ == "__main__":
    run_as_program(main)
