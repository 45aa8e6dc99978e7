"""Reads columns of times: ISO 8601, Arrow times, and digits, whose unit is settled once for a whole column."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.data.scalars import filled, nulls, trimmed_texts
from semrec.errors import InputError

__all__ = ["TIME_UNITS", "TimeReader", "parse_iso"]

_DIGITS: Final = r"^-?[0-9]{1,18}$"
_NUMBER: Final = re.compile(r"([+-]?[0-9]+)(?:\.[0-9]*)?")
_ZONE: Final = re.compile(r" ?(?:UTC|GMT)$")
_BLANK_OFFSET: Final = re.compile(r" (?=[+-][0-9]{2}:?[0-9]{2}$)")
_SLASHES: Final = re.compile(r"[0-9]{1,2}[/.][0-9]{1,2}[/.][0-9]{2,4}\b")
_MAX_SECONDS: Final = 2**62
_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 2100

#: What digits may be: counts since 1970, by ticks in a second, or written dates.
_TICKS: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
TIME_UNITS: Final = {
    "s": "seconds since 1970",
    "ms": "milliseconds since 1970",
    "us": "microseconds since 1970",
    "ns": "nanoseconds since 1970",
    "day": "days, as in 20190131",
    "year": "years, as in 2019",
}


class TimeReader:
    """Reads one column of times, block by block.

    `time_format` says what digits are: one of TIME_UNITS, or "auto", which settles it by the first block with digits, for
    all blocks alike: days or years where at least half of them are such, else counts since 1970 whose unit follows from
    their size (a count of seconds beyond the year 5138 is one of milliseconds, and so on by thousands). Other text is
    ISO 8601, in UTC where it names no zone. A pattern of `datetime.strptime` with a % in it reads all text instead.

    Raises InputError for another `time_format`.
    """

    def __init__(self, time_format: str = "s") -> None:
        if time_format not in ("auto", *TIME_UNITS) and "%" not in time_format:
            raise InputError(
                f"time format {time_format!r}",
                expected=f"auto, {', '.join(TIME_UNITS)}, or a pattern such as %d/%m/%Y",
                remedy="Choose one of them.",
            )
        self._pattern = time_format if "%" in time_format else None
        self.unit = time_format if time_format in TIME_UNITS else None

    def seconds(self, column: Any) -> tuple[np.ndarray, np.ndarray]:
        """Reads UTC seconds since 1970, int64 [rows], and bool [rows] where the value is no time.

        `column` is an Arrow array or a list of Python values. Fractions of a second are dropped, towards the past.
        """
        if isinstance(column, list) or _is_text(column.type):
            return self._from_texts(trimmed_texts(column))
        bad = nulls(column)
        if pa.types.is_floating(column.type):  # what pandas makes of integers beside a missing one
            numbers = np.floor(filled(column.cast(pa.float64()), 0.0))
            bad |= ~np.isfinite(numbers)
            whole = np.clip(np.where(bad, 0.0, numbers), -_MAX_SECONDS, _MAX_SECONDS).astype(np.int64)
            return self._scaled(whole, bad)
        if pa.types.is_integer(column.type):
            return self._scaled(filled(column.cast(pa.int64(), safe=False), 0), bad)
        if pa.types.is_date(column.type):
            column = column.cast(pa.timestamp("s"), safe=False)
        ticks = filled(column.cast(pa.timestamp(column.type.unit)).cast(pa.int64()), 0)
        return ticks // _TICKS[column.type.unit], bad

    def hint(self, text: str) -> str:
        """Returns what may help with a text that is no time; "" when nothing is known."""
        if _SLASHES.match(text.strip()):
            return "; day or month first? --time-format '%d/%m/%Y' or '%m/%d/%Y' says it"
        if self.unit in (None, "s") or not any(map(str.isdigit, text)):
            return ""
        return f"; digits are read as {TIME_UNITS[self.unit]}"

    def _from_texts(self, texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        if self._pattern is not None:
            pattern = self._pattern
            return _by_distinct(texts, lambda text: _parse_pattern(text, pattern))
        try:
            numbers = texts.cast(pa.int64()).to_numpy(zero_copy_only=False)
            letters = texts.buffers()[2]
            data = b"" if letters is None else letters.to_pybytes()
            if b"x" not in data and b"X" not in data:  # Arrow reads 0x10, which is no time
                return self._scaled(numbers, np.zeros(len(numbers), dtype=bool))
        except pa.ArrowInvalid:  # some are no whole numbers
            pass
        is_digits = pc.match_substring_regex(texts, _DIGITS)
        numbers = pc.if_else(is_digits, texts, "0").cast(pa.int64()).to_numpy(zero_copy_only=False).copy()
        is_number = is_digits.to_numpy(zero_copy_only=False).copy()
        others = np.flatnonzero(~is_number)
        for row, text in zip(others.tolist(), texts.take(pa.array(others)).to_pylist(), strict=True):
            if match := _NUMBER.fullmatch(text):
                # Digits beyond any date are held at the edge of what int64 compares safely.
                numbers[row] = max(-_MAX_SECONDS, min(_MAX_SECONDS, int(match[1][:25])))
                is_number[row] = True
        seconds, bad = self._scaled(numbers, ~is_number)
        others = np.flatnonzero(~is_number)
        seconds[others], bad[others] = _by_distinct(texts.take(pa.array(others)), parse_iso)
        return seconds, bad

    def _scaled(self, numbers: np.ndarray, bad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns seconds of `numbers`, int64 [rows], where they are not `bad`, and where they are no time in the unit."""
        if self.unit is None:
            self.unit = _unit_of(numbers[~bad & (numbers != 0)])
        if self.unit in _TICKS:
            return numbers // _TICKS[self.unit], bad
        if self.unit is None:  # no digits yet
            return numbers, bad
        days, is_date = _dates(numbers if self.unit == "day" else numbers * 10_000 + 101)
        return days * 86_400, bad | ~is_date


