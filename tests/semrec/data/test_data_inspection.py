"""What is seen of a file before its import, and that the proposed command is the import that a reader would write."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.import_cases import movielens, write
from semrec.data.inspection import inspect
from semrec.data.presets import preset_commands
from semrec.errors import InputError


@pytest.mark.parametrize(
    ("name", "content", "command"),
    [
        (
            "books.csv",
            "book_id,title,authors,average_rating\n1,Pot,A,4.3\n",
            "csv FILE --kind items --item-id book_id --title title --attribute authors=authors",
        ),
        (
            "e.tsv",
            'userID\tartistID\tweight\tnote\n2\t51\t13883\t\n2\t52\t1\t"1\n2\t53\t1\t"2" x\n',
            "csv FILE --kind interactions --user-id userID --item-id artistID --value weight --delimiter tab --no-quotes",
        ),
        (
            "BX.csv",
            b'"User-ID";"ISBN";"Book-Rating"\n"1";"Caf\xe9 \\"x\\" y";"8"\n',
            "csv FILE --kind interactions --user-id User-ID --item-id ISBN --value Book-Rating --delimiter ';' "
            "--encoding cp1252 --escape '\\'",
        ),
        (
            "users.csv",
            "id, platform\n1, Atlas\n2, Nova\n",
            "csv FILE --kind users --user-id id --attribute platform=platform --skip-blanks",
        ),
        (
            "items.jsonl",
            '{"id": "1", "name": "Pot"}\n{"id": "2", "name": "Pan", "overview": "Iron.", "genres": ["Home"]}\n',
            "jsonl FILE --kind items --item-id id --title name --text name,overview --attribute genres=genres",
        ),
        (
            "r.inter",
            "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t2\t3\t881250949\n",
            "csv FILE --kind interactions --user-id user_id:token --item-id item_id:token --value rating:float "
            "--timestamp timestamp:float --delimiter tab",
        ),
    ],
)
def test_the_command_for_a_file(tmp_path: Path, name: str, content: str | bytes, command: str) -> None:
    path = write(tmp_path / name, content)
    seen = inspect(path)
    assert seen.command == f"semrec import {command.replace('FILE', str(path))} -w W"
    assert sum(seen.rejected.values()) == 0


def test_columns_types_and_the_rows_that_would_be_rejected(tmp_path: Path) -> None:
    rows = ["7,a,4.5,2019-10-01,x", "8,b,5,2019-10-02,", "9,c,five,2019-10-03,y", "9,c"]
    path = write(tmp_path / "e.csv", "user_id,item_id,rating,date,note\n" + "\n".join(rows) + "\n")
    seen = inspect(path)
    assert [(column.name, column.type) for column in seen.columns] == [
        ("user_id", "integer"),
        ("item_id", "text"),
        ("rating", "text"),
        ("date", "time"),
        ("note", "text"),
    ]
    assert seen.columns[2].examples == ("4.5", "5", "five")
    assert (seen.kind, seen.num_rows, dict(seen.rejected)) == ("interactions", 3, {"non-numeric value": 1})
    assert seen.examples == ("e.csv, line 4: non-numeric value: rating = 'five': 9,c,five,2019-10-03,y",)


def test_a_folder_of_parquet_files_and_a_file_without_ids(tmp_path: Path) -> None:
    (tmp_path / "ev").mkdir()
    table = pa.table({"uid": [1], "sku": ["a"], "ts": [1_569_888_000], "tags": [["x"]]})
    pq.write_table(table, tmp_path / "ev" / "part-0.parquet")
    seen = inspect(tmp_path / "ev")
    assert (seen.fmt, seen.kind) == ("parquet", "interactions")
    assert "--user-id uid --item-id sku --timestamp ts" in seen.command
    assert seen.columns[3].type == "list"
    seen = inspect(write(tmp_path / "u.data", "196\t242\t3\t881250949\n186\t302\t3\t891717742\n"))
    assert (seen.kind, seen.command, seen.dialect) == ("", "", "delimiter '\\t', no header")
    assert [column.name for column in seen.columns] == ["1", "2", "3", "4"]


def test_what_cannot_be_inspected_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        inspect(tmp_path / "none.csv")
    assert inspect(write(tmp_path / "empty.csv", "")).columns == ()


def test_the_files_of_a_known_data_set_are_told_by_their_folder(tmp_path: Path) -> None:
    write(tmp_path / "README.txt", "What this is.\n")
    movielens(tmp_path)
    assert preset_commands(tmp_path) == [f"semrec import movielens {tmp_path} -w W"]
    assert inspect(tmp_path).file == "movies.csv"
    books = tmp_path / "good books"
    for name in ("books.csv", "ratings.csv"):
        write(books / name, "book_id\n1\n")
    assert preset_commands(books) == [f"semrec import preset goodbooks-10k '{books}' -w W"]
