"""The graph of items and entities: every relation once in each direction, by the node where it starts.

An entity is whatever a relation names that is no item: a person, a place, a genre. A literal (a text or number that is no id)
is the entity `predicate=value`, so that 1995 as a year and 1995 as a price are two.

Axes: N nodes, E edges (twice the relations), P predicates.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.errors import InputError
from semrec.graph.closure import PairRule
from semrec.graph.triples import TRIPLE, node_triples
from semrec.sorted_ids import SortedIds

__all__ = ["INFERRED_SCHEMA", "MOST_PREDICATES", "Edge", "Graph", "build_graph", "check_predicates"]

MOST_PREDICATES: Final = 2**15
#: Relations that follow from others: names of nodes, and the axiom that each follows by.
INFERRED_SCHEMA: Final = pa.schema([(name, pa.string()) for name in (*TRIPLE, "axiom")])


@dataclass(frozen=True)
class Edge:
    """A relation as it is walked: from `start` to `end`, against its direction where `is_inverse`.

    `inferred_by`: the axiom that it follows by, as "rdfs:subClassOf"; None where it was stated.
    """

    start: str
    predicate: str
    end: str
    is_inverse: bool
    inferred_by: str | None = None


@dataclass(frozen=True, eq=False)
class Graph:
    """Relations in compressed rows. The edges of node n are offsets_N1[n]:offsets_N1[n + 1], ascending by target.

    `predicates_E` has the number p of an edge's predicate, or p + P where the edge runs against its relation. `axioms_E` has
    the place + 1 of the axiom in `axioms` that its relation follows by, 0 for a stated one; None where all are stated.
    `given_E` says which relations attributes or the ontology state, whether or not the imported relations do; None where they
    state none. By `rules` relations follow from others of the same two nodes.
    """

    nodes: SortedIds
    predicates: tuple[str, ...]
    offsets_N1: np.ndarray  # int64 [N + 1]
    targets_E: np.ndarray  # int32 [E]
    predicates_E: np.ndarray  # uint16 [E]
    weights_E: np.ndarray  # float32 [E], as imported; 1 of what was inferred
    axioms: tuple[str, ...] = ()
    axioms_E: np.ndarray | None = None  # uint8 [E]
    given_E: np.ndarray | None = None  # bool [E]
    rules: tuple[PairRule, ...] = ()

    @property
    def num_nodes(self) -> int:
        return len(self.offsets_N1) - 1

    @property
    def num_relations(self) -> int:
        return len(self.targets_E) // 2

    def node_of(self, name: str, *, without: Collection[str] = ()) -> int:
        """The number of a node. Raises InputError for one that no relation names, or that is in `without`."""
        (node,) = self.nodes.rows_of(pa.array([name], pa.string())).tolist()
        if node < 0 or name in without:
            raise InputError(
                f"no relation names {name!r}",
                expected="an item or entity of the release's relations; a literal is PREDICATE=VALUE",
                remedy="Import relations, or name attributes in release.relations_from and build a release.",
            )
        return int(node)

    def are_among(self, names: pa.Array) -> np.ndarray:
        """Which nodes have one of the names, string: bool [N]."""
        are_among_N = np.zeros(self.num_nodes, bool)
        nodes = self.nodes.rows_of(names)
        are_among_N[nodes[nodes >= 0]] = True
        return are_among_N

    def names_of(self, nodes: np.ndarray) -> list[str]:
        """The names of some nodes, int64."""
        names: list[str] = self.nodes.take(np.asarray(nodes, np.int64)).to_pylist()
        return names

    def edge(self, start: int, number: int) -> Edge:
        """Edge `number`, which starts at node `start`, in words."""
        first, last = self.names_of(np.array([start, self.targets_E[number]]))
        predicate, num_predicates = int(self.predicates_E[number]), len(self.predicates)
        axiom = 0 if self.axioms_E is None else int(self.axioms_E[number])
        inferred_by = self.axioms[axiom - 1] if axiom else None
        return Edge(first, self.predicates[predicate % num_predicates], last, predicate >= num_predicates, inferred_by)

    def degrees(self) -> np.ndarray:
        """The number of edges of each node: int64 [N]."""
        return np.diff(self.offsets_N1)

    def allowed(self, predicates: Sequence[str] | None) -> np.ndarray:
        """Which numbers of `predicates_E` a search may follow, in both directions: bool [2 P]; None stands for all.

        Raises InputError for a predicate that the graph has not.
        """
        if predicates is None:
            return np.ones(2 * len(self.predicates), bool)
        unknown = [name for name in predicates if name not in self.predicates]
        if unknown:
            raise InputError(
                f"no relation has the predicate {unknown[0]!r}",
                expected=f"one of {', '.join(self.predicates)}",
                remedy="Correct the name, or leave predicates out to follow all.",
            )
        return np.tile(np.isin(self.predicates, list(predicates)), 2)


def build_graph(
    relations: pa.Table,
    inferred: pa.Table | None = None,
    *,
    given: pa.Table | None = None,
    rules: tuple[PairRule, ...] = (),
) -> Graph:
    """Builds the graph of relations (RELATIONS_SCHEMA), of those that attributes and the ontology have `given` (the same), and
    of those that follow from them (INFERRED_SCHEMA), in any order.

    Equal triples count once, with the first one's weight; one that was stated counts as stated. Raises InputError for more
    than 32,768 predicates. Takes some 100 bytes per relation while it builds, 26 after.
    """
    num_imported = relations.num_rows
    if given is not None:
        relations = pa.concat_tables([relations, given])
    triples, num_stated = node_triples(relations), relations.num_rows
    if inferred is not None:
        triples = pa.concat_tables([triples, inferred.select(list(TRIPLE))])
    ends = pa.chunked_array([*triples["subject"].chunks, *triples["object"].chunks], pa.string()).unique()
    nodes = SortedIds.of(ends.take(pc.sort_indices(ends)))
    names = sorted(triples["predicate"].unique().to_pylist(), key=str.encode)
    check_predicates(names)
    subjects_R, objects_R = nodes.rows_of(triples["subject"]), nodes.rows_of(triples["object"])
    predicates_R = pc.index_in(triples["predicate"], value_set=pa.array(names, pa.string())).to_numpy()
    weights_R = np.ones(triples.num_rows, np.float32)
    weights_R[:num_stated] = relations["weight"].to_numpy()
    axioms, axioms_R = _axioms(inferred, num_stated)
    numbers = np.stack([subjects_R, predicates_R.astype(np.int64), objects_R])
    _, first, group_R = np.unique(numbers, axis=1, return_index=True, return_inverse=True)
    given_R = np.zeros(len(first), bool)
    given_R[group_R.reshape(-1)[num_imported:num_stated]] = True
    subjects_R, objects_R, predicates_R, weights_R, axioms_R = (
        column[first] for column in (subjects_R, objects_R, predicates_R, weights_R, axioms_R)
    )
    starts_E, targets_E = np.concatenate([subjects_R, objects_R]), np.concatenate([objects_R, subjects_R])
    predicates_E = np.concatenate([predicates_R, predicates_R + len(names)]).astype(np.uint16)
    order = np.lexsort([predicates_E, targets_E, starts_E])
    offsets_N1 = np.concatenate([[0], np.cumsum(np.bincount(starts_E, minlength=len(nodes)))]).astype(np.int64)
    weights_E = np.tile(weights_R, 2)
    return Graph(
        nodes, tuple(names), offsets_N1, targets_E[order].astype(np.int32), predicates_E[order], weights_E[order],
        axioms, np.tile(axioms_R, 2)[order] if axioms else None,
        np.tile(given_R, 2)[order] if given_R.any() else None, rules,
    )  # fmt: skip


def check_predicates(names: Collection[str], *, most: int = MOST_PREDICATES) -> None:
    """Raises InputError for more predicates than `most`: by default, than a graph can have."""
    if len(names) > most:
        raise InputError(
            f"relations of {len(names):,} predicates",
            expected=f"at most {most:,}",
            remedy="A predicate is a kind of relation (directed_by); ids and values belong into subject and object.",
        )


def _axioms(inferred: pa.Table | None, num_stated: int) -> tuple[tuple[str, ...], np.ndarray]:
    """The axioms by which relations follow, and the place + 1 of that of each relation, uint8: 0 for the stated ones."""
    stated = np.zeros(num_stated, np.uint8)
    if inferred is None or not inferred.num_rows:
        return (), stated
    axioms = sorted(inferred["axiom"].unique().to_pylist())
    places = pc.index_in(inferred["axiom"], value_set=pa.array(axioms, pa.string())).to_numpy()
    return tuple(axioms), np.concatenate([stated, (places + 1).astype(np.uint8)])
