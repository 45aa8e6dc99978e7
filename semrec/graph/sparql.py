"""SPARQL over the relations of a release, read-only. Each query runs in a process of its own, which has a deadline.

A query may be as hard as its author likes: a cross product of all relations is one line. So nothing of it runs in the process
that serves: a child opens the stored relations, may use so much memory, can open neither file nor connection, and is killed
at its deadline. The store is pyoxigraph's (the extra `graph`), made at the first query from the release's relations.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from semrec.errors import InputError
from semrec.graph.changed import ChangedGraph
from semrec.graph.graph import Graph
from semrec.rdf_names import iri_of_name
from semrec.workspace.scratch import ScratchFolder

__all__ = ["SparqlAnswer", "SparqlLimits", "SparqlStore"]

_PROCESS: Final = "semrec.graph.sparql_process"
_LABEL: Final = "http://www.w3.org/2000/01/rdf-schema#label"
_CHUNK: Final = 65_536
# Codepoints may be escaped anywhere in a query, and are read before its words are.
_ESCAPE: Final = re.compile(r"\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})")


@dataclass(frozen=True)
class SparqlLimits:
    """What one query may take: seconds, rows and bytes of the answer, and bytes of memory beside the store's."""

    seconds: float = 5.0
    rows: int = 1_000
    num_bytes: int = 1 << 20
    memory_bytes: int = 1 << 30


@dataclass(frozen=True)
class SparqlAnswer:
    """The names of the columns, and rows of names and literals as text, None where nothing is bound.

    ASK gives one row `true` or `false`; CONSTRUCT and DESCRIBE give `subject`, `predicate` and `object`. `truncated`: there
    were more rows than the limits allow.
    """

    columns: tuple[str, ...]
    rows: list[list[str | None]]
    truncated: bool


class SparqlStore:
    """The relations of one release for queries, and of what later changes make of them. Threads may share it.

    `labels` gives ids and titles of items, string each: an item's title is its `rdfs:label`. The stores lie in a temporary
    folder, which goes with this object: that of the release, and of the last changes that were asked for, whose files are the
    release's but for what changed.
    """

    def __init__(self, graph: Graph, labels: Callable[[], tuple[pa.Array, pa.Array | pa.ChunkedArray]]) -> None:
        self._graph, self._labels = graph, labels
        self._folder: ScratchFolder | None = None
        self._changed: tuple[ChangedGraph, _Store] | None = None
        self._making = threading.Lock()

    def query(
        self, text: str, limits: SparqlLimits = SparqlLimits(), changed: ChangedGraph | None = None
    ) -> SparqlAnswer:
        """Answers SELECT, ASK, CONSTRUCT and DESCRIBE. A relative IRI is a name: `<heat> <directed_by> ?who`.

        `changed`: the graph after changes, to ask in the place of the release's. Raises InputError for a query that is wrong,
        that asks another service, or that takes more time or memory than allowed.
        """
        _check_text(text)
        order, store = {"query": text, **asdict(limits)}, self._store(changed)
        try:
            done = _run(["query", store.path], json.dumps(order).encode(), limits.seconds)
        except subprocess.TimeoutExpired:
            raise InputError(
                f"a query that takes longer than {limits.seconds:g} s",
                expected="one that is answered by then",
                remedy="Ask for less: bind a subject or object, or drop a join.",
            ) from None
        if done.returncode:
            raise InputError(
                f"a query that takes more than {limits.memory_bytes >> 20:,} MiB of memory",
                expected="one that takes less",
                remedy="Ask for less: sorting and grouping hold all rows in memory.",
            )
        answer = json.loads(done.stdout)
        if "error" in answer:
            raise InputError(
                f"SPARQL: {answer['error']}", expected="a SPARQL 1.1 query that reads", remedy="Correct the query."
            )
        return SparqlAnswer(tuple(answer["columns"]), answer["rows"], answer["truncated"])

    def _store(self, changed: ChangedGraph | None) -> _Store:
        with self._making:
            if self._folder is None:
                if not find_spec("pyoxigraph"):
                    raise InputError(
                        "SPARQL without pyoxigraph", expected="its store", remedy="pip install 'semrec[graph]'"
                    )
                folder = ScratchFolder("sparql")
                triples, store = Path(folder.name) / "relations.nt", Path(folder.name) / "store"
                _write_ntriples(self._graph, *self._labels(), triples)
                _run(["load", str(store), str(triples)], b"", None).check_returncode()
                triples.unlink()
                self._folder, self._released = folder, _Store(str(store))
            if changed is None:
                return self._released
            if self._changed is None or self._changed[0] is not changed:
                self._changed = changed, _changed_store(self._released.path, changed, self._folder.name)
            return self._changed[1]


@dataclass(frozen=True)
class _Store:
    """A stored graph. `folder` goes with the last query that has this object."""

    path: str
    folder: tempfile.TemporaryDirectory[str] | None = None


def _changed_store(released: str, changed: ChangedGraph, within: str) -> _Store:
    """Makes a store of a graph after changes from the one at `released`, with which it shares its files."""
    folder = tempfile.TemporaryDirectory(prefix="changed-", dir=within)
    store = _Store(str(Path(folder.name) / "store"), folder)
    differences = {"removed": changed.removed, "added": changed.added}
    lines = {name: [_ntriple(*map(iri_of_name, triple)) for triple in triples] for name, triples in differences.items()}
    _run(["change", released, store.path], json.dumps(lines).encode(), None).check_returncode()
    return store


def _run(arguments: list[str], given: bytes, timeout_s: float | None) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", _PROCESS, *arguments]
    return subprocess.run(command, input=given, capture_output=True, timeout=timeout_s, check=False)


def _check_text(text: str) -> None:
    """Raises InputError for a query that may ask another service, wherever the word stands."""
    plain = _ESCAPE.sub(lambda found: chr(min(int(found[1] or found[2], 16), 0x10FFFF)), text)
    if "service" in plain.lower():
        raise InputError(
            "a query with the word SERVICE",
            expected="one that asks nothing of other machines",
            remedy="Leave it out; within a text, write a part of it.",
        )


def _write_ntriples(graph: Graph, item_ids: pa.Array, titles: pa.Array | pa.ChunkedArray, path: Path) -> None:
    """Writes every relation once, as it was stated or inferred, and the items' titles."""
    predicates = [iri_of_name(name) for name in graph.predicates]
    iris = [iri_of_name(name) for name in graph.names_of(np.arange(graph.num_nodes))]
    starts_E = np.repeat(np.arange(graph.num_nodes), graph.degrees())
    forward = np.flatnonzero(np.asarray(graph.predicates_E) < len(predicates))
    with path.open("w", encoding="utf-8") as file:
        for first in range(0, len(forward), _CHUNK):
            edges = forward[first : first + _CHUNK]
            triples = zip(
                starts_E[edges].tolist(), graph.predicates_E[edges].tolist(), graph.targets_E[edges].tolist(), strict=True
            )  # fmt: skip
            file.writelines(_ntriple(iris[start], predicates[p], iris[end]) for start, p, end in triples)
        for item_id, title in zip(item_ids.to_pylist(), titles.to_pylist(), strict=True):
            if title:  # a JSON string is one of N-Triples
                file.write(f"<{iri_of_name(item_id)}> <{_LABEL}> {json.dumps(title)} .\n")


def _ntriple(subject: str, predicate: str, end: str) -> str:
    return f"<{subject}> <{predicate}> <{end}> .\n"
