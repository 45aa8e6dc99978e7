"""Writes settings as the text of `settings.toml`, each under its sentence and default."""

from __future__ import annotations

import json
import textwrap
from typing import Any, Final

from pydantic import BaseModel

__all__ = ["settings_text", "value_text"]

_LINE_WIDTH: Final = 100
_HEADER: Final = (
    "Settings of this workspace. `semrec config show` explains them, `semrec config set KEY VALUE` changes one. That command "
    "writes this file anew and keeps no comments of your own. A line that is left out has its default."
)


def settings_text(settings: BaseModel) -> str:
    """Returns the TOML of settings, whose fields are sections."""
    lines = _comment(_HEADER)
    for section, values in settings:
        lines += ["", *_comment(str(type(values).__doc__)), f"[{section}]"]
        for name, field in type(values).model_fields.items():
            value, default = getattr(values, name), value_text(field.default)
            lines += _comment(f"{field.description} Default: {default or 'none'}.")
            lines.append(f"# {name} is not set" if value is None else f"{name} = {_toml_value(value)}")
    return "\n".join(lines) + "\n"


def value_text(value: Any) -> str:
    """Formats a setting's value as `semrec config set` takes it: names with commas between, nothing where it is not set."""
    if isinstance(value, tuple):
        return ",".join(value)
    return "" if value is None else str(value).removesuffix(".0")


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _LINE_WIDTH, initial_indent="# ", subsequent_indent="# ")


def _toml_value(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, str):
        # A JSON string is a TOML string, but for the one control character that only TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value).lower() if isinstance(value, bool) else repr(value)
