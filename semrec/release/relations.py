"""Builds the relations of a release from the imported ones and from attributes; stores them, and reads them memory-mapped."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import astuple, dataclass

import numpy as np
import pyarrow as pa

from semrec.contracts import RELATIONS_SCHEMA
from semrec.errors import InputError
from semrec.graph.closure import PairRule
from semrec.graph.graph import Graph, build_graph
from semrec.graph.inference import Subclasses, infer, pair_rules
from semrec.graph.ontology import Ontology
from semrec.models.sparse import SparseRows
from semrec.release.arrays import map_ids, read_array, write_array, write_ids
from semrec.release.attributes import FlatAttributes
from semrec.sorted_ids import SortedIds
from semrec.workspace.manifests import OntologyManifest, RelationsManifest
from semrec.workspace.records import GraphFiles
from semrec.workspace.storage import Storage
from semrec.workspace.tables import read_parts

__all__ = [
    "RelationSources",
    "item_relations",
    "make_graph",
    "read_graph",
    "relations_from_attributes",
    "write_graph",
]


@dataclass(frozen=True)
class RelationSources:
    """The inputs of the graph of items and entities; `relations_from`: the attributes that are relations, too."""

    relations: RelationsManifest | None
    ontology: OntologyManifest | None
    relations_from: tuple[str, ...]

    @classmethod
    def of_workspace(cls, storage: Storage, relations_from: tuple[str, ...]) -> RelationSources:
        """Returns the inputs that a workspace has now."""
        return cls(RelationsManifest.read_if_there(storage), OntologyManifest.read_if_there(storage), relations_from)

    @property
    def fingerprints(self) -> list[object]:
        """The fingerprints of the inputs beside the attributes of the items."""
        return [*(source and source.fingerprint for source in (self.relations, self.ontology)), self.relations_from]

    def __bool__(self) -> bool:
        return bool(self.relations or self.ontology or self.relations_from)


def make_graph(
    storage: Storage,
    sources: RelationSources,
    item_ids: SortedIds,
    attributes: FlatAttributes,
    known_attributes: Collection[str],
) -> tuple[Graph, Subclasses]:
    """Makes the graph of items and entities, and which values of attributes lie below which.

    It has the imported relations; for each attribute of `release.relations_from`, and each of whose values the ontology says
    something, one of each item to each of its values; and what follows from these by the ontology. `attributes` are those of
    the items in the order of `item_ids`. Raises InputError for an attribute that no item has, and as `infer` does.
    """
    for name in sources.relations_from:
        if name not in known_attributes:
            raise InputError(
                f"relations from {name!r}, an attribute that no item has",
                expected=f"one of {', '.join(sorted(known_attributes)) or 'none: the items have no attributes'}",
                remedy="Correct release.relations_from, or import items with that attribute.",
            )
    ontology = Ontology(_rows_of(storage, sources.ontology))
    in_hierarchies = [name for name in known_attributes if ontology.values_of(name)]
    derived = relations_from_attributes(item_ids, attributes, sorted({*sources.relations_from, *in_hierarchies}))
    relations = _rows_of(storage, sources.relations)
    if not sources.ontology:
        return build_graph(relations, given=derived), {}
    inference = infer(ontology, pa.concat_tables([relations, derived]))
    given = pa.concat_tables([derived, ontology.facts])
    graph = build_graph(relations, inference.relations, given=given, rules=pair_rules(ontology))
    return graph, inference.subclasses


def item_relations(graph: Graph, item_ids: SortedIds) -> SparseRows:
    """Returns a matrix of items x nodes, 1 where an item is related to a node in either direction. An item that another is
    related to is its related_items node as well, so that both have one in common.
    """
    is_item_N, rows_N = np.zeros(graph.num_nodes, bool), np.zeros(graph.num_nodes, np.int64)
    nodes_I = graph.nodes.rows_of(item_ids.array())
    related_rows = np.flatnonzero(nodes_I >= 0)
    is_item_N[nodes_I[related_rows]], rows_N[nodes_I[related_rows]] = True, related_rows
    starts_E = np.repeat(np.arange(graph.num_nodes), graph.degrees())
    of_items_E = is_item_N[starts_E]
    starts, targets = starts_E[of_items_E], graph.targets_E[of_items_E].astype(np.int64)
    related_items = np.unique(targets[is_item_N[targets]])
    starts, targets = np.concatenate([starts, related_items]), np.concatenate([targets, related_items])
    pairs = np.unique(np.stack([rows_N[starts], targets]), axis=1)
    ones = np.ones(pairs.shape[1], np.float32)
    return SparseRows.from_pairs(pairs[0], pairs[1], ones, len(item_ids), graph.num_nodes)


def write_graph(storage: Storage, folder: str, graph: Graph, subclasses: Subclasses) -> GraphFiles:
    """Writes the graph of a release as `<folder>/graph/*.npy`."""
    stem = f"{folder}/graph"
    optional: dict[str, object] = {"subclasses": subclasses} if subclasses else {}
    if graph.axioms_E is not None:
        optional["axioms"] = graph.axioms
        optional["edge_axioms"] = write_array(storage, f"{stem}/edge_axioms.npy", graph.axioms_E)
    if graph.given_E is not None:
        optional["given"] = write_array(storage, f"{stem}/given.npy", graph.given_E)
    if graph.rules:
        optional["rules"] = [astuple(rule) for rule in graph.rules]
    return GraphFiles.model_validate(
        {
            "nodes": write_ids(storage, f"{stem}/nodes", graph.nodes),
            "predicates": graph.predicates,
            "offsets": write_array(storage, f"{stem}/offsets.npy", graph.offsets_N1),
            "targets": write_array(storage, f"{stem}/targets.npy", graph.targets_E),
            "edge_predicates": write_array(storage, f"{stem}/edge_predicates.npy", graph.predicates_E),
            "weights": write_array(storage, f"{stem}/weights.npy", graph.weights_E),
            **optional,
        }
    )


def _rows_of(storage: Storage, manifest: RelationsManifest | None) -> pa.Table:
    if manifest is None:
        return RELATIONS_SCHEMA.empty_table()
    return read_parts(storage, manifest.parts, RELATIONS_SCHEMA.names)


def relations_from_attributes(item_ids: SortedIds, attributes: FlatAttributes, names: Sequence[str]) -> pa.Table:
    """Returns the values of some attributes as relations of the items to literals: RELATIONS_SCHEMA."""
    tables = [RELATIONS_SCHEMA.empty_table()]
    for name in names:
        rows, values = attributes.of(name)
        ones = np.ones(len(rows), np.float32)
        columns = [item_ids.take(rows), pa.repeat(name, len(rows)), values, ones.astype(bool), ones]
        tables.append(pa.table(columns, schema=RELATIONS_SCHEMA).filter(values.is_valid()))
    return pa.concat_tables(tables)


def read_graph(storage: Storage, files: GraphFiles) -> Graph:
    """Opens the graph of a release, memory-mapped."""
    return Graph(
        map_ids(storage, files.nodes),
        files.predicates,
        read_array(storage, files.offsets),
        read_array(storage, files.targets),
        read_array(storage, files.edge_predicates),
        read_array(storage, files.weights),
        files.axioms,
        read_array(storage, files.edge_axioms) if files.edge_axioms else None,
        read_array(storage, files.given) if files.given else None,
        tuple(PairRule(*rule) for rule in files.rules),
    )
