"""Which columns of a source mean what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from semrec.data.events import EventColumns
from semrec.errors import InputError

__all__ = ["ColumnMap"]


@dataclass(frozen=True)
class ColumnMap:
    """Names of source columns, by what they mean. What the imported kind does not need is left alone.

    items: `item_id`, and at least one of `title` and `text`. The text is the non-empty columns of `text`, in order, as
    sentences; without any, the title. Lists become "a, b".
    users: `user_id`.
    items and users: `attributes`, from attribute name to source column. A list gives several values; in CSV so does
    text, at every `list_separator`. Values are kept as text, integers as decimal text; empty ones are dropped.
    interactions: `user_id`, `item_id`; `value`, 1.0 without; `timestamp`, 0 without, in integer seconds since 1970,
    ISO 8601 text (UTC where it names no zone) or, in Parquet, a timestamp or date.
    """

    item_id: str = "item_id"
    user_id: str = "user_id"
    title: str | None = None
    text: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    value: str | None = None
    timestamp: str | None = None
    list_separator: str = "|"

    def __post_init__(self) -> None:
        if isinstance(self.text, str):
            raise InputError(f"text = {self.text!r}", expected="a tuple of column names", remedy="Write ('column',).")
        if not self.list_separator or not all(self.names("items") + self.names("users") + self.names("interactions")):
            raise InputError(
                f"an empty name in {self}", expected="names of columns", remedy="Leave an unused field at its default."
            )

    def names(self, kind: str) -> list[str]:
        """The source columns that an import of `kind` reads, each once."""
        if kind == "interactions":
            return list(dict.fromkeys(self.events.names))
        if kind == "users":
            return list(dict.fromkeys([self.user_id, *self.attributes.values()]))
        title = [] if self.title is None else [self.title]
        return list(dict.fromkeys([self.item_id, *title, *self.text, *self.attributes.values()]))

    def ids(self, kind: str) -> list[str]:
        """Those of them that hold ids."""
        return {"items": [self.item_id], "users": [self.user_id], "interactions": [self.user_id, self.item_id]}[kind]

    @property
    def events(self) -> EventColumns:
        return EventColumns(self.user_id, self.item_id, self.value, self.timestamp)
