"""What follows from relations by an ontology, held against owlrl's rules of OWL 2 RL."""

from __future__ import annotations

import time
from itertools import pairwise
from urllib.parse import quote, unquote

import numpy as np
import owlrl
import pyarrow as pa
import pytest
import rdflib

from semrec import owl
from semrec.contracts import RELATIONS_SCHEMA
from semrec.errors import InputError
from semrec.graph import closure
from semrec.graph.graph import build_graph
from semrec.graph.inference import Inference, infer, subclasses_with
from semrec.graph.ontology import Ontology
from semrec.graph.triples import node_triples

Triple = tuple[str, str, str]
RDF, RDFS, OWL = rdflib.RDF, rdflib.RDFS, rdflib.OWL


def relations(*triples: Triple) -> pa.Table:
    """Of triples whose object is a literal where it is `predicate=value`."""
    rows = []
    for subject, predicate, value in triples:
        is_literal = value.startswith(f"{predicate}=")
        rows.append((subject, predicate, value.removeprefix(f"{predicate}=") if is_literal else value, is_literal, 1.0))
    columns = list(map(list, zip(*rows, strict=True))) if rows else [[] for _ in RELATIONS_SCHEMA]
    return pa.table(columns, schema=RELATIONS_SCHEMA)


def inferred(axioms: list[Triple], *stated: Triple) -> Inference:
    return infer(Ontology(relations(*axioms)), relations(*stated))


def triples_of(inference: Inference) -> set[Triple]:
    return {tuple(row.values())[:3] for row in inference.relations.to_pylist()}


def by_owlrl(axioms: list[Triple], *stated: Triple, attributes: tuple[str, ...] = ()) -> set[Triple]:
    """All that owlrl infers between the same names, without what it relates to itself."""
    names = {name for triple in (*axioms, *stated) for name in triple}

    def node(name: str) -> rdflib.URIRef:
        return rdflib.URIRef(name if name.startswith("http") else f"urn:x:{quote(name, safe='')}")

    graph = rdflib.Graph()
    for triple in (*axioms, *stated):
        graph.add(tuple(map(node, triple)))
    for attribute in attributes:
        for name in names:
            if name.startswith(f"{attribute}="):
                graph.add((node(name), OWL.onProperty, node(attribute)))
                graph.add((node(name), OWL.hasValue, node(name)))
    owlrl.DeductiveClosure(owlrl.OWLRL_Semantics).expand(graph)
    found = {tuple(unquote(str(term).removeprefix("urn:x:")) for term in triple) for triple in graph}
    return {
        (subject, predicate, value)
        for subject, predicate, value in found
        if {subject, value} <= names
        and not value.startswith("http")
        and (predicate in (owl.TYPE, owl.SUBCLASS_OF) or not predicate.startswith("http"))
        and subject != value
        and not predicate.startswith("_:")
        and not (predicate == owl.TYPE and value.partition("=")[0] in attributes)
    }


def shown(stated: list[Triple]) -> set[Triple]:
    ontology_facts = Ontology(relations(*stated)).facts
    return {tuple(row.values()) for row in node_triples(ontology_facts).to_pylist()}


def assert_like_owlrl(axioms: list[Triple], *stated: Triple, attributes: tuple[str, ...] = ()) -> None:
    ours = triples_of(inferred(axioms, *stated))
    given = {*stated, *shown(axioms)}
    assert not ours & given
    assert ours == by_owlrl(axioms, *stated, attributes=attributes) - given


GENRES: list[Triple] = [
    ("genre=Slasher", owl.SUBCLASS_OF, "genre=Horror"),
    ("genre=Horror", owl.SUBCLASS_OF, "genre=Dark"),
    ("genre=Noir", owl.EQUIVALENT_CLASS, "genre=Film Noir"),
    ("genre=Noir", owl.SUBCLASS_OF, "genre=Dark"),
]


