"""Settings of a release."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["DEFAULT_ELIGIBILITY", "ReleaseSettings"]

#: The clauses of a release that names none. They need not exist among the attributes; others must.
DEFAULT_ELIGIBILITY: Final = ("platform",)


class ReleaseSettings(BaseModel):
    """What shapes a release beyond its inputs; every field is part of its fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    half_life_days: float = Field(
        180.0, gt=0, description="Days after which an event counts half, relative to the user's newest event."
    )
    eligibility: tuple[str, ...] = Field(
        DEFAULT_ELIGIBILITY,
        description="Attributes that a user's and an item's values must share, where the user states any.",
    )
    as_of: int | None = Field(
        None, ge=0, description="Seconds since 1970 UTC; later events are left out. Default: the newest event."
    )
