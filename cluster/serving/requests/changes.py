"""Bodies of changes: items, events and relations."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator

from cluster.serving.requests.fields import MAX_ATTRIBUTES, CheckedBody, Id, Listed, Name, Number, Text, Values

__all__ = ["EventIn", "EventsBody", "ItemBody", "RelationsBody"]


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


class TripleIn(CheckedBody):
    """A relation of one thing to another. A literal is a text or number that is no id, as the year 1995."""

    subject: Id
    predicate: Id
    object: Text
    is_literal: bool = False


class RelationIn(TripleIn):
    """A relation as it shall be; it replaces an equal one."""

    weight: Number = 1.0


class RelationsBody(CheckedBody):
    """Relations to delete, and then to add."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "add": [{"subject": "toy-story-1995", "predicate": "directed_by", "object": "john-lasseter"}],
                "delete": [{"subject": "toy-story-1995", "predicate": "directed_by", "object": "john-lassiter"}],
            }
        }
    )

    add: Listed[RelationIn] = Field([])
    delete: Listed[TripleIn] = Field([])

    @model_validator(mode="after")
    def _any(self) -> RelationsBody:
        if not self.add and not self.delete:
            raise ValueError("give relations to add or to delete")
        return self

    def changes(self) -> list[dict[str, Any]]:
        """The changes, by the fields of `semrec.changes.relations.RelationChange`."""
        deleted = [{**triple.model_dump(), "deleted": True} for triple in self.delete]
        return [*deleted, *(relation.model_dump() for relation in self.add)]
