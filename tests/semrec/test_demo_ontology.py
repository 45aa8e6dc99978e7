"""The ontology of the demo's films names films and genres that there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from semrec import owl
from semrec.contracts import RELATIONS_SCHEMA
from semrec.data import ColumnMap, import_table
from semrec.demo import ONTOLOGY, film_items
from semrec.graph.inference import infer
from semrec.graph.ontology import Ontology
from semrec.workspace.folder import Workspace
from semrec.workspace.manifests import OntologyManifest
from semrec.workspace.tables import read_parts


def test_the_films_and_genres_of_the_ontology_are_those_of_the_catalogue(tmp_path: Path) -> None:
    pytest.importorskip("pyoxigraph", reason="NOT TESTED: pyoxigraph is not installed")
    workspace = Workspace.create(str(tmp_path), num_buckets=2)
    report = import_table(workspace, ONTOLOGY, fmt="turtle", kind="ontology", columns=ColumnMap())
    manifest = OntologyManifest.read(workspace.storage)
    ontology = Ontology(read_parts(workspace.storage, manifest.parts, RELATIONS_SCHEMA.names))
    items = list(film_items())
    films, genres = {item.item_id for item in items}, {name for item in items for name in item.attributes["genre"]}
    in_series = {row["subject"] for row in ontology.facts.to_pylist() if row["predicate"] == "series"}
    narrower = {name.removeprefix("genre=") for name, _ in ontology.pairs(owl.SUBCLASS_OF)}
    assert in_series <= films and narrower <= genres
    assert (report.num_axioms, len(in_series)) == (ontology.facts.num_rows + 3, 86)
    hierarchy = infer(ontology, RELATIONS_SCHEMA.empty_table()).subclasses["genre"]
    assert {wide: len(narrow) for wide, narrow in hierarchy.items()} == {
        "Historical": 4,
        "Speculative": 3,
        "Suspense": 3,
    }
