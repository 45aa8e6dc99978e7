"""The relations of a release: built from the imported ones and from attributes, stored, read back memory-mapped."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from semrec.contracts import RELATIONS_SCHEMA
from semrec.errors import InputError
from semrec.graph.graph import Graph, build_graph, relations_from_attributes
from semrec.release.arrays import map_array, map_ids, write_array, write_ids
from semrec.sorted_ids import SortedIds
from semrec.workspace.manifests import RelationsManifest
from semrec.workspace.records import GraphFiles
from semrec.workspace.storage import Storage
from semrec.workspace.tables import read_parts

__all__ = ["read_graph", "write_relations"]


def write_relations(
    storage: Storage,
    folder: str,
    relations: RelationsManifest | None,
    relations_from: Sequence[str],
    item_ids: SortedIds,
    attributes: pa.ChunkedArray,
    known_attributes: set[str],
) -> GraphFiles | None:
    """Writes the graph of a release as `<folder>/graph/*.npy`; None for a release without relations.

    It has the imported relations and, for each attribute of `relations_from`, one of each item to each of its values.
    `attributes` (ATTRIBUTES_TYPE) is parallel to `item_ids`. Raises InputError for an attribute that no item has.
    """
    if relations is None and not relations_from:
        return None
    for name in relations_from:
        if name not in known_attributes:
            raise InputError(
                f"relations from {name!r}, an attribute that no item has",
                expected=f"one of {', '.join(sorted(known_attributes)) or 'none: the items have no attributes'}",
                remedy="Correct release.relations_from, or import items with that attribute.",
            )
    imported = (
        read_parts(storage, relations.parts, RELATIONS_SCHEMA.names) if relations else RELATIONS_SCHEMA.empty_table()
    )
    derived = relations_from_attributes(item_ids.array().cast(pa.string()), attributes, relations_from)
    graph = build_graph(pa.concat_tables([imported, derived]))
    if not graph.num_relations:
        return None
    stem = f"{folder}/graph"
    return GraphFiles(
        nodes=write_ids(storage, f"{stem}/nodes", graph.nodes),
        predicates=graph.predicates,
        offsets=write_array(storage, f"{stem}/offsets.npy", graph.offsets_N1),
        targets=write_array(storage, f"{stem}/targets.npy", graph.targets_E),
        edge_predicates=write_array(storage, f"{stem}/edge_predicates.npy", graph.predicates_E),
        weights=write_array(storage, f"{stem}/weights.npy", graph.weights_E),
    )


def read_graph(storage: Storage, files: GraphFiles) -> Graph:
    """The graph of a release, memory-mapped."""
    return Graph(
        map_ids(storage, files.nodes),
        files.predicates,
        map_array(storage, files.offsets),
        map_array(storage, files.targets),
        map_array(storage, files.edge_predicates),
        map_array(storage, files.weights),
    )
