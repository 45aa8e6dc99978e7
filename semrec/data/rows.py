"""Checks rows of items and users, and gathers them into tables on their way to the parts."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa

from semrec.contracts import ATTRIBUTES_TYPE, CONTENT_TYPE, text_hash
from semrec.data.rejects import ReadStats, RejectsRows
from semrec.ids import id_fault

__all__ = [
    "ITEM_ROWS_SCHEMA",
    "USER_ROWS_SCHEMA",
    "ItemRow",
    "UserRow",
    "clean_attributes",
    "clean_text",
    "first_of_each",
    "item_tables",
    "stored_rows",
    "user_tables",
]

#: Unicode categories of characters that nobody sees: controls, formats such as the zero-width space, separators.
_INVISIBLE: Final = frozenset(("Cc", "Cf", "Zs", "Zl", "Zp"))
_ROWS_PER_TABLE: Final = 8_192
_ORIGIN: Final = [
    pa.field("file", pa.string()),
    pa.field("line", pa.int64()),
    pa.field("is_stored", pa.bool_()),  # came from the workspace, not from a source
]
ITEM_ROWS_SCHEMA: Final = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("attributes", ATTRIBUTES_TYPE),
        pa.field("content", CONTENT_TYPE),
        *_ORIGIN,
    ]
)
USER_ROWS_SCHEMA: Final = pa.schema(
    [pa.field("user_id", pa.string(), nullable=False), pa.field("attributes", ATTRIBUTES_TYPE), *_ORIGIN]
)


@dataclass(frozen=True, slots=True)
class ItemRow:
    """One item of a source. An empty `text` is replaced by the title. `file` and `line` (from 1) say where it stood.

    `content`: modality -> text or URI, beside the text.
    """

    item_id: str
    title: str = ""
    text: str = ""
    attributes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    file: str = ""
    line: int | None = None
    content: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UserRow:
    """One user of a source. `file` and `line` (from 1) say where it stood."""

    user_id: str
    attributes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    file: str = ""
    line: int | None = None


_Row = TypeVar("_Row", ItemRow, UserRow)


def clean_text(text: str) -> str:
    """Returns `text` without blanks around it; empty when no character of it can be seen, such as a lone zero-width space."""
    stripped = text.strip()
    return stripped if any(unicodedata.category(letter) not in _INVISIBLE for letter in stripped) else ""


def clean_attributes(attributes: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Returns attribute names ascending, with their clean values in the order given, each once; a name without any is left out.

    Every way in uses this, imports and changes made online, so that one value never stands beside its own misspelling.
    """
    cleaned = {name: dict.fromkeys(map(clean_text, attributes[name])) for name in sorted(attributes)}
    return {name: [value for value in values if value] for name, values in cleaned.items() if any(values)}


def item_tables(rows: Iterable[ItemRow], *, stats: RejectsRows) -> Generator[pa.Table]:
    """Yields good rows, ITEM_ROWS_SCHEMA. Rejected: "id is not text", `ID_FAULTS`, "NUL byte", "no title and no text"."""
    return _tables(
        rows,
        lambda row: _id_fault(row.item_id) or _item_fault(row),
        lambda row: f"{row.item_id},{row.title},{row.text}",
        _item_table,
        stats,
    )


def user_tables(rows: Iterable[UserRow], *, stats: RejectsRows) -> Generator[pa.Table]:
    """Yields the good rows, USER_ROWS_SCHEMA. Rejected: "id is not text", those of `ID_FAULTS`, "NUL byte"."""
    return _tables(
        rows,
        lambda row: _id_fault(row.user_id) or _nul_fault("", row.attributes),
        lambda row: f"{row.user_id},{dict(row.attributes)}",
        _user_table,
        stats,
    )


