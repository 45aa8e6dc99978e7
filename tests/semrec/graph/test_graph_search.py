"""Searches in the graph against networkx, and the order that makes them repeatable."""

from __future__ import annotations

import networkx
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semrec.contracts import RELATIONS_SCHEMA
from semrec.errors import InputError
from semrec.graph.graph import Edge, Graph, build_graph
from semrec.graph.reasons import Reasons
from semrec.graph.search import PathSearch, distances, hub_costs, neighbourhood

Triple = tuple[str, str, str, bool]

triples = st.lists(
    st.tuples(st.integers(0, 12).map(str), st.sampled_from("pqr"), st.integers(0, 12).map(str), st.booleans()),
    min_size=1,
    max_size=40,
)


def relations(rows: list[Triple]) -> pa.Table:
    columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[]] * 4
    return pa.table([*columns, [1.0] * len(rows)], schema=RELATIONS_SCHEMA)


def in_networkx(rows: list[Triple]) -> networkx.MultiDiGraph:
    plain = networkx.MultiDiGraph()
    for subject, predicate, obj, is_literal in rows:
        end = f"{predicate}={obj}" if is_literal else obj
        plain.add_edge(subject, end, key=(predicate, False))
        plain.add_edge(end, subject, key=(predicate, True))
    return plain


def names_of(graph: Graph) -> list[str]:
    return graph.names_of(np.arange(graph.num_nodes))


@settings(max_examples=60, deadline=None)
@given(rows=triples)
def test_the_graph_holds_every_relation_once_in_each_direction(rows: list[Triple]) -> None:
    graph, plain = build_graph(relations(rows)), in_networkx(rows)
    names = names_of(graph)
    assert names == sorted(plain.nodes, key=str.encode)
    ours = [
        graph.edge(node, e) for node in range(len(names)) for e in range(*graph.offsets_N1[node : node + 2].tolist())
    ]
    assert sorted((e.start, e.end, (e.predicate, e.is_inverse)) for e in ours) == sorted(plain.edges(keys=True))
    assert graph.num_relations == len({(s, p, o, is_literal) for s, p, o, is_literal in rows})


@settings(max_examples=60, deadline=None)
@given(rows=triples, seed=st.integers(0, 99), chosen=st.sampled_from([None, ["p"], ["q", "r"]]))
def test_distances_and_neighbourhoods_are_those_of_networkx(rows, seed, chosen) -> None:
    graph, plain = build_graph(relations(rows)), in_networkx(rows)
    if chosen is not None:
        chosen = [name for name in chosen if name in graph.predicates]
        plain.remove_edges_from([(a, b, key) for a, b, key in list(plain.edges(keys=True)) if key[0] not in chosen])
    names = names_of(graph)
    sources = np.random.default_rng(seed).integers(0, len(names), 70).tolist()  # more than one pass
    steps_SN = distances(graph, sources, predicates=chosen)
    for row, source in zip(steps_SN, sources, strict=True):
        expected = networkx.single_source_shortest_path_length(plain, names[source])
        assert row.tolist() == [expected.get(name, -1) for name in names]
    nodes, steps = neighbourhood(graph, sources[0], 2, predicates=chosen)
    near = [(steps_SN[0, node], node) for node in range(len(names)) if 0 <= steps_SN[0, node] <= 2]
    assert list(zip(steps.tolist(), nodes.tolist(), strict=True)) == sorted(near)


@settings(max_examples=60, deadline=None)
@given(rows=triples, seed=st.integers(0, 99))
def test_costs_and_cheapest_paths_are_those_of_networkx(rows, seed) -> None:
    graph = build_graph(relations(rows))
    numbers = np.random.default_rng(seed)
    costs_E = numbers.integers(0, 6, len(graph.targets_E)) / 2  # exact sums, many ties, steps that cost nothing
    plain = networkx.DiGraph()
    starts_E = np.repeat(np.arange(graph.num_nodes), graph.degrees())
    for start, target, cost in zip(starts_E.tolist(), graph.targets_E.tolist(), costs_E.tolist(), strict=True):
        plain.add_edge(start, target, cost=min(cost, plain.get_edge_data(start, target, {"cost": cost})["cost"]))
    sources = numbers.integers(0, graph.num_nodes, 5).tolist()
    costs_SN = PathSearch(graph, costs_E).costs(sources)
    for row, source in zip(costs_SN, sources, strict=True):
        expected = networkx.single_source_dijkstra_path_length(plain, source, weight="cost")
        assert row.tolist() == [expected.get(node, np.inf) for node in range(graph.num_nodes)]
    source, target = sources[:2]
    paths = PathSearch(graph, costs_E).k_cheapest(source, target, 5)
    assert [path.cost for path in paths] == sorted(path.cost for path in paths)
    assert len({path.edges for path in paths}) == len(paths)
    if source == target:
        assert [path.edges for path in paths] == [()]
    elif not networkx.has_path(plain, source, target):
        assert paths == []
    else:
        many = networkx.MultiDiGraph()
        for number, (start, end) in enumerate(zip(starts_E.tolist(), graph.targets_E.tolist(), strict=True)):
            many.add_edge(start, end, key=number)
        simple = networkx.all_simple_edge_paths(many, source, target, cutoff=6)
        every = sorted(sum(costs_E[edge] for _, _, edge in path) for path in simple)
        short = [path.cost for path in paths if len(path.edges) <= 6]
        assert len(paths) == 5 or len(paths) >= len(every)
        assert [cost for cost in every if cost < paths[-1].cost] == [c for c in short if c < paths[-1].cost]
    for path in paths:
        nodes = [edge.start for edge in path.edges] + [edge.end for edge in path.edges[-1:]]
        assert len(set(nodes)) == len(nodes)
        assert all(first.end == then.start for first, then in zip(path.edges, path.edges[1:], strict=False))


