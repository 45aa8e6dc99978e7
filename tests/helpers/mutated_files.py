"""Damages source files at random and imports them: every row is imported or rejected with its place, or the file is refused.

`PYTHONPATH=.:tests python tests/helpers/mutated_files.py 10000` damages 10,000 files; a failure prints its seed.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import sys
import tarfile
import tempfile
import traceback
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from helpers.import_cases import NOW_S, quarantined, rows_of
from semrec.data import ColumnMap, ItemRow, import_items, import_table
from semrec.errors import SemrecError
from semrec.workspace.folder import Workspace

EVENTS: Final = ColumnMap(user_id="u", item_id="i", value="v", timestamp="t")
ITEMS: Final = ColumnMap("id", title="name", text=("name", "about"), attributes={"genre": "genres"})
_ITEMS: Final = ("a", "b", "c", "007", "ü")
_ROWS: Final = [(f"u{n % 7}", _ITEMS[n % 5], float(n % 4), 1_000_000_000 + n) for n in range(30)]
#: Bytes with a meaning in one of the formats, and some that no text has.
_SPECIAL: Final = (
    *(
        b'"',
        b"'",
        b",",
        b";",
        b"\t",
        b"\n",
        b"\r",
        b"\r\n",
        b"\\",
        b"\0",
        b"\xff",
        b"\xc3",
        b"\xef\xbb\xbf",
        b" ",
        b"::",
    ),
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b"null",
        b"NaN",
        b"\x1f",
        b"1e999",
        b"-",
        b"#",
        b"\xff\xfe",
        b"\\u0000",
        b"\\ud83d",
    ),
)


def _csv() -> bytes:
    return b"u,i,v,t\n" + b"".join(f"{u},{i},{v},{t}\n".encode() for u, i, v, t in _ROWS)


def _quoted_csv() -> bytes:
    rows = [f'{n},"The ""{n}th"" pot, blue","Iron,\nround",Home|Kitchen\r\n' for n in range(20)]
    return ("id,name,about,genres\r\n" + "".join(rows)).encode()


def _jsonl() -> bytes:
    return b"".join(
        json.dumps(dict(zip("uivt", row, strict=True)), ensure_ascii=False).encode() + b"\n" for row in _ROWS
    )


def _item_lines() -> bytes:
    rows = [
        {"id": n, "name": f"Pot {n}", "about": "é\n", "genres": ["Home", None, f"{n}"], "x": {"y": 1.5}}
        for n in range(20)
    ]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def _parquet(**options: Any) -> bytes:
    sink = io.BytesIO()
    columns = [pa.array(column) for column in zip(*_ROWS, strict=True)]
    pq.write_table(pa.table(dict(zip("uivt", columns, strict=True))), sink, **options)
    return sink.getvalue()


def _zip(compression: int) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", compression) as archive:
        archive.writestr("one.csv", _csv())
        archive.writestr("in/two.csv", _csv())
    return sink.getvalue()


def _tar(mode: str) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode=mode) as archive:  # type: ignore[call-overload]
        for name in ("one.csv", "in/two.csv"):
            member = tarfile.TarInfo(name)
            member.size = len(_csv())
            archive.addfile(member, io.BytesIO(_csv()))
    return sink.getvalue()


def _array() -> bytes:
    return json.dumps([json.loads(line) for line in _jsonl().splitlines()], indent=1, ensure_ascii=False).encode()


def _lists() -> bytes:
    return b"".join(f"u{n} {' '.join(_ITEMS[: n % 5])}\n".encode() for n in range(20))


def _triples() -> bytes:
    rows = [
        f'<http://x/{n}> <http://x/p{n % 3}> <http://x/{n * n}> .\n_:b{n} <http://x/name> "a \\"ü\\""@en .\n'
        for n in range(15)
    ]
    return "".join(rows).encode()


#: File name -> its undamaged bytes, the format, the kind and the columns.
FILES: Final[dict[str, tuple[Callable[[], bytes], str, str, ColumnMap]]] = {
    "plain.csv": (_csv, "csv", "interactions", EVENTS),
    "quoted.csv": (_quoted_csv, "csv", "items", ITEMS),
    "utf16.csv": (lambda: _csv().decode().encode("utf-16"), "csv", "interactions", EVENTS),
    "events.jsonl": (_jsonl, "jsonl", "interactions", EVENTS),
    "items.jsonl": (_item_lines, "jsonl", "items", ITEMS),
    "array.json": (_array, "jsonl", "interactions", EVENTS),
    "train.txt": (_lists, "lists", "interactions", ColumnMap()),
    "plain.parquet": (lambda: _parquet(compression="none", use_dictionary=False), "parquet", "interactions", EVENTS),
    "snappy.parquet": (lambda: _parquet(compression="snappy"), "parquet", "interactions", EVENTS),
    "events.csv.gz": (lambda: gzip.compress(_csv(), mtime=0), "csv", "interactions", EVENTS),
    "events.csv.bz2": (lambda: bz2.compress(_csv()), "csv", "interactions", EVENTS),
    "events.csv.xz": (lambda: lzma.compress(_csv()), "csv", "interactions", EVENTS),
    "events.csv.zst": (lambda: pa.compress(_csv(), "zstd", asbytes=True), "csv", "interactions", EVENTS),
    "stored.zip": (lambda: _zip(zipfile.ZIP_STORED), "csv", "interactions", EVENTS),
    "deflated.zip": (lambda: _zip(zipfile.ZIP_DEFLATED), "csv", "interactions", EVENTS),
    "plain.tar": (lambda: _tar("w"), "csv", "interactions", EVENTS),
    "packed.tar.gz": (lambda: _tar("w:gz"), "csv", "interactions", EVENTS),
}
if find_spec("pyoxigraph"):
    FILES["triples.nt"] = (_triples, "ntriples", "relations", ColumnMap())
    FILES["triples.ttl"] = (_triples, "turtle", "relations", ColumnMap())


def damaged(data: bytes, chance: random.Random) -> bytes:
    """`data` with one to four bytes, words or stretches changed, added, removed, doubled or cut off."""
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        at = chance.randrange(len(data) + 1)
        end = min(len(data), at + chance.choice((1, 1, 2, 8, 64, 512)))
        special = chance.choice(_SPECIAL)
        data = chance.choice(
            (
                data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :],
                data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)] if at < len(data) else []) + data[at + 1 :],
                data[:at] + special + data[at:],
                data[:at] + special + data[at + len(special) :],
                data[:at] + data[end:],
                data[:end] + data[at:],
                data[:at],
                data + chance.randbytes(chance.randrange(40)),
            )
        )
    return data


def _unpacked(name: str, data: bytes) -> list[bytes] | None:
    """The text files in a damaged file, by Python's own readers; None where it is no text or cannot be unpacked."""
    try:
        if name.endswith(".gz") and not name.endswith(".tar.gz"):
            return [gzip.decompress(data)]
        if name.endswith(".bz2"):
            return [bz2.decompress(data)]
        if name.endswith(".xz"):
            return [lzma.decompress(data)]
        if name.endswith((".csv", ".jsonl")) and name != "utf16.csv":
            return [data]
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error):
        return []
    return None


