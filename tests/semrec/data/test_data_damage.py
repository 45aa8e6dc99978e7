"""Each kind of damage: where it stood, why it was refused, and what was read around it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.import_cases import NOW_S, events_in, items_in, manifest, quarantined, rows_of, write
from semrec.data import REASONS, ColumnMap, ItemRow, delimited, import_items, import_table
from semrec.errors import InputError, TooManyRejectedError
from semrec.workspace.folder import Workspace

EVENTS = ColumnMap(user_id="u", item_id="i", value="v", timestamp="t")
NO_LINE_BREAK = "ragged line: 3 fields, expected 4"

CSV_DAMAGE = {
    "bad UTF-8": (b"u\xff,a,1,5", "bad UTF-8: byte 0xff"),
    "bad UTF-8 behind a good character": ("ü".encode() + b"\xc3,a,1,5", "bad UTF-8: byte 0xc3"),
    "NUL": (b"u\0,a,1,5", "NUL byte"),
    "too few": (b"u,a,1", NO_LINE_BREAK),
    "too many": (b"u,a,1,5,6", "ragged line: 5 fields, expected 4"),
    "blanks only": (b"   ", "ragged line: 1 fields, expected 4"),
    "no user": (b",a,1,5", "missing id: u = ''"),
    "blank item": (b"u,  ,1,5", "missing id: i = '  '"),
    "a line break in an id": (b'"u\n",a,1,5', "control character in id: u = 'u\\n'"),
    "an id that turns the text": (b"u\xe2\x80\xaev,a,1,5", "control character in id: u = 'u\\u202ev'"),
    "an id that is a path": (b"u,..,1,5", "id is . or ..: i = '..'"),
    "an id of 1,025 characters": (b"u" * 1_025 + b",a,1,5", f"id is too long: u = '{'u' * 79}"),
    "no value": (b"u,a,,5", "non-numeric value: v = ''"),
    "a word": (b"u,a,four,5", "non-numeric value: v = 'four'"),
    "a decimal comma in quotes": (b'u,a,"4,5",5', "non-numeric value: v = '4,5'"),
    "an underscore": (b"u,a,1_0,5", "non-numeric value: v = '1_0'"),
    "hexadecimal": (b"u,a,0x10,5", "non-numeric value: v = '0x10'"),
    "nan": (b"u,a,NaN,5", "non-finite value: v = 'NaN'"),
    "minus infinity": (b"u,a,-inf,5", "non-finite value: v = '-inf'"),
    "more than float32": (b"u,a,3.5e38,5", "non-finite value: v = '3.5e38'"),
    "all that a vector would hold": (b"u,a,3e38,5", "value out of range: v = '3e38'"),
    "a little too much": (b"u,a,-1000000.1,5", "value out of range: v = '-1000000.1'"),
    "more than float64": (b"u,a,1e999,5", "non-finite value: v = '1e999'"),
    "unknown item": (b"u,z,1,5", "unknown item: i = 'z'"),
    "an id that differs by a zero": (b"u,07,1,5", "unknown item: i = '07'"),
    "no time": (b"u,a,1,", "bad time: t = ''"),
    "hexadecimal time": (b"u,a,1,0x10", "bad time: t = '0x10'"),
    "a month too many": (b"u,a,1,2020-13-01", "bad time: t = '2020-13-01'"),
    "before 1970": (b"u,a,1,1969-12-31T23:59:59Z", "impossible time: -1 s is before 1970"),
    "far ahead": (b"u,a,1,99999999999999999999", None),
    "a quote that never closes": (b'u,"a,1,5', "unclosed quote"),
    "two faults count as the first": (b",z,x,soon", "missing id: u = ''"),
}


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("case", CSV_DAMAGE)
def test_a_damaged_csv_row_is_rejected_with_its_line(
    stocked: Workspace, tmp_path: Path, case: str, line_end: bytes
) -> None:
    row, reason = CSV_DAMAGE[case]
    lines = [b"u,i,v,t", b"u1,a,1,5", b'u2,"b",2,6', row, b"u3,c,+.5e1,7", b'"u,4",a, -0 ,1970-01-01T00:00:08.9Z']
    source = write(tmp_path / "events.csv", line_end.join(lines))
    report = import_table(
        stocked, source, fmt="csv", kind="interactions", columns=EVENTS, max_rejected=0.2, now_s=NOW_S
    )
    good = [("u,4", "a", 0.0, 8), ("u1", "a", 1.0, 5), ("u2", "b", 2.0, 6), ("u3", "c", 5.0, 7)]
    assert events_in(stocked) == good
    [(file, line, found)] = quarantined(stocked, "interactions")
    assert (file, line) == ("events.csv", 4)
    assert found == reason or (reason is None and found.startswith("impossible time"))
    assert report.rejected == {"interactions": {found.split(":")[0]: 1}}
    assert found.split(":")[0] in REASONS
    assert report.num_read == {"interactions": 5}
    with pytest.raises(TooManyRejectedError):
        import_table(stocked, source, fmt="csv", kind="interactions", columns=EVENTS, max_rejected=0.19, now_s=NOW_S)


JSON_DAMAGE = {
    "cut short": (b'{"u": "u", "i"', "not a JSON object"),
    "a list": (b'["u", "a", 1, 5]', "not a JSON object: a list"),
    "bad UTF-8": (b'{"u": "\xff", "i": "a", "v": 1, "t": 5}', "bad UTF-8: byte 0xff"),
    "half a character": (b'{"u": "\\ud83d", "i": "a", "v": 1, "t": 5}', "bad UTF-8: a lone surrogate"),
    "an escaped NUL": (b'{"u": "\\u0000", "i": "a", "v": 1, "t": 5}', "NUL byte"),
    "a float id": (b'{"u": 1.0, "i": "a", "v": 1, "t": 5}', "id is not text: u = 1.0"),
    "a truth as id": (b'{"u": "u", "i": true, "v": 1, "t": 5}', "id is not text: i = True"),
    "null as id": (b'{"u": null, "i": "a", "v": 1, "t": 5}', "missing id: u = None"),
    "no id": (b'{"i": "a", "v": 1, "t": 5}', "missing id: u = None"),
    "no value": (b'{"u": "u", "i": "a", "t": 5}', "non-numeric value: v = None"),
    "NaN": (b'{"u": "u", "i": "a", "v": NaN, "t": 5}', "non-finite value: v = nan"),
    "a truth as value": (b'{"u": "u", "i": "a", "v": true, "t": 5}', "non-numeric value: v = True"),
    "no time": (b'{"u": "u", "i": "a", "v": 1, "t": []}', "bad time: t = []"),
}


@pytest.mark.parametrize("case", JSON_DAMAGE)
def test_a_damaged_json_line_is_rejected_with_its_line(stocked: Workspace, tmp_path: Path, case: str) -> None:
    row, reason = JSON_DAMAGE[case]
    first, last = (
        b'{"u": 7, "i": 7, "v": 2, "t": 1200000000.0, "x": {}}',
        b'{"u": "\\\\u0000", "i": "a", "v": "3", "t": "6"}',
    )
    source = write(tmp_path / "events.jsonl", b"\xef\xbb\xbf" + b"\r\n".join([first, b"", row, last]))
    import_table(stocked, source, fmt="jsonl", kind="interactions", columns=EVENTS, max_rejected=0.5, now_s=NOW_S)
    assert events_in(stocked) == [("7", "7", 2.0, 1_200_000_000), ("\\u0000", "a", 3.0, 6)]
    [(file, line, found)] = quarantined(stocked, "interactions")
    assert (file, line) == ("events.jsonl", 3)
    assert found.startswith(reason)


def test_damaged_parquet_rows_are_rejected_without_a_line(stocked: Workspace, tmp_path: Path) -> None:
    text = pa.Array.from_buffers(pa.string(), 6, pa.array([b"u", b"u", None, b"n\0", b"\xff", b"u"]).buffers())
    values = pa.array([1.0, None, 1.0, 1.0, 1.0, 1e39])
    table = pa.table({"u": text, "i": ["a"] * 6, "v": values, "t": pa.array([5] * 6, pa.uint16())})
    pq.write_table(table, tmp_path / "events.parquet")
    import_table(
        stocked, tmp_path / "events.parquet", fmt="parquet", kind="interactions", columns=EVENTS, max_rejected=1
    )
    assert events_in(stocked) == [("u", "a", 1.0, 5)]
    assert sorted(quarantined(stocked, "interactions")) == [
        ("events.parquet", None, "NUL byte: u = 'n\\x00'"),
        ("events.parquet", None, "bad UTF-8: byte 0xff"),
        ("events.parquet", None, "missing id: u = None"),
        ("events.parquet", None, "non-finite value: v = 1e+39"),
        ("events.parquet", None, "non-numeric value: v = None"),
    ]


def test_damaged_parquet_is_refused_wherever_the_damage_is(stocked: Workspace, tmp_path: Path) -> None:
    table = pa.table({"u": ["user"] * 50, "i": ["a"] * 50, "v": [1.0] * 50, "t": [5] * 50})
    source = tmp_path / "events.parquet"
    pq.write_table(
        table, source, compression="none", use_dictionary=False, write_statistics=False, write_page_checksum=True
    )
    whole = source.read_bytes()
    at = whole.index(b"user")
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    # A changed letter, which the page's checksum tells; a length that reaches behind the page; the footer.
    for place, byte in ((at, b"U"), (at - 1, b"\xff"), (footer, b"\xff")):
        write(source, whole[:place] + byte + whole[place + 1 :])
        with pytest.raises(InputError, match=r"cannot read .*events\.parquet|is not Parquet"):
            import_table(stocked, source, fmt="parquet", kind="interactions", columns=EVENTS, now_s=NOW_S)
    assert not stocked.storage.exists("interactions/manifest.json")


def test_a_stray_quote_costs_one_row_and_not_those_behind_it(stocked: Workspace, tmp_path: Path) -> None:
    lines = ["u,i,v,t", 'u1,"a,1,5', "u2,b,2,6", 'u3,c,3",7', 'u4,"b",4,8', 'u5",a,5,9']
    source = write(tmp_path / "events.csv", "\n".join(lines) + "\n")
    import_table(stocked, source, fmt="csv", kind="interactions", columns=EVENTS, max_rejected=1)
    assert quarantined(stocked, "interactions") == [
        ("events.csv", 2, "unclosed quote"),
        ("events.csv", 4, "non-numeric value: v = '3\"'"),
    ]
    assert events_in(stocked) == [("u2", "b", 2.0, 6), ("u4", "b", 4.0, 8), ('u5"', "a", 5.0, 9)]


def test_lines_are_physical_behind_quoted_newlines_and_blank_lines(workspace: Workspace, tmp_path: Path) -> None:
    content = (
        '\ufeffid,text,note\r\n1,"two\r\nlines ""quoted""",x\r\n\r\n,none,x\r\n2,"three\n\nlines",x\r\n1,again,x\r\n'
    )
    source = write(tmp_path / "items.csv", content)
    columns = ColumnMap(item_id="id", text=("text",))
    import_table(workspace, source, fmt="csv", kind="items", columns=columns, max_rejected=1)
    assert {item: row["text"] for item, row in items_in(workspace).items()} == {
        "1": 'two\r\nlines "quoted"',
        "2": "three\n\nlines",
    }
    assert sorted(quarantined(workspace, "items")) == [
        ("items.csv", 5, "missing id"),
        ("items.csv", 9, "duplicate id: item_id = '1'"),
    ]