FILMS = [
    ("heat", "directed_by", "mann", False),
    ("collateral", "directed_by", "mann", False),
    ("heat", "genre", "Crime", True),
    ("collateral", "genre", "Crime", True),
    ("ronin", "genre", "Crime", True),
    ("ronin", "stars", "de niro", False),
    ("heat", "stars", "de niro", False),
    ("alien", "genre", "Horror", True),
    *((f"filler {n}", "genre", "Crime", True) for n in range(30)),
]
ITEMS = pa.array(sorted({subject for subject, _, _, _ in FILMS} | {"unrelated"}))


def test_a_reason_takes_the_rarest_relation() -> None:
    graph = build_graph(relations(FILMS))
    reasons = Reasons(graph, graph.are_among(ITEMS))
    liked = ["heat", "filler 3", "collateral"]
    path = reasons.reasons(liked, ["collateral"])[0]  # not from itself, though it was liked
    assert path is not None
    assert path.edges == (Edge("heat", "directed_by", "mann", False), Edge("mann", "directed_by", "collateral", True))
    assert path.in_words() == "heat -directed_by-> mann <-directed_by- collateral"
    assert reasons.reasons(["filler 3"], ["ronin"])[0].edges[0].end == "genre=Crime"
    assert reasons.reasons(["heat"], ["alien"])[0] is None
    assert reasons.reasons(["heat"], ["unrelated"])[0] is None
    assert reasons.reasons(["unrelated"], ["heat"])[0] is None
    assert reasons.reasons([], ["heat"])[0] is None


def test_related_items_come_by_rarity_and_then_by_id() -> None:
    graph = build_graph(relations(FILMS))
    reasons = Reasons(graph, graph.are_among(ITEMS))
    related = reasons.related("heat", 5)
    assert [one.item_id for one in related] == ["collateral", "ronin", "filler 0", "filler 1", "filler 10"]
    assert [edge.end for edge in related[1].path.edges] == ["de niro", "ronin"]
    by_genre = reasons.related("heat", 2, predicates=["genre"])
    assert [one.item_id for one in by_genre] == ["collateral", "filler 0"]
    assert reasons.related("unrelated", 5) == []
    with pytest.raises(InputError, match="no relation has the predicate 'directedBy'"):
        reasons.related("heat", 5, predicates=["directedBy"])


def test_parallel_relations_and_loops_are_walked_and_counted() -> None:
    rows = [("a", "p", "b", False), ("a", "q", "b", False), ("b", "p", "a", False), ("a", "p", "a", False)]
    graph = build_graph(relations([*rows, rows[0]]))
    assert (graph.num_nodes, graph.num_relations) == (2, 4)
    assert distances(graph, [0]).tolist() == [[0, 1]]
    assert len(PathSearch(graph, np.ones(len(graph.targets_E))).k_cheapest(0, 1, 9)) == 3


def test_a_node_or_predicate_that_is_not_there_and_bad_costs_are_refused() -> None:
    graph = build_graph(relations(FILMS))
    with pytest.raises(InputError, match="no relation names 'Heat'"):
        graph.node_of("Heat")
    assert graph.names_of(np.array([graph.node_of("genre=Crime")])) == ["genre=Crime"]
    costs_E = np.ones(len(graph.targets_E))
    for bad in (-1.0, np.nan):
        costs_E[0] = bad
        for search in (
            lambda: PathSearch(graph, costs_E).costs([0]),
            lambda: PathSearch(graph, costs_E).k_cheapest(0, 1, 1),
            lambda: PathSearch(graph, costs_E).nearest(0, np.ones(graph.num_nodes, bool), 1),
        ):
            with pytest.raises(InputError, match="negative or not a number"):
                search()
    with pytest.raises(InputError, match="101 paths"):
        PathSearch(graph, hub_costs(graph)).k_cheapest(0, 1, 101)


def test_no_relations_make_an_empty_graph() -> None:
    graph = build_graph(RELATIONS_SCHEMA.empty_table())
    assert (graph.num_nodes, graph.num_relations, graph.predicates) == (0, 0, ())
    assert distances(graph, []).shape == (0, 0)
    assert Reasons(graph, ITEMS).related("heat", 3) == []
