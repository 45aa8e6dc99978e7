"""Filters: words against plain evaluation, bad requests, and the attributes that can be filtered by."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semrec.contracts import ATTRIBUTES_TYPE
from semrec.errors import InputError
from semrec.release.matrix import attribute_dicts
from semrec.scoring.eligibility import eligible_items
from semrec.serving.filters import NO_FILTERS, FilterLayout, Filters
from semrec.serving.items import FlatAttributes

VALUES = ["", "A", "1999", "2000.5", "-3", "nan", "inf", "1e3", "é"]
items_of_any_kind = st.lists(
    st.none()
    | st.dictionaries(
        st.sampled_from(["genre", "year", "empty"]),
        st.lists(st.sampled_from(VALUES), max_size=3, unique=True),
        max_size=3,
    ),
    min_size=1,
    max_size=12,
)
ends = st.none() | st.sampled_from([-3.0, 0.0, 1999.0, 2000.5, 1e3])


def column_of(items: list[dict[str, list[str]] | None]) -> pa.ChunkedArray:
    made = pa.array([None if item is None else list(item.items()) for item in items], ATTRIBUTES_TYPE)
    half = len(items) // 2
    return pa.chunked_array([made.slice(0, half), made.slice(half)])


@given(items_of_any_kind)
def test_flat_attributes_are_the_dictionaries(items: list) -> None:
    column = column_of(items)
    flat = FlatAttributes(column)
    assert flat.dicts() == attribute_dicts(column)
    for name in ("genre", "year", "empty", "none such"):
        assert flat.values_of(name) == sorted({v for item in items for v in (item or {}).get(name, [])})


@given(
    items_of_any_kind,
    st.dictionaries(st.sampled_from(["genre", "year"]), st.frozensets(st.sampled_from([*VALUES, "none such"]))),
    st.dictionaries(st.sampled_from(["genre", "year"]), st.tuples(ends, ends), max_size=1),
)
def test_words_keep_the_items_that_pass(items: list, any_of: dict, ranges: dict) -> None:
    flat = FlatAttributes(column_of(items))
    layout, filters = FilterLayout.of(flat), Filters(any_of, ranges)
    item_words = layout.item_words(flat)
    known = [item or {} for item in items]
    assert np.array_equal(item_words, layout.layout.item_words(known))
    try:
        words = layout.words(filters)
    except InputError:
        assert any(not _has_values(items, name) for name in any_of) or any(not _has_numbers(items, n) for n in ranges)
        return
    kept = eligible_items(item_words, words, _ranges(layout))
    assert kept.tolist() == [filters.failed(item) is None for item in known]
    assert kept.tolist() == [_passes(item, any_of, ranges) for item in known]


def _passes(item: dict[str, list[str]], any_of: dict, ranges: dict) -> bool:
    for name in {*any_of, *ranges}:
        kept = [value for value in item.get(name, []) if name not in any_of or value in any_of[name]]
        if name in ranges:
            low, high = ranges[name]
            numbers = {"1999": 1999, "2000.5": 2000.5, "-3": -3, "1e3": 1000}
            kept = [v for v in kept if v in numbers and (low is None or low <= numbers[v])]
            kept = [v for v in kept if high is None or numbers[v] <= high]
        if not kept:
            return False
    return True


def _has_values(items: list, name: str) -> bool:
    return any((item or {}).get(name) for item in items)


def _has_numbers(items: list, name: str) -> bool:
    return any(value in ("1999", "2000.5", "-3", "1e3") for item in items for value in (item or {}).get(name, []))


def _ranges(layout: FilterLayout) -> list[tuple[int, int]]:
    edges = [*layout.layout.clause_starts, layout.num_words]
    return list(itertools.pairwise(edges))


def test_no_filters_ask_for_nothing() -> None:
    layout = FilterLayout.of(FlatAttributes(column_of([{"genre": ["A"]}, {}])))
    assert layout.words(NO_FILTERS).tolist() == layout.plain.tolist() == [1]
    assert not NO_FILTERS
    assert Filters(exclude=("a",))


def test_attributes_with_more_values_than_bits_are_refused_by_name() -> None:
    items = [{"director": [f"d{n}"], "genre": [f"g{n % 256}"]} for n in range(257)]
    flat = FlatAttributes(column_of(items))
    layout = FilterLayout.of(flat)
    assert list(layout.attributes) == ["genre"]
    assert layout.num_words == 5
    kept = eligible_items(
        layout.item_words(flat), layout.words(Filters({"genre": frozenset(["g255"])})), _ranges(layout)
    )
    assert np.flatnonzero(kept).tolist() == [255]
    with pytest.raises(InputError, match=r"'director' has more than 256 values; expected one of genre"):
        layout.words(Filters({"director": frozenset(["d1"])}))
    with pytest.raises(InputError, match=r"no item has an attribute 'colour'"):
        layout.words(Filters({"colour": frozenset(["red"])}))
    with pytest.raises(InputError, match=r"a range of 'genre', whose values are not numbers"):
        layout.words(Filters({}, {"genre": (1, 2)}))


def test_equal_filters_are_one_key() -> None:
    one = Filters({"a": frozenset("xy"), "b": frozenset("z")}, {"year": (1, None)}, ("i",))
    other = Filters({"b": frozenset("z"), "a": frozenset("yx")}, {"year": (1, None)}, ("i",))
    assert (one, hash(one)) == (other, hash(other))
    assert one != Filters({"a": frozenset("xy"), "b": frozenset("z")}, {"year": (1, 2)}, ("i",))
