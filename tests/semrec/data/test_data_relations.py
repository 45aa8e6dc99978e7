"""Relations: subject, predicate, object and weight, from tables and from RDF."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.import_cases import quarantined, write
from semrec.contracts import RELATIONS_SCHEMA
from semrec.data import ColumnMap, import_table
from semrec.data.inspection import inspect
from semrec.errors import InputError, TooManyRejectedError
from semrec.workspace.folder import Workspace
from semrec.workspace.manifests import RelationsManifest
from semrec.workspace.tables import read_table

COLUMNS = ColumnMap(subject="from", predicate="how", object="to", weight="w")
NEEDS_RDF = pytest.mark.skipif(find_spec("pyoxigraph") is None, reason="NOT TESTED: pyoxigraph is not installed")
TRIPLES = b"""<http://x/heat> <http://x/starring> <http://x/pacino> .
# a comment, and a blank line

<http://x/heat> <http://x/label> "Heat\\nof 1995"@en .
<http://x/heat> <http://x/starring> pacino .
_:b <http://x/in> <http://x/heat> .
<http://x/heat> <http://x/label> "\xff" .
<http://x/heat> <http://x/starring> <http://x/pacino> .
"""


def relations_in(workspace: Workspace) -> list[tuple[str, str, str, bool, float]]:
    manifest = RelationsManifest.read(workspace.storage)
    tables = [read_table(workspace.storage, part) for part in manifest.parts]
    assert all(table.schema == RELATIONS_SCHEMA for table in tables)
    rows = [tuple(row.values()) for table in tables for row in table.to_pylist()]
    assert (len(rows), len(tables)) == (manifest.num_rows, workspace.num_buckets)
    for table in tables:
        keys = [tuple(text.encode() for text in list(row.values())[:3]) for row in table.to_pylist()]
        assert keys == sorted(keys)
    return sorted(rows)


def import_relations(workspace: Workspace, source: Path, fmt: Any = "csv", **changes: Any) -> Any:
    columns = changes.pop("columns", COLUMNS)
    return import_table(workspace, source, fmt=fmt, kind="relations", columns=columns, max_rejected=1, **changes)


def test_a_table_of_relations(workspace: Workspace, tmp_path: Path) -> None:
    rows = [
        "heat,starring,pacino,0.5",
        "heat,starring,pacino,9",
        ",starring,x,1",
        "heat,by,mann,",
        "ä,in,heat,-2",
        "a,b,..,1",
    ]
    source = write(tmp_path / "edges.csv", "\n".join(["from,how,to,w", *rows]) + "\n")
    report = import_relations(workspace, source)
    stored = [("heat", "starring", "pacino", False, 0.5), ("ä", "in", "heat", False, -2.0)]
    assert relations_in(workspace) == stored
    assert [(line, reason) for _, line, reason in quarantined(workspace, "relations")] == [
        (4, "missing id: from = ''"),
        (5, "non-numeric value: w = ''"),
        (7, "id is . or ..: to = '..'"),
    ]
    assert (report.num_relations, report.num_repeats) == (2, 1)
    table = pa.table({"subject": ["heat", "heat"], "predicate": ["starring", "by"], "object": ["pacino", "mann"]})
    pq.write_table(table, tmp_path / "more.parquet")
    report = import_relations(workspace, tmp_path / "more.parquet", "parquet", columns=ColumnMap(), mode="append")
    # The new row wins over the stored one, and without a weight it is 1.
    newer = [("heat", "by", "mann", False, 1.0), ("heat", "starring", "pacino", False, 1.0)]
    assert relations_in(workspace) == [*newer, stored[1]]
    assert str(report).startswith("3 relations\nrelations: 2 rows read\n1 repeats of stored rows")


@NEEDS_RDF
def test_ntriples_lose_a_damaged_line_alone(workspace: Workspace, tmp_path: Path) -> None:
    report = import_relations(workspace, write(tmp_path / "x.nt", TRIPLES), "ntriples", columns=ColumnMap())
    assert relations_in(workspace) == [
        ("_:x.nt/b", "http://x/in", "http://x/heat", False, 1.0),
        ("http://x/heat", "http://x/label", "Heat\nof 1995", True, 1.0),
        ("http://x/heat", "http://x/starring", "http://x/pacino", False, 1.0),
    ]
    rejected = [(line, reason.partition(":")[0]) for _, line, reason in quarantined(workspace, "relations")]
    assert rejected == [(5, "not a triple"), (7, "bad UTF-8")]
    assert (report.num_read, report.num_repeats) == ({"relations": 6}, 1)
    with pytest.raises(TooManyRejectedError):
        import_table(workspace, tmp_path / "x.nt", fmt="ntriples", kind="relations", columns=ColumnMap())


@NEEDS_RDF
def test_turtle_is_read_whole_or_not_at_all(workspace: Workspace, tmp_path: Path) -> None:
    text = "@prefix x: <http://x/> .\nx:heat x:starring x:pacino, x:niro ;\n  x:year 1995 .\n"
    import_relations(workspace, write(tmp_path / "x.ttl", text), "turtle", columns=ColumnMap())
    assert [row[1:4] for row in relations_in(workspace)] == [
        ("http://x/starring", "http://x/niro", False),
        ("http://x/starring", "http://x/pacino", False),
        ("http://x/year", "1995", True),
    ]
    with pytest.raises(InputError, match=r"x\.ttl is not Turtle.*line 4"):
        import_relations(workspace, write(tmp_path / "x.ttl", text + "x:heat oops .\n"), "turtle", columns=ColumnMap())
    with pytest.raises(InputError, match="no column 'w' in"):
        import_relations(workspace, tmp_path / "x.ttl", "turtle", columns=ColumnMap(weight="w"))


def test_relations_are_proposed(tmp_path: Path) -> None:
    seen = inspect(write(tmp_path / "edges.tsv", "head\trelation\ttail\na\tby\tb\n,by,b\n"))
    words = "--kind relations --subject head --predicate relation --object tail --delimiter tab"
    assert (seen.kind, seen.num_rows) == ("relations", 1)
    assert words in seen.command
    if find_spec("pyoxigraph"):
        seen = inspect(write(tmp_path / "x.nt", TRIPLES))
        assert (seen.fmt, seen.kind, seen.num_rows) == ("ntriples", "relations", 4)
        assert "semrec import ntriples" in seen.command
