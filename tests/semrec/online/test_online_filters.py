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
from semrec.online.filters import NO_FILTERS, Filters, each_alone
from semrec.online.release import OnlineRelease
from semrec.online.row_lists import blocks_of
from semrec.online.users import rank_query_of
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
    st.dictionaries(
        st.sampled_from(["genre", "year"]), st.frozensets(st.sampled_from(VALUES), min_size=1, max_size=3), max_size=1
    ),
    st.sampled_from([0, 3, MAX_VALUES]),
    st.integers(0, 2),
)
def test_what_is_kept_are_the_items_that_pass(
    items: list, any_of: dict, ranges: dict, all_of: dict, most_values: int, first_row: int
) -> None:
    """Also where an attribute counts as one of many values, whose groups share a bit, and in a shard."""
    flat, filters = FlatAttributes(column_of(items)), Filters(any_of, ranges, all_of=each_alone(all_of))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("semrec.online.filter_layout.MAX_VALUES", most_values)
        patch.setattr("semrec.online.filter_layout._NUM_GROUPS", 3)
        layout = FilterLayout(flat)
        item_words = layout.item_words(flat)
        try:
            layout.check(filters, {})
        except InputError:
            asked = {*any_of, *all_of}
            assert any(not _has_values(items, n) for n in asked) or any(not _has_numbers(items, n) for n in ranges)
        kept = _kept(layout, item_words, filters, first_row)
    assert kept == [filters.failed(item or {}) is None for item in items[first_row:]]
    assert kept == [_passes(item or {}, any_of, ranges, all_of) for item in items[first_row:]]


def _kept(layout: FilterLayout, item_words: np.ndarray, filters: Filters, first_row: int = 0) -> list[bool]:
    compiled = layout.compile(filters, item_words[first_row:], first_row)
    edges = [*layout.clause_starts, layout.num_words]
    kept = eligible_items(item_words, compiled.words_W, list(itertools.pairwise(edges)))
    kept[compiled.rows] = False
    return kept[first_row:].tolist()


def _passes(item: dict[str, list[str]], any_of: dict, ranges: dict, all_of: dict) -> bool:
    if not all(values <= set(item.get(name, [])) for name, values in all_of.items()):
        return False
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
    compiled = layout.compile(NO_FILTERS, np.zeros((2, 1), np.uint64))
    assert compiled.words_W.tolist() == layout.plain.tolist() == [1] and not len(compiled.rows)
    assert not NO_FILTERS
    assert Filters(exclude=("a",)) and Filters(all_of=each_alone({"genre": ["A"]}))


def test_the_rarest_of_all_values_is_what_the_bits_ask_for() -> None:
    items = [{"genre": ["A", "B"] if n % 4 else ["B"]} for n in range(40)] + [{"genre": ["A", "C"]}, {"genre": ["C"]}]
    flat = FlatAttributes(column_of(items))
    layout = FilterLayout(flat)
    words_IW = layout.item_words(flat)
    compiled = layout.compile(Filters(all_of=each_alone({"genre": ["A", "B", "C"]})), words_IW)
    assert (compiled.words_W.tolist(), compiled.rows.tolist()) == ([8], [40, 41])
    compiled = layout.compile(Filters(all_of=each_alone({"genre": ["A", "C"]})), words_IW[40:], 40)
    assert (compiled.words_W.tolist(), compiled.rows.tolist()) == ([2], [])


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
        assert len(layout.compile(filters, item_words).rows) <= 2 * len(items) / 255 + 2
    chosen = Filters({"year": frozenset(["-1750", "17", "unknown", "none such"])}, {"year": (0, None)})
    assert [n for n, kept in enumerate(_kept(layout, item_words, chosen)) if kept] == [years.index(["17"])]
    two = Filters(all_of=each_alone({"year": ["7", "47"]}))
    assert [n for n, kept in enumerate(_kept(layout, item_words, two)) if kept] == [years.index(["7", "47"])]
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
    all_of, any_of = Filters(all_of=each_alone({"a": "xy"})), Filters({"a": frozenset("xy")})
    assert all_of == Filters(all_of=each_alone({"a": "yx"})) != any_of and hash(all_of) != hash(any_of)


def test_kept_filters_have_a_bound_in_bytes_of_their_keys_too(served: OnlineRelease) -> None:
    asked = [Filters(exclude=tuple([f"{n} {'x' * 1_000}"] * 10_000)) for n in range(8)]
    nothing = OverlayView.empty()
    for filters in asked:
        served.prepare(filters, nothing)
    assert [served.is_prepared(filters, nothing) for filters in asked] == [False, False, *[True] * 6]
    assert served.is_prepared(NO_FILTERS, nothing)


def test_queries_that_leave_many_rows_out_are_ranked_in_blocks_alike(
    served: OnlineRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [NO_FILTERS, Filters({"genre": frozenset(["Drama"])}), Filters(exclude=tuple(served.items.ids[:20]))]
    queries = [rank_query_of(served.users.anonymous(), asked[n % 3], 5) for n in range(9)]
    expected = served.rank(queries, OverlayView.empty())
    monkeypatch.setattr("semrec.online.release._ROWS_TOGETHER", 25)
    assert served.rank(queries, OverlayView.empty()) == expected
    assert blocks_of([30, 1, 20, 5, 0, 26], 25) == [slice(0, 1), slice(1, 3), slice(3, 5), slice(5, 6)]
    assert blocks_of([], 25) == [] and blocks_of([0], 25) == [slice(0, 1)]


def test_a_facet_that_no_item_has_can_be_asked_for() -> None:
    layout = FilterLayout(FlatAttributes(column_of([{"genre": ["A"]}])), facets={"primitives": ("EVAL", "FEEL")})
    asked = Filters({"primitives": frozenset({"FEEL"})})
    layout.check(asked, {})
    assert not layout.compile(asked, np.ones((1, 1), np.uint64)).words_W.any()
    with pytest.raises(InputError, match="a range of 'primitives', whose values are not numbers"):
        layout.check(Filters({}, {"primitives": (1, 2)}), {"primitives": {"1"}})
    with pytest.raises(InputError, match="no item has an attribute 'none'"):
        layout.check(Filters({"none": frozenset({"FEEL"})}), {})
