"""Where rows come from: folders with sub-folders, partitions, archives, globs, lists, pipes; nothing left out in silence."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.import_cases import events_in, quarantined, write
from semrec.data import ColumnMap, ImportReport, import_table
from semrec.data.sources import Source, find_sources
from semrec.errors import InputError
from semrec.workspace.folder import Workspace

COLUMNS = ColumnMap(user_id="u", item_id="i")
DAY_S = 86_400


def import_events(workspace: Workspace, source: Any, *, fmt: str = "csv", **changes: Any) -> ImportReport:
    columns = changes.pop("columns", COLUMNS)
    return import_table(workspace, source, fmt=fmt, kind="interactions", columns=columns, **changes)  # type: ignore[arg-type]


def users_in(workspace: Workspace) -> list[str]:
    return [user for user, *_ in events_in(workspace)]


def parquet(path: Path, user: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"u": [user], "i": ["a"]}), path)
    return path


def test_a_folder_is_read_with_its_sub_folders(stocked: Workspace, tmp_path: Path) -> None:
    parquet(tmp_path / "mix" / "part-0.parquet", "u0")
    parquet(tmp_path / "mix" / "day=1970-01-03" / "part-0.parquet", "u1")
    parquet(tmp_path / "mix" / "_temporary" / "part-9.parquet", "u9")
    report = import_events(stocked, tmp_path / "mix", fmt="parquet")
    assert users_in(stocked) == ["u0", "u1"]
    assert report.num_read == {"interactions": 2}


@pytest.mark.parametrize("source", ["ev", "ev/*/*.parquet", "ev/**", "ev/day=*/x.parquet"])
def test_the_folders_of_a_partition_are_columns(stocked: Workspace, tmp_path: Path, source: str) -> None:
    parquet(tmp_path / "ev" / "day=1970-01-03" / "x.parquet", "u1")
    parquet(tmp_path / "ev" / "day=1970-01-04" / "x.parquet", "u2")
    columns = ColumnMap(user_id="u", item_id="i", timestamp="day")
    import_events(stocked, tmp_path / source, fmt="parquet", columns=columns)
    assert events_in(stocked) == [("u1", "a", 1.0, 2 * DAY_S), ("u2", "a", 1.0, 3 * DAY_S)]


def test_partitions_of_text_formats(stocked: Workspace, tmp_path: Path) -> None:
    write(tmp_path / "c" / "u=x%20y" / "1.csv", "i\na\n")
    write(tmp_path / "j" / "u=z" / "1.jsonl", '{"i": "a"}\n')
    write(tmp_path / "j" / "u=__HIVE_DEFAULT_PARTITION__" / "1.jsonl", '{"i": "a"}\n')
    import_events(stocked, tmp_path / "c")
    assert users_in(stocked) == ["x y"]
    import_events(stocked, tmp_path / "j", fmt="jsonl", max_rejected=1)
    assert users_in(stocked) == ["z"]
    assert [reason for *_, reason in quarantined(stocked, "interactions")] == ["missing id: u = ''"]


def test_every_member_of_an_archive_is_read(stocked: Workspace, tmp_path: Path) -> None:
    one, two = write(tmp_path / "one.csv", "u,i\nu1,a\n"), write(tmp_path / "two.csv", "u,i\nu2,z\nu3,b\n")
    with zipfile.ZipFile(tmp_path / "two.csv.zip", "w") as archive:
        archive.write(one, "one.csv")
        archive.write(two, "in/two.csv")
        archive.writestr("__MACOSX/._one.csv", b"\0\5\x16\7junk")
        archive.writestr("readme.md", "read me")
    report = import_events(stocked, tmp_path / "two.csv.zip", max_rejected=1)
    assert users_in(stocked) == ["u1", "u3"]
    assert quarantined(stocked, "interactions") == [("two.csv.zip/in/two.csv", 2, "unknown item: i = 'z'")]
    assert f"left out of {tmp_path}/two.csv.zip, not csv by name: readme.md" in str(report)
    for name, mode in (("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tgz", "w:gz")):
        with tarfile.open(tmp_path / name, mode) as archive:  # type: ignore[call-overload]
            archive.add(one, "one.csv")
            archive.add(two, "two.csv")
        import_events(stocked, tmp_path / name, max_rejected=1)
        assert users_in(stocked) == ["u1", "u3"]
    with zipfile.ZipFile(tmp_path / "alone.zip", "w") as archive:
        archive.writestr("ratings", "u,i\nu7,a\n")
    import_events(stocked, tmp_path / "alone.zip")
    assert users_in(stocked) == ["u7"]
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.write(tmp_path / "two.csv.zip", "in/two.csv.zip")
        archive.write(tmp_path / "a.tgz", "in/a.csv.tgz")
    import_events(stocked, tmp_path / "outer.zip", max_rejected=1, allow_repeated=True)
    assert users_in(stocked) == ["u1", "u1", "u3", "u3"]


def test_an_archive_that_ends_before_its_last_member_is_refused(stocked: Workspace, tmp_path: Path) -> None:
    one = write(tmp_path / "one.csv", "u,i\nu1,a\n")
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
        archive.add(one, "1.csv")
        archive.add(write(tmp_path / "two.csv", "u,i\nu2,a\n"), "2.csv")
    whole = (tmp_path / "a.tar").read_bytes()
    assert whole[1024:1029] == b"2.csv"  # a header and a block of content each
    for damaged in (whole[:1024], whole[:1024] + b"3" + whole[1025:], whole + whole):
        with pytest.raises(InputError, match=r"cannot read .*damaged\.tar.*behind byte"):
            import_events(stocked, write(tmp_path / "damaged.tar", damaged))
    assert import_events(stocked, tmp_path / "a.tar").num_read == {"interactions": 2}


def test_what_a_folder_does_not_give_is_said(stocked: Workspace, tmp_path: Path) -> None:
    write(tmp_path / "in" / "1.csv", "u,i\nu1,a\n")
    write(tmp_path / "in" / "2.csv", "")
    write(tmp_path / "in" / "3.csv", "u,i\n")
    write(tmp_path / "in" / "notes.md", "")
    report = import_events(stocked, tmp_path / "in")
    assert users_in(stocked) == ["u1"]
    folder = tmp_path / "in"
    assert report.notes == (f"left out of {folder}, not csv by name: notes.md", "2.csv is empty", "3.csv has no rows")
    with pytest.raises(InputError, match=r"1\.csv is named twice"):
        import_events(stocked, [folder, folder / "1.csv"])


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz", "zst"])
def test_compressed_files_are_unpacked_and_damaged_ones_named(stocked: Workspace, tmp_path: Path, ending: str) -> None:
    codec = {"gz": "gzip", "bz2": "bz2", "xz": "xz", "zst": "zstd"}[ending]
    content = b"u,i\nu1,a\n"
    if codec == "xz":
        import lzma

        packed = lzma.compress(content)
    else:
        packed = pa.compress(content, codec, asbytes=True) if codec == "zstd" else _packed(content, codec)
    import_events(stocked, write(tmp_path / f"e.csv.{ending}", packed))
    assert users_in(stocked) == ["u1"]
    with pytest.raises(InputError, match=rf"cannot read .*bad\.csv\.{ending}"):
        import_events(stocked, write(tmp_path / f"bad.csv.{ending}", packed[:6] + b"garbage"))


def _packed(content: bytes, codec: str) -> bytes:
    import bz2
    import gzip

    return gzip.compress(content) if codec == "gzip" else bz2.compress(content)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("bad.csv.zip", "cannot read .*bad.csv.zip.*undamaged"),
        ("foo://x/y.csv", "cannot read foo://x/y.csv: Protocol not known"),
        ("gs://bucket/y.csv", "cannot read gs://.*pip install.*'gcsfs'"),
        ("http://127.0.0.1:9/y.csv", "cannot read http://127.0.0.1:9/y.csv|no file http"),
        ("nowhere/*.csv", "an empty list of sources"),
    ],
)
def test_what_cannot_be_read_is_a_typed_error(stocked: Workspace, tmp_path: Path, path: str, message: str) -> None:
    write(tmp_path / "bad.csv.zip", b"x")
    with pytest.raises(InputError, match=message):
        import_events(stocked, path if "://" in path else str(tmp_path / path))
    assert not stocked.storage.exists("interactions/manifest.json")


def test_a_store_without_credentials_is_a_typed_error(tmp_path: Path) -> None:
    code = (
        "from semrec.data.sources import find_sources\nfrom semrec.errors import InputError\n"
        "try:\n    find_sources('s3://bucket/x.csv', 'csv')[0]\n"
        "except InputError as error:\n    print(error)\n"
    )
    keys = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = keys | {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
    output = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "cannot read s3://bucket/x.csv" in output.stdout
    assert "AWS_ACCESS_KEY_ID" in output.stdout


def test_a_pipe_is_read(stocked: Workspace, tmp_path: Path) -> None:
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(b"u,i\nu1,a\nu2,z\n",))
    writer.start()
    import_events(stocked, fifo, max_rejected=1)
    writer.join()
    assert users_in(stocked) == ["u1"]
    assert quarantined(stocked, "interactions") == [(str(fifo), 3, "unknown item: i = 'z'")]
    with pytest.raises(InputError, match="is a pipe"):
        find_sources(fifo, "csv")


def test_the_consumer_s_own_errors_pass_through_an_open_source(tmp_path: Path) -> None:
    with pytest.raises(KeyError), Source("x", str(write(tmp_path / "x", "a"))).open():
        raise KeyError("mine")
