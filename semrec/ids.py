"""Checks ids of items and users, the same for imports, online changes and events.

An id is any text of 1 to 1,024 characters (Unicode code points, as JSON Schema counts them) that is more than blanks, and

* holds no control character, line or paragraph separator, or mark that changes the direction of writing (`U+0000` to
  `U+001F`, `U+007F` to `U+009F`, `U+061C`, `U+200E`, `U+200F`, `U+2028` to `U+202E`, `U+2066` to `U+2069`): they forge
  lines in logs and make one id look like another;
* is neither `.` nor `..`, which clients and proxies take out of a path, however it is encoded.

The rule holds for what comes in. Ids that a workspace stored before stay as they are: they are read, scored and answered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.errors import InputError
from semrec.limits import CONTROL_CHARACTERS, MAX_ID_CHARS

__all__ = ["ID_FAULTS", "check_id", "id_fault", "id_faults"]

_PATTERNS: Final = {
    "NUL byte": r"\x00",
    "missing id": r"\A[ \t\n\r\v\f]*\z",
    "control character in id": CONTROL_CHARACTERS,
    "id is . or ..": r"\A\.\.?\z",
}
_TOO_LONG: Final = "id is too long"
_ANY: Final = "|".join(_PATTERNS.values())
_COMPILED: Final = {fault: re.compile(pattern.replace(r"\z", r"\Z")) for fault, pattern in _PATTERNS.items()}

#: Every reason for which an id is refused, in the order in which they are looked for.
ID_FAULTS: Final = (*_PATTERNS, _TOO_LONG)


def id_fault(text: str) -> str:
    """Returns the first of ID_FAULTS that applies to an id, or "". A lone surrogate, which JSON can spell, is "bad UTF-8"."""
    for fault, pattern in _COMPILED.items():
        if pattern.search(text):
            return fault
    if len(text) > MAX_ID_CHARS:
        return _TOO_LONG
    return "bad UTF-8" if any("\ud800" <= letter <= "\udfff" for letter in text) else ""


def id_faults(ids: pa.Array) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the ID_FAULTS that apply to some `ids` (string, no nulls), in order: the fault, and where, bool [len(ids)]."""
    encoded = ids.dictionary_encode()  # each distinct id is looked at once
    distinct, rows = encoded.dictionary, encoded.indices.to_numpy(zero_copy_only=False)
    if pc.any(pc.match_substring_regex(distinct, _ANY)).as_py():
        for fault, pattern in _PATTERNS.items():
            yield fault, _mask(pc.match_substring_regex(distinct, pattern))[rows]
    too_long = _mask(pc.greater(pc.utf8_length(distinct), MAX_ID_CHARS))
    if too_long.any():
        yield _TOO_LONG, too_long[rows]


def check_id(text: str, what: str = "id") -> None:
    """Raises InputError with the fault of an id that breaks the rule; `what` names it ("item_id")."""
    fault = id_fault(text)
    if fault:
        raise InputError(
            f"{what} {text[:80]!r}: {fault}",
            expected=f"1 to {MAX_ID_CHARS:,} characters, no control characters, not . or ..",
            remedy="Use another id.",
        )


def _mask(array: pa.Array) -> np.ndarray:
    return np.asarray(array.to_numpy(zero_copy_only=False))
