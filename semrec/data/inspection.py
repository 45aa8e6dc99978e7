"""Looks at a source file before an import: its format, dialect and columns, what they may mean, and the command to use."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from semrec.data.columns import ColumnMap
from semrec.data.delimited import read_delimited
from semrec.data.dialects import guess_dialect
from semrec.data.imports import READERS
from semrec.data.interactions import WeightRule
from semrec.data.jsonl import json_objects
from semrec.data.kinds import KINDS, ImportJob
from semrec.data.parquet import open_parquet
from semrec.data.records import Dialect
from semrec.data.rejects import ReadStats, RowBlock
from semrec.data.sources import Source, find_sources
from semrec.data.staging import scratch_folder
from semrec.data.times import TimeReader
from semrec.errors import InputError
from semrec.workspace.folder import Workspace
from semrec.workspace.log import LogPositions
from semrec.workspace.storage import Storage

__all__ = ["Column", "Inspection", "inspect"]

_RDF: Final = {"ntriples": "nt", "turtle": "ttl"}  # told by the ending of the name
_SAMPLE_ROWS: Final = 1_000
_NUM_EXAMPLES: Final = 3
_EXAMPLE_CHARS: Final = 40
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

#: What a column means by its name, in small letters without anything but letters and digits; likelier names first.
_NAMES: Final[Mapping[str, Sequence[str]]] = {
    "user_id": ("userid", "user", "reviewerid", "customerid", "memberid", "visitorid", "accountid", "sessionid", "uid"),
    "item_id": (
        "itemid", "movieid", "bookid", "isbn", "parentasin", "asin", "productid", "sku", "artistid", "showid", "appid",
        "trackid", "songid", "animeid", "articleid", "contentid", "videoid", "item", "movie", "iid",
    ),
    "title": ("title", "name", "movietitle", "booktitle", "producttitle", "itemname", "productname", "headline"),
    "text": ("description", "overview", "about", "plot", "summary", "synopsis", "abstract", "blurb", "text", "content"),
    "value": ("rating", "bookrating", "overall", "value", "score", "stars", "weight", "plays", "count", "quantity"),
    "timestamp": ("timestamp", "ts", "time", "datetime", "date", "unixreviewtime", "createdat", "eventtime", "eventdate"),
    "subject": ("subject", "subj", "head"),
    "predicate": ("predicate", "relation", "property"),
    "object": ("object", "obj", "tail"),
    "event_id": ("eventid", "transactionid", "orderid", "reviewid"),
    "attributes": (
        "genres", "genre", "category", "categories", "tags", "listedin", "platform", "platforms", "language", "languagecode",
        "country", "year", "releaseyear", "originalpublicationyear", "brand", "store", "author", "authors", "gender", "age",
        "occupation", "maturity", "region", "plan",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A column of a sample: what its values look like, and a few of them."""

    name: str
    type: str
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Inspection:
    """The format, dialect and columns of a file, as its first rows show them.

    `kind` and `command` are a proposal, empty where no column tells users or items. `num_rows` were tried as that kind, and
    `rejected` of them by reason; unknown items and duplicate ids are found by the import alone. `examples` are the first.
    """

    file: str
    fmt: str
    dialect: str
    columns: tuple[Column, ...]
    kind: str
    command: str
    num_rows: int
    rejected: Mapping[str, int]
    examples: tuple[str, ...]


class _EveryItem:
    def contains(self, ids: pa.Array) -> np.ndarray:
        return np.ones(len(ids), dtype=bool)


def inspect(path: str | Path) -> Inspection:
    """Reads the beginning of the first file that `path` stands for. Raises InputError for one that cannot be read."""
    with scratch_folder() as scratch:
        source = _first_source(str(path), scratch)
        fmt = _format_of(source)
        sample = ReadStats(Storage(str(scratch)), "sample", max_rejected=1.0)
        dialect, names = guess_dialect(source) if fmt == "csv" else (Dialect(), _names(source, fmt, sample))
        block = _first_block(source, fmt, dialect, names, sample)
        columns = [] if block is None else [_column(name, block) for name in names]
        kind, mapped = _proposal([column.name for column in columns])
        stats = ReadStats(Storage(str(scratch)), kind or "rows", max_rejected=1.0)
        num_rows = 0
        if block is not None and kind:
            num_rows = block.num_rows
            _try(block, kind, mapped, stats, scratch)
        command = _command(str(path), fmt, dialect, kind, mapped) if kind else ""
        return Inspection(
            source.name, fmt, str(dialect) if fmt == "csv" else "", tuple(columns), kind, command, num_rows,
            dict(stats.rejected), tuple(stats.examples),
        )  # fmt: skip


def _first_source(path: str, scratch: Path) -> Source:
    problem: InputError | None = None
    for fmt in ("csv", "jsonl", "parquet", *_RDF):
        try:
            sources = find_sources(path, fmt, scratch=scratch)
            return next((s for s in sources if not s.name.lower().startswith(("readme", "license"))), sources[0])
        except InputError as error:
            problem = problem or error
    assert problem is not None  # each try returned or raised
    raise problem


def _format_of(source: Source) -> str:
    with source.open(compression=None) as file:
        if file.read(4) == b"PAR1":
            return "parquet"
    endings = source.path.lower().split(".")
    if rdf := next((fmt for fmt, ending in _RDF.items() if ending in endings[-2:]), None):
        return rdf
    with source.open() as file:
        start = file.read(4096).lstrip(b"\xef\xbb\xbf \r\n\t")
    return "jsonl" if start.startswith((b"{", b"[")) else "csv"