def check(folder: Path, name: str, data: bytes) -> str:
    """Imports a damaged file: "imported", or "refused". Raises AssertionError where a row was lost or made up."""
    _, fmt, kind, columns = FILES[name]
    workspace = Workspace.create(str(folder / "workspace"), num_buckets=1)
    import_items(workspace, [ItemRow(item, "An item") for item in _ITEMS])
    path = folder / name
    path.write_bytes(data)
    texts = _unpacked(name, data)
    try:
        report = import_table(
            workspace,
            path,
            fmt=fmt,
            kind=kind,
            columns=columns,
            max_rejected=1,
            allow_empty=True,
            allow_repeated=True,
            now_s=NOW_S,
        )  # type: ignore[arg-type]
    except SemrecError as error:
        assert str(error)
        return "refused"
    assert texts != [], "what cannot be unpacked was imported"
    rejected = quarantined(workspace, kind)
    num_rows = len(rows_of(workspace, {"items": "catalogue"}.get(kind, kind))) + report.num_repeats
    assert report.num_read[kind] == num_rows + len(rejected), f"{report.num_read} rows, {num_rows} and {len(rejected)}"
    if texts is not None and (name.endswith(".jsonl") or b'"' not in texts[0]):
        _check_lines(fmt, texts[0], rejected, report.num_read[kind])
    return "imported"


def _check_lines(fmt: str, text: bytes, rejected: list[Any], num_read: int) -> None:
    """Every line but blank ones and the header is a row, and under the same header no row as it stood before is rejected."""
    lines = text.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    first = 1 if fmt == "csv" else 0
    filled = [
        n
        for n, line in enumerate(lines[first:], start=first + 1)
        if (line.removesuffix(b"\r") if fmt == "csv" else line.strip())
    ]
    assert num_read == len(filled), f"{num_read} rows read of {len(filled)} lines"
    assert {line for _, line, _ in rejected} <= set(filled)
    original = FILES["plain.csv" if fmt == "csv" else "events.jsonl"][0]().split(b"\n")
    whole = set(original if fmt == "jsonl" or lines[0] == original[0] else [])
    for _, line, reason in rejected:
        is_whole = lines[line - 1].removesuffix(b"\r") in whole
        assert not is_whole or reason == "repeated header", f"line {line} was rejected: {reason}"


def run(seeds: range) -> Counter[str]:
    """Damages one file per seed, all of FILES in turn. How many ended in which way; failures are printed."""
    outcomes: Counter[str] = Counter()
    for seed in seeds:
        chance = random.Random(seed)
        name = list(FILES)[seed % len(FILES)]
        data = damaged(FILES[name][0](), chance)
        with tempfile.TemporaryDirectory(prefix="semrec-damaged-") as folder:
            try:
                outcomes[check(Path(folder), name, data)] += 1
            except Exception as error:
                outcomes["failed"] += 1
                lines = traceback.format_exc().strip().split("\n")
                print(f"seed {seed}, {name}: {type(error).__name__}: {error}\n  " + "\n  ".join(lines[-7:]))
    return outcomes


if __name__ == "__main__":
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    ways = run(range(first, first + int(sys.argv[1])))
    print(dict(ways))
    sys.exit(1 if ways["failed"] else 0)
