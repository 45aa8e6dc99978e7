"""Settles the dialect of a text file: what was said stands, the rest is taken from a sample of it.

Nothing is guessed where RFC 4180 reads the sample: another dialect is chosen only when it leaves fewer lines faulty.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from semrec.data.encodings import text_stream
from semrec.data.records import Dialect, scan_record
from semrec.data.sources import Source

__all__ = ["DialectOptions", "guess_dialect", "settle_dialect"]

_SAMPLE_BYTES: Final = 1 << 20
_DELIMITERS: Final = (",", "\t", ";", "|")
_BACKSLASH: Final = "\\"


@dataclass(frozen=True)
class DialectOptions:
    """The given fields of a dialect, as in `Dialect`; None is settled by the file."""

    delimiter: str | None = None
    quoted: bool | None = None
    escape: str | None = None
    skip_blanks: bool | None = None
    encoding: str | None = None
    has_header: bool | None = None

    def __post_init__(self) -> None:
        self.applied(Dialect())  # raises for what no dialect has

    def applied(self, dialect: Dialect) -> Dialect:
        """Returns `dialect` with the given fields replaced."""
        said = {name: value for name, value in vars(self).items() if value is not None}
        if said.get("delimiter") == "::":
            said.setdefault("quoted", False)
        return replace(dialect, **said)


def settle_dialect(
    source: Source, wanted: Sequence[str], options: DialectOptions, note: Callable[[str], None] = lambda text: None
) -> Dialect:
    """Finds the dialect of a file, from its first MiB. `note` is told what was settled without being said.

    UTF-16 is known by its byte order mark. The delimiter is a comma, or else a tab, semicolon or bar under which the first
    line has all columns `wanted`. There is no header where all of them are positions ("1", "2") that it does not have. Quotes
    escaped by a backslash, fields without quoting, and blanks around all fields follow from the lines that are faulty.
    """
    with source.open() as file:
        start = file.read(4)
        encoding = options.encoding or _encoding_of(start)
    sample = _sample(source, encoding)
    dialect = options.applied(Dialect(encoding=encoding))
    if options.delimiter is None:
        dialect = _with_delimiter(sample, wanted, dialect)
    if options.has_header is None and wanted and all(name.isdigit() for name in wanted):
        dialect = replace(dialect, has_header=set(wanted) <= set(_names(sample, dialect)))
    candidates = dict.fromkeys((dialect, *_candidates(dialect, options)))
    settled = min(candidates, key=lambda candidate: _num_faults(sample, candidate))  # the first of equals
    if options.skip_blanks is None and not settled.skip_blanks and _has_blanks(sample, settled):
        settled = replace(settled, skip_blanks=True)
    if settled != options.applied(Dialect()):
        note(f"{source.name} is read with: {settled}")
    return settled


def _sample(source: Source, encoding: str) -> bytes:
    """Reads the lines in the first MiB of a file, as UTF-8; the last one only where it is whole."""
    with source.open() as file:
        sample = text_stream(file, encoding).read(_SAMPLE_BYTES).removeprefix(codecs.BOM_UTF8)
    num_whole = sample.rfind(b"\n") + 1 if len(sample) >= _SAMPLE_BYTES else 0
    return sample[:num_whole] or sample + b"\n"


def _encoding_of(start: bytes) -> str:
    return "utf-16" if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8"


def _with_delimiter(sample: bytes, wanted: Sequence[str], dialect: Dialect) -> Dialect:
    positions = all(name.isdigit() for name in wanted)
    for delimiter in _DELIMITERS:
        candidate = replace(dialect, delimiter=delimiter)
        names = _names(sample, candidate)
        if set(wanted) <= set(names) or (positions and len(names) >= max(map(int, wanted), default=0) > 1):
            return candidate
    return dialect


def _names(sample: bytes, dialect: Dialect) -> list[str]:
    record = scan_record(sample, 0, dialect)
    return [field.decode("utf-8", "replace").strip() for field in record.fields] if record else []


def _candidates(dialect: Dialect, options: DialectOptions) -> Iterator[Dialect]:
    """Yields other dialects than `dialect`, likelier ones first, within what was said."""
    if options.skip_blanks is None:
        yield replace(dialect, skip_blanks=True)
    if options.escape is None and dialect.quoted:
        yield replace(dialect, escape=_BACKSLASH)
    if options.quoted is None and dialect.quoted and not dialect.escape:
        yield replace(dialect, quoted=False)


def _num_faults(sample: bytes, dialect: Dialect) -> int:
    """Counts the lines of a sample that a dialect does not read: of another width than the first, or with quotes out of place.

    Without quotes, a field within quotes counts as one: it is the sign of a file that has them.
    """
    if b'"' not in sample:
        return 0
    num_faults = at = width = 0
    while (newline := sample.find(b"\n", at)) >= 0:
        record = scan_record(sample, at, dialect)
        is_odd = record is None or record.has_tail or (width and len(record.fields) != width)
        if record is not None and not dialect.quoted:
            is_odd = is_odd or any(len(field) > 1 and field[:1] == field[-1:] == b'"' for field in record.fields)
        is_swallowing = record is not None and is_odd and b"\n" in sample[at : record.end - 1]
        if is_odd and sample[at:newline].strip():
            num_faults += 1
        if record is None or is_swallowing:  # as the reader does: only the first line of it is at fault
            at = newline + 1
            continue
        width = width or len(record.fields)
        at = record.end
    return num_faults


def _has_blanks(sample: bytes, dialect: Dialect) -> bool:
    """Returns whether a blank follows every delimiter in the header, and nearly every one after it."""
    plain = [line for line in sample.split(b"\n")[:1_000] if b'"' not in line and line.strip()]
    fields = [line.split(dialect.delimiter.encode())[1:] for line in plain]
    if len(fields) < 2 or not fields[0] or not all(field.startswith(b" ") for field in fields[0]):
        return False
    rest = [field for line in fields[1:] for field in line if field.strip()]
    return bool(rest) and sum(field.startswith(b" ") for field in rest) >= 0.9 * len(rest)


def guess_dialect(source: Source) -> tuple[Dialect, list[str]]:
    """Guesses the dialect of a file of which nothing is known, and the names of its columns ("1", "2" without a header).

    The delimiter is the one that gives the first line most fields; a first line with a number or a gap is no header; text
    that is not UTF-8 is taken for cp1252. It is a proposal: `settle_dialect` settles less.
    """
    with source.open() as file:
        start = file.read(_SAMPLE_BYTES)
    if not start:
        return Dialect(), []
    encoding = _encoding_of(start)
    if encoding == "utf-8" and not _is_utf8(start):
        encoding = "cp1252"
    sample = _sample(source, encoding)
    candidates = [Dialect(delimiter, encoding=encoding) for delimiter in _DELIMITERS]
    best = max(candidates, key=lambda candidate: len(_names(sample, candidate)))
    names = _names(sample, best)
    has_header = len(set(names)) == len(names) and all(name and not _is_number(name) for name in names)
    dialect = settle_dialect(source, [], DialectOptions(best.delimiter, encoding=encoding, has_header=has_header))
    names = _names(sample, dialect)
    return dialect, names if has_header else [str(position + 1) for position in range(len(names))]


def _is_utf8(start: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)  # a character cut at the end is no fault
    except UnicodeDecodeError:
        return False
    return True


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).replace("-", "", 1).isdigit()
