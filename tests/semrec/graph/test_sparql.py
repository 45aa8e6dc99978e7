"""SPARQL over relations: names come back as they are, and no query holds up, fills or leaves its process."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semrec.contracts import RELATIONS_SCHEMA
from semrec.errors import InputError
from semrec.graph.graph import build_graph
from semrec.graph.sparql import SparqlLimits, SparqlStore
from semrec.rdf_names import iri_of_name, name_of_iri

NEEDS_STORE = pytest.mark.skipif(find_spec("pyoxigraph") is None, reason="NOT TESTED: pyoxigraph is not installed")
_ODD = "http:/x y/ü%<>?#"
_RELATIONS = [
    ("heat", "directed_by", "Michael Mann", False, 1.0),
    ("collateral", "directed_by", "Michael Mann", False, 1.0),
    ("heat", "year", "1995", True, 1.0),
    (_ODD, "directed_by", "tmdb:1", False, 1.0),
    *((f"n{i}", "near", f"n{i + 1}", False, 1.0) for i in range(3_000)),
]


@pytest.fixture(scope="module")
def store() -> SparqlStore:
    table = pa.table([list(column) for column in zip(*_RELATIONS, strict=True)], schema=RELATIONS_SCHEMA)
    titles = pa.array(["heat", "n1"]), pa.array(['Heat "1995"\n', None], pa.string())
    return SparqlStore(build_graph(table), lambda: titles)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_every_name_has_an_iri_of_its_own(name: str) -> None:
    iri = iri_of_name(name)
    assert name_of_iri(iri) == name
    assert not set(iri) & set(' <>"{}|\\^`')


@NEEDS_STORE
def test_names_and_titles_come_back(store: SparqlStore) -> None:
    found = store.query("SELECT ?film ?other { <heat> <directed_by> ?who . ?film <directed_by> ?who } ORDER BY ?film")
    assert (found.columns, found.truncated) == (("film", "other"), False)
    assert found.rows == [["collateral", None], ["heat", None]]
    assert store.query("SELECT ?x { ?x <directed_by> <tmdb:1> }").rows == [[_ODD]]
    label = (
        "PREFIX rdfs: <http://www.w3.org/2000/01/rdf-schema#> SELECT ?l { <heat> <year> <year=1995> ; rdfs:label ?l }"
    )
    assert store.query(label).rows == [['Heat "1995"\n']]
    assert store.query("ASK { <heat> <near> ?x }").rows == [["false"]]
    assert store.query("CONSTRUCT WHERE { ?s <year> ?o }").rows == [["heat", "year", "year=1995"]]


@NEEDS_STORE
def test_rows_and_bytes_are_bounded(store: SparqlStore) -> None:
    everything = "SELECT * { ?s ?p ?o }"
    found = store.query(everything, SparqlLimits(rows=7))
    assert (len(found.rows), found.truncated) == (7, True)
    assert store.query(everything, SparqlLimits(num_bytes=100)).truncated
    assert not store.query("SELECT * { ?s <directed_by> ?o }", SparqlLimits(rows=3)).truncated


@NEEDS_STORE
def test_a_query_without_end_is_killed(store: SparqlStore) -> None:
    store.query("ASK {}")
    started_s = time.monotonic()
    with pytest.raises(InputError, match="longer than 1 s"):
        store.query("SELECT (COUNT(*) AS ?n) { ?a ?b ?c . ?d ?e ?f . ?g ?h ?i }", SparqlLimits(seconds=1.0))
    assert time.monotonic() - started_s < 10


@NEEDS_STORE
def test_a_query_that_fills_the_memory_ends(store: SparqlStore) -> None:
    with pytest.raises(InputError, match="more than 64 MiB"):
        store.query("SELECT * { ?a ?b ?c . ?d ?e ?f } ORDER BY ?c", SparqlLimits(seconds=60, memory_bytes=64 << 20))


@NEEDS_STORE
@pytest.mark.parametrize(
    "text", ["DELETE WHERE { ?s ?p ?o }", "LOAD <http://127.0.0.1/>", "SELECT", "", "SELECT * { ?s"]
)
def test_what_is_no_query_is_refused(store: SparqlStore, text: str) -> None:
    with pytest.raises(InputError, match="SPARQL: "):
        store.query(text)


@NEEDS_STORE
@pytest.mark.parametrize("word", ["SERVICE", "sErViCe", "\\u0053ERVICE", "SERVIC\\U00000045"])
def test_no_query_asks_another_machine(store: SparqlStore, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    """Neither where the word is found, nor where it were not."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(500)

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        text = f"SELECT * {{ {word} <http://127.0.0.1:{server.server_port}/x> {{ ?s ?p ?o }} }}"
        with pytest.raises(InputError, match="the word SERVICE"):
            store.query(text)
        monkeypatch.setattr("semrec.graph.sparql._check_text", lambda text: None)
        with pytest.raises(InputError, match="SPARQL: "):
            store.query(text)
        server.shutdown()
    assert asked == []
