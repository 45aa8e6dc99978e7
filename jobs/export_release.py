"""Hand the vectors of a release to another store: only what changed since the last time, and proven where asked.

semrec export qdrant --workspace W --to http://127.0.0.1:6333
semrec export parquet --workspace W --to s3://bucket/vectors --users
semrec export lancedb --workspace W --to ./lance --verify 50
semrec export rankers --workspace W --to ./candidates
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
    exporter: Annotated[
        str, typer.Argument(help="parquet, faiss, qdrant, lancedb or milvus; or rankers: lists with features.")
    ],
    to: Annotated[str, typer.Option(help="Where to: a folder, file or URL, as the exporter has it.")],
    users: Annotated[bool, typer.Option("--users", help="Hand over users' vectors, too.")] = False,
    verify: Annotated[int, typer.Option(min=0, help="Users whose exact lists there are compared with ours.")] = 0,
    release: Annotated[str | None, typer.Option(help="Release (default: the live one, else the newest).")] = None,
    run_id: Annotated[str | None, typer.Option("--run", help="Run, for rankers (default: the live one).")] = None,
    reasons: Annotated[bool, typer.Option(help="For rankers: also how each item is related to a liked one.")] = True,
) -> None:
    """Export item vectors with their titles and attributes, or a run's lists with features for rankers, as Parquet."""
    if exporter == "rankers":
        if users or verify or release:
            raise typer.BadParameter("rankers takes --run and --no-reasons, not --users, --verify, --release")
        _export_rankers(workspace, run_id, to, reasons)
        return
    if run_id or not reasons:
        raise typer.BadParameter("--run and --no-reasons are for rankers")
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


def _export_rankers(workspace: Workspace, run_id: str | None, to: str, reasons: bool) -> None:
    from semrec.export.rankers import export_rankers
    from semrec.runs.live import require_live

    run = run_id or require_live(workspace.storage).run
    export_rankers(workspace.storage, run, to, with_reasons=reasons, progress=ConsoleProgress())


if __name__ == "__main__":
    run_as_program(main)
