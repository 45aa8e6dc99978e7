"""The rule for ids: one by one and by column alike, against the Unicode tables."""

from __future__ import annotations

import sys
import unicodedata

import pyarrow as pa
import pytest

from semrec.data import REASONS
from semrec.errors import InputError
from semrec.ids import ID_FAULTS, check_id, id_fault, id_faults
from semrec.limits import MAX_ID_CHARS

FAULTS = {
    "NUL byte": ["a\0", "\0", "\0\n"],
    "missing id": ["", " ", "\t \n"],
    "control character in id": ["a\nb", "a\r", "\x1b[2J", "a\x7f", "a\x85", "a\u202eb", "\u2066", "a\u2028", "\u200f"],
    "id is . or ..": [".", ".."],
    "id is too long": ["x" * 1_025, "é" * 1_025, "🎬" * 1_025],
}
GOOD = [
    "a",
    "...",
    ".a",
    "..a",
    " lead",
    "a/b",
    "%2F",
    "[/x]",
    "-1",
    "é" * 1_024,
    "🎬" * 1_024,
    "👩\u200d🚀",
    "नर्\u200dस",
]


def by_column(ids: list[str]) -> list[str]:
    """The first fault of each id, as `id_faults` has them."""
    first = [""] * len(ids)
    for fault, is_bad in id_faults(pa.array(ids, pa.string())):
        first = [known or (fault if bad else "") for known, bad in zip(first, is_bad.tolist(), strict=True)]
    return first


def test_each_fault_is_found_one_by_one_and_by_column() -> None:
    assert (list(FAULTS), MAX_ID_CHARS) == (list(ID_FAULTS), 1_024)
    assert set(ID_FAULTS) <= set(REASONS)
    ids = [(name, fault) for fault, names in FAULTS.items() for name in names] + [(name, "") for name in GOOD]
    assert [id_fault(name) for name, _ in ids] == [fault for _, fault in ids]
    assert by_column([name for name, _ in ids]) == [fault for _, fault in ids]
    assert by_column(GOOD) == [""] * len(GOOD) and by_column([]) == []


def test_every_control_and_direction_character_of_unicode_is_refused_and_no_other() -> None:
    letters = [chr(code) for code in range(1, sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF]
    turning = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    refused = {
        letter
        for letter in letters
        if unicodedata.category(letter) in ("Cc", "Zl", "Zp")
        or unicodedata.bidirectional(letter) in turning
        or letter in "\u200e\u200f\u061c"  # marks, which have the direction of a letter
    }
    found = by_column([f"a{letter}b" for letter in letters])
    assert {letter for letter, fault in zip(letters, found, strict=True) if fault} == refused
    assert {letter for letter in refused if id_fault(f"a{letter}b") != "control character in id"} == set()
    assert not any(id_fault(f"a{letter}b") for letter in letters if letter not in refused)


def test_a_bad_id_is_a_typed_error_that_is_itself_safe_to_print() -> None:
    check_id("fine")
    for name in ("a\u202eb", "a\x1b[2J", "\ud800", ".."):
        with pytest.raises(InputError, match="item_id '") as error:
            check_id(name, "item_id")
        assert str(error.value).isprintable()
