"""Converts source rows of any format to items and users."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Iterator
from datetime import date, time
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa

from semrec.data.columns import ColumnMap, column_and_field
from semrec.data.rejects import ReadStats, RowBlock
from semrec.data.rows import ItemRow, UserRow
from semrec.data.scalars import ids_of
from semrec.errors import InputError

__all__ = ["item_rows", "user_rows"]

#: A whole number as pandas writes it once its column has a gap.
_WHOLE_FLOAT: Final = re.compile(r"(-?[0-9]{1,15})\.0")
_NESTED: Final = (
    pa.types.is_struct,
    pa.types.is_map,
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
)


def item_rows(blocks: Iterable[RowBlock], columns: ColumnMap, *, stats: ReadStats) -> Iterator[ItemRow]:
    """Yields the items of `blocks`. Rejected here: "id is not text", "bad UTF-8", "value is not text"."""
    for block in blocks:
        texts = _Texts(block, columns.unescape)
        titles = [""] * block.num_rows if columns.title is None else texts.joined(columns.title)
        text_columns = [texts.joined(name) for name in columns.text]
        attributes = _attributes(texts, columns)
        contents = {modality: texts.joined(name) for modality, name in columns.content.items()}
        for row, item_id in _good_ids(texts, columns.item_id, stats):
            text = _sentences([column[row] for column in text_columns])
            content = {modality: values[row] for modality, values in contents.items()}
            yield ItemRow(item_id, titles[row], text, attributes[row], block.file, block.line(row), content)


def user_rows(blocks: Iterable[RowBlock], columns: ColumnMap, *, stats: ReadStats) -> Iterator[UserRow]:
    """Yields the users of `blocks`, as `item_rows`."""
    for block in blocks:
        texts = _Texts(block, columns.unescape)
        attributes = _attributes(texts, columns)
        for row, user_id in _good_ids(texts, columns.user_id, stats):
            yield UserRow(user_id, attributes[row], block.file, block.line(row))


class _NotTextError(ValueError):
    """A value that has no one reading as text; the message says why."""


class _Texts:
    """The columns of a block as lists of texts. `faults` has, by row, the reason and detail of the first that is not text."""

    def __init__(self, block: RowBlock, unescape: bool) -> None:
        self.block, self._unescape = block, unescape
        self.faults: dict[int, tuple[str, str]] = {}

    def of(self, name: str) -> list[list[str]]:
        """Returns per row the texts of a column, blank ones included; none for null and NaN."""
        column, key = column_and_field(name)
        values = self.block.columns[column]
        if not isinstance(values, list):
            _check_type(values.type, column, key, self.block.file)
            values = values.to_pylist()
        texts: list[list[str]] = []
        for row, value in enumerate(values):
            try:
                pieces = _texts_of(value, key)
                texts.append([html.unescape(piece) for piece in pieces] if self._unescape else pieces)
            except UnicodeDecodeError as error:
                texts.append([])
                self.faults.setdefault(row, ("bad UTF-8", f"{name}: byte 0x{error.object[error.start]:02x}"))
            except _NotTextError as error:
                texts.append([])
                self.faults.setdefault(row, ("value is not text", f"{name} = {value!r}"[:80] + f": {error}"))
        return texts

    def joined(self, name: str) -> list[str]:
        """Returns per row the texts of a column as one, as in "a, b"."""
        return [", ".join(filter(None, values)) for values in self.of(name)]


def _good_ids(texts: _Texts, name: str, stats: ReadStats) -> Iterator[tuple[int, str]]:
    """Yields the rows that are text throughout, with their ids; the others are rejected."""
    block = texts.block
    ids, not_id = ids_of(block.columns[name], name, block.file)
    for row, (text, bad) in enumerate(zip(ids.to_pylist(), not_id.tolist(), strict=True)):
        if bad:
            block.reject(row, "id is not text", stats, detail=name)
        elif row in texts.faults:
            reason, detail = texts.faults[row]
            block.reject(row, reason, stats, detail=detail)
        else:
            yield row, text


def _attributes(texts: _Texts, columns: ColumnMap) -> list[dict[str, list[str]]]:
    """Returns per row: attribute name -> values of all its columns, with the blank ones that `clean_attributes` drops later."""
    rows: list[dict[str, list[str]]] = [{} for _ in range(texts.block.num_rows)]
    for attribute in columns.attributes:
        for name in columns.attribute_columns(attribute):
            for row, values in zip(rows, texts.of(name), strict=True):
                if texts.block.is_text:
                    pieces = (piece.strip() for value in values for piece in value.split(columns.list_separator))
                    values = [
                        _WHOLE_FLOAT.sub(r"\1", piece) if _WHOLE_FLOAT.fullmatch(piece) else piece for piece in pieces
                    ]
                row.setdefault(attribute, []).extend(values)
    return rows


def _sentences(pieces: list[str]) -> str:
    """Joins pieces of text: each but the last ends as a sentence does."""
    pieces = [piece for piece in pieces if piece]
    ended = [piece if piece[-1] in ".!?:;" else f"{piece}." for piece in pieces[:-1]]
    return " ".join([*ended, *pieces[-1:]])


def _texts_of(value: Any, key: str) -> list[str]:
    """Returns a value, or the elements of a list, as texts; with `key` that member of each object."""
    if isinstance(value, list):
        if key:
            return [text for element in value for text in _texts_of(_member(element, key), "")]
        if any(isinstance(element, list) for element in value):
            raise _NotTextError("a list within a list")
        return [text for element in value for text in _texts_of(element, "")]
    if key and value is not None:
        raise _NotTextError("no list of objects")
    text = _text(value)
    return [] if text is None else [text]


def _member(element: Any, key: str) -> Any:
    if element is None:
        return None
    if not isinstance(element, dict):
        raise _NotTextError("no list of objects")
    return element.get(key)


def _text(value: Any) -> str | None:
    """Returns a scalar as text, None for null and NaN. Raises UnicodeDecodeError for bytes that are no UTF-8, else
    _NotTextError.
    """
    if value is None or isinstance(value, str):
        return value.strip() if value else None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return value.decode().strip()
    if isinstance(value, (float, Decimal)):
        if value != value:  # NaN, which pandas writes for a missing text
            return None
        if math.isinf(value):
            raise _NotTextError("an infinite number")
        # Integers become floats in a column with gaps; 2 ** 53 is where a float stops counting.
        return str(int(value)) if value == int(value) and abs(int(value)) < 2**53 else str(value)
    if isinstance(value, (int, date, time)):  # a datetime is a date
        return str(value)
    if isinstance(value, dict):
        raise _NotTextError("an object; name a member of a list of objects as in genres[].name")
    raise _NotTextError(f"a value of type {type(value).__name__}")


def _check_type(kind: pa.DataType, column: str, key: str, file: str) -> None:
    """Raises InputError for an Arrow type whose values are no text and no list of texts."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    element = kind.value_type if is_list else kind
    if is_list and pa.types.is_struct(element):
        members = [element.field(i).name for i in range(element.num_fields)]
        if key in members:
            element = element.field(key).type
        else:
            raise InputError(
                f"column {column!r} of {file} has lists of objects" + (f" without {key!r}" if key else ""),
                expected=f"one of their members: {', '.join(members)}",
                remedy=f"Name it, as in {column}[].{members[0] if members else 'name'}.",
            )
    elif key:
        raise InputError(
            f"column {column!r} of {file} has type {kind}",
            expected="lists of objects",
            remedy=f"Name {column!r} alone.",
        )
    if any(is_kind(element) for is_kind in _NESTED):
        raise InputError(
            f"column {column!r} of {file} has type {kind}",
            expected="text, numbers, or lists of these",
            remedy="Flatten the column before the import, or leave it out.",
        )
