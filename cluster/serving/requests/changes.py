"""Bodies of changes: items and events."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from cluster.serving.requests.fields import MAX_ATTRIBUTES, CheckedBody, Id, Listed, Name, Number, Values

__all__ = ["EventIn", "EventsBody", "ItemBody"]


class ItemBody(CheckedBody):
    """An item as it shall be; it replaces what was there under its id."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "title": "The Tin Gardener (2026)",
                "text": "A rusty robot tends the last garden on an empty earth.",
                "attributes": {"genre": ["Animation"], "platform": ["Lumina"], "year": ["2026"]},
            }
        }
    )

    title: Annotated[str, Field(max_length=2_000)] = ""
    text: Annotated[str, Field(max_length=100_000)] = ""
    attributes: dict[Name, Values] = Field({}, max_length=MAX_ATTRIBUTES)


class EventIn(CheckedBody):
    """One interaction. Without a timestamp (seconds since 1970 UTC) it happened now."""

    user_id: Id
    item_id: Id
    value: Number = 1.0
    timestamp: Annotated[int, Field(ge=-(2**62), le=2**62)] | None = None


class EventsBody(CheckedBody):
    """Interactions."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"events": [{"user_id": "viewer-0000001", "item_id": "toy-story-1995", "value": 5.0}]}
        }
    )

    events: Listed[EventIn] = Field(min_length=1)
