"""Reading ahead in a thread changes nothing but the time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from helpers.import_cases import quarantined, rows_of, write
from semrec.data import ColumnMap, ahead, delimited, import_table
from semrec.data.ahead import read_ahead
from semrec.data.rejects import ReadStats, RowBlock, RowStats
from semrec.errors import InputError
from semrec.workspace.folder import Workspace
from semrec.workspace.manifests import InteractionsManifest

COLUMNS = ColumnMap(user_id="u", item_id="i", value="v", timestamp="t")


def test_what_a_reader_says_of_a_block_is_heard_before_the_block_and_its_error_last(workspace: Workspace) -> None:
    def read(stats: RowStats) -> Iterator[RowBlock]:
        for number in range(3):
            stats.count(1)
            stats.note(f"block {number}")
            yield RowBlock(f"{number}", {}, 0, None, str)
        stats.reject("file", 4, "ragged line", "a,b,c")
        raise InputError("a broken file", expected="another", remedy="Mend it.")

    stats = ReadStats(workspace.storage, "items", max_rejected=0.5)
    heard = []
    with pytest.raises(InputError, match="a broken file"):
        for block in read_ahead(read, stats):
            heard.append((block.file, stats.num_read, list(stats.notes)))
    assert heard == [
        ("0", 1, ["block 0"]),
        ("1", 2, ["block 0", "block 1"]),
        ("2", 3, ["block 0", "block 1", "block 2"]),
    ]
    assert stats.rejected == {"ragged line": 1}


def test_of_a_file_without_a_good_row_a_few_bad_ones_are_held(workspace: Workspace) -> None:
    num_rejected = 100 * ahead._NUM_CALLS + 7
    heard, most_ahead = ReadStats(workspace.storage, "items", max_rejected=1), 0

    def read(stats: RowStats) -> Iterator[RowBlock]:
        nonlocal most_ahead
        for line in range(num_rejected):
            stats.reject("file", line, "ragged line", "a,b,c")
            most_ahead = max(most_ahead, line - sum(heard.rejected.values()))
        yield from ()

    assert list(read_ahead(read, heard)) == []
    assert heard.rejected == {"ragged line": num_rejected}
    assert most_ahead < 10 * ahead._NUM_CALLS


@pytest.mark.parametrize("is_reading_blocks", [True, False])
def test_an_early_end_ends_the_reader_and_closes_what_it_reads(workspace: Workspace, is_reading_blocks: bool) -> None:
    ended: list[int] = []

    def read(stats: RowStats) -> Iterator[RowBlock]:
        number = 0
        try:
            yield RowBlock("first", {}, 0, None, str)
            for number in range(100 * ahead._NUM_CALLS):
                stats.count(1)
                if is_reading_blocks:
                    yield RowBlock(f"{number}", {}, 0, None, str)
        finally:
            ended.append(number)

    with closing(read_ahead(read, ReadStats(workspace.storage, "items", max_rejected=1))) as blocks:
        assert next(blocks).file == "first"
    assert len(ended) == 1 and ended[0] < 10 * ahead._NUM_CALLS


def test_stored_rows_and_quarantine_are_the_same_however_a_file_is_cut(
    stocked: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"u{n % 97},{'abc'[n % 3]},{n % 5}.5,{1_000_000_000 + n * 7 % 1000}" for n in range(3_000)]
    lines[10], lines[700], lines[1_400], lines[2_900] = "torn", "u1,nothing,1,5", '"u,1",a,x,7', 'u2,"a",1,8'
    source = write(tmp_path / "events.csv", "u,i,v,t\n" + "\n".join(lines) + "\n")
    results = []
    for block_bytes in (4 << 20, 1_000):
        monkeypatch.setattr(delimited, "BLOCK_BYTES", block_bytes)
        import_table(stocked, source, fmt="csv", kind="interactions", columns=COLUMNS, now_s=1_700_000_000)
        manifest = InteractionsManifest.read(stocked.storage)
        results.append((manifest.fingerprint, rows_of(stocked, "interactions"), quarantined(stocked, "interactions")))
    assert results[0] == results[1]
    assert results[0][2] == [
        ("events.csv", 12, "ragged line: 1 fields, expected 4"),
        ("events.csv", 702, "unknown item: i = 'nothing'"),
        ("events.csv", 1402, "non-numeric value: v = 'x'"),
    ]
    # The fingerprint of what is stored, computed before ids were encoded and blocks read ahead.
    assert results[0][0] == "2bc964fb881926aa59a4a5865878621f463effbe8e5a0424e0a13b660c09d63a"
