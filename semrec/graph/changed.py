"""Lays changed relations over a graph: equal to the graph that would be built with them, in one pass over its edges.

What follows by a rule that asks for two things alone (`PairRule`) follows at once: what is known of each changed pair of nodes
is inferred anew. What follows by other axioms stays as it was when the graph was built.

Axes: N and E as in `graph.py`, C pairs of nodes whose relations changed, M nodes after the changes, K edges that stay, A edges
that are put in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from semrec.compiled import compiled
from semrec.graph.closure import PairRule, closure
from semrec.graph.graph import Graph, check_predicates
from semrec.graph.triples import Triple, TripleChange
from semrec.sorted_ids import SortedIds

__all__ = ["ChangedGraph", "changed_graph", "stated_triples"]


@dataclass(frozen=True, eq=False)
class ChangedGraph:
    """A graph after changes; which triples it has that the graph before had not, and which it has no more.

    `nodes_before_M` gives the number of each node in the graph before, -1 of a new one: int64 [M].
    """

    graph: Graph
    nodes_before_M: np.ndarray
    added: frozenset[Triple]
    removed: frozenset[Triple]


@dataclass(frozen=True)
class _Fact:
    """What is known of one triple. `axiom`: what it was inferred by, "" where it is stated."""

    weight: float = 1.0
    axiom: str = ""
    is_given: bool = False


def changed_graph(graph: Graph, changes: Sequence[TripleChange]) -> ChangedGraph:
    """Returns the graph after `changes`, of which each triple has one.

    A deleted relation that attributes or the ontology state stays. Nodes and predicates without a relation are left out.
    Copies the edges once. Raises InputError for more than 32,768 predicates.
    """
    edges, before = _known_between(graph, {tuple(sorted((change.subject, change.object))) for change in changes})
    after = _inferred(_stated(before, changes), graph.rules)
    changed, nodes_before_M = _merged(graph, np.sort(edges), after)
    return ChangedGraph(changed, nodes_before_M, frozenset(after.keys() - before), frozenset(before.keys() - after))


def stated_triples(graph: Graph, triples: Sequence[Triple]) -> dict[Triple, bool]:
    """Those of some triples that are stated, and of each whether attributes or the ontology state it."""
    _, facts = _known_between(graph, [triple[::2] for triple in triples])
    return {triple: facts[triple].is_given for triple in triples if triple in facts and not facts[triple].axiom}


def _known_between(graph: Graph, pairs: Collection[tuple[str, ...]]) -> tuple[np.ndarray, dict[Triple, _Fact]]:
    """The numbers of the edges between pairs of nodes, in both directions, and what is known of their relations."""
    nodes = graph.nodes.rows_of(pa.array(pairs, pa.list_(pa.string(), 2)).flatten())
    edges, is_turned = _edges_between(graph, nodes.reshape(-1, 2))
    return edges, dict(_facts(graph, edges[~is_turned]))


def _stated(before: dict[Triple, _Fact], changes: Iterable[TripleChange]) -> dict[Triple, _Fact]:
    """What is stated after the changes, or was inferred by other rules than those of pairs."""
    facts = dict(before)
    for change in changes:
        known = facts.get(change.triple, _Fact(axiom="unknown"))
        if change.weight is not None:
            facts[change.triple] = _Fact(change.weight, "", known.is_given)
        elif known.is_given:
            facts[change.triple] = _Fact(is_given=True)
        elif not known.axiom:
            del facts[change.triple]
    return facts


def _inferred(facts: dict[Triple, _Fact], rules: Sequence[PairRule]) -> dict[Triple, _Fact]:
    """The facts that are not inferred by `rules`, and what these make of them."""
    axioms = {rule.axiom for rule in rules}
    known = {triple: fact for triple, fact in facts.items() if fact.axiom not in axioms}
    if not rules:
        return known
    names = _ends(known)
    number_of, count = {name: number for number, name in enumerate(names)}, len(names)
    codes: dict[str, list[int]] = {}
    for subject, predicate, end in known:
        codes.setdefault(predicate, []).append(number_of[subject] * count + number_of[end])
    closed = closure(
        {predicate: np.array(sorted(of), np.int64) for predicate, of in codes.items()},
        [rule.among(count) for rule in rules],
    )
    for predicate, (of_predicate, numbers) in closed.items():
        for code, rule in zip(of_predicate[numbers > 0].tolist(), numbers[numbers > 0].tolist(), strict=True):
            subject, end = names[code // count], names[code % count]
            if subject != end and not predicate.startswith("_:"):  # as `infer` leaves them out
                known[(subject, predicate, end)] = _Fact(axiom=rules[rule - 1].axiom)
    return known


def _ends(facts: Iterable[Triple]) -> list[str]:
    """The names of subjects and objects, each once, ascending as bytes."""
    return sorted({name for subject, _, end in facts for name in (subject, end)}, key=str.encode)


def _edges_between(graph: Graph, nodes_C2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the edges between pairs of nodes (-1: none), in both directions, and which of them start at the second."""
    there_C2 = nodes_C2[(nodes_C2 >= 0).all(axis=1)]
    pairs = np.concatenate([there_C2, there_C2[there_C2[:, 0] != there_C2[:, 1]][:, ::-1]])
    starts, stops = _edge_ranges(graph.offsets_N1, graph.targets_E, pairs[:, 0].copy(), pairs[:, 1].copy())
    lengths = stops - starts
    firsts = np.cumsum(lengths) - lengths
    edges = np.arange(lengths.sum()) - np.repeat(firsts - starts, lengths)
    return edges, np.repeat(np.arange(len(pairs)) >= len(there_C2), lengths)


