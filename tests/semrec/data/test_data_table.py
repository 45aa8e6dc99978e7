from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.import_cases import events_in, items_in, manifest, quarantined, rows_of, write
from semrec.contracts import bucket_of
from semrec.data import (
    ColumnMap,
    ItemRow,
    UserRow,
    import_interactions,
    import_items,
    import_table,
    import_users,
)
from semrec.errors import InputError, MissingArtefactError, TooManyRejectedError
from semrec.workspace.folder import Workspace

EVENTS = ColumnMap(user_id="u", item_id="i", value="v", timestamp="t")
ITEMS = ColumnMap(item_id="id", title="name", text=("name", "about"), attributes={"genre": "genres", "year": "year"})


def batch(*events: tuple[str, str, float, int]) -> pa.Table:
    names = ["user_id", "item_id", "value", "timestamp"]
    return pa.table([list(column) for column in zip(*events, strict=True)], names=names)


def test_csv_items_compose_text_and_split_attributes(workspace: Workspace, tmp_path: Path) -> None:
    content = "id;name;about;genres;year\n007;Bond;A spy!;action| spy|action;1962\n1.0;Half;;;\n"
    report = import_table(workspace, write(tmp_path / "i.csv", content), fmt="csv", kind="items", columns=ITEMS)
    items = items_in(workspace)
    assert (items["007"]["title"], items["007"]["text"]) == ("Bond", "Bond. A spy!")
    assert items["007"]["attributes"] == [("genre", ["action", "spy"]), ("year", ["1962"])]
    assert (items["1.0"]["text"], items["1.0"]["attributes"]) == ("Half", [])
    assert (report.num_items, report.num_read, report.manifests) == (2, {"items": 2}, ("catalogue/manifest.json",))


def test_the_three_formats_give_the_same_catalogue(workspace: Workspace, tmp_path: Path) -> None:
    rows = [
        {"id": 7, "name": "Sieben", "about": "Über | sieben", "genres": ["a", "b"], "year": 1995},
        {"id": 2**53 + 1, "name": "Huge", "about": None, "genres": [], "year": None},
    ]
    write(tmp_path / "i.jsonl", "\n".join(map(json.dumps, rows)))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "i.parquet")
    write(tmp_path / "i.csv", f"id,name,about,genres,year\n7,Sieben,Über | sieben,a|b,1995\n{2**53 + 1},Huge,,,\n")
    prints = set()
    for fmt in ("jsonl", "parquet", "csv"):
        import_table(workspace, tmp_path, fmt=fmt, kind="items", columns=ITEMS, max_rejected=0)  # type: ignore[arg-type]
        prints.add(manifest(workspace, "catalogue")["fingerprint"])
        assert sorted(items_in(workspace)) == ["7", "9007199254740993"]
    assert len(prints) == 1


def test_ids_survive_as_text(stocked: Workspace, tmp_path: Path) -> None:
    source = write(tmp_path / "e.csv", "u,i\n007,007\n7,7\n1.0,1.0\n1,1.0\n1e3,7\n")
    import_table(stocked, source, fmt="csv", kind="interactions", columns=ColumnMap(user_id="u", item_id="i"))
    assert events_in(stocked) == [
        ("007", "007", 1.0, 0),
        ("1", "1.0", 1.0, 0),
        ("1.0", "1.0", 1.0, 0),
        ("1e3", "7", 1.0, 0),
        ("7", "7", 1.0, 0),
    ]


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        (pa.array([7, 2**63 + 1], pa.uint64()), ["7", "9223372036854775809"]),
        (pa.array([-7, 7], pa.int8()), ["-7", "7"]),
        (pa.array(["007", "x"]).dictionary_encode(), ["007", "x"]),
        (pa.array(["1.0", "x"], pa.large_string()), ["1.0", "x"]),
    ],
)
def test_parquet_ids_become_text(stocked: Workspace, tmp_path: Path, values: pa.Array, ids: list[str]) -> None:
    pq.write_table(pa.table({"u": values, "i": ["a", "b"]}), tmp_path / "e.parquet")
    columns = ColumnMap(user_id="u", item_id="i")
    import_table(stocked, tmp_path / "e.parquet", fmt="parquet", kind="interactions", columns=columns)
    assert [user for user, *_ in events_in(stocked)] == ids


