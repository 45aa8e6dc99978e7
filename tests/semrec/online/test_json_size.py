"""What a JSON text holds, counted on its bytes, is what a parser finds in it."""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semrec.errors import InputError
from semrec.online.json_size import JsonBounds, check_json_size

TEXTS = st.text(st.sampled_from('[]{},:"\\ é\n')) | st.text()
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(TEXTS, inner, max_size=6),
    max_leaves=40,
)


def measured(document: Any) -> JsonBounds:
    """Commas and brackets that open, elements of the longest list, members of the largest object, and levels."""
    if not isinstance(document, list | dict):
        return JsonBounds(0, 0, 0, 0)
    inner = [measured(value) for value in (document.values() if isinstance(document, dict) else document)]
    values = 1 + max(len(document) - 1, 0) + sum(each.values for each in inner)
    elements = max([len(document) * isinstance(document, list), *(each.elements for each in inner)])
    members = max([len(document) * isinstance(document, dict), *(each.members for each in inner)])
    return JsonBounds(values, elements, members, 1 + max([0, *(each.depth for each in inner)]))


def is_within(text: bytes, bounds: JsonBounds) -> bool:
    try:
        check_json_size(text, bounds)
    except InputError:
        return False
    return True


@given(DOCUMENTS, st.booleans())
def test_each_bound_is_exact(document: Any, ascii_only: bool) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    size = measured(document)
    one_each = replace(size, elements=max(size.elements, 1), members=max(size.members, 1))
    assert is_within(text, one_each)
    for bound, least in (("values", 1), ("elements", 2), ("members", 2), ("depth", 1)):
        if getattr(size, bound) >= least:
            assert not is_within(text, replace(one_each, **{bound: getattr(size, bound) - 1})), bound


@pytest.mark.parametrize("text", [b"", b"]]]]}", b'"', b'"\\', b"\\", b"\xff[", b",,"])
def test_what_is_not_json_is_left_to_the_parser(text: bytes) -> None:
    check_json_size(text)


def test_no_other_thread_gets_the_interpreter_meanwhile() -> None:
    """On the event loop a lock that is let go for a microsecond comes back after a switch interval."""
    check_json_size(b"[]")  # compiles it
    may_begin, has_run = threading.Semaphore(0), threading.Event()
    other = threading.Thread(target=lambda: (may_begin.acquire(), has_run.set()))
    other.start()
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(30.0)
    try:
        may_begin.release()
        for _ in range(10_000):
            check_json_size(b'{"liked": ["a", "b"]}')
        assert not has_run.is_set()
    finally:
        sys.setswitchinterval(interval_s)
        other.join()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"[" + b"0," * 300_000, "at most 10,000"),
        (b"[" + b"[0,0,0]," * 9_999, "at most 30,000"),
        (b"{" + b'"k":1,' * 513 + b'"k":1}', "at most 512"),
        (b"[" * 33, "at most 32"),
    ],
)
def test_more_is_refused_and_said(text: bytes, expected: str) -> None:
    with pytest.raises(InputError) as refused:
        check_json_size(text, JsonBounds(values=30_000))
    assert refused.value.expected.startswith(expected)