def test_values_of_an_attribute_form_a_hierarchy() -> None:
    stated: list[Triple] = [("saw", "genre", "genre=Slasher"), ("laura", "genre", "genre=Film Noir")]
    assert_like_owlrl(GENRES, *stated, attributes=("genre",))
    found = inferred(GENRES, *stated)
    assert found.subclasses == {
        "genre": {
            "Dark": ["Film Noir", "Horror", "Noir", "Slasher"],
            "Film Noir": ["Noir"],
            "Horror": ["Slasher"],
            "Noir": ["Film Noir"],
        }
    }
    axioms_of = {tuple(row.values())[:3]: row["axiom"] for row in found.relations.to_pylist()}
    assert axioms_of["saw", "genre", "genre=Dark"] == "owl:hasValue"
    assert axioms_of["genre=Slasher", owl.SUBCLASS_OF, "genre=Dark"] == "rdfs:subClassOf"


@pytest.mark.parametrize("seed", range(3))
def test_axioms_that_are_added_give_the_hierarchy_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = [(f"genre={one}", f"genre={other}") for one, other in rng.integers(0, 12, (14, 2)).tolist()]
    axioms: list[Triple] = [(below, owl.SUBCLASS_OF, wider) for below, wider in pairs]
    assert subclasses_with(inferred(axioms[:8]).subclasses, pairs[8:]) == inferred(axioms).subclasses


def test_a_long_chain_of_added_axioms_is_searched_in_time() -> None:
    names, start_s = [f"genre={n:03d}" for n in range(401)], time.process_time()
    chain = subclasses_with({}, list(pairwise(names)))
    grown = subclasses_with(chain, [("genre=400", "genre=above"), ("genre=below", "genre=000")])
    assert time.process_time() - start_s < 3
    assert sum(map(len, chain["genre"].values())) == 400 * 401 / 2
    assert len(grown["genre"]["above"]) == 402 and len(grown["genre"]["000"]) == 1


PROPERTIES: list[Triple] = [
    ("by", owl.SUBPROPERTY_OF, "made_by"),
    ("made_by", owl.SUBPROPERTY_OF, "about"),
    ("made", owl.INVERSE_OF, "made_by"),
    ("made_by", owl.DOMAIN, "Work"),
    ("made_by", owl.RANGE, "Person"),
    ("Person", owl.SUBCLASS_OF, "Agent"),
    ("knows", owl.TYPE, owl.SYMMETRIC),
    ("follows", owl.TYPE, owl.TRANSITIVE),
    ("sequel_of", owl.EQUIVALENT_PROPERTY, "follows"),
    ("same_maker", owl.CHAIN, "l1"),
    ("l1", owl.FIRST, "made_by"),
    ("l1", owl.REST, "l2"),
    ("l2", owl.FIRST, "_:back"),
    ("_:back", owl.INVERSE_OF, "made_by"),
    ("l2", owl.REST, owl.NIL),
    ("Work", owl.SUBCLASS_OF, "http://www.w3.org/2002/07/owl#Thing"),
    ("year", owl.RANGE, "http://www.w3.org/2001/XMLSchema#gYear"),
]


def test_properties_lead_to_more_relations() -> None:
    stated: list[Triple] = [
        ("heat", "by", "mann"), ("ali", "by", "mann"), ("mann", "knows", "pacino"), ("alien 3", "sequel_of", "aliens"),
        ("aliens", "follows", "alien"), ("alien 4", "follows", "alien 3"), ("bee", "of no axiom", "pacino"),
    ]  # fmt: skip
    assert_like_owlrl(PROPERTIES, *stated)
    found = triples_of(inferred(PROPERTIES, *stated))
    assert {("heat", "same_maker", "ali"), ("alien 4", "follows", "alien"), ("mann", owl.TYPE, "Agent")} <= found
    assert not any("of no axiom" in triple for triple in found)


@pytest.mark.parametrize("seed", range(3))
def test_any_ontology_infers_what_owlrl_infers(seed: int) -> None:
    """Also hierarchies with circles, and properties that are their own inverse."""
    numbers = np.random.default_rng(seed)
    classes, properties, things = [f"g=C{n}" for n in range(5)], ["p0", "p1", "p2", "g"], [f"t{n}" for n in range(6)]

    def some(count: int, subjects: list[str], words: list[str], objects: list[str]) -> list[Triple]:
        return [tuple(str(numbers.choice(names)) for names in (subjects, words, objects)) for _ in range(count)]

    axioms = [
        *some(5, classes, [owl.SUBCLASS_OF, owl.SUBCLASS_OF, owl.EQUIVALENT_CLASS], classes),
        *some(3, properties[:3], [owl.SUBPROPERTY_OF, owl.INVERSE_OF, owl.EQUIVALENT_PROPERTY], properties[:3]),
        *some(2, properties[:3], [owl.DOMAIN, owl.RANGE], classes),
        *some(2, properties[:3], [owl.TYPE], [owl.SYMMETRIC, owl.TRANSITIVE]),
        ("p2", owl.CHAIN, "l1"), ("l1", owl.FIRST, "p0"), ("l1", owl.REST, "l2"),
        ("l2", owl.FIRST, "p1"), ("l2", owl.REST, owl.NIL),
    ]  # fmt: skip
    stated = [*some(8, things, properties[:3], things), *some(6, things, ["g"], classes)]
    assert_like_owlrl(axioms, *stated, attributes=("g",))