@pytest.mark.parametrize("kind", [pa.float64(), pa.decimal128(5, 2), pa.bool_(), pa.timestamp("s")])
def test_parquet_ids_of_other_types_are_refused(stocked: Workspace, tmp_path: Path, kind: pa.DataType) -> None:
    pq.write_table(pa.table({"u": pa.nulls(1, kind), "i": ["a"]}), tmp_path / "e.parquet")
    with pytest.raises(InputError, match=r"column 'u' of e.parquet has type"):
        import_table(
            stocked,
            tmp_path / "e.parquet",
            fmt="parquet",
            kind="interactions",
            columns=ColumnMap(user_id="u", item_id="i"),
        )


BERLIN = datetime.fromisoformat("2020-02-29T12:00:00.900+02:00")
NOON_IN_BERLIN = 1_582_970_400


@pytest.mark.parametrize(
    "times",
    [
        pa.array([BERLIN], pa.timestamp("us", "Europe/Berlin")),
        pa.array([BERLIN.astimezone(UTC).replace(tzinfo=None)], pa.timestamp("ns")),
        pa.array([NOON_IN_BERLIN], pa.int32()),
        pa.array([float(NOON_IN_BERLIN)]),
        pa.array([str(NOON_IN_BERLIN)]),
        pa.array(["2020-02-29T12:00:00.9+02:00"]),
        pa.array(["2020-02-29 10:00:00"]),
        pa.array(["20200229T100000Z"]).dictionary_encode(),
    ],
    ids=lambda times: str(times.type),
)
def test_times_of_any_kind_become_utc_seconds(stocked: Workspace, tmp_path: Path, times: pa.Array) -> None:
    pq.write_table(pa.table({"u": ["x"], "i": ["a"], "v": [2], "t": times}), tmp_path / "e.parquet")
    import_table(stocked, tmp_path / "e.parquet", fmt="parquet", kind="interactions", columns=EVENTS)
    assert events_in(stocked) == [("x", "a", 2.0, NOON_IN_BERLIN)]


def test_a_date_is_its_first_second(stocked: Workspace, tmp_path: Path) -> None:
    table = pa.table({"u": ["x"], "i": ["a"], "v": ["2.5"], "t": [date(1970, 1, 3)]})
    pq.write_table(table, tmp_path / "e.parquet")
    import_table(stocked, tmp_path / "e.parquet", fmt="parquet", kind="interactions", columns=EVENTS)
    assert events_in(stocked) == [("x", "a", 2.5, 2 * 86_400)]


def test_a_folder_and_a_list_give_the_same_events_and_names_tell_files_apart(
    stocked: Workspace, tmp_path: Path
) -> None:
    first = write(tmp_path / "in" / "1.csv", "u,i,v,t\nx,a,1,5\nx,z,1,5\n")
    second = write(tmp_path / "in" / "2.csv", "t,v,i,u\n6,1,b,x\n")
    write(tmp_path / "in" / "_SUCCESS.csv", "")
    write(tmp_path / "in" / "notes.md", "")
    prints = set()
    for source in (tmp_path / "in", [first, second], [second, str(first)]):
        import_table(stocked, source, fmt="csv", kind="interactions", columns=EVENTS, max_rejected=0.4)
        prints.add(manifest(stocked, "interactions")["fingerprint"])
        assert quarantined(stocked, "interactions") == [("1.csv", 3, "unknown item: i = 'z'")]
    assert len(prints) == 1
    twin = write(tmp_path / "other" / "1.csv", "u,i,v,t\nx,z,1,5\n")
    import_table(stocked, [first, twin], fmt="csv", kind="interactions", columns=EVENTS, max_rejected=1)
    assert [file for file, *_ in quarantined(stocked, "interactions")] == [str(first), str(twin)]


