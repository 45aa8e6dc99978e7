"""Keeps the settings of a workspace in its `settings.toml`, and finds and changes single ones by their keys.

settings = read_settings(workspace.storage)              # the defaults where there is no settings.toml
settings = change_settings(settings, {"score.k": 50})    # checked; raises SettingsError naming key and file
write_settings(workspace.storage, settings)
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from semrec.errors import SettingsError
from semrec.settings import Settings
from semrec.settings_text import settings_text, value_text

if TYPE_CHECKING:
    from semrec.workspace.storage import Storage

__all__ = [
    "SETTINGS_FILE",
    "change_settings",
    "has_settings",
    "read_settings",
    "setting_fields",
    "setting_value",
    "value_text",
    "write_settings",
]

SETTINGS_FILE: Final = "settings.toml"


def setting_fields() -> dict[str, FieldInfo]:
    """Returns every setting's definition by its key, as `score.k`, in the order of the file."""
    return {
        f"{section}.{name}": field
        for section, default in Settings()
        for name, field in type(default).model_fields.items()
    }


def setting_value(settings: Settings, key: str) -> Any:
    """Returns the value of one setting. Raises SettingsError when there is no such key."""
    _check_key(key, SETTINGS_FILE)
    section, _, name = key.partition(".")
    return getattr(getattr(settings, section), name)


def change_settings(settings: Settings, values: Mapping[str, Any], *, source: str = SETTINGS_FILE) -> Settings:
    """Returns the settings with the values of some keys replaced, checked.

    A value may be text, as on a command line: names are separated by commas, and an empty text unsets what may be unset.
    `source` says in the message where the values come from. Raises SettingsError naming the key that is unknown or wrong.
    """
    body = settings.model_dump()
    for key, value in values.items():
        _check_key(key, source)
        section, _, name = key.partition(".")
        body[section][name] = _parsed(setting_fields()[key], value)
    try:
        return Settings.model_validate(body)
    except ValidationError as error:
        raise _settings_error(error, source) from None


def has_settings(storage: Storage) -> bool:
    """Says whether the workspace has a settings file; without one it has the defaults."""
    return storage.exists(SETTINGS_FILE)


def read_settings(storage: Storage) -> Settings:
    """Reads the workspace's settings; the defaults where it has no file. Raises SettingsError naming file and key."""
    if not has_settings(storage):
        return Settings()
    source = f"{SETTINGS_FILE} in {storage.uri}"
    try:
        body = tomllib.loads(storage.read_bytes(SETTINGS_FILE).decode())
    except ValueError as error:  # of TOML or of UTF-8
        raise SettingsError(
            f"{source} is not TOML ({error})",
            expected="sections of `key = value` lines, as `semrec init` writes them",
            remedy="Correct the line, or remove the file and run `semrec init`.",
        ) from None
    try:
        # Checked as JSON because that is strict about types ("20" is no number) and yet takes a list for a tuple.
        return Settings.model_validate_json(json.dumps(body, default=str), strict=True)
    except ValidationError as error:
        raise _settings_error(error, source) from None


def write_settings(storage: Storage, settings: Settings) -> None:
    """Writes the settings file, whole or not at all, with each setting's sentence above it."""
    storage.write_bytes(SETTINGS_FILE, settings_text(settings).encode())


def _parsed(field: FieldInfo, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if isinstance(field.default, tuple):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return None if field.default is None and not value else value


def _check_key(key: str, source: str) -> None:
    if key not in setting_fields():
        raise SettingsError(
            f"{source}: unknown setting {key}",
            expected=f"one of {', '.join(setting_fields())}",
            remedy="Correct the name, or remove the line; `semrec config show` lists them all.",
        )


def _settings_error(error: ValidationError, source: str) -> SettingsError:
    """Turns the first fault that pydantic names into the package's own error."""
    fault = error.errors()[0]
    key = ".".join(map(str, fault["loc"][:2]))
    field = setting_fields().get(key)
    if field is None and fault["type"] != "extra_forbidden":
        return SettingsError(
            f"{source}: {key or 'it'}: {fault['msg']}",
            expected=f"sections {', '.join(Settings.model_fields)}",
            remedy="Correct the section; `semrec config show` lists all settings.",
        )
    if field is None:
        return SettingsError(
            f"{source}: unknown setting {key}",
            expected=f"one of {', '.join(setting_fields())}",
            remedy="Correct the name, or remove the line; `semrec config show` lists them all.",
        )
    return SettingsError(
        f"{source}: {key} = {fault['input']!r}: {fault['msg'].removeprefix('Value error, ')}",
        expected=str(field.description).removesuffix("."),
        remedy=f"Correct it, or leave it out for the default, {value_text(field.default) or 'none'}.",
    )
