"""From source rows of any format to items and users."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from semrec.data.columns import ColumnMap
from semrec.data.rejects import ReadStats, RowBlock
from semrec.data.rows import ItemRow, UserRow
from semrec.data.scalars import ids_of

__all__ = ["item_rows", "user_rows"]


def item_rows(blocks: Iterable[RowBlock], columns: ColumnMap, *, is_text: bool, stats: ReadStats) -> Iterator[ItemRow]:
    """The items of `blocks`; `is_text` says that lists are joined text, as in CSV. Rejected here: "id is not text"."""
    for block in blocks:
        titles = [""] * block.num_rows if columns.title is None else _texts(block, columns.title)
        text_columns = [_texts(block, name) for name in columns.text]
        attributes = _attributes(block, columns, is_text)
        for row, item_id in _ids(block, columns.item_id, stats):
            text = _sentences([column[row] for column in text_columns])
            yield ItemRow(item_id, titles[row], text, attributes[row], block.file, block.line(row))


def user_rows(blocks: Iterable[RowBlock], columns: ColumnMap, *, is_text: bool, stats: ReadStats) -> Iterator[UserRow]:
    """The users of `blocks`, as `item_rows`."""
    for block in blocks:
        attributes = _attributes(block, columns, is_text)
        for row, user_id in _ids(block, columns.user_id, stats):
            yield UserRow(user_id, attributes[row], block.file, block.line(row))


def _ids(block: RowBlock, name: str, stats: ReadStats) -> Iterator[tuple[int, str]]:
    ids, not_id = ids_of(block.columns[name], name, block.file)
    for row, (text, bad) in enumerate(zip(ids.to_pylist(), not_id.tolist(), strict=True)):
        if bad:
            stats.reject_row(block, row, "id is not text", detail=name)
        else:
            yield row, text


def _attributes(block: RowBlock, columns: ColumnMap, is_text: bool) -> list[dict[str, list[str]]]:
    """Per row: attribute name -> values, with the blank ones that `clean_attributes` drops later."""
    rows: list[dict[str, list[str]]] = [{} for _ in range(block.num_rows)]
    for attribute, name in columns.attributes.items():
        for row, value in zip(rows, _python(block.columns[name]), strict=True):
            values = value.split(columns.list_separator) if is_text else _listed(value)
            row[attribute] = list(map(_text, values))
    return rows


def _sentences(pieces: list[str]) -> str:
    """Pieces of text in one: each but the last ends as a sentence does."""
    kept = [piece for piece in pieces if piece]
    ended = [piece if piece[-1] in ".!?:;" else f"{piece}." for piece in kept[:-1]]
    return " ".join([*ended, *kept[-1:]])


def _texts(block: RowBlock, name: str) -> list[str]:
    return [", ".join(filter(None, map(_text, _listed(value)))) for value in _python(block.columns[name])]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value).strip()


def _python(column: Any) -> list[Any]:
    return column if isinstance(column, list) else list(column.to_pylist())
