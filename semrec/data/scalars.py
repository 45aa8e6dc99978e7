"""Numbers, times and ids from whatever a source holds: text, Arrow columns, Python values."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.data.parquet import check_id_type

__all__ = ["ids_of", "numbers_of", "parse_time", "seconds_of"]

_NUMBER: Final = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_NON_FINITE: Final = r"^[+-]?([nN][aA][nN]|[iI][nN][fF]([iI][nN][iI][tT][yY])?)$"
_PLAIN_SECONDS: Final = r"^-?[0-9]{1,18}$"
_SECONDS: Final = re.compile(r"([+-]?[0-9]+)(?:\.[0-9]*)?")
_MAX_SECONDS: Final = 2**62


def ids_of(column: Any, name: str, file: str) -> tuple[pa.Array, np.ndarray]:
    """Ids as text ("" where there is none), and bool [rows] where the value is no id at all (a float, a list).

    Text is kept as it is; integers become decimal text. Raises InputError for an Arrow column of another type.
    """
    if isinstance(column, list):
        not_id = np.array(
            [not isinstance(v, (str, int, type(None))) or isinstance(v, bool) for v in column], dtype=bool
        )
        texts = ["" if v is None or bad else str(v) for v, bad in zip(column, not_id, strict=True)]
        return pa.array(texts, pa.string()), not_id
    check_id_type(column.type, name, file)
    return _text(column), np.zeros(len(column), dtype=bool)


def numbers_of(column: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """float32 [rows], bool [rows] where the value is no number, bool [rows] where it is none that float32 holds.

    Text is a decimal number with optional sign, fraction and exponent, blanks around it ignored; it is rounded to
    float64, then to float32. Negative zero becomes zero, so that equal values have equal bytes.
    """
    if not isinstance(column, list) and (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        wide, bad = _filled(column.cast(pa.float64(), safe=False), 0.0), _nulls(column)
        special = np.zeros(len(bad), dtype=bool)
    else:
        encoded = _trimmed(column).dictionary_encode()
        at = encoded.indices.to_numpy(zero_copy_only=False)
        wide, bad, special = (array[at] for array in _parsed_numbers(encoded.dictionary))
    with np.errstate(over="ignore"):
        # Adding zero turns -0.0 into 0.0, also the one that a tiny negative number rounds to.
        values = wide.astype(np.float32) + np.float32(0)
    return values, bad & ~special, special | (~np.isfinite(values) & ~bad)


def _parsed_numbers(texts: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """float64, no number, and named non-finite, per distinct text."""
    good = pc.match_substring_regex(texts, _NUMBER)
    plain = pc.if_else(good, pc.utf8_ltrim(texts, characters="+"), "0")
    try:
        numbers = plain.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:  # out of the range of float64, as in 1e999
        numbers = np.array([float(text) for text in plain.to_pylist()], dtype=np.float64)
    special = pc.match_substring_regex(texts, _NON_FINITE).to_numpy(zero_copy_only=False)
    return numbers, ~good.to_numpy(zero_copy_only=False), special


def seconds_of(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """UTC seconds since 1970, int64 [rows], and bool [rows] where the value is no time.

    Integers and text of digits are seconds; other text is ISO 8601, UTC where it names no zone; Arrow timestamps and
    dates are converted. Fractions of a second are dropped, towards the past.
    """
    if isinstance(column, list) or _is_text(column.type):
        return _seconds_from_text(_trimmed(column))
    bad = _nulls(column)
    if pa.types.is_floating(column.type):  # what pandas makes of integers beside a missing one
        seconds = np.floor(_filled(column.cast(pa.float64()), 0.0))
        bad |= ~np.isfinite(seconds)
        return np.clip(np.where(bad, 0.0, seconds), -_MAX_SECONDS, _MAX_SECONDS).astype(np.int64), bad
    if pa.types.is_integer(column.type):
        return _filled(column.cast(pa.int64(), safe=False), 0), bad
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("s"), safe=False)
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[column.type.unit]
    ticks = _filled(column.cast(pa.timestamp(column.type.unit)).cast(pa.int64()), 0)
    return ticks // per_second, bad


def _is_text(kind: pa.DataType) -> bool:
    known = (pa.types.is_integer, pa.types.is_floating, pa.types.is_timestamp, pa.types.is_date)
    return not any(is_kind(kind) for is_kind in known)


def _seconds_from_text(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    plain = pc.match_substring_regex(texts, _PLAIN_SECONDS)
    seconds = pc.if_else(plain, texts, "0").cast(pa.int64()).to_numpy(zero_copy_only=False).copy()
    bad = np.zeros(len(texts), dtype=bool)
    others = np.flatnonzero(~plain.to_numpy(zero_copy_only=False))
    for row, text in zip(others.tolist(), texts.take(pa.array(others)).to_pylist(), strict=True):
        parsed = parse_time(text)
        seconds[row], bad[row] = parsed or 0, parsed is None
    return seconds, bad


def parse_time(text: str) -> int | None:
    """UTC seconds of one text, or None. Digits beyond any date are held at the edge of what int64 compares safely."""
    if match := _SECONDS.fullmatch(text):
        digits = match[1][:25]
        return max(-_MAX_SECONDS, min(_MAX_SECONDS, int(digits)))
    if not text.isascii():
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    whole = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return whole.days * 86_400 + whole.seconds


def _trimmed(column: Any) -> pa.Array:
    texts = pa.array([_plain_text(v) for v in column], pa.string()) if isinstance(column, list) else _text(column)
    return pc.ascii_trim_whitespace(texts)


def _plain_text(value: Any) -> str:
    """A Python value as the text that would stand in a CSV file; "" for what is no scalar."""
    if isinstance(value, str):
        return value
    return repr(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else ""


def _text(column: pa.Array) -> pa.Array:
    if column.type == pa.string() and not column.null_count:
        return column
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return pc.fill_null(column.cast(pa.string()), "")


def _nulls(column: pa.Array) -> np.ndarray:
    return np.asarray(column.is_null().to_numpy(zero_copy_only=False))


def _filled(column: pa.Array, fill: float) -> np.ndarray:
    return np.asarray(pc.fill_null(column, fill).to_numpy(zero_copy_only=False))