def test_what_is_in_disjoint_classes_is_named() -> None:
    axioms = [*GENRES, ("genre=Horror", owl.DISJOINT_WITH, "genre=Family")]
    inferred(axioms, ("saw", "genre", "genre=Slasher"), ("toy story", "genre", "genre=Family"))
    with pytest.raises(InputError, match="'saw' is in 'genre=Horror' and 'genre=Family'"):
        inferred(axioms, ("saw", "genre", "genre=Slasher"), ("saw", "genre", "genre=Family"))
    of_all: list[Triple] = [
        ("_:all", owl.TYPE, owl.ALL_DISJOINT_CLASSES), ("_:all", owl.MEMBERS, "l1"), ("l1", owl.FIRST, "Film"),
        ("l1", owl.REST, "l2"), ("l2", owl.FIRST, "Person"), ("l2", owl.REST, owl.NIL),
    ]  # fmt: skip
    four = [(name, owl.TYPE, kind) for name in "abcd" for kind in ("Film", "Person")]
    with pytest.raises(InputError, match=r"'a' is in 'Film' and 'Person'; 'b' .*; 'c' .* and 1 more"):
        inferred(of_all, *four)


@pytest.mark.parametrize("rest", [[], [("l1", owl.REST, "l1")], [("l1", owl.REST, "nowhere")]])
def test_a_list_without_an_end_is_refused(rest: list[Triple]) -> None:
    with pytest.raises(InputError, match="'l1' of the ontology has no end"):
        Ontology(relations(("p", owl.CHAIN, "l1"), ("l1", owl.FIRST, "q"), *rest))


def test_more_than_a_machine_holds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where little is new: each step of a chain is counted before it is made."""
    monkeypatch.setattr(closure, "_MOST_PAIRS", 1_000)
    monkeypatch.setattr(closure, "_PAIRS_PER_BLOCK", 64)
    ring = [(f"n{n}", "next", f"n{(n + 1) % 40}") for n in range(40)]
    with pytest.raises(InputError, match="1,000 relations that follow by owl:TransitiveProperty"):
        inferred([("next", owl.TYPE, owl.TRANSITIVE)], *ring)
    monkeypatch.setattr(closure, "_MOST_PAIRS", 2_000)
    assert (
        len(triples_of(inferred([("next", owl.TYPE, owl.TRANSITIVE)], *ring))) == 40 * 40 - 40 - 40
    )  # stated, and to itself


def test_a_graph_says_what_was_inferred_and_by_which_axiom() -> None:
    """Parallel edges are one, and what was stated as well counts as stated."""
    stated = relations(
        ("heat", "by", "mann"), ("heat", "by", "mann"), ("heat", "made_by", "mann"), ("ali", "by", "mann")
    )
    found = infer(Ontology(relations(("by", owl.SUBPROPERTY_OF, "made_by"))), stated)
    graph = build_graph(stated, pa.concat_tables([found.relations, found.relations]))
    edges = [
        graph.edge(node, number)
        for node in range(graph.num_nodes)
        for number in range(graph.offsets_N1[node], graph.offsets_N1[node + 1])
    ]
    made = {(edge.start, edge.predicate): edge.inferred_by for edge in edges if not edge.is_inverse}
    assert len(edges) == 8
    assert made == {
        ("heat", "by"): None, ("heat", "made_by"): None, ("ali", "by"): None, ("ali", "made_by"): "rdfs:subPropertyOf"
    }  # fmt: skip
    assert build_graph(stated).axioms_E is None
