"""A graph after changes is the graph that would be built with them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semrec import owl
from semrec.contracts import RELATIONS_SCHEMA
from semrec.graph.changed import changed_graph
from semrec.graph.graph import Edge, Graph, build_graph
from semrec.graph.inference import infer, pair_rules
from semrec.graph.ontology import Ontology
from semrec.graph.triples import TripleChange

_NAMES = ["a", "b", "c", "d", "é", "zz"]
_PREDICATES = ["follows", "knows", "near", "near_to", "part_of"]
_triples = st.tuples(st.sampled_from(_NAMES), st.sampled_from(_PREDICATES), st.sampled_from(_NAMES))
_rows = st.dictionaries(_triples, st.sampled_from([0.5, 1.0, 2.0]), max_size=12)
_changes = st.dictionaries(_triples, st.sampled_from([None, 0.25, 3.0]), max_size=6)

AXIOMS = [
    ("follows", owl.SUBPROPERTY_OF, "knows"),
    ("knows", owl.INVERSE_OF, "known_by"),
    ("near", owl.TYPE, owl.SYMMETRIC),
    ("near", owl.EQUIVALENT_PROPERTY, "near_to"),
]


def table(rows: dict[tuple[str, str, str], float]) -> pa.Table:
    columns = [[*column] for column in zip(*rows, strict=True)] if rows else [[], [], []]
    literal, weights = pa.array([False] * len(rows)), pa.array(rows.values(), pa.float32())
    return pa.table([*(pa.array(column, pa.string()) for column in columns), literal, weights], schema=RELATIONS_SCHEMA)


def built(
    rows: dict[tuple[str, str, str], float], derived: dict[tuple[str, str, str], float], is_reasoned: bool
) -> Graph:
    if not is_reasoned:
        return build_graph(table(rows), given=table(derived))
    ontology = Ontology(table(dict.fromkeys(AXIOMS, 1.0)))
    inferred = infer(ontology, table(rows | derived)).relations
    return build_graph(table(rows), inferred, given=table(derived), rules=pair_rules(ontology))


def edges_of(graph: Graph) -> list[tuple[Edge, float]]:
    """Every edge in words, in the graph's order."""
    starts = np.repeat(np.arange(graph.num_nodes), graph.degrees())
    return [(graph.edge(start, edge), float(graph.weights_E[edge])) for edge, start in enumerate(starts.tolist())]


@pytest.mark.parametrize("is_reasoned", [False, True])
@settings(max_examples=60, deadline=None)
@given(rows=_rows, derived=_rows, changes=_changes, later=_changes)
def test_changes_give_the_graph_that_is_built_with_them(
    rows: dict[tuple[str, str, str], float],
    derived: dict[tuple[str, str, str], float],
    changes: dict[tuple[str, str, str], float | None],
    later: dict[tuple[str, str, str], float | None],
    is_reasoned: bool,
) -> None:
    derived = dict.fromkeys(derived, 1.0)
    first = built(rows, derived, is_reasoned)
    for made in (changes, later):  # over a changed graph as over a built one
        rows = {triple: weight for triple, weight in {**rows, **made}.items() if weight is not None}
        changed = changed_graph(first, [TripleChange(*triple, weight) for triple, weight in made.items()])
        expected = built(rows, derived, is_reasoned)
        assert changed.graph.nodes.array().to_pylist() == expected.nodes.array().to_pylist()
        assert changed.graph.predicates == expected.predicates
        assert edges_of(changed.graph) == edges_of(expected)
        before, after = (
            {(e.start, e.predicate, e.end) for e, _ in edges_of(g) if not e.is_inverse} for g in (first, expected)
        )
        assert (changed.added, changed.removed) == (after - before, before - after)
        names = [None if n < 0 else first.names_of(np.array([n]))[0] for n in changed.nodes_before_M.tolist()]
        assert all(name in (None, node) for name, node in zip(names, expected.nodes.array().to_pylist(), strict=True))
        first = changed.graph
