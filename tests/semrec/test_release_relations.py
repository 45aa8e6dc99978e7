"""The relations that a release takes out of its items' attributes."""

from __future__ import annotations

import pyarrow as pa

from semrec.contracts import ATTRIBUTES_TYPE
from semrec.release.attributes import FlatAttributes
from semrec.release.relations import relations_from_attributes
from semrec.sorted_ids import SortedIds


def test_attributes_become_relations_to_literals() -> None:
    attributes = pa.chunked_array(
        [
            pa.array([[("genre", ["Crime", "Drama"]), ("year", ["1995"])], None], ATTRIBUTES_TYPE),
            pa.array([[("year", [])], [("genre", ["Drama"])]], ATTRIBUTES_TYPE),
        ]
    )
    table = relations_from_attributes(
        SortedIds.of(pa.array(list("abcd"))), FlatAttributes(attributes), ["year", "genre"]
    )
    assert [tuple(row.values())[:4] for row in table.to_pylist()] == [
        ("a", "year", "1995", True),
        ("a", "genre", "Crime", True),
        ("a", "genre", "Drama", True),
        ("d", "genre", "Drama", True),
    ]
    no_items = pa.chunked_array([], ATTRIBUTES_TYPE)
    assert (
        relations_from_attributes(SortedIds.of(pa.array([], pa.string())), FlatAttributes(no_items), []).num_rows == 0
    )
