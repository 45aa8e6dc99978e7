"""Create a workspace with its settings file, or write that file into a workspace that has none.

semrec init --workspace W
semrec init --workspace s3://bucket/w --buckets 1024 --set release.eligibility=platform,region --set score.k=50
"""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.cli_common import WorkspaceOption, exit_on_error, run_as_program
from jobs.printing import one_line, say
from semrec.errors import InputError, WorkspaceError
from semrec.settings import Settings
from semrec.settings_file import (
    SETTINGS_FILE,
    change_settings,
    has_settings,
    setting_fields,
    setting_value,
    value_text,
    write_settings,
)

__all__ = ["main"]


@exit_on_error
def main(
    workspace: WorkspaceOption,
    buckets: Annotated[
        int | None, typer.Option(min=1, help="User buckets of a new workspace, fixed at creation (default 64).")
    ] = None,
    values: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting, as score.k=50; repeatable.")
    ] = None,
) -> None:
    """Create a workspace and write its settings; one that something is live in starts with the live release's."""
    from semrec.runs.publish import initial_settings
    from semrec.workspace.folder import DEFAULT_NUM_BUCKETS, Workspace

    given = dict(_pair(text) for text in values or ())
    change_settings(Settings(), given, source="--set")  # a wrong one is refused before anything is made
    try:
        opened = Workspace.open(workspace) if buckets is None else Workspace.create(workspace, num_buckets=buckets)
    except WorkspaceError:
        if buckets is not None:
            raise
        opened = Workspace.create(workspace, num_buckets=DEFAULT_NUM_BUCKETS)
    if has_settings(opened.storage):
        raise WorkspaceError(
            f"{opened.uri} has a {SETTINGS_FILE}",
            expected="a workspace without one",
            remedy="Look at it with `semrec config show`, change it with `semrec config set`.",
        )
    settings = change_settings(initial_settings(opened.storage), given, source="--set")
    write_settings(opened.storage, settings)
    say(f"{one_line(opened.uri)}: {opened.num_buckets} user buckets; wrote {SETTINGS_FILE}")
    for key, field in setting_fields().items():
        value = setting_value(settings, key)
        if value != field.default:
            default = value_text(field.default) or "none"
            say(f"  {one_line(f'{key} = {value_text(value) or chr(39) * 2}')} (the default is {default})")


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set {text}", expected="KEY=VALUE", remedy="Name both, as in score.k=50.")
    return key.strip(), value.strip()


if __name__ == "__main__":
    run_as_program(main)
