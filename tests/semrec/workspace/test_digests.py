"""A content digest is of the logical rows: whatever holds them, and nothing but them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semrec.contracts import ATTRIBUTES_TYPE, RECOMMENDATIONS_SCHEMA, bucket_of, buckets_of, part_name, text_hash
from semrec.workspace.digests import content_digest, fingerprint, sha256_hex
from semrec.workspace.tables import parquet_bytes

TEXT = st.text(st.characters(codec="utf-8"), max_size=4)
NUMBER = st.integers(-(2**31), 2**31 - 1)


def optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


#: Arrow type -> Python values of it.
KINDS: dict[Any, st.SearchStrategy[Any]] = {
    pa.string(): optional(TEXT),
    pa.large_string(): optional(TEXT),
    pa.binary(): optional(st.binary(max_size=4)),
    pa.bool_(): optional(st.booleans()),
    pa.int64(): optional(NUMBER),
    pa.float32(): optional(st.floats(width=32, allow_nan=False)),
    pa.timestamp("s"): optional(NUMBER),
    pa.list_(pa.string()): optional(st.lists(optional(TEXT), max_size=3)),
    pa.list_(pa.float32()): optional(st.lists(st.floats(width=32, allow_nan=False), max_size=3)),
    pa.list_(pa.int32(), 2): optional(st.lists(NUMBER, min_size=2, max_size=2)),
    pa.struct([("x", pa.int64()), ("y", pa.string())]): optional(
        st.fixed_dictionaries({"x": optional(NUMBER), "y": optional(TEXT)})
    ),
    ATTRIBUTES_TYPE: optional(
        st.dictionaries(TEXT, st.lists(TEXT, max_size=2), max_size=2).map(lambda found: list(found.items()))
    ),
}


@st.composite
def columns(draw: st.DrawFn) -> tuple[pa.DataType, list[Any]]:
    kind = draw(st.sampled_from(list(KINDS)))
    return kind, draw(st.lists(KINDS[kind], max_size=7))


def one(array: Any) -> str:
    return content_digest(pa.table({"column": array}))


@given(columns(), st.data())
@settings(deadline=None, max_examples=150)
def test_chunks_and_slices_leave_no_trace(column: tuple[pa.DataType, list[Any]], data: st.DataObject) -> None:
    kind, values = column
    expected = one(pa.array(values, kind))
    cut = data.draw(st.integers(0, len(values)))
    chunks = [pa.array(values[:cut], kind), pa.array([], kind), pa.array(values[cut:], kind)]
    assert one(pa.chunked_array(chunks, kind)) == expected
    around = data.draw(st.lists(KINDS[kind], min_size=1, max_size=3))
    within = pa.array([*around, *values, *around], kind).slice(len(around), len(values))
    assert one(within) == expected
    halves = pa.chunked_array([within.slice(0, cut), within.slice(cut)], kind)
    assert one(halves) == expected


@given(columns(), st.data())
@settings(deadline=None, max_examples=150)
def test_one_change_to_one_row_changes_the_digest(column: tuple[pa.DataType, list[Any]], data: st.DataObject) -> None:
    kind, values = column
    place = data.draw(st.integers(0, len(values)))
    added = pa.array([*values[:place], data.draw(KINDS[kind]), *values[place:]], kind)
    original = pa.array(values, kind)
    assert one(added) != one(original)
    if values:
        place = place % len(values)
        other = pa.array([*values[:place], data.draw(KINDS[kind]), *values[place + 1 :]], kind)
        assert (one(other) == one(original)) == (repr(other.to_pylist()) == repr(original.to_pylist()))


@given(st.lists(optional(TEXT), max_size=8), st.lists(st.lists(TEXT, max_size=3), max_size=4))
@settings(deadline=None, max_examples=80)
def test_dictionary_encoding_leaves_no_trace(texts: list[str | None], lists: list[list[str]]) -> None:
    plain = pa.array(texts, pa.string())
    assert one(plain.dictionary_encode()) == one(plain)
    nested = pa.array(lists, pa.list_(pa.string()))
    encoded = nested.cast(pa.list_(pa.dictionary(pa.int32(), pa.string())))
    assert one(encoded) == one(nested)


def test_dictionaries_in_another_order_with_unused_values_are_the_same() -> None:
    first = pa.DictionaryArray.from_arrays(pa.array([0, 1, None], pa.int32()), pa.array(["a", "b"]))
    second = pa.DictionaryArray.from_arrays(pa.array([2, 0, None], pa.int32()), pa.array(["b", "unused", "a"]))
    assert one(first) == one(second) == one(pa.array(["a", "b", None]))


@given(
    st.lists(st.tuples(TEXT, st.lists(st.tuples(TEXT, st.floats(width=32, allow_nan=False)), max_size=3)), max_size=5)
)
@settings(deadline=None, max_examples=30, suppress_health_check=list(HealthCheck))
def test_a_recommendation_table_keeps_its_digest_through_a_file(
    rows: list[tuple[str, list[tuple[str, float]]]],
) -> None:
    table = pa.table(
        [
            [user for user, _ in rows],
            pa.array([[i for i, _ in hits] for _, hits in rows], pa.list_(pa.string())).cast(
                RECOMMENDATIONS_SCHEMA.field("item_ids").type
            ),
            [[score for _, score in hits] for _, hits in rows],
            ["personal" for _ in rows],
            [None for _ in rows],
        ],
        schema=RECOMMENDATIONS_SCHEMA,
    )
    assert content_digest(pq.read_table(pa.BufferReader(parquet_bytes(table)))) == content_digest(table)


INT = pa.array([1, 9], pa.int64())
HIDDEN = {
    "number": pa.Array.from_buffers(pa.int64(), 2, [pa.py_buffer(b"\x01"), INT.buffers()[1]]),
    "list": pa.ListArray.from_arrays(pa.array([0, 1, 2]), pa.array([1, 9]), mask=pa.array([False, True])),
    "fixed list": pa.FixedSizeListArray.from_arrays(pa.array([1, 1, 9, 9]), 2, mask=pa.array([False, True])),
    "struct": pa.StructArray.from_arrays([pa.array([1, 9])], ["x"], mask=pa.array([False, True])),
    "map": pa.Array.from_buffers(
        pa.map_(pa.string(), pa.int64()),
        2,
        [pa.py_buffer(b"\x01"), pa.py_buffer(b"".join(n.to_bytes(4, "little") for n in (0, 1, 2)))],
        children=[
            pa.StructArray.from_arrays(
                [pa.array(["a", "b"]), INT],
                fields=[pa.field("key", pa.string(), nullable=False), pa.field("value", pa.int64())],
            )
        ],
    ),
}


@pytest.mark.parametrize("array", HIDDEN.values(), ids=HIDDEN)
def test_what_lies_beneath_a_null_does_not_count(array: pa.Array) -> None:
    assert array.null_count == 1
    assert one(array) == one(pa.array(array.to_pylist(), array.type))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pa.table({"a": [1, 2]}), pa.table({"b": [1, 2]})),
        (pa.table({"a": [1], "b": [2]}), pa.table({"b": [2], "a": [1]})),
        (pa.table({"a": [1, 2]}), pa.table({"a": [2, 1]})),
        (pa.table({"a": ["ab", "c"]}), pa.table({"a": ["a", "bc"]})),
        (pa.table({"a": ["", None]}), pa.table({"a": [None, ""]})),
        (pa.table({"a": [[1], [], None]}), pa.table({"a": [[1], None, []]})),
        (pa.table({"a": [[1], [2, 3]]}), pa.table({"a": [[1, 2], [3]]})),
        (pa.table({"a": pa.array([], pa.int32())}), pa.table({"a": pa.array([], pa.float32())})),
        (pa.table({"a": pa.array([0], pa.int32())}), pa.table({"a": pa.array([0], pa.float32())})),
        (pa.table({"a": pa.array([1], pa.int32())}), pa.table({"a": pa.array([1], pa.int64())})),
        (pa.table({"a": [0.0]}), pa.table({"a": [-0.0]})),
        (pa.table({"a": [0, None]}), pa.table({"a": [0, 0]})),
        (pa.table({"a": [False, None]}), pa.table({"a": [False, False]})),
        (pa.table({}), pa.table({"a": pa.array([], pa.int32())})),
    ],
)  # fmt: skip
def test_tables_that_differ_have_other_digests(first: pa.Table, second: pa.Table) -> None:
    assert content_digest(first) != content_digest(second)


def test_a_table_of_no_rows_has_a_digest_whatever_its_chunks() -> None:
    for kind in KINDS:
        assert one(pa.chunked_array([], kind)) == one(pa.array([], kind)) == one(pa.chunked_array([[], []], kind))


def test_a_kind_of_column_without_a_rule_is_refused() -> None:
    with pytest.raises(TypeError, match="content_digest knows no decimal128"):
        one(pa.array([1]).cast(pa.decimal128(19, 0)))


def test_golden_content_digest() -> None:
    table = pa.table(
        {
            "user_id": ["u1", "ü", "", None],
            "number": pa.array([1, None, -3, 4], pa.int32()),
            "vector": pa.array([[0.5, -1.0], None, [0.0, 2.0], [1.0, 1.0]], pa.list_(pa.float32(), 2)),
            "attributes": pa.array([[("g", ["a", "b"])], None, [], [("h", [])]], ATTRIBUTES_TYPE),
        }
    )
    expected = "22e5540cd97c8a1fa596d2b64cd280f3b7d668f839bcada0e8fbd13bf559f00f"
    assert content_digest(table) == expected, "every stored digest changes: raise CONTRACT_VERSION and SCHEMA_VERSION"


def test_golden_fingerprint() -> None:
    canonical = '{"a":[1,2.5,null,true],"é":"x"}'
    assert fingerprint({"é": "x", "a": [1, 2.5, None, True]}) == sha256_hex(canonical.encode())
    assert sha256_hex(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(ValueError, match="Out of range float"):
        fingerprint([float("nan")])


def test_golden_hashes_of_texts_and_ids() -> None:
    assert text_hash("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert text_hash("Amélie") == "ffd648213f415fa5d10ce2eb4ee48868ead6ce86785005f1b2f9d92a3305d129"
    assert [bucket_of(key, 64) for key in ("", "1", "1.0", "007", "ü", "user-00000001")] == [36, 54, 62, 9, 21, 46]
    assert bucket_of("007", 2**63) == 4432084075947240009
    assert part_name(7) == "part-00007"


@given(st.lists(TEXT, max_size=20), st.integers(1, 99_999))
@settings(deadline=None, max_examples=50)
def test_buckets_of_many_ids_are_those_of_each(keys: list[str], num_buckets: int) -> None:
    assert buckets_of(pa.array(keys, pa.string()), num_buckets).tolist() == [bucket_of(k, num_buckets) for k in keys]
