"""Loads relations into a store, or answers one query, in a process of its own: what `sparql` starts and kills.

python -m semrec.graph.sparql_process load STORE FILE.nt
python -m semrec.graph.sparql_process change STORE CHANGED_STORE < {"removed": [N-Triples, ..], "added": [..]}
python -m semrec.graph.sparql_process query STORE < {"query": .., "rows": .., "num_bytes": .., "memory_bytes": ..}
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from semrec.rdf_names import BASE_IRI, name_of_iri

__all__ = ["main"]


def main(arguments: Sequence[str]) -> None:
    """Does what the arguments say; an answer, or `{"error": ..}` for a wrong query, is one JSON object on stdout."""
    import pyoxigraph

    command, path, *more = arguments
    if command == "load":
        store = pyoxigraph.Store(path)
        store.bulk_load(path=more[0], format=pyoxigraph.RdfFormat.N_TRIPLES, lenient=True)
        store.optimize()
        return
    order = json.load(sys.stdin)
    if command == "change":
        pyoxigraph.Store.read_only(path).backup(more[0])
        store = pyoxigraph.Store(more[0])
        for name, change in (("removed", store.remove), ("added", store.add)):
            for triple in pyoxigraph.parse("".join(order[name]), format=pyoxigraph.RdfFormat.N_TRIPLES, lenient=True):
                change(triple)
        store.flush()
        return
    store = pyoxigraph.Store.read_only(path)
    _forbid(order["memory_bytes"])
    try:
        answer = _answer(store.query(order["query"], base_iri=BASE_IRI), order["rows"], order["num_bytes"])
    except (SyntaxError, ValueError, OSError) as error:
        answer = {"error": str(error)[:400]}
    sys.stdout.write(json.dumps(answer))


def _forbid(memory_bytes: int) -> None:
    """From here on this process opens no file and no connection, and takes so many bytes of memory more."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + memory_bytes, size + memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))


def _answer(found: Any, most_rows: int, most_bytes: int) -> dict[str, Any]:
    columns, values = _columns(found)
    rows: list[list[str | None]] = []
    num_bytes = 0
    for terms in values:
        row = [_text(term) for term in terms]
        num_bytes += sum(len(text.encode()) if text else 4 for text in row)
        if len(rows) == most_rows or num_bytes > most_bytes:
            return {"columns": columns, "rows": rows, "truncated": True}
        rows.append(row)
    return {"columns": columns, "rows": rows, "truncated": False}


def _columns(found: Any) -> tuple[list[str], Iterator[Sequence[Any]]]:
    """The names of the columns, and the terms of each row."""
    kind = type(found).__name__
    if kind == "QueryBoolean":
        return ["ask"], iter([["true" if found else "false"]])
    if kind == "QueryTriples":
        return ["subject", "predicate", "object"], ([t.subject, t.predicate, t.object] for t in found)
    names = found.variables
    return [name.value for name in names], ([row[name] for name in names] for row in found)


def _text(term: Any) -> str | None:
    if term is None or isinstance(term, str):
        return term
    if type(term).__name__ == "NamedNode":
        return name_of_iri(term.value)
    return str(getattr(term, "value", term))


if __name__ == "__main__":
    main(sys.argv[1:])