def _facts(graph: Graph, edges: np.ndarray) -> Iterable[tuple[Triple, _Fact]]:
    """What is known of the relations of some edges."""
    starts = np.searchsorted(graph.offsets_N1, edges, side="right") - 1
    num_predicates, first, last = len(graph.predicates), graph.names_of(starts), graph.names_of(graph.targets_E[edges])
    predicates, weights = graph.predicates_E[edges].tolist(), graph.weights_E[edges].tolist()
    axioms = [0] * len(edges) if graph.axioms_E is None else graph.axioms_E[edges].tolist()
    given = [False] * len(edges) if graph.given_E is None else graph.given_E[edges].tolist()
    for n in range(len(edges)):
        is_inverse, predicate = predicates[n] >= num_predicates, graph.predicates[predicates[n] % num_predicates]
        subject, end = (last[n], first[n]) if is_inverse else (first[n], last[n])
        axiom = graph.axioms[axioms[n] - 1] if axioms[n] else ""
        yield (subject, predicate, end), _Fact(weights[n], axiom, given[n])


def _merged(graph: Graph, gone: np.ndarray, facts: Mapping[Triple, _Fact]) -> tuple[Graph, np.ndarray]:
    """The graph without the edges `gone` (ascending) and with those of `facts`; and each node's number before, or -1."""
    gone_starts = np.searchsorted(graph.offsets_N1, gone, side="right") - 1
    left_N = graph.degrees() - np.bincount(gone_starts, minlength=graph.num_nodes)
    nodes, before_M = _nodes(graph.nodes, left_N > 0, facts)
    was_there_M = before_M >= 0
    after_N = np.full(graph.num_nodes, -1, np.int32)
    after_N[before_M[was_there_M]] = np.flatnonzero(was_there_M)
    left_M = np.zeros(len(before_M), np.int64)
    left_M[was_there_M] = left_N[before_M[was_there_M]]
    targets_K = after_N[np.delete(graph.targets_E, gone)]  # K edges stay
    codes_K = np.delete(graph.predicates_E, gone)
    predicates, renamed = _predicates(graph.predicates, codes_K, facts)
    axioms = tuple(sorted({*graph.axioms, *(fact.axiom for fact in facts.values() if fact.axiom)}))
    put_in = _new_edges(facts, nodes, predicates, axioms)
    places_A, _ = _edge_ranges(_offsets(left_M), targets_K, put_in["start"], put_in["target"])

    def merged(edges_K: np.ndarray, name: str) -> np.ndarray:
        return np.insert(edges_K, places_A, put_in[name].astype(edges_K.dtype))

    axioms_K = np.zeros(len(targets_K), np.uint8)
    if graph.axioms_E is not None:
        places = np.array([0, *(axioms.index(name) + 1 for name in graph.axioms)], np.uint8)
        axioms_K = places[np.delete(graph.axioms_E, gone)]
    changed = Graph(
        nodes, predicates, _offsets(left_M + np.bincount(put_in["start"], minlength=len(before_M))),
        merged(targets_K, "target"), merged(renamed[codes_K], "code"),
        merged(np.delete(graph.weights_E, gone), "weight"), axioms, merged(axioms_K, "axiom") if axioms else None,
        None if graph.given_E is None else merged(np.delete(graph.given_E, gone), "is_given"), graph.rules,
    )  # fmt: skip
    return changed, before_M


