"""Show and change the settings of a workspace.

semrec config show --workspace W
semrec config get release.half_life_days -w W
semrec config set release.eligibility platform,region -w W
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli_common import exit_on_error, with_workspace
from jobs.printing import one_line, say
from semrec.settings_file import (
    SETTINGS_FILE,
    change_settings,
    has_settings,
    read_settings,
    setting_fields,
    setting_value,
    value_text,
    write_settings,
)

if TYPE_CHECKING:
    from semrec.settings import Settings
    from semrec.workspace.folder import Workspace

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Show and change the settings of a workspace.")

Key = Annotated[str, typer.Argument(help="Name of a setting, as score.k; `semrec config show` lists them.")]


@app.command("show")
@exit_on_error
@with_workspace()
def show(workspace: Workspace, settings: Settings) -> None:
    """Show every setting: its value, its default where that differs, and what it means."""
    has_file = has_settings(workspace.storage)
    say(f"{SETTINGS_FILE} in {one_line(workspace.uri)}" if has_file else f"no {SETTINGS_FILE}: the defaults")
    for key, field in setting_fields().items():
        value = setting_value(settings, key)
        default = value_text(field.default) or "not set"
        mark = (
            ("   the default", "dim")
            if value == field.default
            else (f"   differs from the default, {default}", "yellow")
        )
        say((key, "bold"), f" = {one_line(value_text(value)) or _empty(value)}", mark)
        say((f"    {field.description}", "dim"))


@app.command("get")
@exit_on_error
@with_workspace()
def get(workspace: Workspace, settings: Settings, key: Key) -> None:
    """Print the value of one setting, as `set` takes it."""
    say(value_text(setting_value(settings, key)))


@app.command("set")
@exit_on_error
@with_workspace()
def set_value(
    workspace: Workspace,
    key: Key,
    value: Annotated[str, typer.Argument(help="Its value; several names with commas between; '' for none or not set.")],
) -> None:
    """Change one setting for all later calls. What is live changes with the next `semrec run`."""
    from semrec.runs.publish import initial_settings

    storage = workspace.storage
    before = read_settings(storage) if has_settings(storage) else initial_settings(storage)
    after = change_settings(before, {key: value}, source="config set")
    write_settings(storage, after)
    texts = [one_line(value_text(setting_value(settings, key))) or "''" for settings in (after, before)]
    say(f"{key} = {texts[0]} (was {texts[1]}), in {SETTINGS_FILE}")


def _empty(value: object) -> str:
    return "not set" if value is None else "none"


if __name__ == "__main__":
    app()
