"""Maps the columns of a source to the fields of items, users, interactions and relations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from semrec.errors import InputError

__all__ = ["ColumnMap", "column_and_field"]


@dataclass(frozen=True)
class ColumnMap:
    """Names of source columns, by what they mean. What the imported kind does not need is left alone.

    items: `item_id`, and at least one of `title` and `text`. The text is the non-empty columns of `text`, in order, as
    sentences; without any, the title. Lists become "a, b".
    users: `user_id`.
    items and users: `attributes`, from attribute name to source column, or to several whose values are put together. A list
    gives several values; in CSV so does text, at every `list_separator`. Values are kept as text, whole numbers as decimal
    text; empty ones are dropped. Of a list of objects a column takes one field, as in `genres[].name`.
    `content`: modality, such as image, -> column with a text or URI for it, beside the text (items).
    `unescape`: texts hold HTML entities, as in `&amp;`, which become the characters that they stand for.
    interactions: `user_id`, `item_id`; `value`, 1.0 without; `timestamp`, 0 without, in any form that `times.TimeReader` reads;
    `event_id`, of equal ones of which the first row counts.
    relations: `subject`, `predicate`, `object`; `weight`, 1.0 without.
    """

    item_id: str = "item_id"
    user_id: str = "user_id"
    title: str | None = None
    text: tuple[str, ...] = ()
    attributes: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    value: str | None = None
    timestamp: str | None = None
    event_id: str | None = None
    subject: str = "subject"
    predicate: str = "predicate"
    object: str = "object"
    weight: str | None = None
    list_separator: str = "|"
    unescape: bool = False
    content: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.text, str):
            raise InputError(f"text = {self.text!r}", expected="a tuple of column names", remedy="Write ('column',).")
        named = [field.name for field in fields(self) if field.name not in ("list_separator", "unescape", "content")]
        if not self.list_separator or not all((*self.names(*named), *self.content, *self.content.values())):
            raise InputError(
                f"an empty name in {self}", expected="names of columns", remedy="Leave an unused field at its default."
            )
        if "text" in self.content:
            raise InputError("content text=...", expected="another modality", remedy="Name the columns as `text`.")

    def names(self, *fields: str) -> list[str]:
        """Returns the source columns of some fields of this map, each once, without the fields of objects in them."""
        names: list[str] = []
        for name in fields:
            value = getattr(self, name)
            if name == "content":
                names += value.values()
            elif isinstance(value, Mapping):
                names += [column for attribute in value for column in self.attribute_columns(attribute)]
            elif value is not None:
                names += [value] if isinstance(value, str) else value
        return list(dict.fromkeys(column_and_field(name)[0] for name in names))

    def attribute_columns(self, attribute: str) -> tuple[str, ...]:
        """Returns the columns whose values make an attribute, in order."""
        columns = self.attributes[attribute]
        return (columns,) if isinstance(columns, str) else tuple(columns)


def column_and_field(name: str) -> tuple[str, str]:
    """Splits `genres[].name` into the column `genres` and the field `name` of objects in its lists; "" for a plain column."""
    column, _, key = name.partition("[].")
    return column, key
