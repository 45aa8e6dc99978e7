"""The relations of a release: built from the imported ones and from attributes, stored, read back memory-mapped."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa

from semrec.contracts import RELATIONS_SCHEMA
from semrec.errors import InputError
from semrec.graph.graph import Graph, build_graph
from semrec.graph.inference import infer
from semrec.graph.ontology import Ontology
from semrec.release.arrays import map_ids, read_array, write_array, write_ids
from semrec.release.attributes import FlatAttributes
from semrec.release.plan import ReleaseJob
from semrec.sorted_ids import SortedIds
from semrec.workspace.manifests import RelationsManifest
from semrec.workspace.records import GraphFiles
from semrec.workspace.storage import Storage
from semrec.workspace.tables import read_parts

__all__ = ["read_graph", "relations_from_attributes", "write_relations"]


def write_relations(
    storage: Storage,
    job: ReleaseJob,
    item_ids: SortedIds,
    attributes: FlatAttributes,
    known_attributes: Collection[str],
) -> GraphFiles | None:
    """Writes the graph of a release as `<folder>/graph/*.npy`; None for a release without relations.

    It has the imported relations; for each attribute of `release.relations_from`, and each of whose values the ontology says
    something, one of each item to each of its values; and what follows from these by the ontology. `attributes` are those of
    the items in the order of `item_ids`. Raises InputError for an attribute that no item has, and as `infer` does.
    """
    relations_from = job.inputs.relations_from
    if job.relations is None and job.ontology is None and not relations_from:
        return None
    for name in relations_from:
        if name not in known_attributes:
            raise InputError(
                f"relations from {name!r}, an attribute that no item has",
                expected=f"one of {', '.join(sorted(known_attributes)) or 'none: the items have no attributes'}",
                remedy="Correct release.relations_from, or import items with that attribute.",
            )
    ontology = Ontology(_rows_of(storage, job.ontology))
    in_hierarchies = [name for name in known_attributes if ontology.values_of(name)]
    derived = relations_from_attributes(item_ids, attributes, sorted({*relations_from, *in_hierarchies}))
    relations = pa.concat_tables([_rows_of(storage, job.relations), derived])
    inference = infer(ontology, relations) if job.ontology else None
    inferred = inference.relations if inference else None
    graph = build_graph(pa.concat_tables([relations, ontology.facts]), inferred)
    if not graph.num_relations:
        return None
    stem = f"{job.folder}/graph"
    of_ontology: dict[str, object] = {}
    if inference:
        of_ontology["subclasses"] = inference.subclasses
    if graph.axioms_E is not None:
        of_ontology["axioms"] = graph.axioms
        of_ontology["edge_axioms"] = write_array(storage, f"{stem}/edge_axioms.npy", graph.axioms_E)
    return GraphFiles.model_validate(
        {
            "nodes": write_ids(storage, f"{stem}/nodes", graph.nodes),
            "predicates": graph.predicates,
            "offsets": write_array(storage, f"{stem}/offsets.npy", graph.offsets_N1),
            "targets": write_array(storage, f"{stem}/targets.npy", graph.targets_E),
            "edge_predicates": write_array(storage, f"{stem}/edge_predicates.npy", graph.predicates_E),
            "weights": write_array(storage, f"{stem}/weights.npy", graph.weights_E),
            **of_ontology,
        }
    )


def _rows_of(storage: Storage, manifest: RelationsManifest | None) -> pa.Table:
    if manifest is None:
        return RELATIONS_SCHEMA.empty_table()
    return read_parts(storage, manifest.parts, RELATIONS_SCHEMA.names)


def relations_from_attributes(item_ids: SortedIds, attributes: FlatAttributes, names: Sequence[str]) -> pa.Table:
    """The values of some attributes as relations of the items to literals: RELATIONS_SCHEMA."""
    tables = [RELATIONS_SCHEMA.empty_table()]
    for name in names:
        rows, values = attributes.of(name)
        ones = np.ones(len(rows), np.float32)
        columns = [item_ids.take(rows), pa.repeat(name, len(rows)), values, ones.astype(bool), ones]
        tables.append(pa.table(columns, schema=RELATIONS_SCHEMA).filter(values.is_valid()))
    return pa.concat_tables(tables)


def read_graph(storage: Storage, files: GraphFiles) -> Graph:
    """The graph of a release, memory-mapped."""
    return Graph(
        map_ids(storage, files.nodes),
        files.predicates,
        read_array(storage, files.offsets),
        read_array(storage, files.targets),
        read_array(storage, files.edge_predicates),
        read_array(storage, files.weights),
        files.axioms,
        read_array(storage, files.edge_axioms) if files.edge_axioms else None,
    )
