"""Reads JSON Lines: one object a line."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, Final

import numpy as np

from semrec.data import delimited
from semrec.data.delimited import missing_column
from semrec.data.rejects import ReadStats, RowBlock
from semrec.data.sources import Source
from semrec.errors import InputError

__all__ = ["check_keys", "read_jsonl"]

#: Keys that are remembered for a message; the wanted ones always are.
_MAX_KEYS: Final = 1_000
_ESCAPED_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def read_jsonl(
    source: Source, wanted: Sequence[str], *, stats: ReadStats, keys: set[str] | None = None
) -> Iterator[RowBlock]:
    """The rows of a JSON Lines file, columns `wanted` as lists of Python values, None where a key is absent or null.

    Blank lines are no rows. Rejected to the quarantine: "bad UTF-8", "NUL byte", "not a JSON object". `keys` takes the keys
    of the objects, so that a reader of several files can see which column none of them has; without it, InputError is
    raised at the end of a file with objects of which none has a wanted key.
    """
    own_keys: set[str] = set()
    with source.open() as file:
        for data, line in _line_blocks(file, source.name):
            numbers, texts, objects = _objects(data, line, source.name, stats)
            if not objects:
                continue
            if len(own_keys) < _MAX_KEYS:
                own_keys.update(*objects)
            own_keys.update(name for name in wanted if name not in own_keys and any(name in row for row in objects))
            stats.count(len(objects))
            columns = {name: [row.get(name) for row in objects] for name in wanted}
            lines = np.array(numbers, dtype=np.int64)
            yield RowBlock(source.name, columns, len(objects), lines, _excerpts(texts))
    if keys is not None:
        keys |= own_keys
    elif own_keys:
        check_keys(wanted, own_keys, source.name)


def check_keys(wanted: Sequence[str], keys: set[str], where: str) -> None:
    """Raises InputError for a wanted column that is not among the keys of the objects read."""
    for name in wanted:
        if name not in keys:
            raise missing_column(name, where, sorted(keys))


def _excerpts(texts: list[bytes]) -> Callable[[int], str]:
    return lambda i: texts[i].decode()


def _line_blocks(file: IO[bytes], name: str) -> Iterator[tuple[bytes, int]]:
    """Whole lines, a few megabytes at a time, with the number of the first."""
    carry, line = file.read(len(codecs.BOM_UTF8)).removeprefix(codecs.BOM_UTF8), 1
    while chunk := file.read(delimited.BLOCK_BYTES):
        data = carry + chunk
        used = data.rfind(b"\n") + 1
        if used:
            yield data[:used], line
        line, carry = line + data.count(b"\n"), data[used:]
        if len(carry) > delimited.MAX_LINE_BYTES:
            raise InputError(
                f"line {line} of {name} has more than {delimited.MAX_LINE_BYTES:,} bytes",
                expected="one JSON object a line",
                remedy="Check that the file is JSON Lines, not one JSON array.",
            )
    if carry:
        yield carry, line


def _objects(
    data: bytes, line: int, name: str, stats: ReadStats
) -> tuple[list[int], list[bytes], list[dict[str, Any]]]:
    """The good rows of some lines: their line numbers, raw text and objects."""
    numbers, texts, objects = [], [], []
    for number, raw in enumerate(data.split(b"\n"), start=line):
        if not (text := raw.strip()):
            continue
        reason, detail, value = _parse(text)
        if reason:
            stats.reject(name, number, reason, text.decode("utf-8", "backslashreplace"), detail=detail)
            stats.count(1)
        else:
            numbers.append(number)
            texts.append(text)
            objects.append(value)
    return numbers, texts, objects


def _parse(text: bytes) -> tuple[str, str, Any]:
    """(reason, detail, value); the reason is empty for an object."""
    if b"\0" in text:
        return "NUL byte", "", None
    try:
        value = json.loads(text.decode())
    except UnicodeDecodeError as error:
        return "bad UTF-8", f"byte 0x{text[error.start]:02x}", None
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
