"""Reads RDF: N-Triples line by line, Turtle as a whole. The parser is pyoxigraph's, of the extra `graph`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

import numpy as np
import pyarrow as pa

from semrec.data.delimited import check_columns, line_blocks
from semrec.data.encodings import is_text
from semrec.data.rejects import RowBlock, RowStats
from semrec.data.sources import Source
from semrec.errors import InputError
from semrec.rdf_names import BASE_IRI, name_of_iri

__all__ = ["IS_LITERAL", "read_ntriples", "read_turtle"]

#: A column of every block: whether the object is a literal, and so no id.
IS_LITERAL: Final = "is_literal"
_COLUMNS: Final = ("subject", "predicate", "object")
_BATCH_ROWS: Final = 65_536
Triple = tuple[str, str, str, bool]


def read_ntriples(source: Source, wanted: Sequence[str], *, stats: RowStats) -> Iterator[RowBlock]:
    """Reads the triples of an N-Triples file: columns `subject`, `predicate`, `object` (string) and `is_literal` (bool).

    An IRI is its text, a literal its value without language or type, a blank node `_:<file>/<name>`. Blank lines and
    comments are no rows. Rejected: "bad UTF-8", "not a triple". Raises InputError for another wanted column, a line above
    16 MiB, or without pyoxigraph.
    """
    check_columns(wanted, _COLUMNS, source.name)
    parse, formats = _pyoxigraph()
    with source.open() as file:
        for data, first in line_blocks(file, source.name):
            lines = [(n, raw) for n, raw in enumerate(data.split(b"\n"), start=first) if _is_triple(raw)]
            triples: list[Triple] = []
            numbers = [number for number, _ in lines]
            try:  # all at once, which is several times faster than one by one
                triples = [_texts(quad, source.name) for quad in parse(data, format=formats.N_TRIPLES)]
            except (SyntaxError, ValueError):
                triples = []
            if len(triples) != len(lines):
                triples, numbers = [], []
                for number, raw in lines:
                    try:
                        (quad,) = parse(raw, format=formats.N_TRIPLES)
                        triples.append(_texts(quad, source.name))
                        numbers.append(number)
                    except (SyntaxError, ValueError) as error:
                        reason = "not a triple" if is_text(raw) else "bad UTF-8"
                        excerpt = raw.decode("utf-8", "backslashreplace")
                        stats.reject(source.name, number, reason, excerpt, detail=str(error))
            stats.count(len(lines))
            if triples:
                yield _block(source.name, triples, np.array(numbers, dtype=np.int64))


def read_turtle(source: Source, wanted: Sequence[str], *, stats: RowStats) -> Iterator[RowBlock]:
    """Reads the triples of a Turtle file, as `read_ntriples`, without lines: a triple may span lines, and a line hold several.

    An IRI without a scheme is an id or name of the workspace, decoded: <heat>, or <genre=Film%20Noir>, the literal Film Noir
    of the predicate genre. A file with a @base of its own has none such.

    Raises InputError with the line for a file that is damaged anywhere, as what stands behind cannot be told.
    """
    check_columns(wanted, _COLUMNS, source.name)
    parse, formats = _pyoxigraph()
    with source.open() as file:
        quads = _turtle(parse(file, format=formats.TURTLE, base_iri=BASE_IRI), source.name)
        while triples := list(islice(quads, _BATCH_ROWS)):
            stats.count(len(triples))
            yield _block(source.name, triples, None)


def _turtle(quads: Iterator[Any], name: str) -> Iterator[Triple]:
    try:
        for quad in quads:
            yield _texts(quad, name)
    except (SyntaxError, ValueError) as error:
        raise InputError(
            f"{name} is not Turtle: {error}",
            expected="a whole, undamaged file",
            remedy="Mend it, or write it as N-Triples, where damage costs one triple.",
        ) from error


def _texts(quad: Any, name: str) -> Triple:
    """Raises ValueError for a triple about a triple, which has no text."""
    kind, texts = "", []
    for term in (quad.subject, quad.predicate, quad.object):
        kind = type(term).__name__
        if kind == "Triple":
            raise ValueError("a triple within a triple")
        text = f"_:{name}/{term.value}" if kind == "BlankNode" else str(term.value)
        texts.append(name_of_iri(text) if kind == "NamedNode" else text)
    subject, predicate, value = texts
    return subject, predicate, value, kind == "Literal"


def _block(name: str, triples: list[Triple], lines: np.ndarray | None) -> RowBlock:
    *texts, is_literal = zip(*triples, strict=True)
    columns = dict(zip(_COLUMNS, (pa.array(column, pa.string()) for column in texts), strict=True))
    columns[IS_LITERAL] = pa.array(is_literal, pa.bool_())
    return RowBlock(name, columns, len(triples), lines, lambda row: " ".join(triples[row][:3]))


def _is_triple(raw: bytes) -> bool:
    content = raw.strip()
    return bool(content) and not content.startswith(b"#")


def _pyoxigraph() -> tuple[Any, Any]:
    try:
        from pyoxigraph import RdfFormat, parse
    except ImportError as error:
        raise InputError(
            "RDF without pyoxigraph", expected="its parser", remedy="Install it: pip install 'semrec[graph]'."
        ) from error
    return parse, RdfFormat
