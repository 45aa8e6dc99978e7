"""Reads lists of items, one user a line: "user item item ...", as LightGCN and BARS publish their data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.data.delimited import check_columns, line_blocks
from semrec.data.encodings import text_fault
from semrec.data.rejects import RowBlock, RowStats
from semrec.data.sources import Source

__all__ = ["read_lists"]

_COLUMNS: Final = ("user_id", "item_id")


def read_lists(source: Source, wanted: Sequence[str], *, stats: RowStats) -> Iterator[RowBlock]:
    """Reads one row for each item of each line, columns `user_id` and `item_id`; blanks or tabs stand between ids.

    A user without items has no row, and is counted in a note. Rejected as one row: a line with "bad UTF-8" or a "NUL byte".
    Raises InputError for another wanted column, or a line above 16 MiB.
    """
    check_columns(wanted, _COLUMNS, source.name)
    num_alone = 0
    with source.open() as file:
        for data, first in line_blocks(file, source.name):
            numbers, texts = [], []
            for number, raw in enumerate(data.split(b"\n"), start=first):
                reason, detail = text_fault(raw)
                if reason:
                    stats.reject(source.name, number, reason, raw.decode("utf-8", "backslashreplace"), detail=detail)
                    stats.count(1)
                elif text := raw.decode().strip():
                    numbers.append(number)
                    texts.append(text)
            if numbers:
                ids = pc.ascii_split_whitespace(pa.array(texts, pa.string()))
                num_items = pc.list_value_length(ids).to_numpy() - 1
                num_alone += int(np.count_nonzero(num_items == 0))
                line_of = np.repeat(np.arange(len(texts)), num_items)
                is_item = np.ones(int(num_items.sum()) + len(texts), dtype=bool)
                is_item[np.concatenate([[0], np.cumsum(num_items + 1)[:-1]])] = False
                columns = {
                    "user_id": pc.list_element(ids, 0).take(pa.array(line_of)),
                    "item_id": ids.flatten().filter(pa.array(is_item)),
                }
                stats.count(len(line_of))
                lines = np.array(numbers, dtype=np.int64)[line_of]
                yield RowBlock(source.name, columns, len(line_of), lines, _excerpts(columns))
    if num_alone:
        stats.note(f"{source.name}: {num_alone:,} users without an item")


def _excerpts(columns: dict[str, pa.Array]) -> Callable[[int], str]:
    return lambda row: " ".join(column[row].as_py() for column in columns.values())