def parse_iso(text: str) -> int | None:
    """Parses UTC seconds of an ISO 8601 text, also with the zone names UTC and GMT or a blank before its offset; None else."""
    if not text.isascii():
        return None
    try:
        moment = datetime.fromisoformat(_BLANK_OFFSET.sub("", _ZONE.sub("Z", text.upper())))
    except ValueError:
        return None
    return _seconds_of(moment)


def _parse_pattern(text: str, pattern: str) -> int | None:
    try:
        return _seconds_of(datetime.strptime(text, pattern))
    except ValueError:
        return None


def _seconds_of(moment: datetime) -> int:
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    whole = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return whole.days * 86_400 + whole.seconds


def _by_distinct(texts: pa.Array, parse: Callable[[str], int | None]) -> tuple[np.ndarray, np.ndarray]:
    """Calls `parse` once for each distinct text: seconds, int64 [rows], and bool [rows] where there are none."""
    encoded = texts.dictionary_encode()
    parsed = [parse(text) for text in encoded.dictionary.to_pylist()]
    at = encoded.indices.to_numpy(zero_copy_only=False)
    seconds = np.array([value or 0 for value in parsed], dtype=np.int64)
    return seconds[at], np.array([value is None for value in parsed], dtype=bool)[at]


def _unit_of(numbers: np.ndarray) -> str | None:
    """Returns the unit in which most of `numbers` (not 0) are times; None without any."""
    if not len(numbers):
        return None
    _, is_day = _dates(numbers)
    # Small counts of seconds, as in made-up data, are seldom in the range of years, and never half of them.
    is_year = (numbers >= _FIRST_YEAR) & (numbers <= _LAST_YEAR)
    if 2 * np.count_nonzero(is_day) >= len(numbers):
        return "day"
    if 2 * np.count_nonzero(is_year) >= len(numbers):
        return "year"
    # 10**11 s is the year 5138, and 10**11 ms March 1973: no count since 1970 that is in use has two readings.
    sizes = np.searchsorted([10**11, 10**14, 10**17], np.abs(numbers), side="right")
    return list(_TICKS)[int(np.argmax(np.bincount(sizes, minlength=4)))]


def _dates(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns days since 1970 of numbers like 20190131, int64 [rows], and bool [rows] where they are dates of 1970 to 2100."""
    years, months, days = numbers // 10_000, numbers // 100 % 100, numbers % 100
    is_date = (years >= _FIRST_YEAR) & (years <= _LAST_YEAR) & (months >= 1) & (months <= 12) & (days >= 1)
    month = np.where(is_date, (years - 1970) * 12 + months - 1, 0).astype("datetime64[M]")
    date = month.astype("datetime64[D]") + np.where(is_date, days - 1, 0)
    is_date &= date.astype("datetime64[M]") == month  # no 31 February
    return date.astype(np.int64), is_date


def _is_text(kind: pa.DataType) -> bool:
    known = (pa.types.is_integer, pa.types.is_floating, pa.types.is_timestamp, pa.types.is_date)
    return not any(is_kind(kind) for is_kind in known)