def _names(source: Source, fmt: str, stats: ReadStats) -> list[str]:
    """Returns the columns of a Parquet file, or the keys of the first JSON objects in the order in which they come."""
    if fmt == "parquet":
        with source.open(compression=None) as file:
            return list(open_parquet(file, source.path).schema_arrow.names)
    if fmt in _RDF:
        return ["subject", "predicate", "object"]
    objects = next((objects for _, _, objects in json_objects(source, stats)), [])
    return list(dict.fromkeys(name for row in objects[:_SAMPLE_ROWS] for name in row))


def _first_block(source: Source, fmt: str, dialect: Dialect, names: list[str], stats: ReadStats) -> RowBlock | None:
    if fmt == "csv":
        blocks = read_delimited(source, names, stats=stats, dialect=dialect)
    else:
        blocks = READERS[fmt](source, names, ids=[], keys=None, stats=stats)
    return next(iter(blocks), None) if names else None


def _column(name: str, block: RowBlock) -> Column:
    values = block.columns[name][:_SAMPLE_ROWS]
    values = values if isinstance(values, list) else values.to_pylist()
    present = [value for value in values if value is not None and value != ""]
    examples = dict.fromkeys(str(value)[:_EXAMPLE_CHARS] for value in present[:20])
    return Column(name, _type_of(present), tuple(examples)[:_NUM_EXAMPLES])


def _type_of(values: list[Any]) -> str:
    if not values:
        return "empty"
    if any(isinstance(value, (list, dict)) for value in values):
        return "list" if all(isinstance(value, list) for value in values) else "nested"
    texts = [str(value).strip() for value in values]
    if all(_INTEGER.fullmatch(text) for text in texts):
        return "integer"
    if all(_NUMBER.fullmatch(text) for text in texts):
        return "number"
    return "text" if TimeReader("auto").seconds(pa.array(texts))[1].any() else "time"


def _proposal(names: Sequence[str]) -> tuple[str, ColumnMap]:
    """Returns the kind that columns of such names may be, and what they mean; "" when neither users nor items are named."""
    plain = {re.sub(r"[^a-z0-9]", "", name.partition(":")[0].lower()): name for name in reversed(names)}
    meaning = {role: [plain[name] for name in known if name in plain] for role, known in _NAMES.items()}
    first = {role: columns[0] for role, columns in meaning.items() if columns}
    if "id" in plain:  # of whom it is follows from what stands beside it
        first.setdefault("item_id" if "title" in first or "text" in first else "user_id", plain["id"])
    if {"subject", "predicate", "object"} <= set(first):
        said = ColumnMap(subject=first["subject"], predicate=first["predicate"], object=first["object"])
        return "relations", replace(said, weight=plain.get("weight"))
    attributes = {re.sub(r"\W+", "_", name.partition(":")[0]).lower(): name for name in meaning["attributes"]}
    if "user_id" in first and "item_id" in first:
        value, timestamp, event_id = (first.get(role) for role in ("value", "timestamp", "event_id"))
        user_id, item_id = first["user_id"], first["item_id"]
        return "interactions", ColumnMap(item_id, user_id, value=value, timestamp=timestamp, event_id=event_id)
    if "item_id" in first and ("title" in first or "text" in first):
        title = first.get("title")
        texts = ([title] if title and meaning["text"] else []) + meaning["text"]
        return "items", ColumnMap(first["item_id"], title=title, text=tuple(texts), attributes=attributes)
    if "user_id" in first:
        return "users", ColumnMap(user_id=first["user_id"], attributes=attributes)
    return "", ColumnMap()


def _try(block: RowBlock, kind: str, columns: ColumnMap, stats: ReadStats, scratch: Path) -> None:
    """Checks the rows of a block as rows of a kind, and keeps none."""
    workspace = Workspace.create(str(scratch / "workspace"), num_buckets=1)
    now_s = int(time.time())
    job = ImportJob(
        workspace, stats, scratch, False, LogPositions(0, 0), now_s, WeightRule(), "auto", known=_EveryItem()
    )
    for _ in KINDS[kind].tables([block], columns, job):
        pass


def _command(path: str, fmt: str, dialect: Dialect, kind: str, columns: ColumnMap) -> str:
    """Returns the import command for a mapping; a dialect is spelt out, so that it does not depend on a sample."""
    words = ["semrec", "import", fmt, path, "--kind", kind]
    for role in (*KINDS[kind].id_fields, *KINDS[kind].fields):
        value = getattr(columns, role)
        if isinstance(value, str):
            words += [f"--{role.replace('_', '-')}", value]
        elif isinstance(value, tuple) and value:
            words += [f"--{role}", ",".join(value)]
        elif isinstance(value, Mapping):
            option = f"--{role.removesuffix('s')}"
            words += [word for name in value for word in (option, f"{name}={value[name]}")]
    if fmt == "csv":
        plain = Dialect()
        words += (
            ["--delimiter", "tab" if dialect.delimiter == "\t" else dialect.delimiter]
            if dialect.delimiter != ","
            else []
        )
        words += ["--encoding", dialect.encoding] if dialect.encoding != plain.encoding else []
        words += ["--escape", dialect.escape] if dialect.escape else []
        flags = {
            "--no-quotes": not dialect.quoted,
            "--skip-blanks": dialect.skip_blanks,
            "--no-header": not dialect.has_header,
        }
        words += [flag for flag, is_set in flags.items() if is_set]
    return " ".join(map(shlex.quote, [*words, "-w", "W"]))