def test_of_several_users_with_one_id_the_first_counts(workspace: Workspace, tmp_path: Path) -> None:
    rows = [{"u": 1, "plan": "a"}, {"u": "1", "plan": "b"}, {"u": "2", "plan": ["x", "y", "x", None, ""]}, {"u": 2.0}]
    source = write(tmp_path / "users.jsonl", "\n".join(map(json.dumps, rows)))
    columns = ColumnMap(user_id="u", attributes={"plan": "plan"})
    report = import_table(workspace, source, fmt="jsonl", kind="users", columns=columns, max_rejected=0.5)
    assert {row["user_id"]: row["attributes"] for row in rows_of(workspace, "users")} == {
        "1": [("plan", ["a"])],
        "2": [("plan", ["x", "y"])],
    }
    assert report.num_listed_users == 2
    assert quarantined(workspace, "users") == [
        ("users.jsonl", 4, "id is not text: u"),
        ("users.jsonl", 2, "duplicate id: user_id = '1'"),
    ]


def test_rows_in_memory_are_checked_as_well(workspace: Workspace) -> None:
    rows = [ItemRow("a", "A"), ItemRow("", "B"), ItemRow(1.5, "C"), ItemRow("d", " "), ItemRow("e", "x\0")]  # type: ignore[arg-type]
    rows += [ItemRow("a\r\n", "A"), ItemRow("x" * 1_025, "A"), ItemRow("..", "A")]
    report = import_items(workspace, [*rows, ItemRow("a", "Again", line=9, file="here")], max_rejected=0.9)
    assert report.num_items == 1
    assert report.rejected["items"] == {
        "missing id": 1,
        "id is not text": 1,
        "no title and no text": 1,
        "NUL byte": 1,
        "control character in id": 1,
        "id is too long": 1,
        "id is . or ..": 1,
        "duplicate id": 1,
    }
    assert quarantined(workspace, "items")[-1] == ("here", 9, "duplicate id: item_id = 'a'")


