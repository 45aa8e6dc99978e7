"""Reads numbers and ids from whatever a source holds: text, Arrow columns, Python values."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.data.parquet import check_id_type
from semrec.errors import InputError

__all__ = ["check_scalar", "filled", "ids_of", "nulls", "numbers_of", "trimmed_texts"]

_NUMBER: Final = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_NON_FINITE: Final = r"^[+-]?([nN][aA][nN]|[iI][nN][fF]([iI][nN][iI][tT][yY])?)$"


def ids_of(column: Any, name: str, file: str) -> tuple[pa.DictionaryArray, np.ndarray]:
    """Returns ids as text ("" where there is none), and bool [rows] where the value is no id at all (a float, a list).

    They are dictionary-encoded, as all that is asked of an id is asked once of each. Text is kept as it is; integers become
    decimal text. Raises InputError for an Arrow column of another type.
    """
    if isinstance(column, list):
        not_id = np.array(
            [not isinstance(v, (str, int, type(None))) or isinstance(v, bool) for v in column], dtype=bool
        )
        texts = ["" if v is None or bad else str(v) for v, bad in zip(column, not_id, strict=True)]
        return pa.array(texts, pa.string()).dictionary_encode(), not_id
    check_id_type(column.type, name, file)
    return _encoded(column), np.zeros(len(column), dtype=bool)


def check_scalar(column: Any, name: str, file: str) -> None:
    """Raises InputError for an Arrow column of lists, structs or maps, which are neither numbers nor times."""
    if not isinstance(column, list) and pa.types.is_nested(column.type):
        raise InputError(
            f"column {name!r} of {file} has type {column.type}",
            expected="numbers, times, or text of either",
            remedy="Flatten the column before the import, or name another.",
        )


def numbers_of(column: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns float32 [rows], bool [rows] where the value is no number, bool [rows] where it is none that float32 holds.

    Text is a decimal number with optional sign, fraction and exponent, blanks around it ignored; it is rounded to
    float64, then to float32. Negative zero becomes zero, so that equal values have equal bytes.
    """
    if not isinstance(column, list) and (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        wide, bad = filled(column.cast(pa.float64(), safe=False), 0.0), nulls(column)
        special = np.zeros(len(bad), dtype=bool)
    else:
        encoded = _encoded(_texts_of(column))
        at = encoded.indices.to_numpy(zero_copy_only=False)
        wide, bad, special = (array[at] for array in _parsed_numbers(pc.ascii_trim_whitespace(encoded.dictionary)))
    with np.errstate(over="ignore"):
        # Adding zero turns -0.0 into 0.0, also the one that a tiny negative number rounds to.
        values = wide.astype(np.float32) + np.float32(0)
    return values, bad & ~special, special | (~np.isfinite(values) & ~bad)


def _parsed_numbers(texts: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns float64, no number, and named non-finite, per distinct text."""
    good = pc.match_substring_regex(texts, _NUMBER)
    plain = pc.if_else(good, pc.utf8_ltrim(texts, characters="+"), "0")
    try:
        numbers = plain.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:  # out of the range of float64, as in 1e999
        numbers = np.array([float(text) for text in plain.to_pylist()], dtype=np.float64)
    special = pc.match_substring_regex(texts, _NON_FINITE).to_numpy(zero_copy_only=False)
    return numbers, ~good.to_numpy(zero_copy_only=False), special


def trimmed_texts(column: Any) -> pa.Array:
    """Returns a column as text without ASCII blanks around it, "" for null and for what is no scalar."""
    return pc.ascii_trim_whitespace(_text(_texts_of(column)))


def _texts_of(column: Any) -> pa.Array:
    return pa.array([_plain_text(v) for v in column], pa.string()) if isinstance(column, list) else column


def _plain_text(value: Any) -> str:
    """Returns a Python value as the text that would stand in a CSV file; "" for what is no scalar."""
    if isinstance(value, str):
        return value
    return repr(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else ""


def _text(column: pa.Array) -> pa.Array:
    if column.type == pa.string() and not column.null_count:
        return column
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    try:
        return pc.fill_null(column.cast(pa.string()), "")
    except pa.ArrowInvalid:  # bytes that are not UTF-8
        return pa.array([(value or b"").decode("utf-8", "replace") for value in column.to_pylist()], pa.string())


def _encoded(column: pa.Array) -> pa.DictionaryArray:
    is_encoded = column.type == pa.dictionary(pa.int32(), pa.string()) and not column.null_count
    return column if is_encoded else _text(column).dictionary_encode()


def nulls(column: pa.Array) -> np.ndarray:
    """Returns where a column is null: bool [rows]."""
    return np.asarray(column.is_null().to_numpy(zero_copy_only=False))


def filled(column: pa.Array, fill: float) -> np.ndarray:
    """Returns the values of a column, with `fill` for null."""
    return np.asarray(pc.fill_null(column, fill).to_numpy(zero_copy_only=False))
