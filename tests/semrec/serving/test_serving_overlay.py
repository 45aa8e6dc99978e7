"""The overlay's views, and the segments beneath it, on a disk, in memory and on a real S3 server on the loopback."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from semrec.errors import CorruptArtefactError, InputError, WorkspaceWriteError
from semrec.importing import ItemRow
from semrec.serving.group_commit import GroupCommit
from semrec.serving.overlay import OVERLAY_SCHEMA, ItemChange, OverlayView, change_table, changes_of, checked_item
from semrec.serving.segments import Batch, Folded, Segment, SegmentLog
from semrec.serving.state import OverlayState, Update
from semrec.storage import Storage

SCHEMA = pa.schema([pa.field("n", pa.int64(), nullable=False)])


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A server with one bucket, known to this process and its children from the environment alone."""
    pytest.importorskip("moto.server", reason="NO S3: install the extra `test`")
    s3fs = pytest.importorskip("s3fs", reason="NO S3: install the extra `s3`")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("segments")  # moto has one memory per process, whatever its servers
        yield "s3://segments"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture(params=["local", "memory", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return Storage(str(tmp_path))
    if request.param == "memory":
        return Storage(f"memory://{uuid.uuid4().hex}")
    return Storage(f"{request.getfixturevalue('s3')}/{uuid.uuid4().hex}")


def rows(*numbers: int) -> pa.Table:
    return pa.table([pa.array(numbers, pa.int64())], schema=SCHEMA)


def opened(storage: Storage, **options: int) -> SegmentLog:
    log = SegmentLog(storage, "log", SCHEMA, **options)
    log.open()
    return log


def stored(storage: Storage, after: int = 0) -> list[int]:
    return [n for s in SegmentLog(storage, "log", SCHEMA).read(after) for n in s.table.column("n").to_pylist()]


def put(item_id: str, *vector: float, sequence: int = 0, encoder: str = "e", **attributes: list[str]) -> ItemChange:
    row = ItemRow(item_id, f"title of {item_id}", "text", attributes)
    change = ItemChange.put(row, np.array(vector or (1, 0), np.float32), encoder)
    return ItemChange(**{**change.__dict__, "sequence": sequence})


def gone(item_id: str, sequence: int) -> ItemChange:
    return ItemChange(sequence, item_id, True)


# views


def test_a_view_has_the_latest_change_of_each_item_in_order() -> None:
    changes = [put("b", 1, 0, sequence=1), put("ä", 0, 1, sequence=2), put("a", 3, 4, sequence=3, genre=["Drama"])]
    view = OverlayView.of([*changes, gone("b", 4), put("a", 4, 3, sequence=5)])
    assert (view.sequence, len(view.changes), view.ids) == (5, 3, ("a", "ä"))
    assert view.vectors_OD.tolist() == [[4, 3], [0, 1]] and view.vectors_OD.dtype == np.float32
    assert view.attributes == [{}, {}]
    assert view.with_changes([put("a", 9, 9, sequence=3)]).vectors_OD.tolist() == [
        [4, 3],
        [0, 1],
    ]  # late: no longer counts
    assert OverlayView.of(reversed([*changes, gone("b", 4)])).ids == ("a", "ä")


def test_rows_hidden_are_those_of_changed_and_deleted_items() -> None:
    item_ids = pa.array(["a", "b", "c", "d"])
    view = OverlayView.of([gone("d", 1), put("b", sequence=2), put("new", sequence=3), gone("never", 4)])
    assert view.rows_hidden(item_ids).tolist() == [1, 3]
    assert view.rows_hidden(item_ids) is view.rows_hidden(item_ids)  # kept
    assert view.rows_hidden(pa.array(["d"])).tolist() == [0]
    empty = OverlayView.empty()
    assert (bool(empty), empty.ids, empty.vectors_OD.shape, empty.rows_hidden(item_ids).tolist()) == (
        False,
        (),
        (0, 0),
        [],
    )


def test_a_release_that_folded_changes_has_its_overlay_begin_after_them() -> None:
    view = OverlayView.of([put("a", sequence=1), put("b", sequence=2), gone("a", 3)])
    assert {name: c.deleted for name, c in view.after(2).changes.items()} == {"a": True}
    assert (view.after(3).sequence, len(view.after(3).changes)) == (3, 0)
    assert view.after(0) is view


def test_vectors_of_another_encoder_are_told_and_replaced() -> None:
    view = OverlayView.of([put("a", 1, 0, sequence=1), put("b", 1, 0, 0, sequence=2, encoder="other"), gone("c", 3)])
    assert [change.item_id for change in view.foreign("e")] == ["b"]
    mended = view.with_vectors({"b": np.array([0, 1], np.float32)}, "e")
    assert mended.foreign("e") == () and mended.vectors_OD.tolist() == [[1, 0], [0, 1]] and mended.sequence == 3


@pytest.mark.parametrize(
    ("deleted", "vector"),
    [
        (False, None),
        (True, np.ones(2, np.float32)),
        (False, np.ones(2)),
        (False, np.array([np.nan], np.float32)),
        (False, np.ones((1, 2), np.float32)),
    ],
)
def test_a_change_has_a_finite_float32_vector_or_is_a_deletion(deleted: bool, vector: np.ndarray | None) -> None:
    with pytest.raises(InputError, match="a change of item 'i'"):
        ItemChange(0, "i", deleted, vector=vector)


def test_changes_come_back_from_a_segment_as_they_were() -> None:
    given = [put("é", 0.1, -0.2, sequence=7, b=["2", "1"], a=["x"]), gone("", 8), put("z", 1e-30, 3e38, sequence=9)]
    found = changes_of(7, change_table(given))
    for before, after in zip(given, found, strict=True):
        assert {**before.__dict__, "vector": None} == {**after.__dict__, "vector": None}
        assert (before.vector is None) == (after.vector is None)
        assert before.vector is None or before.vector.tobytes() == after.vector.tobytes()
    assert change_table(given).schema == OVERLAY_SCHEMA


def test_an_item_is_checked_and_made_as_an_import_would() -> None:
    row = checked_item("i", "  A title ", "", {"genre": ["Drama", "Drama", "Noir"], "empty": []})
    assert (row.title, row.text, row.attributes) == ("A title", "A title", {"genre": ["Drama", "Noir"]})
    for item_id, title, text, reason in [
        ("", "t", "", "missing id"),
        ("i", " ", "", "no title and no text"),
        ("i", "a\0b", "", "NUL byte"),
        ("i", "\ud800", "", "bad UTF-8"),
    ]:
        with pytest.raises(InputError, match=reason):
            checked_item(item_id, title, text, {})


# segments


def test_sequences_have_no_gap_and_survive_a_restart(storage: Storage) -> None:
    log = opened(storage)
    first = log.append([(rows(10, 11), None)])
    second = log.append([(rows(12), "a"), (rows(13, 14), "b")])
    assert [(b.first, b.last) for b in (*first.batches, *second.batches)] == [(1, 2), (3, 3), (4, 5)]
    assert sorted(storage.list_sizes("log")) == ["segment-000000000001.parquet", "segment-000000000003.parquet"]
    again = opened(storage)
    assert again.head == 5
    assert again.append([(rows(15), None)]).batches[0].first == 6
    assert stored(storage) == [10, 11, 12, 13, 14, 15]
    assert stored(storage, 3) == [12, 13, 14, 15]  # the segment that holds 4 begins at 3
    assert stored(storage, 5) == [15] and stored(storage, 6) == []


def test_a_token_is_done_once_also_after_a_restart(storage: Storage) -> None:
    log = opened(storage)
    log.append([(rows(1), None)])
    made = log.append([(rows(2, 3), "t")]).batches[0]
    for other in (log, opened(storage)):
        found = other.append([(rows(8, 9), "t"), (rows(4), None)])
        assert found.batches[0] == Batch(made.first, 2, "t", repeated=True)
    twice = log.append([(rows(5), "u"), (rows(6), "u")])
    assert [(b.repeated, b.first) for b in twice.batches] == [(False, 6), (True, 6)]
    assert stored(storage) == [1, 2, 3, 4, 4, 5]
    assert log.append([(rows(7), "u")]).segments == []  # nothing to write


def test_the_loser_of_a_race_reads_on_and_takes_the_next_numbers(storage: Storage) -> None:
    one, two = opened(storage), opened(storage)
    one.append([(rows(1, 2), "shared")])
    one.append([(rows(3), None)])
    found = two.append([(rows(4), None), (rows(9, 9), "shared")])
    assert [(b.first, b.repeated) for b in found.batches] == [(4, False), (1, True)]
    assert [(s.first, s.last) for s in found.segments] == [(1, 2), (3, 3), (4, 4)]  # what others wrote is told as well
    assert [s.first for s in one.catch_up()] == [4] and one.head == two.head == 4
    assert stored(storage) == [1, 2, 3, 4]


def test_two_writers_at_once_keep_one_order(tmp_path: Path) -> None:
    logs = [opened(Storage(str(tmp_path))) for _ in range(2)]
    batches: list[Batch] = []

    def write(writer: int) -> None:
        for n in range(40):
            batches.extend(logs[writer].append([(rows(writer * 1000 + n, -1), None)]).batches)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(b.first for b in batches) == list(range(1, 160, 2))
    found = [n for n in stored(Storage(str(tmp_path))) if n >= 0]
    assert [n for n in found if n < 1000] == list(range(40)) and [n for n in found if n >= 1000] == list(
        range(1000, 1040)
    )


def test_an_answer_that_the_store_lost_does_not_double_the_batch(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, create = opened(storage), Storage.create_exclusive
    calls = []

    def lossy(self: Storage, path: str, data: bytes) -> bool:
        made = create(self, path, data)
        calls.append(path)
        return made and len(calls) > 1  # the first one was made, but the client's own retry met it

    monkeypatch.setattr(Storage, "create_exclusive", lossy)
    batch = log.append([(rows(1, 2), None)]).batches[0]
    assert (batch.first, batch.last, log.head, stored(storage)) == (1, 2, 2, [1, 2])


def test_a_refused_write_stores_nothing_and_may_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(str(tmp_path))
    log, create = opened(storage), Storage.create_exclusive

    def full(self: Storage, path: str, data: bytes) -> bool:
        raise WorkspaceWriteError("no space", expected="space", remedy="Free some.")

    monkeypatch.setattr(Storage, "create_exclusive", full)
    with pytest.raises(WorkspaceWriteError):
        log.append([(rows(1), "t")])
    monkeypatch.setattr(Storage, "create_exclusive", create)
    assert (log.head, stored(storage), log.batch_of("t")) == (0, [], None)
    assert log.append([(rows(1), "t")]).batches[0] == Batch(1, 1, "t")


def test_a_missing_segment_and_a_damaged_one_are_named(storage: Storage) -> None:
    log = opened(storage)
    for n in range(3):
        log.append([(rows(*range(n * 100, n * 100 + 100)), None)])
    path = "log/segment-000000000101.parquet"
    data = storage.read_bytes(path)
    storage.delete(path)
    with pytest.raises(CorruptArtefactError, match=r"segment-000000000201.*after sequence 100"):
        stored(storage)
    assert stored(storage, 200) == list(range(200, 300))  # nobody who does not need it misses it
    with pytest.raises(CorruptArtefactError, match="segment-000000000201"):
        stored(storage, 150)
    for bad in (data[:-20], data[:60] + bytes([data[60] ^ 255]) + data[61:], b""):
        storage.write_bytes(path, bad)
        with pytest.raises(CorruptArtefactError, match="segment-000000000101"):
            stored(storage)
    storage.write_bytes(path, data)
    assert stored(storage) == list(range(300))


def test_numbers_go_on_after_segments_that_were_removed_because_an_artefact_holds_them(tmp_path: Path) -> None:
    log = opened(Storage(str(tmp_path)), floor=41)
    assert log.append([(rows(1), None)]).batches[0].first == 42
    assert opened(Storage(str(tmp_path)), floor=41).head == 42


def test_another_reader_finds_ordinary_parquet(tmp_path: Path) -> None:
    opened(Storage(str(tmp_path))).append([(rows(5, 6), "t")])
    table = pq.read_table(tmp_path / "log" / "segment-000000000001.parquet")
    assert table.column("n").to_pylist() == [5, 6]


WRITER = """
import sys, pyarrow as pa
from semrec.serving.segments import SegmentLog
from semrec.storage import Storage
schema = pa.schema([pa.field("n", pa.int64(), nullable=False)])
log = SegmentLog(Storage(sys.argv[1]), "log", schema)
log.open()
print("ready", flush=True)
for n in range(100_000):
    batch = log.append([(pa.table([pa.array([n, n])], schema=schema), str(n))]).batches[0]
    print(n, batch.first, flush=True)
"""


def test_what_a_killed_process_had_acknowledged_is_there(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        lines = [process.stdout.readline() for _ in range(20)]
        process.kill()  # while it goes on writing
        lines += process.stdout.read().splitlines(keepends=True)
    said = [tuple(map(int, line.split())) for line in lines if line.endswith("\n")]
    found = stored(Storage(str(tmp_path)))
    assert said == [(n, 2 * n + 1) for n in range(len(said))]
    assert found[: 2 * len(said)] == [n for n in range(len(said)) for _ in range(2)]
    assert len(found) - 2 * len(said) in (0, 2)  # at most the batch whose acknowledgement was on its way
    assert opened(Storage(str(tmp_path))).head == len(found)


# group commit


class Slow(SegmentLog):
    """A log on a slow store."""

    def append(self, batches):  # type: ignore[no-untyped-def]
        time.sleep(0.05)
        return super().append(batches)


def test_callers_that_wait_share_one_segment(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    told: list[Segment] = []

    async def main() -> list[Batch]:
        log = Slow(storage, "log", SCHEMA)
        log.open()
        commit = GroupCommit(log, told.extend)
        first = asyncio.create_task(commit.append(rows(0)))
        await asyncio.sleep(0.02)
        others = [commit.append(rows(n, n), f"token-{n}") for n in range(1, 30)]
        return await asyncio.gather(first, *others, commit.append(rows(7, 7), "token-7"))

    batches = asyncio.run(main())
    assert [b.first for b in batches] == [1, *range(2, 60, 2), 14] and batches[-1].repeated
    assert [(s.first, s.last, len(s.batches)) for s in told] == [(1, 1, 1), (2, 59, 29)]
    assert len(storage.list_sizes("log")) == 2


def test_a_failed_write_is_told_to_those_who_waited_and_the_next_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, create = Storage(str(tmp_path)), Storage.create_exclusive
    refusals = iter([True, False])

    def once_full(self: Storage, path: str, data: bytes) -> bool:
        if next(refusals, False):
            raise WorkspaceWriteError("no space", expected="space", remedy="Free some.")
        return create(self, path, data)

    monkeypatch.setattr(Storage, "create_exclusive", once_full)

    async def main() -> None:
        commit = GroupCommit(opened(storage), lambda segments: None)
        found = await asyncio.gather(*[commit.append(rows(n), "abc"[n]) for n in range(3)], return_exceptions=True)
        assert [type(error) for error in found] == [WorkspaceWriteError] * 3
        assert (await commit.append(rows(1), "b")) == Batch(1, 1, "b")
        with pytest.raises(InputError, match="an empty batch"):
            await commit.append(rows())
        with pytest.raises(InputError, match="a token of 201 characters"):
            await commit.append(rows(2), "t" * 201)

    asyncio.run(main())
    assert stored(storage) == [1]


def test_who_goes_away_does_not_take_back_what_others_wait_for(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))

    async def main() -> Batch:
        log = Slow(storage, "log", SCHEMA)
        log.open()
        commit = GroupCommit(log, lambda segments: None)
        leaving, staying = (asyncio.create_task(commit.append(rows(n))) for n in (1, 2))
        await asyncio.sleep(0.02)
        leaving.cancel()
        return await staying

    assert asyncio.run(main()).first == 2
    assert stored(storage) == [1, 2]


# the state of a replica


def test_a_state_reads_what_its_release_lacks_and_reaches_back(storage: Storage) -> None:
    log = SegmentLog(storage, "overlay", OVERLAY_SCHEMA)
    log.open()
    log.append([(change_table([put("a", 1, 0), put("b", 0, 1)]), None)])
    log.append([(change_table([ItemChange.deletion("a"), put("c", 1, 1)]), None)])
    state = OverlayState(storage, Folded(items=3))
    assert (state.heads, state.view(Folded(items=3)).ids) == ((4, 0), ("c",))
    assert state.view(Folded(items=3)) is state.view(Folded(items=3))
    older = Folded()
    state.reach(older)  # the release before goes live again
    view = state.view(older)
    assert (view.ids, sorted(view.changes), view.sequence) == (("b", "c"), ["a", "b", "c"], 4)
    assert state.view(Folded(items=3)).ids == ("c",)
    state.apply(Update([put("c", 5, 5, sequence=5)]))
    assert state.view(older).vectors_OD.tolist() == [[0, 1], [5, 5]] and state.heads == (5, 0)
    state.forget(Folded(items=5))
    assert (bool(state.view(Folded(items=5))), state.heads) == (False, (5, 0))
    log.append([(change_table([put("d", 1, 0), put("e", 1, 0)]), None)])  # sequences 5 and 6
    state.catch_up()
    assert state.view(Folded(items=5)).ids == ("e",)
