"""Refuses a release whose settings nobody agreed on: neither `settings.toml` nor the live release has them.

An option for one call may shape a release to be looked at. If such a release went live, the next daily run would take the
change back, and nobody would have noticed either time. So what goes live has the workspace's settings, or those that are
live already. A workspace without a settings file states nothing once something is live: an upgrade that brings other
defaults must not change what is shown.
"""

from __future__ import annotations

from typing import Any, Final

from semrec.errors import SettingsNotAgreedError
from semrec.settings import ReleaseSettings
from semrec.settings_file import SETTINGS_FILE, has_settings, read_settings, value_text
from semrec.workspace.manifests import ReleaseManifest
from semrec.workspace.storage import Storage

__all__ = ["check_agreed", "check_release_agreed", "settings_of_release"]

_NAMES: Final = ("eligibility", "half_life_days", "as_of")


def settings_of_release(manifest: ReleaseManifest) -> ReleaseSettings:
    """Returns the settings that shaped a release. `as_of` is None where it left no event out."""
    recorded, newest = manifest.settings, manifest.newest_timestamp
    is_cut = recorded.as_of is not None and newest is not None and recorded.as_of < newest
    return ReleaseSettings(
        eligibility=recorded.eligibility,
        half_life_days=recorded.half_life_days,
        as_of=recorded.as_of if is_cut else None,
    )


def check_agreed(storage: Storage, wanted: ReleaseSettings, live: ReleaseManifest | None) -> list[str]:
    """Checks the settings with which a release shall be built to go live; `live` is the live release's manifest, or None.

    Returns a sentence for each setting that differs from the live release's. Raises SettingsNotAgreedError.
    """
    return _check(storage, wanted, None, live)


def check_release_agreed(storage: Storage, manifest: ReleaseManifest, live: ReleaseManifest | None) -> None:
    """Checks the settings of a release that is there and shall go live. Raises SettingsNotAgreedError."""
    _check(storage, settings_of_release(manifest), manifest.as_of, live)


def _check(
    storage: Storage, wanted: ReleaseSettings, recorded_as_of: int | None, live: ReleaseManifest | None
) -> list[str]:
    live_settings = settings_of_release(live) if live else None
    is_stated = has_settings(storage) or live is None
    stated = read_settings(storage).release if is_stated else None
    changes = []
    for name in _NAMES:
        value = _comparable(wanted, name)
        agreed = [_comparable(source, name) for source in (stated, live_settings) if source]
        if name == "as_of" and recorded_as_of is not None and recorded_as_of in agreed:
            continue  # the instant that was asked for, though no event was later
        if value not in agreed:
            _refuse(name, wanted, stated, live_settings)
        if live_settings and value != _comparable(live_settings, name):
            changes.append(
                f"release.{name} is {_text(wanted, name)} (the live release has {_text(live_settings, name)})"
            )
    return changes


def _refuse(name: str, wanted: ReleaseSettings, stated: ReleaseSettings | None, live: ReleaseSettings | None) -> None:
    agreed = []
    if stated:
        agreed.append(f"{_text(stated, name)} of {SETTINGS_FILE} or its default")
    if live:
        agreed.append(f"{_text(live, name)} of the live release")
    remedy = f"Write it down with `semrec config set release.{name} {value_text(getattr(wanted, name)) or repr('')}`"
    raise SettingsNotAgreedError(
        f"release.{name} = {_text(wanted, name)} would go live unnoticed",
        expected=", or ".join(agreed),
        remedy=f"{remedy}, or leave the option out."
        if stated
        else f"{remedy}, or keep what is live: `semrec init` writes its settings down.",
    )


def _comparable(settings: ReleaseSettings, name: str) -> Any:
    value = getattr(settings, name)
    return frozenset(value) if isinstance(value, tuple) else value  # the order of clauses changes no list


def _text(settings: ReleaseSettings, name: str) -> str:
    return value_text(getattr(settings, name)) or ("the newest event" if name == "as_of" else "nothing")
