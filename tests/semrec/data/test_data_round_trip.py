"""Tables written by other programs, in the dialects that those have: what comes back is equal, or the row is rejected."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from helpers import mutated_files
from helpers.import_cases import events_in, items_in, quarantined
from semrec.data import ColumnMap, DialectOptions, ImportReport, import_table
from semrec.data.rows import clean_text
from semrec.workspace.folder import Workspace

Rows = list[tuple[str, str]]
COLUMNS = ColumnMap("id", title="name", attributes={"size": "size"})

#: What dialects are made of, and what readers are known to change.
PIECES = st.sampled_from(
    [
        *'",;|\t\n\r\\ ',
        "\r\n",
        '""',
        '\\"',
        "\\n",
        "a",
        "Pot",
        "é",
        "𝒳",
        "1995.0",
        "NULL",
        "NA",
        "nan",
        "#",
        "=",
        "::",
        "\x85",
    ]
)
NAMES = st.lists(PIECES, max_size=6).map("".join)
ROWS = st.lists(st.tuples(st.integers(0, 10**9).map(str), NAMES), min_size=1, max_size=8, unique_by=lambda row: row[0])


def python_csv(rows: Rows, **dialect: Any) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.writer(file, **{"lineterminator": "\n", **dialect})
    writer.writerows([("id", "name", "size"), *((item, name, "7") for item, name in rows)])
    return file.getvalue().encode()


def frame(rows: Rows) -> pd.DataFrame:
    return pd.DataFrame({"id": [item for item, _ in rows], "name": [name for _, name in rows], "size": 7})


def pandas_csv(rows: Rows, **dialect: Any) -> bytes:
    return bytes(frame(rows).to_csv(index=False, lineterminator="\n", **dialect).encode())


def arrow(rows: Rows) -> pa.Table:
    return pa.Table.from_pandas(frame(rows), preserve_index=False)


def arrow_csv(rows: Rows) -> bytes:
    file = io.BytesIO()
    pacsv.write_csv(arrow(rows), file)
    return file.getvalue()


def parquet(rows: Rows, **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(arrow(rows), file, **options)
    return file.getvalue()


def polars(rows: Rows, write: str, **options: Any) -> bytes:
    import polars as pl

    file = io.BytesIO()
    getattr(pl.from_arrow(arrow(rows)), write)(file, **options)
    return file.getvalue()


Writer = Callable[[Rows], bytes]
SAID = DialectOptions()
#: Writers whose files are read with nothing said, and those that need it; each (format, writer, what is said).
WRITERS: dict[str, tuple[str, Writer, DialectOptions]] = {
    "csv": ("csv", python_csv, SAID),
    "csv-unix": ("csv", lambda rows: python_csv(rows, quoting=csv.QUOTE_ALL), SAID),
    "csv-excel": ("csv", lambda rows: python_csv(rows, lineterminator="\r\n"), SAID),
    "csv-numbers-bare": ("csv", lambda rows: python_csv(rows, quoting=csv.QUOTE_NONNUMERIC), SAID),
    "csv-tab": ("csv", lambda rows: python_csv(rows, delimiter="\t"), SAID),
    "csv-semicolon": ("csv", lambda rows: python_csv(rows, delimiter=";"), SAID),
    "csv-bar": ("csv", lambda rows: python_csv(rows, delimiter="|", quoting=csv.QUOTE_ALL), SAID),
    "csv-utf16": ("csv", lambda rows: python_csv(rows).decode().encode("utf-16"), SAID),
    "csv-bom": ("csv", lambda rows: b"\xef\xbb\xbf" + python_csv(rows), SAID),
    "csv-backslash": (
        "csv",
        lambda rows: python_csv(rows, doublequote=False, escapechar="\\", quoting=csv.QUOTE_ALL),
        DialectOptions(escape="\\"),
    ),
    "pandas": ("csv", pandas_csv, SAID),
    "pandas-tab": ("csv", lambda rows: pandas_csv(rows, sep="\t"), SAID),
    "pandas-quoted": ("csv", lambda rows: pandas_csv(rows, quoting=csv.QUOTE_ALL), SAID),
    "pandas-backslash": (
        "csv",
        lambda rows: pandas_csv(rows, doublequote=False, escapechar="\\", quoting=csv.QUOTE_ALL),
        DialectOptions(escape="\\"),
    ),
    "arrow": ("csv", arrow_csv, SAID),
    "polars": ("csv", lambda rows: polars(rows, "write_csv"), SAID),
    "polars-always": ("csv", lambda rows: polars(rows, "write_csv", quote_style="always"), SAID),
    "pandas-json": ("jsonl", lambda rows: frame(rows).to_json(orient="records", lines=True).encode(), SAID),
    "json": ("jsonl", lambda rows: "\n".join(json.dumps(row) for row in arrow(rows).to_pylist()).encode(), SAID),
    "polars-json": ("jsonl", lambda rows: polars(rows, "write_ndjson"), SAID),
    "parquet": ("parquet", parquet, SAID),
    "parquet-old": ("parquet", lambda rows: parquet(rows, version="1.0", use_dictionary=False), SAID),
    "polars-parquet": ("parquet", lambda rows: polars(rows, "write_parquet"), SAID),
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_a_program_writes_comes_back(workspace: Workspace, tmp_path: Path, name: str) -> None:
    if name.startswith("polars") and find_spec("polars") is None:
        pytest.skip("polars is not installed")
    fmt, write, dialect = WRITERS[name]
    path = tmp_path / f"items.{fmt}"

    @settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(ROWS)
    def check(rows: Rows) -> None:
        try:
            path.write_bytes(write(rows))
        except (csv.Error, ValueError):
            assume(False)  # the writer cannot write it
        report = imported(workspace, path, fmt, dialect)
        titles = {item: row["title"] for item, row in items_in(workspace).items()}
        expected = {item: clean_text(text) for item, text in rows if clean_text(text)}
        assert titles == expected, report
        assert report.rejected.get("items", {}) == (
            {"no title and no text": len(rows) - len(expected)} if len(expected) < len(rows) else {}
        )
        assert all(row["attributes"] == [("size", ["7"])] for row in items_in(workspace).values())

    check()


def imported(workspace: Workspace, path: Path, fmt: Any, dialect: DialectOptions) -> ImportReport:
    """Imports the items in a file, and holds what was read against what was stored and rejected."""
    report = import_table(
        workspace, path, fmt=fmt, kind="items", columns=COLUMNS, dialect=dialect, max_rejected=1, allow_empty=True
    )
    assert report.num_read["items"] == len(items_in(workspace)) + len(quarantined(workspace, "items"))
    return report


def test_damaged_files_lose_no_row_in_silence() -> None:
    ways = mutated_files.run(range(240))
    assert ways["failed"] == 0
    assert min(ways["imported"], ways["refused"]) > 50  # damage is neither fatal nor harmless


def test_numbers_and_times_of_every_type_come_back(stocked: Workspace, tmp_path: Path) -> None:
    """Checked against NumPy: a float of any width is the float32 nearest to it, whichever program wrote it as text."""
    values = np.array([0.1, 3.5, -2.0, 1e-7, 123456.789, 0.30000000000000004])
    for kind in (np.float64, np.float32):
        table = pa.table({"user_id": ["u"] * 6, "item_id": ["a"] * 6, "value": values.astype(kind), "t": range(1, 7)})
        pacsv.write_csv(table, tmp_path / "arrow.csv")
        table.to_pandas().to_csv(tmp_path / "pandas.csv", index=False)
        pq.write_table(table, tmp_path / "events.parquet")
        for path in ("arrow.csv", "pandas.csv", "events.parquet"):
            columns = ColumnMap(value="value", timestamp="t")
            fmt: Any = path.rpartition(".")[2]
            import_table(stocked, tmp_path / path, fmt=fmt, kind="interactions", columns=columns, time_format="s")
            stored = [event[2] for event in sorted(events_in(stocked), key=lambda event: event[3])]
            assert stored == values.astype(kind).astype(np.float32).tolist(), path
