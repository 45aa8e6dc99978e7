"""Reads delimited text in blocks: Arrow parses the whole block, and only blocks that it cannot are read line by line."""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import IO, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from semrec.data import records
from semrec.data.encodings import is_text, text_fault, text_stream
from semrec.data.records import Dialect
from semrec.data.rejects import RowBlock, RowStats
from semrec.data.sources import Source
from semrec.errors import InputError

__all__ = [
    "CSV",
    "DAT",
    "Dialect",
    "check_columns",
    "line_blocks",
    "one_array",
    "read_delimited",
]

BLOCK_BYTES = 8 << 20
MAX_LINE_BYTES = 16 << 20
_SAMPLE_LINES: Final = 100
_UNIT: Final = b"\x1f"  # stands for `::` where Arrow wants a single byte


CSV: Final = Dialect()
DAT: Final = Dialect("::", quoted=False)


def read_delimited(
    source: Source,
    wanted: Sequence[str],
    *,
    stats: RowStats,
    dialect: Dialect = CSV,
    names: Sequence[str] | None = None,
    encoded: Sequence[str] = (),
) -> Iterator[RowBlock]:
    """Reads the rows of a text file, columns `wanted` as Arrow string arrays, nothing stripped, "" where a field is empty;
    those among `encoded` are dictionary-encoded where a block could be read at once.

    Columns are found by name in the header, or in `names` where there is none (by default "1", "2" and so on); further ones
    are then allowed. Blank lines are no rows. Lines end in LF or CRLF; a byte order mark is dropped.

    Rejected to the quarantine: "unclosed quote" (a quoted field that never closes, or closes on a later line and leaves
    the wrong number of fields or text behind a quote: only its first line is rejected, and reading goes on with the
    next), "bad UTF-8" (bytes that are no text of the encoding), "NUL byte", "ragged line", "text behind a quote" and
    "repeated header". Raises InputError for a wanted column that is missing or doubled, or a line above 16 MiB.
    """
    reader = _Reader(source.name, wanted, encoded, stats, dialect)
    with source.open() as file:
        yield from reader.blocks(text_stream(file, dialect.encoding), names)


def line_blocks(file: IO[bytes], name: str) -> Iterator[tuple[bytes, int]]:
    """Reads whole lines of a stream, a few megabytes at a time, with the number of the first; a byte order mark is dropped.

    Raises InputError for a line above 16 MiB.
    """
    carry, line = file.read(len(codecs.BOM_UTF8)).removeprefix(codecs.BOM_UTF8), 1
    while chunk := file.read(BLOCK_BYTES):
        data = carry + chunk
        used = data.rfind(b"\n") + 1
        if used:
            yield data[:used], line
        line, carry = line + data.count(b"\n"), data[used:]
        check_line(carry, line, name)
    if carry:
        yield carry, line


def check_line(data: bytes, line: int, name: str) -> None:
    """Raises InputError when `data`, which is part of one line, has more than 16 MiB."""
    if len(data) > MAX_LINE_BYTES:
        raise InputError(
            f"line {line} of {name} has more than {MAX_LINE_BYTES:,} bytes",
            expected="lines of text that end in a newline",
            remedy="Check that the file is the format it is imported as.",
        )


def check_columns(wanted: Sequence[str], there: Sequence[str], file: str) -> None:
    """Raises InputError for a mapped column that a source does not have."""
    for name in wanted:
        if name not in there:
            raise InputError(
                f"no column {name!r} in {file}",
                expected=f"one of its columns: {', '.join(map(repr, there)) or 'none, the file is empty'}",
                remedy="Correct the column mapping.",
            )