def _nodes(nodes: SortedIds, stays_N: np.ndarray, facts: Mapping[Triple, _Fact]) -> tuple[SortedIds, np.ndarray]:
    """The nodes that stay, by an edge or by `facts`, and the new ones, by name; and the number of each before, or -1."""
    names = pa.array(_ends(facts), pa.string())
    rows = nodes.rows_of(names)
    stays_N[rows[rows >= 0]] = True
    added, staying_nodes = names.filter(pa.array(rows < 0)), np.flatnonzero(stays_N)
    if not len(added) and len(staying_nodes) == len(nodes):
        return nodes, staying_nodes
    places = np.searchsorted(staying_nodes, nodes.rows_before(added))
    before_M = np.insert(staying_nodes, places, -1)
    order = np.insert(staying_nodes, places, len(nodes) + np.arange(len(added)))
    every = pa.concat_arrays([nodes.array(), added.cast(pa.large_string())])
    return SortedIds.of(every.take(pa.array(order))), before_M


def _predicates(
    names: Sequence[str], codes_K: np.ndarray, facts: Iterable[Triple]
) -> tuple[tuple[str, ...], np.ndarray]:
    """The predicates of edges that stay and of `facts`, by name; and the new code of each former one."""
    count = len(names)
    is_used = np.bincount(codes_K, minlength=2 * count)[:count] > 0
    used = {name for name, stays in zip(names, is_used.tolist(), strict=True) if stays}
    after = tuple(sorted({*used, *(predicate for _, predicate, _ in facts)}, key=str.encode))
    check_predicates(after)
    place_of = {name: place for place, name in enumerate(after)}
    codes = np.array([place_of[name] if name in used else 0 for name in names], np.uint16)
    return after, np.concatenate([codes, codes + np.uint16(len(after))])


def _new_edges(
    facts: Mapping[Triple, _Fact], nodes: SortedIds, predicates: Sequence[str], axioms: Sequence[str]
) -> dict[str, np.ndarray]:
    """Each fact once in each direction, in the order of a graph's edges; columns [A]."""
    ends = [nodes.rows_of(pa.array([triple[place] for triple in facts], pa.string())) for place in (0, 2)]
    code_of, axiom_of = ({name: n for n, name in enumerate(names)} for names in (predicates, ("", *axioms)))
    codes = np.array([code_of[predicate] for _, predicate, _ in facts], np.int64)
    columns = {
        "start": np.concatenate(ends),
        "target": np.concatenate(ends[::-1]),
        "code": np.concatenate([codes, codes + len(predicates)]),
        "weight": np.tile(np.array([fact.weight for fact in facts.values()], np.float32), 2),
        "axiom": np.tile(np.array([axiom_of[fact.axiom] for fact in facts.values()], np.uint8), 2),
        "is_given": np.tile(np.array([fact.is_given for fact in facts.values()], bool), 2),
    }
    order = np.lexsort([columns["code"], columns["target"], columns["start"]])
    return {name: column[order] for name, column in columns.items()}


def _offsets(degrees: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(degrees)]).astype(np.int64)


@compiled
def _edge_ranges(offsets_N1, targets_E, starts_C, ends_C):  # type: ignore[no-untyped-def]
    """The first edge of each start with a target of at least its end, and the first with a greater one: int64 [C] each."""
    ranges = np.empty((2, len(starts_C)), np.int64)
    for c in range(len(starts_C)):
        for bound in range(2):
            low, high = offsets_N1[starts_C[c]], offsets_N1[starts_C[c] + 1]
            while low < high:
                middle = (low + high) // 2
                if targets_E[middle] < ends_C[c] + bound:
                    low = middle + 1
                else:
                    high = middle
            ranges[bound, c] = low
    return ranges[0], ranges[1]
