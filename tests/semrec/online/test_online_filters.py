"""Filters: words against plain evaluation, bad requests, and the attributes that can be filtered by."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semrec.changes.overlay import OverlayView
from semrec.contracts import ATTRIBUTES_TYPE
from semrec.errors import InputError
from semrec.online.filter_layout import FilterLayout
from semrec.online.filters import NO_FILTERS, Filters
from semrec.online.release import OnlineRelease
from semrec.release.attributes import FlatAttributes, attribute_dicts
from semrec.scoring.eligibility import MAX_VALUES, eligible_items

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
    st.sampled_from([0, 3, MAX_VALUES]),
)
def test_what_is_kept_are_the_items_that_pass(items: list, any_of: dict, ranges: dict, most_values: int) -> None:
    """Also where an attribute counts as one of many values, whose groups share a bit."""
    flat, filters = FlatAttributes(column_of(items)), Filters(any_of, ranges)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("semrec.online.filter_layout.MAX_VALUES", most_values)
        patch.setattr("semrec.online.filter_layout._NUM_GROUPS", 3)
        layout = FilterLayout(flat)
        item_words = layout.item_words(flat)
        try:
            layout.check(filters, {})
        except InputError:
            assert any(not _has_values(items, n) for n in any_of) or any(not _has_numbers(items, n) for n in ranges)
        kept = _kept(layout, item_words, filters)
    assert kept == [filters.failed(item or {}) is None for item in items]
    assert kept == [_passes(item or {}, any_of, ranges) for item in items]


def _kept(layout: FilterLayout, item_words: np.ndarray, filters: Filters) -> list[bool]:
    compiled = layout.compile(filters)
    edges = [*layout.clause_starts, layout.num_words]
    kept = eligible_items(item_words, compiled.words_W, list(itertools.pairwise(edges)))
    kept[compiled.rows] = False
    return kept.tolist()


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


def test_no_filters_ask_for_nothing() -> None:
    layout = FilterLayout(FlatAttributes(column_of([{"genre": ["A"]}, {}])))
    assert layout.compile(NO_FILTERS).words_W.tolist() == layout.plain.tolist() == [1]
    assert not NO_FILTERS
    assert Filters(exclude=("a",))


def test_an_attribute_of_any_number_of_values_is_filtered_exactly() -> None:
    """Years from before the common era, as text and out of order; the bits hold few values, the rows the rest."""
    years = [[str(year), str(year + 40)] if year % 7 == 0 else [str(year)] for year in range(-1750, 1250)]
    items = [{"year": stated, "genre": [f"g{n % 256}"]} for n, stated in enumerate(years)] + [{"year": ["unknown"]}, {}]
    flat = FlatAttributes(column_of(items))
    layout = FilterLayout(flat)
    assert list(layout.attributes) == ["genre"]  # a choice of 3,000 years is none
    assert layout.num_words == 5 + 4
    item_words = layout.item_words(flat)
    for between in [(None, None), (-3, 400), (900, None), (None, -1750), (5000, None), (7, 7)]:
        filters = Filters({}, {"year": between})
        layout.check(filters, {})
        expected = [filters.failed(item) is None for item in items]
        assert _kept(layout, item_words, filters) == expected
        assert expected == [_in_years(item.get("year", []), *between) for item in items]
        assert len(layout.compile(filters).rows) <= 2 * len(items) / 255 + 2
    chosen = Filters({"year": frozenset(["-1750", "17", "unknown", "none such"])}, {"year": (0, None)})
    assert [n for n, kept in enumerate(_kept(layout, item_words, chosen)) if kept] == [years.index(["17"])]
    both = Filters({"genre": frozenset(["g255"])}, {"year": (1000, None)})
    assert _kept(layout, item_words, both) == [both.failed(item) is None for item in items]


def _in_years(stated: list[str], low: float | None, high: float | None) -> bool:
    years = [int(year) for year in stated if year != "unknown"]
    return any((low is None or year >= low) and (high is None or year <= high) for year in years)


def test_what_cannot_be_filtered_by_is_refused_by_name() -> None:
    items = [{"director": [f"d{n}"], "genre": [f"g{n % 256}"]} for n in range(257)]
    layout = FilterLayout(FlatAttributes(column_of(items)))
    red, of_genre = Filters({"colour": frozenset(["red"])}), Filters({}, {"genre": (1, 2)})
    with pytest.raises(InputError, match=r"no item has an attribute 'colour'; expected one of director, genre"):
        layout.check(red, {})
    with pytest.raises(InputError, match=r"a range of 'genre', whose values are not numbers \(the first is 'g0'\)"):
        layout.check(of_genre, {})
    layout.check(red, {"colour": {"red"}})  # what comes later may have what the release has not
    layout.check(of_genre, {"genre": {"1.5"}})
    with pytest.raises(InputError, match="a range of 'colour'"):
        layout.check(Filters({}, {"colour": (1, 2)}), {"colour": {"red"}})


def test_a_catalogue_without_attributes_is_shut_out_by_any_filter() -> None:
    flat = FlatAttributes(column_of([{}, {}]))
    layout = FilterLayout(flat)
    assert _kept(layout, layout.item_words(flat), Filters({"colour": frozenset(["red"])})) == [False, False]
    assert _kept(layout, layout.item_words(flat), NO_FILTERS) == [True, True]
    with pytest.raises(InputError, match="none: the catalogue has no attribute to filter by"):
        layout.check(Filters({"colour": frozenset(["red"])}), {})


def test_equal_filters_are_one_key() -> None:
    one = Filters({"a": frozenset("xy"), "b": frozenset("z")}, {"year": (1, None)}, ("i",))
    other = Filters({"b": frozenset("z"), "a": frozenset("yx")}, {"year": (1, None)}, ("i",))
    assert (one, hash(one)) == (other, hash(other))
    assert one != Filters({"a": frozenset("xy"), "b": frozenset("z")}, {"year": (1, 2)}, ("i",))


def test_kept_filters_have_a_bound_in_bytes_of_their_keys_too(served: OnlineRelease) -> None:
    asked = [Filters(exclude=tuple([f"{n} {'x' * 1_000}"] * 10_000)) for n in range(8)]
    nothing = OverlayView.empty()
    for filters in asked:
        served.prepare(filters, nothing)
    assert [served.is_prepared(filters, nothing) for filters in asked] == [False, False, *[True] * 6]
    assert served.is_prepared(NO_FILTERS, nothing)


def test_a_facet_that_no_item_has_can_be_asked_for() -> None:
    layout = FilterLayout(FlatAttributes(column_of([{"genre": ["A"]}])), facets={"primitives": ("EVAL", "FEEL")})
    asked = Filters({"primitives": frozenset({"FEEL"})})
    layout.check(asked, {})
    assert not layout.compile(asked).words_W.any()
    with pytest.raises(InputError, match="a range of 'primitives', whose values are not numbers"):
        layout.check(Filters({}, {"primitives": (1, 2)}), {"primitives": {"1"}})
    with pytest.raises(InputError, match="no item has an attribute 'none'"):
        layout.check(Filters({"none": frozenset({"FEEL"})}), {})
