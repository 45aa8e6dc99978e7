"""The dialects of text files: settled by the file, said aloud, and overridden by what is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from helpers.import_cases import events_in, items_in, quarantined, rows_of, write
from semrec.data import ColumnMap, DialectOptions, ImportReport, delimited, import_table
from semrec.errors import InputError
from semrec.workspace.folder import Workspace

ITEMS = ColumnMap("id", title="name")


def titles(
    workspace: Workspace, folder: Path, content: str | bytes, **dialect: Any
) -> tuple[dict[str, str], ImportReport]:
    columns = dialect.pop("columns", ITEMS)
    source = write(folder / "i.csv", content)
    options = DialectOptions(**dialect)
    report = import_table(workspace, source, fmt="csv", kind="items", columns=columns, dialect=options, max_rejected=1)
    return {item: row["title"] for item, row in items_in(workspace).items()}, report


def test_quotes_escaped_by_a_backslash(workspace: Workspace, tmp_path: Path) -> None:
    content = (
        'id,name,text\n1,"The \\"Big\\" Lamp","bright"\n2,"a \\"b, c\\"\nd\\\\",x\n3,"C:\\new",y\n4,plain \\ one,z\n'
    )
    stored, report = titles(workspace, tmp_path, content)
    assert stored == {"1": 'The "Big" Lamp', "2": 'a "b, c"\nd\\', "3": "C:\\new", "4": "plain \\ one"}
    assert report.notes == ("i.csv is read with: quotes escaped by a backslash",)
    stored, _ = titles(workspace, tmp_path, content, escape="")
    assert stored == {"3": "C:\\new", "4": "plain \\ one"}
    assert [(line, reason) for _, line, reason in quarantined(workspace, "items")] == [
        (2, "text behind a quote"),
        (3, "text behind a quote"),
        (4, "ragged line: 2 fields, expected 3"),
    ]


def test_tabs_without_quoting(workspace: Workspace, tmp_path: Path) -> None:
    content = 'id\tname\tx\n1\t"Slow Rain" again\tshort\n2\t"All of it"\tshort\n3\t"Half open\tshort\n'
    stored, report = titles(workspace, tmp_path, content)
    assert stored == {"1": '"Slow Rain" again', "2": '"All of it"', "3": '"Half open'}
    assert report.notes == ("i.csv is read with: delimiter '\\t', no quotes",)
    stored, _ = titles(workspace, tmp_path, content, quoted=True)
    assert stored == {"2": "All of it"}
    reasons = [(line, reason) for _, line, reason in quarantined(workspace, "items")]
    assert reasons == [(2, "text behind a quote"), (4, "unclosed quote")]


def test_a_stray_quote_does_not_change_the_dialect(workspace: Workspace, tmp_path: Path) -> None:
    stored, report = titles(workspace, tmp_path, 'id,name\n1,"a\n2,"b"\n3,"c, d"\n')
    assert stored == {"2": "b", "3": "c, d"}
    assert report.notes == ()


def test_blanks_after_every_comma_do_not_count(workspace: Workspace, tmp_path: Path) -> None:
    stored, report = titles(workspace, tmp_path, 'id, name\n 1, "Kettle, blue"\n2 , "Mug "\n3, Pot \n')
    assert stored == {"1": "Kettle, blue", "2": "Mug", "3": "Pot"}
    assert report.notes == ("i.csv is read with: blanks around fields dropped",)
    content, columns = "user_id, platform\n 1, Atlas\n2 , Nova\n", ColumnMap(user_id="user_id")
    import_table(workspace, write(tmp_path / "u.csv", content), fmt="csv", kind="users", columns=columns)
    assert sorted(row["user_id"] for row in rows_of(workspace, "users")) == ["1", "2"]
    import_table(
        workspace,
        tmp_path / "u.csv",
        fmt="csv",
        kind="users",
        columns=columns,
        dialect=DialectOptions(skip_blanks=False),
    )
    assert sorted(row["user_id"] for row in rows_of(workspace, "users")) == [" 1", "2 "]


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t"])
def test_the_delimiter_is_the_one_that_finds_the_columns(workspace: Workspace, tmp_path: Path, delimiter: str) -> None:
    rows = [["id", "name", "a,b;c|d"], ["1", "Lamp", ""], ["2", "Mug", ""]]
    content = "\n".join(delimiter.join(row).replace("a,b;c|d", "x") for row in rows) + "\n"
    stored, report = titles(workspace, tmp_path, content)
    assert stored == {"1": "Lamp", "2": "Mug"}
    assert bool(report.notes) == (delimiter != ",")


@pytest.mark.parametrize(
    ("encoding", "said"),
    [("latin-1", "latin-1"), ("cp1252", "cp1252"), ("utf-16", None), ("utf-8-sig", None), ("utf-16-le", "utf-16-le")],
)
def test_encodings(workspace: Workspace, tmp_path: Path, encoding: str, said: str | None) -> None:
    name = "Café – x" if encoding == "cp1252" else "Café ½"
    content = f"id,name\n1,{name}\n2,Plain\n".encode(encoding)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "BLOCK_BYTES", 7)  # characters are cut
        stored, report = titles(workspace, tmp_path, content, encoding=said)
    assert stored == {"1": name, "2": "Plain"}
    assert report.num_rejected == 0


def test_what_is_not_text_of_its_encoding_is_rejected_and_named(workspace: Workspace, tmp_path: Path) -> None:
    stored, report = titles(workspace, tmp_path, b"id,name\n1,Caf\xe9\n2,Tea\n")
    assert stored == {"2": "Tea"}
    assert "--encoding cp1252" in report.notes[0]
    assert quarantined(workspace, "items") == [("i.csv", 2, "bad UTF-8: byte 0xe9")]
    stored, _ = titles(workspace, tmp_path, b"id,name\n1,Caf\x81\n2,Tea\n", encoding="cp1252")
    assert stored == {"2": "Tea"}
    assert quarantined(workspace, "items") == [("i.csv", 2, "bad UTF-8: byte 0x81")]


def test_an_odd_unit_of_utf_16_costs_one_row(workspace: Workspace, tmp_path: Path) -> None:
    good = "id,name\n1,Lamp\n2,".encode("utf-16")
    content = good + b"\x00\xd8" + "x\n3,Mug\n".encode("utf-16-le") + b"4"  # half a pair, and half a unit at the end
    stored, _ = titles(workspace, tmp_path, content)
    assert stored == {"1": "Lamp", "3": "Mug"}
    reasons = [(line, reason) for _, line, reason in quarantined(workspace, "items")]
    assert reasons == [(3, "bad UTF-8: byte 0xff"), (5, "bad UTF-8: byte 0xff")]


def test_a_file_without_header_has_columns_by_position(stocked: Workspace, tmp_path: Path) -> None:
    source = write(tmp_path / "u.data", "196\ta\t3\t881250949\n186\tb\t3\t891717742\n")
    columns = ColumnMap("2", "1", value="3", timestamp="4")
    report = import_table(stocked, source, fmt="csv", kind="interactions", columns=columns)
    assert events_in(stocked) == [("186", "b", 3.0, 891717742), ("196", "a", 3.0, 881250949)]
    assert report.notes == ("u.data is read with: delimiter '\\t', no header",)
    single = write(tmp_path / "users.txt", "7\n8\n")
    import_table(stocked, single, fmt="csv", kind="users", columns=ColumnMap(user_id="1"))
    assert sorted(row["user_id"] for row in rows_of(stocked, "users")) == ["7", "8"]


def test_a_header_in_the_middle_is_rejected(workspace: Workspace, tmp_path: Path) -> None:
    for content in ("id,name\n1,Lamp\nid,name\n2,Mug\n", '"id","name"\n1,"Lamp"\n"id","name"\n2,Mug\nid,name2\n'):
        stored, _ = titles(workspace, tmp_path, content)
        assert stored | {"id": "name2"} == {"1": "Lamp", "2": "Mug", "id": "name2"}
        assert quarantined(workspace, "items") == [("i.csv", 3, "repeated header")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delimiter": "||"}, r"delimiter '\|\|'"),
        ({"escape": "x"}, "escape character 'x'"),
        ({"escape": "\\", "quoted": False}, "without quotes"),
        ({"encoding": "klingon"}, "encoding 'klingon'"),
    ],
)
def test_impossible_dialects(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DialectOptions(**options)
