"""Text is text: what stands in a title, a text or an attribute, whatever type the source gave it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.import_cases import items_in, quarantined, write
from semrec.data import ColumnMap, import_table
from semrec.errors import InputError
from semrec.workspace.folder import Workspace

COLUMNS = ColumnMap("id", title="name", attributes={"x": "x"})


def values_of(workspace: Workspace, folder: Path, column: pa.Array, name: str = "x") -> list[list[str]]:
    """The attribute x of the items of a Parquet file, in order."""
    table = pa.table({"id": [str(n) for n in range(len(column))], "name": ["N"] * len(column), "x": column})
    pq.write_table(table, folder / "i.parquet")
    columns = ColumnMap("id", title="name", attributes={"x": name})
    import_table(workspace, folder / "i.parquet", fmt="parquet", kind="items", columns=columns, max_rejected=1)
    items = items_in(workspace)
    return [dict(items[item]["attributes"]).get("x", []) for item in sorted(items)]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (pa.array([b"Caf\xc3\xa9", None]), [["Café"], []]),
        (pa.array([1995.0, float("nan"), 2.5, -0.0, None]), [["1995"], [], ["2.5"], ["0"], []]),
        (pa.array([1995, None], pa.uint16()), [["1995"], []]),
        (pa.array([True, None]), [["true"], []]),
        (pa.array([Decimal("1995.00"), Decimal("2.50")]), [["1995"], ["2.50"]]),
        (pa.array([["a", None, " b "], []]), [["a", "b"], []]),
        (pa.array([[1.0, 2.0]]), [["1", "2"]]),
        (pa.array(["a", "b"]).dictionary_encode(), [["a"], ["b"]]),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_a_parquet_value_becomes_the_text_that_it_means(
    workspace: Workspace, tmp_path: Path, column: pa.Array, values: list[list[str]]
) -> None:
    assert values_of(workspace, tmp_path, column) == values


def test_a_list_of_objects_gives_one_member_of_each(workspace: Workspace, tmp_path: Path) -> None:
    genres = pa.array([[{"id": 18, "name": "Kitchen"}, {"id": 7, "name": "Garden"}], None, []])
    assert values_of(workspace, tmp_path, genres, "x[].name") == [["Kitchen", "Garden"], [], []]
    write(tmp_path / "i.jsonl", '{"id": "1", "name": "N", "x": [{"id": 18, "name": "Kitchen"}, null, {"id": 1}]}\n')
    columns = ColumnMap("id", title="name", attributes={"x": "x[].name"})
    import_table(workspace, tmp_path / "i.jsonl", fmt="jsonl", kind="items", columns=columns)
    assert items_in(workspace)["1"]["attributes"] == [("x", ["Kitchen"])]


@pytest.mark.parametrize(
    ("column", "name", "message"),
    [
        (pa.array([[{"id": 1, "name": "a"}]]), "x", r"column 'x' .* lists of objects.*id, name.*x\[\]\.id"),
        (pa.array([[{"id": 1}]]), "x[].name", "lists of objects without 'name'"),
        (pa.array([{"id": 1}]), "x", "has type struct"),
        (pa.array([[["a"]]]), "x", "has type list"),
        (pa.array([[("en", "Pie")]], pa.map_(pa.string(), pa.string())), "x", "has type map"),
        (pa.array(["a"]), "x[].name", "expected lists of objects"),
    ],
)
def test_a_parquet_type_without_one_reading_is_refused_by_name(
    workspace: Workspace, tmp_path: Path, column: pa.Array, name: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        values_of(workspace, tmp_path, column, name)


def test_bytes_that_are_no_text_and_odd_json_values_are_rejected_row_by_row(
    workspace: Workspace, tmp_path: Path
) -> None:
    assert values_of(workspace, tmp_path, pa.array([b"a", b"\xff", b"c"])) == [["a"], ["c"]]
    assert quarantined(workspace, "items") == [("i.parquet", None, "bad UTF-8: x: byte 0xff")]
    lines = [
        '{"id": "1", "name": NaN, "x": {"en": "Pie"}}',
        '{"id": "2", "name": "A", "x": [["a"]]}',
        '{"id": "3", "name": "B", "x": [{"name": "Indie"}]}',
        '{"id": "4", "name": "C", "x": Infinity}',
        '{"id": "5", "name": NaN, "x": 1995.0}',
        '{"id": "6", "name": "Pixel Harbor", "x": 1995.0}',
    ]
    write(tmp_path / "i.jsonl", "\n".join(lines))
    import_table(workspace, tmp_path / "i.jsonl", fmt="jsonl", kind="items", columns=COLUMNS, max_rejected=1)
    found: Any = {line: reason.partition(":")[0] for _, line, reason in quarantined(workspace, "items")}
    not_text = dict.fromkeys((1, 2, 3, 4), "value is not text")
    assert found == not_text | {5: "no title and no text"}
    assert items_in(workspace)["6"]["attributes"] == [("x", ["1995"])]


def test_an_integer_with_gaps_is_an_integer_in_csv_but_a_title_stands_as_it_is(
    workspace: Workspace, tmp_path: Path
) -> None:
    write(tmp_path / "i.csv", "id,name,x\n1,1984.0,1995.0|-3.0|2.50|1e3\n")
    import_table(workspace, tmp_path / "i.csv", fmt="csv", kind="items", columns=COLUMNS)
    assert items_in(workspace)["1"]["title"] == "1984.0"
    assert items_in(workspace)["1"]["attributes"] == [("x", ["1995", "-3", "2.50", "1e3"])]


def test_an_attribute_of_several_columns_has_the_values_of_all(workspace: Workspace, tmp_path: Path) -> None:
    write(tmp_path / "i.csv", "id,name,g1,g2\na,Pie,Food,Sweet\nb,Bread,Food,\n")
    columns = ColumnMap("id", title="name", attributes={"genre": ("g1", "g2")})
    import_table(workspace, tmp_path / "i.csv", fmt="csv", kind="items", columns=columns)
    items = items_in(workspace)
    assert items["a"]["attributes"] == [("genre", ["Food", "Sweet"])]
    assert items["b"]["attributes"] == [("genre", ["Food"])]