def test_what_is_no_table_at_all_is_an_input_error(stocked: Workspace, tmp_path: Path) -> None:
    cases = {
        "endless.csv": (b"u,i,v,t\n" + b"x" * 3_000, "line 2 of endless.csv has more than"),
        "doubled.csv": (b"u,i,v,t,u\n", "2 columns named 'u'"),
        "empty.csv": (b"", "no column 'u' in empty.csv.*the file is empty"),
        "latin.csv": (b"u,i,v,t,\xff\n", "header of latin.csv is not UTF-8"),
        "cut.csv.gz": (b"\x1f\x8b\x08\x00", "cannot read"),
        "odd.parquet": (b"PAR1", "is not Parquet"),
        "odd.jsonl": (b'{"u": 1, "i": 1}\n', "no column 'v' in odd.jsonl.*'i', 'u'"),
    }
    for name, (content, message) in cases.items():
        source = write(tmp_path / name, content)
        fmt = name.removesuffix(".gz").rpartition(".")[2]
        with pytest.MonkeyPatch.context() as patch, pytest.raises(InputError, match=message):
            patch.setattr(delimited, "MAX_LINE_BYTES", 2_000)
            patch.setattr(delimited, "BLOCK_BYTES", 500)
            import_table(stocked, source, fmt=fmt, kind="interactions", columns=EVENTS)  # type: ignore[arg-type]
    assert not stocked.storage.exists("interactions/manifest.json")


def test_many_rejected_rows_in_a_large_file_keep_their_lines(stocked: Workspace, tmp_path: Path) -> None:
    lines = [f"u{n},a,1,{n}" for n in range(200_000)]
    bad = np.random.default_rng(0).choice(200_000, 300, replace=False).tolist()
    for n in bad:
        lines[n] = "ragged" if n % 2 else f"u{n},a,x,{n}"
    source = write(tmp_path / "events.csv", "u,i,v,t\n" + "\n".join(lines) + "\n")
    report = import_table(stocked, source, fmt="csv", kind="interactions", columns=EVENTS)
    assert report.num_interactions == 199_700
    assert sorted(line for _, line, _ in quarantined(stocked, "interactions")) == sorted(n + 2 for n in bad)
    assert manifest(stocked, "interactions")["num_users"] == 199_700
