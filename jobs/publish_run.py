"""Make a verified run and its release live.

semrec publish --workspace W
python -m jobs.publish_run --workspace W --run 0123456789abcdef
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli_common import (
    AllowApproximate,
    AllowEmpty,
    AllowLostClause,
    AllowWorse,
    ConsoleProgress,
    Require,
    exit_on_error,
    run_as_program,
    with_workspace,
)
from jobs.printing import say

if TYPE_CHECKING:
    from semrec.settings import Settings
    from semrec.workspace.folder import Workspace

__all__ = ["main"]


@exit_on_error
@with_workspace()
def main(
    workspace: Workspace,
    settings: Settings,
    run_id: Annotated[str | None, typer.Option("--run", help="Run to publish (default: the newest).")] = None,
    allow_empty: AllowEmpty = False,
    allow_lost_clause: AllowLostClause = None,
    allow_worse: AllowWorse = False,
    allow_approximate: AllowApproximate = False,
    require: Require = None,
) -> None:
    """Publish a verified run: release and run go live in one step."""
    from semrec.export.published import check_exports, export_places, export_published
    from semrec.runs.gates import Allowed
    from semrec.runs.plan import newest_run
    from semrec.runs.publish import publish
    from semrec.runs.status import describe_live

    storage = workspace.storage
    export_places(settings.publish)  # a wrong one is said before anything is live
    allowed = Allowed(
        allow_empty, frozenset(allow_lost_clause or ()), allow_worse, allow_approximate, required=tuple(require or ())
    )
    live = publish(storage, run_id or newest_run(storage), allowed)
    say(f"live: {describe_live(storage, live)}")
    exports = export_published(storage, live.release, settings.publish, ConsoleProgress())
    for place in exports.places:
        say(str(place))
    check_exports(exports)


if __name__ == "__main__":
    run_as_program(main)
