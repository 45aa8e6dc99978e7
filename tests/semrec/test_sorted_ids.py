"""Ids are found where they lie: the row of each, -1 for one that is not there, as a dictionary of Python says."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semrec.errors import CorruptArtefactError
from semrec.sorted_ids import SortedIds

NAMES = st.text(alphabet="ab\u00e9\uff5e\U0001f600", max_size=4)


@given(ids=st.sets(NAMES, max_size=20), wanted=st.lists(NAMES, max_size=30))
def test_rows_are_those_of_a_dictionary(ids: set[str], wanted: list[str]) -> None:
    ascending = sorted(ids, key=str.encode)
    found = SortedIds.of(pa.array(ascending, pa.string()))
    row_of = {item_id: row for row, item_id in enumerate(ascending)}
    assert found.rows_of(pa.array(wanted, pa.string())).tolist() == [row_of.get(name, -1) for name in wanted]
    assert (len(found), found.array().to_pylist()) == (len(ids), ascending)
    if ids:
        assert found.take(np.array([len(ids) - 1, 0])).to_pylist() == [ascending[-1], ascending[0]]


def test_columns_in_pieces_slices_and_dictionaries_are_read() -> None:
    column = pa.chunked_array([pa.array(["-", "a", "b"])[1:], pa.array([], pa.string()), pa.array(["c"])])
    found = SortedIds.of(column)
    assert found.array().to_pylist() == ["a", "b", "c"]
    assert found.rows_of(column.dictionary_encode()).tolist() == [0, 1, 2]
    assert found.rows_of(pa.array(["x", "c", "", "b"])[1:]).tolist() == [2, -1, 1]


def test_offsets_of_other_bytes_are_refused() -> None:
    ids = SortedIds.of(pa.array(["a", "b"]))
    with pytest.raises(CorruptArtefactError, match="3 offsets of ids for 1 bytes"):
        SortedIds(ids.offsets, ids.data[:1])
