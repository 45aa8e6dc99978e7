"""Count what a JSON text holds before anything is built of it.

A parser makes an object of every value, and a validator an error of every wrong one: 8 MB of wrong values cost minutes and
gigabytes. Counting takes a few milliseconds for the same text, and no memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from semrec.compiled import compiled
from semrec.errors import InputError

__all__ = ["JsonBounds", "check_json_size"]

_QUOTE, _BACKSLASH, _COMMA = (ord(character) for character in '"\\,')
_OPEN_LIST, _CLOSE_LIST, _OPEN_OBJECT, _CLOSE_OBJECT = (ord(character) for character in "[]{}")
_WITHIN, _TOO_MANY_VALUES, _TOO_MANY_ELEMENTS, _TOO_MANY_MEMBERS, _TOO_DEEP = range(5)


@dataclass(frozen=True)
class JsonBounds:
    """How much a text may hold: commas and brackets in all, elements of one list, members of one object, levels."""

    values: int = 200_000
    elements: int = 10_000
    members: int = 512
    depth: int = 32


_USUAL: Final = JsonBounds()


def check_json_size(text: bytes, bounds: JsonBounds = _USUAL) -> None:
    """Raises InputError for a JSON text that holds more than `bounds`; of what is not JSON the part before the fault counts."""
    verdict = _judge(np.frombuffer(text, np.uint8), bounds.values, bounds.elements, bounds.members, bounds.depth)
    if verdict == _WITHIN:
        return
    got, expected = {
        _TOO_MANY_VALUES: ("JSON with very many values", f"at most {bounds.values:,} commas and brackets"),
        _TOO_MANY_ELEMENTS: ("a JSON list with very many elements", f"at most {bounds.elements:,}"),
        _TOO_MANY_MEMBERS: ("a JSON object with very many members", f"at most {bounds.members:,}"),
        _TOO_DEEP: ("JSON in very many levels", f"at most {bounds.depth:,}"),
    }[verdict]
    raise InputError(got, expected=expected, remedy="Split the request.")


@compiled(nogil=False)
def _judge(text_N: Any, max_values: int, max_elements: int, max_members: int, max_depth: int) -> int:
    commas_left = np.full(max_depth + 1, max_values)  # by level; outside of lists and objects there are none to count
    is_object = np.zeros(max_depth + 1, np.bool_)
    depth, num_values, in_string, escaped = 0, 0, False, False
    for byte in text_N:
        if in_string:
            if escaped:
                escaped = False
            elif byte == _BACKSLASH:
                escaped = True
            elif byte == _QUOTE:
                in_string = False
        elif byte == _QUOTE:
            in_string = True
        elif byte in (_OPEN_LIST, _OPEN_OBJECT):
            depth += 1
            num_values += 1
            if depth > max_depth:
                return _TOO_DEEP
            is_object[depth] = byte == _OPEN_OBJECT
            commas_left[depth] = (max_members if is_object[depth] else max_elements) - 1
        elif byte in (_CLOSE_LIST, _CLOSE_OBJECT):
            depth = max(depth - 1, 0)
        elif byte == _COMMA:
            num_values += 1
            commas_left[depth] -= 1
            if commas_left[depth] < 0:
                return _TOO_MANY_MEMBERS if is_object[depth] else _TOO_MANY_ELEMENTS
        if num_values > max_values:
            return _TOO_MANY_VALUES
    return _WITHIN
