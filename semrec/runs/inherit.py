"""The settings of the next release, where nobody names them: those of the live release."""

from __future__ import annotations

from collections.abc import Sequence

from semrec.runs.live import read_live
from semrec.settings import ReleaseSettings
from semrec.workspace.manifests import read_manifest
from semrec.workspace.storage import Storage

__all__ = ["inherited_settings"]


def inherited_settings(
    storage: Storage,
    *,
    eligibility: Sequence[str] | None = None,
    half_life_days: float | None = None,
    as_of: int | None = None,
) -> tuple[ReleaseSettings, str | None]:
    """Settings of a release, and a sentence for its user that says what was kept, None where nothing was.

    What is not given is kept from the live release, but for `as_of`, which is an instant of that release alone. The empty
    name asks for no clause. Raises CorruptArtefactError or MissingArtefactError when the live release cannot be read.
    """
    names = None if eligibility is None else tuple(dict.fromkeys(name for name in eligibility if name))
    given = {"eligibility": names, "half_life_days": half_life_days, "as_of": as_of}
    chosen = {name: value for name, value in given.items() if value is not None}
    live = read_live(storage)
    if live is None:
        return ReleaseSettings.model_validate(chosen), None
    remedy = "Roll back, or name --eligibility and --half-life-days."
    path = f"releases/{live.release}/manifest.json"
    recorded = read_manifest(storage, path, "release", remedy=remedy)["settings"]
    kept = {name: recorded[name] for name in ("eligibility", "half_life_days") if name not in chosen}
    settings = ReleaseSettings.model_validate(kept | chosen)
    said = []
    if "eligibility" in kept:
        said.append(f"eligibility by {', '.join(settings.eligibility) or 'nothing'}")
    if "half_life_days" in kept:
        said.append(f"a half-life of {settings.half_life_days:g} days")
    return settings, f"kept from the live release: {', '.join(said)}" if said else None
