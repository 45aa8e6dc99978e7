"""Delimited records in bytes: RFC 4180 quoting, one record at a time, and the check that lets a block skip it."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

import numpy as np

__all__ = ["MAX_RECORD_BYTES", "Record", "is_cleanly_quoted", "scan_record"]

#: A quoted field that has not closed after so many bytes is taken for a stray quote.
MAX_RECORD_BYTES = 1 << 20

_QUOTE, _NEWLINE, _RETURN = 0x22, 0x0A, 0x0D


class Record(NamedTuple):
    """One delimited record: its fields, the offset after its newline, and whether text follows a closing quote."""

    fields: list[bytes]
    end: int
    has_tail: bool


def scan_record(data: bytes, start: int, delimiter: bytes) -> Record | None:
    """The record at `start`; None when it does not end in `data`.

    A quote is special only as the first byte of a field; inside, two quotes are one. What follows the closing quote up
    to the delimiter is kept, as most readers do. Line ends are LF or CRLF.
    """
    unquoted = _until(delimiter)
    fields: list[bytes] = []
    at, has_tail = start, False
    while True:
        field = b""
        is_quoted = data[at : at + 1] == b'"'
        if is_quoted:
            quoted = _quoted(data, at + 1, start + MAX_RECORD_BYTES)
            if quoted is None:
                return None
            field, at = quoted
        match = unquoted.match(data, at)
        end = match.end() if match else at
        if end == len(data):
            return None
        tail = data[at:end]
        is_last = data[end] == _NEWLINE
        tail = tail.removesuffix(b"\r") if is_last else tail
        has_tail |= is_quoted and bool(tail)
        fields.append(field + tail)
        if is_last:
            return Record(fields, end + 1, has_tail)
        at = end + len(delimiter)


def _quoted(data: bytes, at: int, limit: int) -> tuple[bytes, int] | None:
    """The content of a quoted field whose first byte is at `at`, and the offset after its closing quote."""
    pieces = []
    while (end := data.find(b'"', at, limit)) >= 0:
        pieces.append(data[at:end])
        at = end + 1
        if data[at : at + 1] != b'"':
            return b"".join(pieces), at
        pieces.append(b'"')
        at += 1
    return None


@cache
def _until(delimiter: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"[^\n" + re.escape(delimiter) + rb"]*")


def is_cleanly_quoted(block: bytes, delimiter: bytes) -> bool:
    """Whether quotes in whole lines only wrap whole fields of one line: then every reader agrees on them."""
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
