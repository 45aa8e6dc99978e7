"""Events that are equal: as many as there are, unless an id or a stored event says that they are one."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.import_cases import events_in, manifest, write
from semrec.contracts import INTERACTIONS_SCHEMA, bucket_of
from semrec.data import ColumnMap, ItemRow, import_interactions, import_items, import_table, interactions
from semrec.data.delimited import one_array
from semrec.data.event_files import ENCODED_EVENTS_SCHEMA, _event_order, encoded, read_interactions, union_of
from semrec.data.sources import Source
from semrec.data.spill import BucketSpill
from semrec.errors import InputError
from semrec.workspace.folder import Workspace
from semrec.workspace.manifests import InteractionsManifest

Event = tuple[str, str, float, int]


def table_of(events: list[Event]) -> pa.Table:
    columns = [list(column) for column in zip(*events, strict=True)] or [[]] * 4
    return pa.table(
        [pa.array(c, f.type) for c, f in zip(columns, INTERACTIONS_SCHEMA, strict=True)], INTERACTIONS_SCHEMA
    )


def test_plays_without_a_time_are_as_many_plays(stocked: Workspace, tmp_path: Path) -> None:
    source = write(tmp_path / "e.csv", "u,i\n" + "p,a\n" * 5 + "p,c\n")
    columns = ColumnMap(user_id="u", item_id="i")
    report = import_table(stocked, source, fmt="csv", kind="interactions", columns=columns)
    assert Counter(events_in(stocked)) == {("p", "a", 1.0, 0): 5, ("p", "c", 1.0, 0): 1}
    assert (report.num_interactions, report.num_repeats) == (6, 0)
    more = write(tmp_path / "more.csv", "u,i\np,a\n")
    report = import_table(stocked, more, fmt="csv", kind="interactions", columns=columns, mode="append")
    assert Counter(events_in(stocked)) == {("p", "a", 1.0, 0): 6, ("p", "c", 1.0, 0): 1}


def test_an_event_id_says_which_rows_are_one_event(stocked: Workspace, tmp_path: Path) -> None:
    rows = [*["p,a,2019-01-01,e1"] * 2, "p,a,2019-01-01,e2", "p,b,2019-01-02,e2", *["p,a,2019-01-01,"] * 2]
    source = write(tmp_path / "e.csv", "\n".join(["u,i,d,id", *rows]) + "\n")
    columns = ColumnMap(user_id="u", item_id="i", timestamp="d", event_id="id")
    report = import_table(stocked, source, fmt="csv", kind="interactions", columns=columns)
    assert [(item, second) for _, item, _, second in events_in(stocked)] == [("a", 1_546_300_800)] * 4
    assert report.num_repeats == 2


def test_a_newer_export_adds_what_it_has_more_of(stocked: Workspace) -> None:
    names = ["user_id", "item_id", "timestamp"]
    first = pa.table([["x", "x", "y"], ["a", "a", "b"], [5, 5, 1]], names=names)
    second = pa.table([["x", "x", "x", "y"], ["a", "a", "a", "b"], [5, 5, 5, 2]], names=names)
    import_interactions(stocked, [first])
    report = import_interactions(stocked, [second], mode="append")
    assert Counter(events_in(stocked)) == {("x", "a", 1.0, 5): 3, ("y", "b", 1.0, 1): 1, ("y", "b", 1.0, 2): 1}
    assert report.num_repeats == 2


EVENTS = st.lists(
    st.tuples(st.sampled_from("uvü"), st.sampled_from("ab"), st.sampled_from([1.0, 2.0]), st.integers(0, 2)),
    max_size=12,
)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(EVENTS, EVENTS, st.booleans(), st.booleans())
def test_a_union_counts_as_multisets_do(
    stored: list[Event], new: list[Event], each_once: bool, untimed_add_up: bool
) -> None:
    union = union_of(table_of(stored), table_of(new), each_once=each_once, untimed_add_up=untimed_add_up)
    rows = list(zip(*(column.to_pylist() for column in union.columns), strict=True))
    before, added = Counter(stored), Counter(set(new) if each_once else new)
    expected = before | added  # the greater count of each
    if untimed_add_up:
        expected |= Counter({event: before[event] + n for event, n in added.items() if event[3] == 0})
    assert Counter(rows) == expected
    assert rows == sorted(rows, key=lambda row: (row[0].encode(), row[3], row[1].encode(), row[2]))
    assert union.schema == ENCODED_EVENTS_SCHEMA and union.equals(encoded(union.cast(INTERACTIONS_SCHEMA)))
    for name in ("user_id", "item_id"):
        assert set(one_array(union[name]).dictionary.to_pylist()) == set(union[name].to_pylist())
    assert np.asarray(union.column("value")).dtype == np.float32


@settings(max_examples=8, deadline=None, derandomize=True, database=None)
@given(st.lists(EVENTS, min_size=2, max_size=5), st.sampled_from(["sum", "latest"]))
def test_appended_files_are_read_as_a_part_that_is_written_again(imports: list[list[Event]], repeats: str) -> None:
    workspaces = []
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for name, max_files in (("rewritten", 0), ("appended", 100)):
            patch.setattr(interactions, "MAX_APPENDED_FILES", max_files)
            patch.setattr(interactions, "MAX_APPENDED_SHARE", 100)
            patch.setattr(interactions, "MIN_ROWS_TO_APPEND_TO", 1)
            workspace = Workspace.create(f"{folder}/{name}", num_buckets=1)
            import_items(workspace, [ItemRow(item, item) for item in "ab"])
            import_interactions(workspace, [table_of([("u", "a", 1.0, 1)])], repeats=repeats)  # type: ignore[arg-type]
            reports = [
                import_interactions(workspace, [table_of(events)], mode="append", repeats=repeats)  # type: ignore[arg-type]
                for events in imports
            ]
            workspaces.append((workspace, [(report.num_repeats, report.num_interactions) for report in reports]))
        (rewritten, _), (appended, _) = workspaces
        assert workspaces[0][1] == workspaces[1][1]
        before, after = (InteractionsManifest.read(workspace.storage) for workspace in (rewritten, appended))
        assert not before.parts[0].appended
        assert bool(after.parts[0].appended) == (after.num_rows > 1)
        assert read_interactions(appended.storage, after.parts[0]).equals(
            read_interactions(rewritten.storage, before.parts[0])
        )
        totals = [(t.num_rows, t.num_users, t.newest_timestamp, t.fingerprint) for t in (before, after)]
        assert totals[0] == totals[1]
        # Written again, it is the file of one import.
        import_interactions(appended, [table_of([])], mode="append", repeats=repeats)  # type: ignore[arg-type]
        patch.setattr(interactions, "MAX_APPENDED_FILES", 0)
        for workspace in (rewritten, appended):
            import_interactions(workspace, [table_of([("new", "a", 1.0, 9)])], mode="append", repeats=repeats)  # type: ignore[arg-type]
        assert manifest(appended, "interactions") == manifest(rewritten, "interactions")


def test_appended_files_are_joined_when_they_pile_up_or_are_large(
    stocked: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interactions, "MIN_ROWS_TO_APPEND_TO", 100)

    def append(user: str, num_events: int) -> tuple[int, int]:
        events = table_of([(user, "a", 1.0, second) for second in range(1, num_events + 1)])
        import_interactions(stocked, [events], mode="append")
        part = InteractionsManifest.read(stocked.storage).parts[bucket_of("u", stocked.num_buckets)]
        return part.num_rows, len(part.appended)

    users = [
        f"{n}" for n in range(200) if bucket_of(f"{n}", stocked.num_buckets) == bucket_of("u", stocked.num_buckets)
    ]
    import_interactions(stocked, [table_of([("u", "a", 1.0, second) for second in range(1, 101)])])
    assert [append(user, 1) for user in users[:9]] == [(100, n) for n in range(1, 9)] + [(109, 0)]
    assert append(users[10], 27) == (109, 1)  # up to a quarter
    assert append(users[11], 1) == (137, 0)
    monkeypatch.setattr(interactions, "MIN_ROWS_TO_APPEND_TO", 200)
    assert append(users[12], 1) == (138, 0)


def test_a_file_that_was_imported_before_is_refused_unless_told(stocked: Workspace, tmp_path: Path) -> None:
    columns, rules = ColumnMap(user_id="u", item_id="i"), {"fmt": "csv", "kind": "interactions"}
    first = write(tmp_path / "in" / "1.csv", "u,i\np,a\n")
    copy = write(tmp_path / "in" / "copy of 1.csv", first.read_bytes())
    for name in ("empty-1.csv", "empty-2.csv"):  # equal, but without a row
        write(tmp_path / "in" / name, "u,i\n")
    with pytest.raises(InputError, match=r"copy of 1\.csv is 1\.csv again, byte for byte"):
        import_table(stocked, first.parent, columns=columns, **rules)
    copy.unlink()
    import_table(stocked, first.parent, columns=columns, **rules)
    renamed = write(tmp_path / "2.csv", first.read_bytes())
    for dry_run in (True, False):
        with pytest.raises(InputError, match=r"2\.csv has been imported before.*--allow-repeated"):
            import_table(stocked, renamed, columns=columns, mode="append", dry_run=dry_run, **rules)
    assert len(events_in(stocked)) == 1
    for total in (2, 3):  # also after an append, whose manifest knows of the file that was there before
        report = import_table(stocked, renamed, columns=columns, mode="append", allow_repeated=True, **rules)
        assert report.notes == ("2.csv has been imported before, byte for byte: its events count again",)
        assert len(events_in(stocked)) == total
    import_table(stocked, renamed, columns=columns, **rules)  # in the place of what was there
    assert len(events_in(stocked)) == 1
    users = write(tmp_path / "u.csv", "u\np\n")
    for _ in range(2):  # of rows that replace one another a repetition does no harm
        import_table(stocked, users, fmt="csv", kind="users", columns=columns, mode="append")


def test_an_import_that_fails_does_not_wait_for_the_digest_of_its_source(
    stocked: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, was_stopped = write(tmp_path / "1.csv", "u,i\np,a\n"), []
    source = Source("1.csv", str(path))
    assert source.digest(lambda: True) != source.digest()

    def endless(source: Source, is_unwanted: Callable[[], bool]) -> str:
        deadline_s = time.monotonic() + 20
        while not (stopped := is_unwanted()) and time.monotonic() < deadline_s:
            time.sleep(0.001)
        was_stopped.append(stopped)
        return ""

    def full_disk(spill: BucketSpill, table: pa.Table, buckets: np.ndarray) -> None:
        raise OSError("no space")

    monkeypatch.setattr(Source, "digest", endless)
    with pytest.raises(InputError, match="no column 't'"):
        import_table(
            stocked, path, fmt="csv", kind="interactions", columns=ColumnMap(user_id="u", item_id="i", timestamp="t")
        )
    monkeypatch.setattr(BucketSpill, "add", full_disk)
    with pytest.raises(OSError, match="no space"):
        import_table(stocked, path, fmt="csv", kind="interactions", columns=ColumnMap(user_id="u", item_id="i"))
    assert was_stopped == [True, True]


def test_a_repeated_file_whose_events_do_not_add_up_is_named_alone(stocked: Workspace, tmp_path: Path) -> None:
    timed = ColumnMap(user_id="u", item_id="i", timestamp="t")
    source = write(tmp_path / "1.csv", "u,i,t\np,a,5\n")
    write(tmp_path / "copy.csv", source.read_bytes())
    import_table(stocked, source, fmt="csv", kind="interactions", columns=timed)
    report = import_table(stocked, source, fmt="csv", kind="interactions", columns=timed, mode="append")
    assert report.notes == ("1.csv has been imported before, byte for byte: its events are there already",)
    assert events_in(stocked) == [("p", "a", 1.0, 5)]
    with pytest.raises(InputError, match=r"copy\.csv is 1\.csv again"):  # in one import, equal rows are as many events
        import_table(stocked, tmp_path / "*.csv", fmt="csv", kind="interactions", columns=timed)
    report = import_table(stocked, tmp_path / "*.csv", fmt="csv", kind="interactions", columns=timed, repeats="latest")
    assert report.notes == ("copy.csv is 1.csv again, byte for byte: its events are there already",)
    assert events_in(stocked) == [("p", "a", 1.0, 5)]


@pytest.mark.parametrize("span_s", [1, 50, 2**62])  # all share a second, some do, and more than one integer holds
def test_events_are_ordered_as_by_all_their_keys(span_s: int) -> None:
    chance = np.random.default_rng(0)
    users, items, values = (chance.integers(0, 4, 500).astype(np.int32) for _ in range(3))
    seconds = chance.integers(0, span_s, 500)
    order = _event_order(users, seconds, items, values.astype(np.float32))
    assert order.tolist() == np.lexsort((values, items, seconds, users)).tolist()