class _Reader:
    """The state of reading one file: its width, and which fields are wanted."""

    def __init__(
        self, name: str, wanted: Sequence[str], encoded: Sequence[str], stats: RowStats, dialect: Dialect
    ) -> None:
        self._name, self._wanted, self._stats = name, list(dict.fromkeys(wanted)), stats
        codes = pa.dictionary(pa.int32(), pa.string())
        self._types = [codes if name in encoded and not dialect.skip_blanks else pa.string() for name in self._wanted]
        self._dialect, self._delimiter = dialect, dialect.delimiter.encode()
        self._width, self._positions = 0, [0]
        self._header: list[bytes] = []  # its fields, where it stands in the file
        self._raw_header = b""

    def blocks(self, file: Any, names: Sequence[str] | None) -> Iterator[RowBlock]:
        """Cuts the stream after the last whole record of each block; what remains goes in front of the next."""
        carry, line = self._begin(file, names)
        at_end = False
        while not at_end:
            chunk = file.read(BLOCK_BYTES)
            at_end = not chunk
            data = carry + chunk
            if at_end and data and not data.endswith(b"\n"):
                data += b"\n"
            row_blocks, used, num_lines = self._take(data, line, at_end)
            yield from row_blocks
            carry, line = data[used:], line + num_lines
            check_line(carry, line, self._name)

    def _begin(self, file: Any, names: Sequence[str] | None) -> tuple[bytes, int]:
        """Learns the columns; returns the bytes read beyond them and the line on which those begin."""
        has_header = self._dialect.has_header and names is None
        data = file.read(len(codecs.BOM_UTF8)).removeprefix(codecs.BOM_UTF8)
        while True:
            header = records.scan_record(data, 0, self._dialect) if has_header else None
            if header is not None or (not has_header and data.count(b"\n") > _SAMPLE_LINES):
                break
            check_line(data, 1, self._name)
            if not (chunk := file.read(BLOCK_BYTES)):
                break
            data += chunk
        if not has_header:
            width = _usual_width(data, self._dialect, len(names or ()))
            self._set_columns(names or [str(position + 1) for position in range(width)], width)
            return data, 1
        header = header or records.scan_record(data + b"\n", 0, self._dialect)
        self._header, end = (header.fields, header.end) if header and data else ([], 0)
        self._raw_header = data[:end].rstrip(b"\r\n")
        header_names = [self._header_name(field) for field in self._header]
        self._set_columns(header_names, len(header_names))
        return data[end:], 1 + data.count(b"\n", 0, end)

    def _header_name(self, field: bytes) -> str:
        try:
            return field.decode().strip()
        except UnicodeDecodeError:
            raise InputError(
                f"the header of {self._name} is not UTF-8",
                expected="UTF-8 text",
                remedy="Say its encoding, as in --encoding cp1252 or latin-1.",
            ) from None

    def _set_columns(self, names: Sequence[str], width: int) -> None:
        check_columns(self._wanted, names, self._name)
        for name in self._wanted:
            if names.count(name) > 1:
                what = f"{names.count(name)} columns named {name!r} in {self._name}"
                raise InputError(what, expected="one", remedy="Rename one of them.")
        self._width, self._positions = width, [list(names).index(name) for name in self._wanted]

    def _take(self, data: bytes, line: int, at_end: bool) -> tuple[list[RowBlock], int, int]:
        """Reads the whole records of `data`: the blocks, the bytes and the physical lines that they took."""
        used = data.rfind(b"\n") + 1
        block = data[:used]
        if not used:
            return [], 0, 0
        # In a fifth of the time of bytes.count, as lines are short.
        num_lines = np.count_nonzero(np.frombuffer(block, dtype=np.uint8) == ord("\n"))
        lines = np.arange(line, line + num_lines)
        if not self._dialect.quoted or b'"' not in block:
            return self._read_plain(block, lines), used, len(lines)
        has_escape = bool(self._dialect.escape) and b"\\" in block
        if not has_escape and not self._dialect.skip_blanks and records.is_cleanly_quoted(block, self._delimiter):
            whole = self._parse(block, lines)
            if whole is not None:
                return [whole], used, len(lines)
        return self._scan(data, line, at_end)

    def _read_plain(self, block: bytes, numbers: np.ndarray) -> list[RowBlock]:
        """Reads lines without quotes: the whole block at once, or without the lines that are rejected."""
        whole = self._parse(block, numbers)
        if whole is not None:
            return [whole]
        lines = list(self._whole_lines(block, int(numbers[0])))
        if not lines:
            return []
        # CRLF, lest a carriage return that ends a field be taken for part of the line end.
        body = b"".join(raw + b"\r\n" for _, raw in lines)
        kept = self._parse(body, np.array([number for number, _ in lines]))
        if kept is not None:
            return [kept]
        # A lone carriage return or a unit separator inside a field, which Arrow takes for the end of one.
        delimiter = self._delimiter.decode()
        blanks = " " if self._dialect.skip_blanks else ""
        return self._gathered(
            [(number, raw, [field.strip(blanks) for field in raw.decode().split(delimiter)]) for number, raw in lines]
        )

    def _whole_lines(self, block: bytes, line: int) -> Iterator[tuple[int, bytes]]:
        """Yields the lines of `block` that are whole rows, without their line ends; the others but blank ones are rejected."""
        is_plain = b"\0" not in block and is_text(block)
        for number, raw in enumerate(block.split(b"\n")[:-1], start=line):
            content = raw.removesuffix(b"\r")
            if content and (is_plain or self._decoded([content], number, content) is not None):
                num_fields = content.count(self._delimiter) + 1
                if self._fits(num_fields, number, content) and not self._is_header(content, number):
                    yield number, content

    def _parse(self, block: bytes, lines: np.ndarray) -> RowBlock | None:
        """Parses a block at once: None unless every line of `block`, numbered by `lines`, is one whole row of plain UTF-8."""
        has_odd_return = b"\r" in block and block.count(b"\r") != block.count(b"\r\n")
        if b"\0" in block or _UNIT in block or has_odd_return or not is_text(block):
            return None
        if self._raw_header and (block.startswith(self._raw_header) or b"\n" + self._raw_header in block):
            return None
        single = self._delimiter if len(self._delimiter) == 1 else _UNIT
        body = block if single == self._delimiter else block.replace(self._delimiter, single)
        wanted = [f"c{position}" for position in self._positions]
        # Names go in as a header line: Arrow drops a byte order mark at the start of any buffer, even in mid-file.
        header = single.join(b"c%d" % i for i in range(self._width)) + b"\n"
        try:
            table = pacsv.read_csv(
                pa.BufferReader(header + body),
                read_options=pacsv.ReadOptions(use_threads=False, block_size=len(header) + len(body) + 1),
                parse_options=pacsv.ParseOptions(
                    delimiter=single.decode(),
                    quote_char='"' if self._dialect.quoted else False,
                    ignore_empty_lines=True,
                ),
                convert_options=pacsv.ConvertOptions(
                    check_utf8=False,  # `is_text` has
                    include_columns=wanted,
                    column_types=dict(zip(wanted, self._types, strict=True)),
                ),
            )
        except pa.ArrowInvalid:
            return None
        if table.num_rows != len(lines):  # blank lines, which would shift the line numbers
            return None
        self._stats.count(len(lines))
        columns = {name: one_array(table.column(i)) for i, name in enumerate(self._wanted)}
        if self._dialect.skip_blanks:
            columns = {name: pc.utf8_trim(column, characters=" ") for name, column in columns.items()}
        return RowBlock(self._name, columns, len(lines), lines, _excerpts(block), is_text=True)

    def _scan(self, data: bytes, line: int, at_end: bool) -> tuple[list[RowBlock], int, int]:
        """Parses a block with quotes, slowly: one record at a time, which may span lines."""
        rows: list[tuple[int, bytes, list[str]]] = []
        at, first = 0, line
        while (newline := data.find(b"\n", at)) >= 0:
            record = records.scan_record(data, at, self._dialect)
            if record is None and not at_end and len(data) - at < records.MAX_RECORD_BYTES:
                break
            if record is None or self._is_swallowing(record, record.end - at, data.count(b"\n", at, record.end)):
                self._reject(line, "unclosed quote", data[at:newline])
                at, line = newline + 1, line + 1
                continue
            raw = data[at : record.end].removesuffix(b"\n").removesuffix(b"\r")
            text = self._decoded(record.fields, line, raw) if raw else None
            if text is not None and self._fits(len(text), line, raw):
                if record.has_tail:
                    self._reject(line, "text behind a quote", raw)
                elif record.fields == self._header:
                    self._reject(line, "repeated header", raw)
                else:
                    rows.append((line, raw, text))
            line, at = line + data.count(b"\n", at, record.end), record.end
        return self._gathered(rows), at, line - first

    def _is_swallowing(self, record: records.Record, num_bytes: int, num_lines: int) -> bool:
        """Returns whether a quote was opened by mistake: a record of several lines that is not as it should be."""
        is_odd = record.has_tail or len(record.fields) != self._width or num_bytes > records.MAX_RECORD_BYTES
        return num_lines > 1 and is_odd

    def _decoded(self, fields: list[bytes], line: int, raw: bytes) -> list[str] | None:
        reason, detail = text_fault(raw)
        if reason:
            self._reject(line, reason, raw, detail)
            return None
        return [field.decode() for field in fields]

    def _fits(self, num_fields: int, line: int, raw: bytes) -> bool:
        if num_fields == self._width:
            return True
        self._reject(line, "ragged line", raw, f"{num_fields} fields, expected {self._width}")
        return False

    def _is_header(self, content: bytes, line: int) -> bool:
        """Rejects a line without quotes that is the header again, as `cat` of several files leaves it."""
        blanks = b" " if self._dialect.skip_blanks else b""
        if not self._header or [field.strip(blanks) for field in content.split(self._delimiter)] != self._header:
            return False
        self._reject(line, "repeated header", content)
        return True

    def _reject(self, line: int, reason: str, raw: bytes, detail: str = "") -> None:
        self._stats.reject(self._name, line, reason, raw.decode("utf-8", "backslashreplace"), detail=detail)
        self._stats.count(1)

    def _gathered(self, rows: list[tuple[int, bytes, list[str]]]) -> list[RowBlock]:
        if not rows:
            return []
        self._stats.count(len(rows))
        columns = {
            name: pa.array([fields[position] for _, _, fields in rows], pa.string())
            for name, position in zip(self._wanted, self._positions, strict=True)
        }
        lines = np.array([line for line, _, _ in rows], dtype=np.int64)
        return [RowBlock(self._name, columns, len(rows), lines, lambda i: rows[i][1].decode(), is_text=True)]


def _usual_width(data: bytes, dialect: Dialect, least: int) -> int:
    """Returns the most frequent number of fields in the first 100 lines, as files without a header may have further columns."""
    lines = [line + b"\n" for line in data.split(b"\n", _SAMPLE_LINES)[:_SAMPLE_LINES] if line.strip()]
    widths = Counter(len(record.fields) for line in lines if (record := records.scan_record(line, 0, dialect)))
    usual = widths.most_common(1)[0][0] if widths else least
    return max(usual, least)


def _excerpts(block: bytes) -> Any:
    @cache
    def lines() -> list[bytes]:
        return block.split(b"\n")

    return lambda i: lines()[i].removesuffix(b"\r").decode()


def one_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Returns a column in one piece."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
