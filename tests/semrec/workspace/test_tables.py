"""Tables are the same bytes for the same rows, and are read only when their bytes are the recorded ones."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from semrec.errors import CorruptArtefactError, MissingArtefactError
from semrec.workspace.digests import content_digest, sha256_hex
from semrec.workspace.records import PartFile
from semrec.workspace.storage import Storage
from semrec.workspace.tables import TableFile, parquet_bytes, read_table, read_table_by_rows, write_table

TABLE = pa.table({"user_id": ["a", "b"], "value": pa.array([1.5, None], pa.float32())})


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "w"))


def test_a_table_is_read_as_it_was_written(storage: Storage) -> None:
    file = write_table(storage, "users/part-00000", TABLE)
    data = storage.read_bytes(file.file)
    assert file.to_json() == {
        "file": f"users/part-00000-{sha256_hex(data)[:12]}.parquet", "num_rows": 2, "num_bytes": len(data),
        "content_digest": content_digest(TABLE), "sha256": sha256_hex(data),
    }  # fmt: skip
    assert read_table(storage, file).equals(TABLE)
    assert read_table(storage, file, ["value"]).column_names == ["value"]
    assert PartFile.of(3, file).table == file


def test_a_plain_name_has_no_digest(storage: Storage) -> None:
    assert write_table(storage, "users/part-00000", TABLE, digest_in_name=False).file == "users/part-00000.parquet"


def test_encoded_text_is_read_as_plain_text(storage: Storage) -> None:
    encoded = TABLE.set_column(0, "user_id", TABLE["user_id"].dictionary_encode())
    file = write_table(storage, "users/part-00000", encoded, plain_text=True)
    assert read_table(storage, file).equals(TABLE) and file.content_digest == content_digest(TABLE)


def test_encoded_text_stays_encoded_unless_it_is_to_be_plain(storage: Storage) -> None:
    encoded = TABLE.set_column(0, "user_id", TABLE["user_id"].dictionary_encode()).replace_schema_metadata({"a": "b"})
    read = read_table(storage, write_table(storage, "users/part-00000", encoded))
    assert read.equals(encoded) and read.schema.metadata == {b"a": b"b"}


def test_other_bytes_of_the_same_rows_do_not_replace_a_file(storage: Storage) -> None:
    plain = write_table(storage, "users/part-00000", TABLE)
    encoded = TABLE.set_column(0, "user_id", TABLE["user_id"].dictionary_encode())
    other = write_table(storage, "users/part-00000", encoded)
    assert (other.content_digest, other.file != plain.file) == (plain.content_digest, True)
    assert read_table(storage, plain).equals(TABLE)


def test_the_same_rows_are_the_same_bytes() -> None:
    assert parquet_bytes(TABLE) == parquet_bytes(pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1)]).combine_chunks())


def test_other_rows_under_one_stem_leave_the_first_file(storage: Storage) -> None:
    first = write_table(storage, "users/part-00000", TABLE)
    second = write_table(storage, "users/part-00000", TABLE.slice(1))
    assert first.file != second.file
    assert read_table(storage, first).equals(TABLE)


@pytest.mark.parametrize("at", [0, 50, -1])
def test_one_changed_byte_is_refused_by_name(storage: Storage, at: int) -> None:
    file = write_table(storage, "users/part-00000", TABLE)
    data = bytearray(storage.read_bytes(file.file))
    data[at] ^= 1
    storage.write_bytes(file.file, bytes(data))
    with pytest.raises(CorruptArtefactError, match=rf"{file.file} has {len(data)} bytes and another SHA-256"):
        read_table(storage, file)


def test_a_file_that_another_version_wrote_again_is_read_by_its_rows(storage: Storage) -> None:
    file = write_table(storage, "users/part-00000", TABLE)
    pq.write_table(TABLE, storage.full_path(file.file), compression="none")
    assert read_table_by_rows(storage, file).equals(TABLE)
    with pytest.raises(CorruptArtefactError):
        read_table(storage, file)
    for other in (parquet_bytes(TABLE.slice(1)), b"PAR1"):
        storage.write_bytes(file.file, other)
        with pytest.raises(CorruptArtefactError, match="another SHA-256"):
            read_table_by_rows(storage, file)


def test_a_record_of_what_is_no_table_or_is_elsewhere_is_refused(storage: Storage) -> None:
    data = b"PAR1 and then nothing of use PAR1"
    storage.write_bytes("users/part.parquet", data)
    for path, said in (
        ("users/part.parquet", "is not a Parquet file"),
        ("users/../../part.parquet", "below the workspace"),
    ):
        with pytest.raises(CorruptArtefactError, match=said):
            read_table(
                storage,
                TableFile(file=path, num_rows=1, num_bytes=len(data), content_digest="", sha256=sha256_hex(data)),
            )


def test_a_cut_or_missing_file_is_refused_by_name(storage: Storage) -> None:
    file = write_table(storage, "users/part-00000", TABLE)
    storage.write_bytes(file.file, storage.read_bytes(file.file)[:-1])
    with pytest.raises(CorruptArtefactError, match=f"expected {file.num_bytes} bytes"):
        read_table(storage, file)
    storage.delete(file.file)
    with pytest.raises(MissingArtefactError, match=f"no file {file.file}"):
        read_table(storage, file)
