"""What an import may hold at once: memory, descriptors, and the structures that bound them."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.import_cases import write
from semrec.data import known, parquet, spill
from semrec.data.ahead import RecordedStats
from semrec.data.known import KnownItems
from semrec.data.records import is_cleanly_quoted
from semrec.data.rejects import RowBlock
from semrec.data.spill import BucketSpill

CHILD = """
import resource, sys
from semrec.data import ColumnMap, ItemRow, import_items, import_table
from semrec.data import delimited
from semrec.data import spill
from semrec.workspace.folder import Workspace
delimited.BLOCK_BYTES, spill.BUFFER_BYTES = 1 << 20, 4 << 20
workspace = Workspace.create(sys.argv[1], num_buckets=64)
import_items(workspace, [ItemRow(str(n), "t") for n in range(1000)])
columns = ColumnMap(user_id="u", item_id="i", value="v", timestamp="t")
report = import_table(workspace, sys.argv[2], fmt="csv", kind="interactions", columns=columns)
print(report.num_interactions, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_kib(folder: Path, num_rows: int) -> int:
    """Peak resident memory of a process that imports a generated file of `num_rows` events."""
    block = "".join(f"u{{0}}{n % 50},{n % 1000},{n % 10},{1_000_000_000 + n}\n" for n in range(30_000))
    with write(folder / f"{num_rows}.csv", "u,i,v,t\n").open("a") as file:
        for n in range(num_rows // 30_000):
            file.write(block.replace("{0}", f"{n}-"))
    arguments = [sys.executable, "-c", CHILD, str(folder / f"workspace-{num_rows}"), str(folder / f"{num_rows}.csv")]
    output = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.split()
    assert int(output[0]) == num_rows
    return int(output[1])


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    small, large = peak_kib(tmp_path, 300_000), peak_kib(tmp_path, 3_000_000)
    # The rows that are more would need about 100 MiB as Arrow columns alone, and as much again to be sorted.
    assert large - small < 48 * 1024, f"{small} KiB for 300,000 rows, {large} KiB for 3,000,000"


def test_a_spill_returns_each_bucket_in_order_of_arrival(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "BUFFER_BYTES", 50_000)
    coded = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema([("n", pa.int64()), ("text", pa.string()), ("tens", coded)])
    rows = BucketSpill(tmp_path / "spill", schema, 3_000)
    buckets = np.random.default_rng(0).integers(0, 3_000, 20_000)
    for start in range(0, 20_000, 700):
        numbers = np.arange(start, min(start + 700, 20_000))
        tens = pa.array([f"{n // 10}" for n in numbers]).dictionary_encode()
        rows.add(pa.table([numbers, [f"row {n}" for n in numbers], tens], schema=schema), buckets[numbers])
    assert rows.on_disk and len(list((tmp_path / "spill").iterdir())) <= spill.MAX_FILES
    assert rows.num_rows == 20_000
    for bucket in (*range(0, 3_000, 7), 5, 2_999):  # neighbours share a file; and back again
        table = rows.read(bucket)
        there = np.flatnonzero(buckets == bucket).tolist()
        assert table.column("n").to_pylist() == there
        assert table.column("text").to_pylist() == [f"row {n}" for n in there]
        tens = table.column("tens").combine_chunks()
        assert tens.to_pylist() == [f"{n // 10}" for n in there]
        assert set(tens.dictionary.to_pylist()) == set(tens.to_pylist())  # and none of other buckets
    rows.add(
        pa.table([[-1], ["added when its file had been read"], pa.array(["-1"])], schema=schema), np.array([2_999])
    )
    assert rows.read(2_999).column("n").to_pylist() == [*np.flatnonzero(buckets == 2_999), -1]


class HeldBytes(bytes):
    """Bytes that count how many of them are held."""

    num_held = 0

    def __new__(cls, data: bytes) -> HeldBytes:
        HeldBytes.num_held += len(data)
        return super().__new__(cls, data)

    def __del__(self) -> None:
        HeldBytes.num_held -= len(self)


class CountedFile(io.BytesIO):
    """A file whose reads are counted as long as somebody holds them."""

    def read(self, size: int | None = -1, /) -> bytes:
        return HeldBytes(super().read(size))


def parquet_blocks(table: pa.Table, row_group_size: int) -> Iterator[tuple[RowBlock, float]]:
    """The blocks of a table that is written as Parquet, each with the share of the file that is held at that moment."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=row_group_size)
    data = sink.getvalue().to_pybytes()
    source = SimpleNamespace(name="t", path="t", open=lambda compression: nullcontext(CountedFile(data)))
    for block in parquet.read_parquet(source, table.schema.names, ids=[], stats=RecordedStats()):  # type: ignore[arg-type]
        yield block, HeldBytes.num_held / len(data)


def test_of_a_parquet_file_one_batch_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_BATCH_BYTES", 150_000)
    letters = np.random.default_rng(0).integers(97, 123, (20_000, 100)).astype(np.uint8)
    blocks = parquet_blocks(pa.table({"text": letters.view("S100").ravel().astype(str)}), 1_000)
    assert [(block.num_rows, share < 1 / 4) for block, share in blocks] == [(1_000, True)] * 20


@pytest.mark.parametrize(("row_group_size", "num_blocks"), [(1, 10), (7, 11), (10_000, 10)])
def test_tiny_row_groups_are_read_together(
    row_group_size: int, num_blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_BATCH_ROWS", 100)
    blocks = [block for block, _ in parquet_blocks(pa.table({"n": np.arange(1_000)}), row_group_size)]
    assert np.concatenate([block.columns["n"] for block in blocks]).tolist() == [*range(1_000)]
    assert blocks[-1].excerpt(blocks[-1].num_rows - 1) == "row 1000: {'n': 999}"
    assert len(blocks) == num_blocks


@pytest.mark.parametrize(
    ("block", "is_clean"),
    [
        (b'"a",b\r\nc,"d"\r\n', True),
        (b'"a,b",c\n"",d\n', True),
        (b'"a""b",c\n', False),  # two readers could differ; these go the slow way
        (b'"a"b,c\n', False),
        (b'a"b",c\n', False),
        (b'"a\nb",c\n', False),
        (b'a,"b\n', False),
    ],
)
def test_quotes_around_whole_fields_are_clean(block: bytes, is_clean: bool) -> None:
    assert is_cleanly_quoted(block, b",") == is_clean


def test_known_items_are_those_of_a_set(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [f"{n}" for n in range(0, 500, 3)]
    asked = [f"{n}" for n in range(500)] + ["007", "", "ü", "3", "3"]
    # With hashes of three values nearly everything collides.
    for digest in (known._digest, lambda text: bytes([len(text) % 3, *bytes(7)])):
        monkeypatch.setattr(known, "_digest", digest)
        items = KnownItems([pa.array(ids[:50]), pa.array(ids[50:])])
        assert len(items) == 167
        assert items.contains(pa.array(asked)).tolist() == [one in set(ids) for one in asked]
    assert KnownItems([]).contains(pa.array(["a"])).tolist() == [False]