def test_append_is_a_union_of_events_and_what_is_stored_is_not_added_again(stocked: Workspace) -> None:
    import_interactions(stocked, [batch(("x", "a", 1, 5), ("x", "a", 1, 5), ("x", "a", 2, 5), ("y", "b", 1, 1))])
    once = manifest(stocked, "interactions")
    assert (once["num_rows"], once["num_users"], once["newest_timestamp"]) == (4, 2, 5)
    report = import_interactions(stocked, [batch(("x", "a", 1, 5)), batch(("z", "c", 1, 9))], mode="append")
    assert (report.num_interactions, report.num_users, report.num_repeats) == (5, 3, 1)
    assert events_in(stocked) == [
        ("x", "a", 1.0, 5),
        ("x", "a", 1.0, 5),
        ("x", "a", 2.0, 5),
        ("y", "b", 1.0, 1),
        ("z", "c", 1.0, 9),
    ]
    full = batch(("z", "c", 1, 9), ("y", "b", 1, 1), ("x", "a", 1, 5), ("x", "a", 2, 5), ("x", "a", 1, 5))
    appended = manifest(stocked, "interactions")
    import_interactions(stocked, [full])
    assert manifest(stocked, "interactions") == appended


def test_append_keeps_the_rule_of_the_stored_events(stocked: Workspace) -> None:
    import_interactions(stocked, [batch(("x", "a", 1, 5))], repeats="latest", neutral_value=2.5)
    with pytest.raises(InputError, match=r"'repeats': 'sum'.*'repeats': 'latest'"):
        import_interactions(stocked, [batch(("x", "b", 1, 5))], mode="append", neutral_value=2.5)
    before = manifest(stocked, "interactions")["fingerprint"]
    import_interactions(stocked, [batch(("x", "a", 1, 5))])
    # The rule is part of what later stages are made from.
    assert manifest(stocked, "interactions")["fingerprint"] != before


def test_events_lie_in_their_bucket_in_order_and_every_bucket_has_a_part(stocked: Workspace) -> None:
    events = [
        ("ü", "b", 1, 5),
        ("z", "a", 2, 5),
        ("z", "a", 1, 5),
        ("z", "c", 0, 4),
        ("Z", "007", 1, 5),
        ("z", "B", 1, 5),
    ]
    import_interactions(stocked, [batch(*events)], max_rejected=0.2)
    body = manifest(stocked, "interactions")
    assert [part["part"] for part in body["parts"]] == [0, 1, 2, 3]
    assert sum(part["num_users"] for part in body["parts"]) == body["num_users"] == 3
    for part in body["parts"]:
        table = pq.read_table(stocked.storage.full_path(part["file"])).to_pylist()
        keys = [(r["user_id"].encode(), r["timestamp"], r["item_id"].encode(), r["value"]) for r in table]
        assert keys == sorted(keys)
        assert {bucket_of(r["user_id"], 4) for r in table} <= {part["part"]}
        assert part["newest_timestamp"] == max((r["timestamp"] for r in table), default=None)
    assert body["num_rows"] == 5


def test_users_are_listed_by_bucket_and_append_replaces_them_by_id(workspace: Workspace) -> None:
    import_users(workspace, [UserRow("b", {"plan": ["x"]}), UserRow("ä"), UserRow("a", {"plan": ["y"], "age": ["5"]})])
    report = import_users(workspace, [UserRow("b", {"plan": ["z"]}), UserRow("c")], mode="append")
    rows = {row["user_id"]: row["attributes"] for row in rows_of(workspace, "users")}
    assert rows == {"a": [("age", ["5"]), ("plan", ["y"])], "b": [("plan", ["z"])], "c": [], "ä": []}
    body = manifest(workspace, "users")
    assert (report.num_listed_users, body["num_users"], body["num_buckets"], len(body["parts"])) == (4, 4, 4, 4)
    for part in body["parts"]:
        ids = pq.read_table(workspace.storage.full_path(part["file"])).column("user_id").to_pylist()
        assert ids == sorted(ids, key=str.encode)
        assert {bucket_of(user, 4) for user in ids} <= {part["part"]}


