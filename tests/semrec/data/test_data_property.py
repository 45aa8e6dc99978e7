"""The block reader against a plain reading, character by character and row by row, of files with random damage."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from helpers.import_cases import NOW_S
from semrec.data import ColumnMap, delimited
from semrec.data.events import EventRules, events_of
from semrec.data.known import KnownItems
from semrec.data.rejects import ReadStats
from semrec.data.sources import Source
from semrec.workspace.folder import Workspace

Event = tuple[str, str, float, int]
RejectedLine = tuple[int, str]
ITEMS = ["1", "2", "10", "a b"]
BLANKS = " \t\n\r\v\f"
COLUMNS = ColumnMap("i", "u", value="v", timestamp="t")


class Recorder(ReadStats):
    rejected_lines: list[RejectedLine]

    def reject(self, file: str, line: int | None, reason: str, row: str, *, detail: str = "") -> None:
        assert line is not None
        self.rejected_lines.append((line, reason))


def fields_of(record: bytes, is_quoted: bool) -> tuple[list[bytes], bool] | None:
    """The fields of a record that ends in a newline, and whether text follows a closing quote; None when a quote is open."""
    if not is_quoted:
        return record[:-1].removesuffix(b"\r").split(b"::"), False
    fields, field, state, has_tail = [], bytearray(), "start", False
    for at, byte in enumerate(record):
        char = bytes([byte])
        if state == "quoted":
            if char != b'"':
                field += char
            elif record[at + 1 : at + 2] == b'"':
                state = "doubled"
            else:
                state = "closed"
        elif state == "doubled":
            field += char
            state = "quoted"
        elif char == b'"' and state == "start":
            state = "quoted"
        elif char in (b",", b"\n"):
            if char == b"\n" and record[at - 1 : at] == b"\r" and field.endswith(b"\r"):
                field.pop()
            fields.append(bytes(field))
            field, state = bytearray(), "start"
        else:
            has_tail |= state == "closed" and record[at:] != b"\r\n"
            field += char
            state = "plain"
    return None if state in ("quoted", "doubled") else (fields, has_tail)


def number_of(text: str) -> float | str:
    text = text.strip(BLANKS)
    if re.fullmatch(r"[+-]?(nan|inf|infinity)", text, re.IGNORECASE | re.ASCII):
        return "non-finite value"
    if not re.fullmatch(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?", text):
        return "non-numeric value"
    with np.errstate(over="ignore"):
        value = float(np.float32(float(text)))
    if not np.isfinite(value):
        return "non-finite value"
    return value + 0.0 if abs(value) <= 1_000_000 else "value out of range"


def time_of(text: str) -> int | str:
    text = text.strip(BLANKS)
    if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]*)?", text):
        seconds = int(text.partition(".")[0])
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return "bad time"
        if not text.isascii():
            return "bad time"
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = int(moment.timestamp() // 1)
    return seconds if 0 <= seconds <= NOW_S + 86_400 else "impossible time"


def fault_or_event(fields: list[bytes], has_tail: bool, raw: bytes) -> str | Event:
    try:
        texts = [field.decode() for field in fields]
    except UnicodeDecodeError:
        return "bad UTF-8"
    if b"\0" in raw:
        return "NUL byte"
    if len(texts) != 5:
        return "ragged line"
    if has_tail:
        return "text behind a quote"
    time, value, item, _, user = texts
    if not user.strip(BLANKS) or not item.strip(BLANKS):
        return "missing id"
    for name in (user, item):
        if any(unicodedata.category(letter) in ("Cc", "Zl", "Zp") for letter in name):
            return "control character in id"
        if name in (".", ".."):
            return "id is . or .."
    for parsed in (number_of(value), time_of(time)):
        if isinstance(parsed, str):
            return parsed
    return (user, item, number_of(value), time_of(time)) if item in ITEMS else "unknown item"  # type: ignore[return-value]


def by_rows(body: bytes, first_line: int, is_quoted: bool) -> tuple[list[Event], list[RejectedLine]]:
    """The events and rejected lines of `body`, slowly."""
    events: list[Event] = []
    rejected_lines: list[RejectedLine] = []
    lines = [line + b"\n" for line in body.split(b"\n")]
    if lines[-1] == b"\n":
        lines.pop()
    at = 0
    while at < len(lines):
        ends = range(at + 1, len(lines) + 1)
        closed = ((end, fields_of(b"".join(lines[at:end]), is_quoted)) for end in ends)
        end, record = next(((end, record) for end, record in closed if record is not None), (at + 1, None))
        raw = b"".join(lines[at:end])
        if record is None or (end > at + 1 and (len(record[0]) != 5 or record[1])):
            rejected_lines.append((at + first_line, "unclosed quote"))
            at += 1
            continue
        if raw.removesuffix(b"\n").removesuffix(b"\r"):
            found = fault_or_event(*record, raw)
            if isinstance(found, str):
                rejected_lines.append((at + first_line, found))
            else:
                events.append(found)
        at = end
    return events, rejected_lines


def good_fields() -> st.SearchStrategy[list[str]]:
    """Fields in the order of the file: the user stands last, where line ends are, and `x` is not asked for."""
    times = st.sampled_from(["0", "1225734739", "000123", "1225734739.75", "2020-02-29", "2020-02-29T10:00:00+02:00"])
    values = st.sampled_from(["1", "4.5", "-0", "+3", " 2.5 ", "1e3", ".5", "5.", "-1e-60", "1e-999"])
    users = st.sampled_from(["7", "007", "ü", " x", "x\ufeffy", "1.0"])
    return st.tuples(times, values, st.sampled_from(ITEMS), st.sampled_from(["", "y"]), users).map(list)


def bad_fields() -> st.SearchStrategy[list[str]]:
    """Good fields but for one, or one too many, or one too few."""
    numbers = ["", " ", "9", "nan", "-Infinity", "1e39", "1e999", "0x10", "1_0", "-5", "9" * 30, "1225734739000", "٣"]
    texts = ["x", "2020-13-01", "\0", "\u00a0", "1\r2", "7\r", "a:b", "7\x1f7", "1\x1f1\x1f1\x1fy\x1f7", "\ufeff"]
    case = st.tuples(good_fields(), st.integers(0, 4), st.sampled_from(numbers + texts), st.integers(0, 2))
    return case.map(lambda case: [*case[0][: case[1]], case[2], *case[0][case[1] + case[3] :]])


def quoted_fields() -> st.SearchStrategy[list[str]]:
    texts = ['"7"', '"a,b"', '"a""b"', '"a\nb"', '"a\r\nb"', '"open', 'mid"quote', '"7"tail', '""', '"a\nb"tail']
    case = st.tuples(good_fields(), st.integers(3, 4), st.sampled_from(texts))
    return case.map(lambda case: [*case[0][: case[1]], case[2], *case[0][case[1] + 1 :]])


def bodies(delimiter: str) -> st.SearchStrategy[bytes]:
    good = good_fields()
    fields = st.one_of(good, good, good, bad_fields())
    fields = st.one_of(fields, fields, quoted_fields()) if delimiter == "," else fields
    rows = fields.map(lambda row: delimiter.join(row).encode())
    bytes_ = st.sampled_from(
        [b"", b"\xff", b"1,1,1,\xff,7", b"1::1::1::\xff::7", b'"', b"\0", b"1\x1f1\x1f1\x1fy\x1f7"]
    )
    rows = st.one_of(rows, rows, rows, rows, bytes_)
    line_ends = st.sampled_from([b"\n"] * 6 + [b"\r\n"] * 3 + [b"\n\n", b"\r\n\r\n"])
    lines = st.lists(st.tuples(rows, line_ends).map(b"".join), max_size=25).map(b"".join)
    return st.tuples(lines, st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=2)), max_size=2)).map(damaged)


def damaged(case: tuple[bytes, list[tuple[float, bytes]]]) -> bytes:
    """Overwrites a byte here and there, or cuts one out."""
    body, changes = case
    for share, replacement in changes:
        at = int(share * len(body))
        body = body[:at] + replacement + body[at + 1 :]
    return body


def by_blocks(path: Path, workspace: Workspace, is_quoted: bool) -> tuple[list[Event], list[RejectedLine]]:
    stats = Recorder(workspace.storage, "interactions", max_rejected=1)
    stats.rejected_lines = []
    rules = EventRules(KnownItems([pa.array(ITEMS)]), NOW_S)
    dialect, names = (delimited.CSV, None) if is_quoted else (delimited.DAT, ["t", "v", "i", "x", "u"])

    def events() -> Iterator[Event]:
        source = Source("f", str(path))
        for block in delimited.read_delimited(source, ["u", "i", "v", "t"], stats=stats, dialect=dialect, names=names):
            table = events_of(block, COLUMNS, rules, stats=stats)
            assert [block.excerpt(i) for i in range(block.num_rows)]
            yield from zip(*(column.to_pylist() for column in table.columns), strict=True)

    found = list(events())
    assert stats.num_read == len(found) + len(stats.rejected_lines)
    return found, sorted(stats.rejected_lines)


@pytest.mark.parametrize("is_quoted", [True, False], ids=["csv", "dat"])
def test_blocks_read_what_rows_read(tmp_path: Path, is_quoted: bool) -> None:
    workspace = Workspace.create(str(tmp_path / "workspace"), num_buckets=1)
    path = tmp_path / "events.csv"

    @settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @example(b"1\x1f1\x1f1\x1fy\x1f7\n", 7)
    @example(b"1,1,1,,7\r\r\n1::1::1::::7\r\r\n", 1 << 20)
    @given(bodies("," if is_quoted else "::"), st.sampled_from([1, 7, 50, 400, 1 << 20]))
    def check(body: bytes, block_bytes: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(delimited, "BLOCK_BYTES", block_bytes)
            # Without a sample of lines a file without header is as wide as its names.
            patch.setattr(delimited, "_SAMPLE_LINES", 0)
            path.write_bytes((b"t,v,i,x,u\n" if is_quoted else b"") + body)
            found = by_blocks(path, workspace, is_quoted)
        if not is_quoted:
            body = body.removeprefix(b"\xef\xbb\xbf")
        assert found == by_rows(body, 2 if is_quoted else 1, is_quoted)

    check()
