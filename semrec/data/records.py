"""Splits delimited records into fields, one at a time, and checks whether a block can be read without that."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple

import numpy as np

from semrec.errors import InputError

__all__ = ["MAX_RECORD_BYTES", "Dialect", "Record", "is_cleanly_quoted", "scan_record"]

#: A quoted field that has not closed after so many bytes is taken for a stray quote.
MAX_RECORD_BYTES = 1 << 20

_QUOTE, _NEWLINE, _RETURN = 0x22, 0x0A, 0x0D
_BACKSLASH: Final = "\\"


@dataclass(frozen=True)
class Dialect:
    """The delimiter, quotes and encoding by which the fields of a text file are told apart.

    `delimiter` is one ASCII character, or `::`. `quoted`: quotes may wrap a field, in which two quotes are one.
    `escape`: a backslash, which in a quoted field makes a quote or another backslash plain text, or "". `skip_blanks`:
    blanks around fields do not count. `encoding`: a codec of Python's. `has_header`: the first record names the columns;
    without, they are named by their position from 1.

    Raises InputError for a combination that no file has.
    """

    delimiter: str = ","
    quoted: bool = True
    escape: str = ""
    skip_blanks: bool = False
    encoding: str = "utf-8"
    has_header: bool = True

    def __post_init__(self) -> None:
        is_single = len(self.delimiter) == 1 and self.delimiter.isascii() and self.delimiter not in '"\r\n\0\\'
        if not is_single and (self.delimiter != "::" or self.quoted):
            raise InputError(
                f"delimiter {self.delimiter!r}",
                expected="one ASCII character that is no quote, backslash or line end",
                remedy="Use ',', ';', '|' or a tab.",
            )
        if self.escape not in ("", _BACKSLASH) or (self.escape and not self.quoted):
            raise InputError(
                f"escape character {self.escape!r}" + ("" if self.quoted else " without quotes"),
                expected="a backslash, in files with quotes, or none",
                remedy="Leave it out.",
            )
        try:
            "".encode(self.encoding)
        except LookupError as error:
            raise InputError(
                f"encoding {self.encoding!r}",
                expected="utf-8, latin-1, cp1252, utf-16, ...",
                remedy="Choose one of them.",
            ) from error

    def __str__(self) -> str:
        """Describes what differs from RFC 4180 in UTF-8, for people; "" when nothing does."""
        parts = (
            (self.delimiter != ",", f"delimiter {self.delimiter!r}"),
            (not self.quoted, "no quotes"),
            (bool(self.escape), "quotes escaped by a backslash"),
            (self.skip_blanks, "blanks around fields dropped"),
            (self.encoding != "utf-8", f"encoding {self.encoding}"),
            (not self.has_header, "no header"),
        )
        return ", ".join(text for is_so, text in parts if is_so)


class Record(NamedTuple):
    """One delimited record: its fields, the offset after its newline, and whether text follows a closing quote."""

    fields: list[bytes]
    end: int
    has_tail: bool


def scan_record(data: bytes, start: int, dialect: Dialect) -> Record | None:
    """Parses the record at `start`; None when it does not end in `data`.

    A quote is special only as the first byte of a field, after blanks where those do not count. What follows the closing
    quote up to the delimiter is kept. Line ends are LF or CRLF.
    """
    delimiter = dialect.delimiter.encode()
    unquoted, to_value = _patterns(delimiter)
    fields: list[bytes] = []
    at, has_tail = start, False
    while True:
        if dialect.skip_blanks and (blanks := to_value.match(data, at)):
            at = blanks.end()
        field = b""
        is_quoted = dialect.quoted and data[at : at + 1] == b'"'
        if is_quoted:
            content = _quoted(data, at + 1, start + MAX_RECORD_BYTES, bool(dialect.escape))
            if content is None:
                return None
            field, at = content
        match = unquoted.match(data, at)
        end = match.end() if match else at
        if end == len(data):
            return None
        tail = data[at:end]
        is_last = data[end] == _NEWLINE
        tail = tail.removesuffix(b"\r") if is_last else tail
        tail = tail.rstrip(b" ") if dialect.skip_blanks else tail
        has_tail |= is_quoted and bool(tail)
        fields.append(field + tail)
        if is_last:
            return Record(fields, end + 1, has_tail)
        at = end + len(delimiter)


def _quoted(data: bytes, at: int, limit: int, is_escaped: bool) -> tuple[bytes, int] | None:
    """Parses the content of a quoted field whose first byte is at `at`, and the offset after its closing quote."""
    special = _SPECIAL_ESCAPED if is_escaped else _SPECIAL
    pieces = []
    while match := special.search(data, at, limit):
        pieces.append(data[at : match.start()])
        at = match.end()
        if match[0] == b'"':
            return b"".join(pieces), at
        pieces.append(match[0][1:])  # of a pair, the byte that is meant
    return None


_SPECIAL: Final = re.compile(rb'""?')
_SPECIAL_ESCAPED: Final = re.compile(rb'""?|\\["\\]')


@cache
def _patterns(delimiter: bytes) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """Returns patterns of bytes up to a delimiter or line end, and blanks before a field."""
    escaped = re.escape(delimiter)
    field = rb"[^\n" + escaped + rb"]*" if len(delimiter) == 1 else rb"(?:(?!" + escaped + rb")[^\n])*"
    return re.compile(field), re.compile(b" *")


def is_cleanly_quoted(block: bytes, delimiter: bytes) -> bool:
    """Returns whether quotes in whole lines only wrap whole fields of one line: then every reader agrees on them."""
    bytes_ = np.frombuffer(block, dtype=np.uint8)
    quotes = np.flatnonzero(bytes_ == _QUOTE)
    if len(quotes) % 2:
        return False
    opening, closing = quotes[0::2], quotes[1::2]
    before = np.where(opening > 0, bytes_[opening - 1], _NEWLINE)
    after = bytes_[closing + 1]  # a block ends in a newline, so a byte follows every quote
    if not np.isin(before, [delimiter[0], _NEWLINE]).all():
        return False
    if not np.isin(after, [delimiter[0], _NEWLINE, _RETURN]).all():
        return False
    newlines = np.flatnonzero(bytes_ == _NEWLINE)
    return bool((np.searchsorted(newlines, opening) == np.searchsorted(newlines, closing)).all())