def test_events_need_a_catalogue(workspace: Workspace) -> None:
    with pytest.raises(MissingArtefactError, match="Import the items first"):
        import_interactions(workspace, [batch(("x", "a", 1, 5))])


def test_events_of_items_that_left_the_catalogue_stay(stocked: Workspace) -> None:
    import_interactions(stocked, [batch(("x", "a", 1, 5))])
    import_items(stocked, [ItemRow("b", "B")])
    import_interactions(stocked, [batch(("x", "b", 1, 6))], mode="append")
    assert events_in(stocked) == [("x", "a", 1.0, 5), ("x", "b", 1.0, 6)]


def test_a_negative_zero_is_a_zero(stocked: Workspace) -> None:
    import_interactions(stocked, [batch(("x", "a", -0.0, 5), ("x", "a", 0.0, 5), ("x", "a", -1e-60, 5))])
    assert [str(value) for _, _, value, _ in events_in(stocked)] == ["0.0"] * 3


def test_impossible_arguments(stocked: Workspace, tmp_path: Path) -> None:
    source = write(tmp_path / "e.csv", "u,i,v,t\nx,a,1,5\n")
    good = {"fmt": "csv", "kind": "interactions", "columns": EVENTS}
    for changed, message in (
        ({"fmt": "xml"}, "fmt = 'xml'"),
        ({"kind": "movies"}, "kind = 'movies'"),
        ({"mode": "merge"}, "mode = 'merge'"),
        ({"repeats": "last"}, "repeats = 'last'"),
        ({"neutral_value": float("inf")}, "neutral_value = inf"),
        ({"columns": ColumnMap(user_id="user", item_id="i")}, "no column 'user' in e.csv.*'u', 'i', 'v', 't'"),
        ({"kind": "items", "columns": ColumnMap()}, "without a title and without a text"),
    ):
        with pytest.raises(InputError, match=message):
            import_table(stocked, source, **{**good, **changed})  # type: ignore[arg-type]
    for missing in (tmp_path / "none.csv", [], [tmp_path / "none.csv"], tmp_path / "workspace"):
        with pytest.raises(InputError, match=r"no file|an empty list|no csv file among"):
            import_table(stocked, missing, **good)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a tuple of column names"):
        ColumnMap(text="about")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="empty name"):
        ColumnMap(attributes={"genre": ""})


@pytest.mark.parametrize("role", ["value", "timestamp"])
def test_lists_and_bytes_as_numbers_or_times_are_refused_by_column(
    stocked: Workspace, tmp_path: Path, role: str
) -> None:
    source, columns = tmp_path / "e.parquet", ColumnMap(user_id="u", item_id="i", **{role: "x"})  # type: ignore[arg-type]
    for nested in (pa.array([[4.5]]), pa.array([{"n": 1}]), pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64()))):
        pq.write_table(pa.table({"u": ["u1"], "i": ["a"], "x": nested}), source)
        with pytest.raises(InputError, match=r"column 'x' of e\.parquet has type (list|struct|map)"):
            import_table(stocked, source, fmt="parquet", kind="interactions", columns=columns)
    pq.write_table(pa.table({"u": ["u1", "u1"], "i": ["a", "b"], "x": [b"5", b"\xff"]}), source)
    report = import_table(stocked, source, fmt="parquet", kind="interactions", columns=columns, max_rejected=0.5)
    assert (report.num_interactions, report.num_rejected) == (1, 1)


def test_an_import_that_fails_says_how_its_file_was_read(workspace: Workspace, tmp_path: Path) -> None:
    source = write(tmp_path / "i.csv", "id;name\n1;Caf\xe9\n2;Tea\n".encode("latin-1"))
    with pytest.raises(TooManyRejectedError, match=r"(?s)delimiter ';'.*--encoding cp1252 or latin-1"):
        import_table(workspace, source, fmt="csv", kind="items", columns=ColumnMap(item_id="id", title="name"))
