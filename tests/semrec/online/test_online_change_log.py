"""The segments beneath the overlay, on a disk, in memory and on a real S3 server on the loopback; many writers share one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from semrec.changes.group_commit import GroupCommit
from semrec.errors import CorruptArtefactError, InputError, WorkspaceWriteError
from semrec.workspace.log import Batch, BatchToken, Segment, SegmentLog
from semrec.workspace.storage import Storage

SCHEMA = pa.schema([pa.field("n", pa.int64(), nullable=False)])


def rows(*numbers: int) -> pa.Table:
    return pa.table([pa.array(numbers, pa.int64())], schema=SCHEMA)


def opened(storage: Storage, **options: int) -> SegmentLog:
    log = SegmentLog(storage, "log", SCHEMA, **options)
    log.open()
    return log


def stored(storage: Storage, after: int = 0) -> list[int]:
    return [n for s in SegmentLog(storage, "log", SCHEMA).read(after) for n in s.table.column("n").to_pylist()]


def test_sequences_have_no_gap_and_survive_a_restart(storage: Storage) -> None:
    log = opened(storage)
    first = log.append([(rows(10, 11), None)])
    second = log.append([(rows(12), BatchToken("a")), (rows(13, 14), BatchToken("b"))])
    assert [(b.first, b.last) for b in (*first.batches, *second.batches)] == [(1, 2), (3, 3), (4, 5)]
    assert sorted(storage.list_sizes("log")) == ["segment-000000000001.parquet", "segment-000000000003.parquet"]
    again = opened(storage)
    assert again.last_sequence == 5
    assert again.append([(rows(15), None)]).batches[0].first == 6
    assert stored(storage) == [10, 11, 12, 13, 14, 15]
    assert stored(storage, 3) == [12, 13, 14, 15]  # the segment that holds 4 begins at 3
    assert stored(storage, 5) == [15] and stored(storage, 6) == []


def test_a_token_is_done_once_also_after_a_restart(storage: Storage) -> None:
    log = opened(storage)
    log.append([(rows(1), None)])
    made = log.append([(rows(2, 3), BatchToken("t"))]).batches[0]
    for other in (log, opened(storage)):
        found = other.append([(rows(8, 9), BatchToken("t")), (rows(4), None)])
        assert found.batches[0] == Batch(made.first, 2, "t", repeated=True)
    twice = log.append([(rows(5), BatchToken("u")), (rows(6), BatchToken("u"))])
    assert [(b.repeated, b.first) for b in twice.batches] == [(False, 6), (True, 6)]
    assert stored(storage) == [1, 2, 3, 4, 4, 5]
    assert log.append([(rows(7), BatchToken("u"))]).segments == []  # nothing to write


def test_a_token_remembers_what_it_was_given_for(storage: Storage) -> None:
    first, other = BatchToken("t", "digest of one"), BatchToken("t", "digest of another")
    made = opened(storage).append([(rows(1), first)]).batches[0]
    log = opened(storage)  # after a restart
    assert log.append([(rows(2), other)]).batches == [Batch(1, 1, "t", repeated=True, digest=first.digest)]
    assert (
        made.again(first) == replace(made, repeated=True) == made.again(BatchToken("t"))
    )  # who says nothing is believed
    with pytest.raises(InputError, match="idempotency key that was given to another change"):
        made.again(other)
    assert stored(storage) == [1]


def test_a_segment_from_before_digests_is_read(tmp_path: Path) -> None:
    log = opened(Storage(str(tmp_path)))
    log.append([(rows(1, 2), BatchToken("t", "digest"))])
    (file,) = (tmp_path / "log").iterdir()
    table = pq.read_table(file)
    batches = {b"semrec.batches": table.schema.metadata[b"semrec.batches"]}
    pq.write_table(table.replace_schema_metadata(batches), file, write_page_checksum=True)
    known = opened(Storage(str(tmp_path))).batch_of("t")
    assert known == Batch(1, 2, "t")
    assert known.again(BatchToken("t", "any")).repeated


@pytest.mark.parametrize("key", [b"semrec.digests", b"semrec.workspace.digests"])
def test_digests_are_read_under_every_key_that_a_build_has_written(tmp_path: Path, key: bytes) -> None:
    opened(Storage(str(tmp_path))).append([(rows(1, 2), BatchToken("t", "digest"))])
    (file,) = (tmp_path / "log").iterdir()
    table = pq.read_table(file)
    metadata = {b"semrec.batches": table.schema.metadata[b"semrec.batches"], key: b'["digest"]'}
    pq.write_table(table.replace_schema_metadata(metadata), file, write_page_checksum=True)
    known = opened(Storage(str(tmp_path))).batch_of("t")
    assert known is not None and known.again(BatchToken("t", "digest")).repeated
    with pytest.raises(InputError):
        known.again(BatchToken("t", "another"))


def test_the_loser_of_a_race_reads_on_and_takes_the_next_numbers(storage: Storage) -> None:
    one, two = opened(storage), opened(storage)
    one.append([(rows(1, 2), BatchToken("shared"))])
    one.append([(rows(3), None)])
    found = two.append([(rows(4), None), (rows(9, 9), BatchToken("shared"))])
    assert [(b.first, b.repeated) for b in found.batches] == [(4, False), (1, True)]
    assert [(s.first, s.last) for s in found.segments] == [(1, 2), (3, 3), (4, 4)]  # what others wrote is told as well
    assert [s.first for s in one.catch_up()] == [4] and one.last_sequence == two.last_sequence == 4
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
    assert (batch.first, batch.last, log.last_sequence, stored(storage)) == (1, 2, 2, [1, 2])


def test_a_refused_write_stores_nothing_and_may_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(str(tmp_path))
    log, create = opened(storage), Storage.create_exclusive

    def full(self: Storage, path: str, data: bytes) -> bool:
        raise WorkspaceWriteError("no space", expected="space", remedy="Free some.")

    monkeypatch.setattr(Storage, "create_exclusive", full)
    with pytest.raises(WorkspaceWriteError):
        log.append([(rows(1), BatchToken("t"))])
    monkeypatch.setattr(Storage, "create_exclusive", create)
    assert (log.last_sequence, stored(storage), log.batch_of("t")) == (0, [], None)
    assert log.append([(rows(1), BatchToken("t"))]).batches[0] == Batch(1, 1, "t")


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
    assert opened(Storage(str(tmp_path)), floor=41).last_sequence == 42


def test_another_reader_finds_ordinary_parquet(tmp_path: Path) -> None:
    opened(Storage(str(tmp_path))).append([(rows(5, 6), BatchToken("t"))])
    table = pq.read_table(tmp_path / "log" / "segment-000000000001.parquet")
    assert table.column("n").to_pylist() == [5, 6]


WRITER = """
import sys, pyarrow as pa
from semrec.workspace.log import SegmentLog
from semrec.workspace.storage import Storage
schema = pa.schema([pa.field("n", pa.int64(), nullable=False)])
log = SegmentLog(Storage(sys.argv[1]), "log", schema)
log.open()
print("ready", flush=True)
for n in range(100_000):
    batch = log.append([(pa.table([pa.array([n, n])], schema=schema), BatchToken(str(n)))]).batches[0]
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
    assert opened(Storage(str(tmp_path))).last_sequence == len(found)


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
        others = [commit.append(rows(n, n), BatchToken(f"token-{n}")) for n in range(1, 30)]
        return await asyncio.gather(first, *others, commit.append(rows(7, 7), BatchToken("token-7")))

    batches = asyncio.run(main())
    assert [b.first for b in batches] == [1, *range(2, 60, 2), 14] and batches[-1].repeated
    assert [(s.first, s.last, len(s.batches)) for s in told] == [(1, 1, 1), (2, 59, 29)]
    assert len(storage.list_sizes("log")) == 2


