"""Reads JSON: one object a line, or one array of objects."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import IO, Any, Final

import numpy as np

from semrec.data.arrays import array_elements, is_array
from semrec.data.delimited import check_columns, line_blocks
from semrec.data.encodings import text_fault
from semrec.data.rejects import RowBlock, RowStats
from semrec.data.sources import Source

__all__ = ["json_objects", "read_jsonl"]

_PEEKED_BYTES: Final = 4096
_BATCH_ROWS: Final = 8_192
#: Keys that are remembered for a message; the wanted ones always are.
_MAX_KEYS: Final = 1_000
_ESCAPED_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def read_jsonl(
    source: Source, wanted: Sequence[str], *, stats: RowStats, keys: set[str] | None = None
) -> Iterator[RowBlock]:
    """Reads the rows of a JSON file, columns `wanted` as lists of Python values, None where a key is absent or null.

    Blank lines are no rows. Rejected to the quarantine: "bad UTF-8", "NUL byte", "not a JSON object". `keys` takes the keys
    of the objects, so that a reader of several files can see which column none of them has; without it, InputError is
    raised at the end of a file with objects of which none has a wanted key.
    """
    own_keys: set[str] = set()
    for numbers, texts, objects in json_objects(source, stats):
        if len(own_keys) < _MAX_KEYS:
            own_keys.update(*objects)
        own_keys.update(name for name in wanted if name not in own_keys and any(name in row for row in objects))
        columns = {name: [row.get(name) for row in objects] for name in wanted}
        lines = np.array(numbers, dtype=np.int64)
        yield RowBlock(source.name, columns, len(objects), lines, _excerpts(texts))
    if keys is not None:
        keys |= own_keys
    elif own_keys:
        check_columns(wanted, sorted(own_keys), source.name)


def _excerpts(texts: list[bytes]) -> Callable[[int], str]:
    return lambda i: texts[i].decode()


def json_objects(source: Source, stats: RowStats) -> Iterator[tuple[list[int], list[bytes], list[dict[str, Any]]]]:
    """Reads the good rows of a file, some at a time: their line numbers, raw text and objects. Counts and rejects."""
    with source.open() as file:
        start = file.read(_PEEKED_BYTES)
    with source.open() as file:
        for rows in _batches(array_elements(file, source.name)) if is_array(start) else _lines(file, source.name):
            numbers, texts, objects, num_rows = [], [], [], 0
            for number, raw in rows:
                if not (text := raw.strip()):
                    continue
                num_rows += 1
                reason, detail, value = _parse(text)
                if reason:
                    stats.reject(source.name, number, reason, text.decode("utf-8", "backslashreplace"), detail=detail)
                else:
                    numbers.append(number)
                    texts.append(text)
                    objects.append(value)
            stats.count(num_rows)
            if objects:
                yield numbers, texts, objects


def _lines(file: IO[bytes], name: str) -> Iterator[Iterator[tuple[int, bytes]]]:
    for data, first in line_blocks(file, name):
        yield enumerate(data.split(b"\n"), start=first)


def _batches(rows: Iterator[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    while batch := list(islice(rows, _BATCH_ROWS)):
        yield batch


def _parse(text: bytes) -> tuple[str, str, Any]:
    """Returns (reason, detail, value); the reason is empty for an object."""
    reason, detail = text_fault(text)
    if reason:
        return reason, detail, None
    try:
        value = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        return "not a JSON object", str(error), None
    if not isinstance(value, dict):
        return "not a JSON object", f"a {type(value).__name__}", None
    if b"\\u" in text:
        if _ESCAPED_NUL.search(text):
            return "NUL byte", "", None
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return "bad UTF-8", "a lone surrogate", None
    return "", "", value