def _tables(
    rows: Iterable[_Row],
    fault_of: Callable[[_Row], str],
    excerpt_of: Callable[[_Row], str],
    table_of: Callable[[list[_Row]], pa.Table],
    stats: RejectsRows,
) -> Generator[pa.Table]:
    """Yields tables of some thousand rows without a fault each; the others are rejected."""
    rest = iter(rows)
    while batch := list(islice(rest, _ROWS_PER_TABLE)):
        good: list[_Row] = []
        for row in batch:
            if reason := fault_of(row):
                stats.reject(row.file, row.line, reason, excerpt_of(row))
            else:
                good.append(row)
        if good:
            yield table_of(good)


def stored_rows(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Returns rows of a part in one of the schemas above: they come from no file, and lose against a new row with their id."""
    nothing = pa.nulls(table.num_rows)
    origin = {"file": nothing, "line": nothing, "is_stored": pa.array([True] * table.num_rows, pa.bool_())}
    columns = [origin[name] if name in origin else table.column(name) for name in schema.names]
    return pa.table(columns, names=schema.names).cast(schema)


def first_of_each(rows: pa.Table, key: str, *, stats: ReadStats) -> pa.Table:
    """Returns the first row of each id, in the order of `rows`; later ones are rejected as "duplicate id" unless stored."""
    encoded = rows.column(key).combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    _, first = np.unique(codes, return_index=True)
    if len(first) == rows.num_rows:
        return rows
    is_later = np.ones(rows.num_rows, dtype=bool)
    is_later[first] = False
    for row in rows.filter(pa.array(is_later)).to_pylist():
        if not row["is_stored"]:
            excerpt = ",".join(str(row[name]) for name in (key, "title") if name in row)
            stats.reject(row["file"], row["line"], "duplicate id", excerpt, detail=f"{key} = {row[key]!r}")
    return rows.take(pa.array(np.sort(first)))


def _id_fault(value: Any) -> str:
    if not isinstance(value, str):
        return "missing id" if value is None else "id is not text"
    return id_fault(value)


def _item_fault(row: ItemRow) -> str:
    if not clean_text(row.title) and not clean_text(row.text):
        return "no title and no text"
    return _nul_fault("".join((row.title, row.text, *row.content.values())), row.attributes)


def _nul_fault(text: str, attributes: Mapping[str, Sequence[str]]) -> str:
    has_nul = "\0" in text or any("\0" in value for values in attributes.values() for value in values)
    return "NUL byte" if has_nul else ""


def _item_table(rows: Sequence[ItemRow]) -> pa.Table:
    ids = [row.item_id for row in rows]
    titles = [clean_text(row.title) for row in rows]
    texts = [clean_text(row.text) or title for row, title in zip(rows, titles, strict=True)]
    return pa.table([ids, titles, texts, _attributes(rows), _contents(rows), *_origin(rows)], schema=ITEM_ROWS_SCHEMA)


def _user_table(rows: Sequence[UserRow]) -> pa.Table:
    return pa.table([[row.user_id for row in rows], _attributes(rows), *_origin(rows)], schema=USER_ROWS_SCHEMA)


def _attributes(rows: Sequence[ItemRow] | Sequence[UserRow]) -> pa.Array:
    """Returns attributes as ATTRIBUTES_TYPE: equal rows have equal bytes."""
    return pa.array([list(clean_attributes(row.attributes).items()) for row in rows], ATTRIBUTES_TYPE)


def _contents(rows: Sequence[ItemRow]) -> pa.Array:
    """Returns the content of each item beside its text, CONTENT_TYPE, modalities ascending; null for an item without any."""
    cleaned = (sorted((modality, clean_text(value)) for modality, value in row.content.items()) for row in rows)
    stated = ([(name, {"value": value, "hash": text_hash(value)}) for name, value in row if value] for row in cleaned)
    return pa.array([row or None for row in stated], CONTENT_TYPE)


def _origin(rows: Sequence[ItemRow] | Sequence[UserRow]) -> list[pa.Array]:
    files = pa.array([row.file for row in rows], pa.string())
    return [files, pa.array([row.line for row in rows], pa.int64()), pa.array([False] * len(rows))]