def test_a_token_of_another_change_is_refused_alone(tmp_path: Path) -> None:
    """Whether the first is being written, was written here, or was written by another process meanwhile."""
    storage = Storage(str(tmp_path))
    one, other = BatchToken("t", "one"), BatchToken("t", "other")

    async def main() -> None:
        log = Slow(storage, "log", SCHEMA)
        log.open()
        commit = GroupCommit(log, lambda segments: None)
        asks = [commit.append(rows(n), token) for n, token in enumerate((one, other, one, None))]
        first, refused, again, apart = await asyncio.gather(*asks, return_exceptions=True)
        assert isinstance(refused, InputError) and again == replace(first, repeated=True)
        assert not apart.repeated
        with pytest.raises(InputError, match="given to another change"):
            await commit.append(rows(4), other)
        with pytest.raises(InputError, match="given to another change"):
            commit.known(other)
        assert commit.known(one) == again and commit.known(BatchToken("unknown")) is None
        opened(storage).append([(rows(5), BatchToken("theirs", "one"))])
        found = await asyncio.gather(
            *[commit.append(rows(6), BatchToken("theirs", "other")), commit.append(rows(7))], return_exceptions=True
        )
        assert isinstance(found[0], InputError) and found[1].num_rows == 1

    asyncio.run(main())
    assert stored(storage) == [0, 3, 5, 7]


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
        found = await asyncio.gather(
            *[commit.append(rows(n), BatchToken("abc"[n])) for n in range(3)], return_exceptions=True
        )
        assert [type(error) for error in found] == [WorkspaceWriteError] * 3
        assert (await commit.append(rows(1), BatchToken("b"))) == Batch(1, 1, "b")
        with pytest.raises(InputError, match="an empty batch"):
            await commit.append(rows())
        with pytest.raises(InputError, match="a token of 301 characters"):
            await commit.append(rows(2), BatchToken("t" * 301))

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
