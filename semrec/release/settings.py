"""Settings of a release."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ReleaseSettings"]


class ReleaseSettings(BaseModel):
    """What shapes a release beyond its inputs; every field is part of its fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    half_life_days: float = Field(
        180.0, gt=0, description="Days after which an event counts half, relative to the user's newest event."
    )
    eligibility: tuple[str, ...] = Field(
        ("platform",),
        description="Attributes that a user's and an item's values must share, where the user states any.",
    )
    as_of: int | None = Field(
        None, ge=0, description="Seconds since 1970 UTC; later events are left out. Default: the newest event."
    )
