"""Cuts a file that is one JSON array into its elements, without holding more than a few of them."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import IO, Any, Final

from semrec.data import delimited
from semrec.errors import InputError

__all__ = ["array_elements", "is_array"]

_BLANKS: Final = re.compile(r"[ \t\r\n]*")
_TOKENS: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|["{}\[\],]', re.DOTALL)
_DECODER: Final = json.JSONDecoder()


def is_array(start: bytes) -> bool:
    """Returns whether a file that begins with these bytes is a JSON array, and not one object a line."""
    return start.removeprefix(codecs.BOM_UTF8).lstrip(b" \t\r\n").startswith(b"[")


def array_elements(file: IO[bytes], name: str) -> Iterator[tuple[int, bytes]]:
    """Yields the elements of the arrays that a file consists of, one after the other: the line of each, from 1, and its bytes.

    An element that is no JSON is given as it stands, up to the comma or bracket that ends it. Raises InputError where no
    element can be told from the next (a bracket or quote that does not close), and for anything between arrays.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")  # bad bytes are found in their element
    text, at, line, inside, at_end = "", 0, 1, False, False
    while True:
        begin = _BLANKS.match(text, at).end()  # type: ignore[union-attr]  # matches everywhere
        end = _end_of_element(text, begin) if inside else begin + 1
        if end is None or end >= len(text):
            text, begin, at = text[at:], begin - at, 0
            if not at_end and len(text) <= delimited.MAX_LINE_BYTES:
                chunk = file.read(delimited.BLOCK_BYTES)
                text, at_end = text + decoder.decode(chunk, final=not chunk), not chunk
                continue
            if end is None or inside:
                raise _broken(name, line + text.count("\n", 0, begin))
            if begin >= len(text):
                return
        line, at = line + text.count("\n", at, begin), begin
        if not inside:
            if text[begin] != "[":
                raise _broken(name, line)
            inside, at = True, begin + 1
            continue
        assert end is not None  # else more was read, or it is broken
        if element := text[begin:end].rstrip():
            yield line, element.encode("utf-8", "surrogateescape")
        line += text.count("\n", begin, end)
        inside, at = text[end] == ",", end + 1


def _end_of_element(text: str, begin: int) -> int | None:
    """Returns the offset of the comma or bracket that ends the element at `begin`; None when `text` ends before."""
    try:
        end = _BLANKS.match(text, _DECODER.raw_decode(text, begin)[1]).end()  # type: ignore[union-attr]
        if text[end : end + 1] in (",", "]"):
            return end
    except (ValueError, RecursionError):  # damaged, cut off, or the end of the array
        pass
    depth = 0
    for token in _TOKENS.finditer(text, begin):
        if token[0] == '"':  # one that does not close
            return None
        if depth == 0 and token[0] in ",]":
            return token.start()
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token[0], 0)
    return None


def _broken(name: str, line: int) -> Any:
    return InputError(
        f"the JSON array of {name} is broken at line {line}",
        expected="one array of objects, closed by a bracket",
        remedy="Write it again, or as JSON Lines, one object a line, where damage costs one row.",
    )
