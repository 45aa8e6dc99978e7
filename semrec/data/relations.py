"""Converts source rows to relations, and writes their table, one part per bucket of subjects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from semrec.contracts import RELATIONS_SCHEMA, buckets_of, part_name
from semrec.data.columns import ColumnMap
from semrec.data.events import RowChecks
from semrec.data.online import RelationChanges, relation_changes
from semrec.data.rdf import IS_LITERAL
from semrec.data.rejects import ReadStats, RejectsRows, RowBlock
from semrec.data.scalars import check_scalar, ids_of, numbers_of
from semrec.data.spill import BucketSpill
from semrec.data.staging import Staged, applied_entry, applied_sequence, stored_manifest, stored_parts
from semrec.ids import id_faults
from semrec.limits import MAX_EVENT_VALUE
from semrec.owl import unsupported_axioms
from semrec.workspace.digests import fingerprint
from semrec.workspace.folder import Workspace
from semrec.workspace.manifests import OntologyManifest, RelationsManifest
from semrec.workspace.records import PartFile
from semrec.workspace.tables import TableFile, read_table, write_table

__all__ = ["relations_of", "stage_ontology", "stage_relations"]

_KEY: Final = ("subject", "predicate", "object", IS_LITERAL)


def relations_of(block: RowBlock, columns: ColumnMap, *, stats: RejectsRows, is_ontology: bool = False) -> pa.Table:
    """Returns the rows of `block` that are relations, RELATIONS_SCHEMA in source order; the others go to the quarantine.

    Rejected, under the first that applies: "id is not text", those of `semrec.ids.ID_FAULTS` (of a literal only "NUL byte"
    and "missing id"), "non-numeric value", "non-finite value", "value out of range"; of an ontology also "unsupported axiom",
    with a word of RDF, RDFS or OWL that `semrec.owl` does not read. Without a weight it is 1.
    """
    checks = RowChecks(block.num_rows)
    nothing = pa.array(np.zeros(block.num_rows, dtype=bool))
    is_literal = block.columns.get(IS_LITERAL, nothing)
    is_id = ~is_literal.to_numpy(zero_copy_only=False)
    texts = []
    for role, name in zip(_KEY, (columns.subject, columns.predicate, columns.object), strict=False):
        ids, not_id = ids_of(block.columns[name], name, block.file)
        checks.reject("id is not text", not_id, name)
        for fault, is_bad in id_faults(ids):
            is_free = role == "object" and fault not in ("NUL byte", "missing id")
            checks.reject(fault, is_bad & is_id if is_free else is_bad, name)
        texts.append(ids)
    if is_ontology:
        checks.reject(
            "unsupported axiom", unsupported_axioms(*(ids.cast(pa.string()) for ids in texts[1:])), columns.predicate
        )
    weights = np.ones(block.num_rows, dtype=np.float32)
    if columns.weight is not None:
        check_scalar(block.columns[columns.weight], columns.weight, block.file)
        weights, not_number, not_finite = numbers_of(block.columns[columns.weight])
        checks.reject("non-numeric value", not_number, columns.weight)
        checks.reject("non-finite value", not_finite, columns.weight)
        checks.reject("value out of range", np.abs(weights) > MAX_EVENT_VALUE, columns.weight)
    checks.report(block, stats)
    table = pa.table([*texts, is_literal, weights], schema=RELATIONS_SCHEMA)
    return table.filter(pa.array(checks.reasons == 0)) if checks.reasons.any() else table


def stage_relations(
    workspace: Workspace, tables: Iterable[pa.Table], *, append: bool, until: int, stats: ReadStats, scratch: Path
) -> Staged:
    """Writes the parts of all relations in `tables` (RELATIONS_SCHEMA); with `append`, with those stored already.

    A relation stands there once: of several rows with one subject, predicate and object the first counts, and a new one wins
    over a stored one. `until` is the last change made online that is older than these rows: with `append` the changes up to
    it that no parts hold yet are laid over the stored relations and below the new ones, else they are replaced with the stored
    relations. Raises TooManyRejectedError before any part is written.
    """
    manifest = stored_manifest(workspace.storage, RelationsManifest)
    held = applied_sequence(manifest)
    changes = relation_changes(workspace.storage, held, until) if append else RelationChanges()
    parts, num_repeats = _write_parts(
        workspace, "relations", workspace.num_buckets, chain(tables, [changes.put]),
        stored_parts(manifest) if append else {}, changes, stats, scratch,
    )  # fmt: skip
    return Staged(
        RelationsManifest(**_content_of(parts), **applied_entry(until)),
        num_repeats,
        num_put=changes.put.num_rows,
        num_deleted=changes.num_deleted,
        num_online_replaced=0 if append else max(0, until - held),
    )


def stage_ontology(
    workspace: Workspace, tables: Iterable[pa.Table], *, append: bool, stats: ReadStats, scratch: Path
) -> Staged:
    """Writes an ontology as `stage_relations` does, in one part; it is not changed online."""
    stored = stored_parts(stored_manifest(workspace.storage, OntologyManifest)) if append else {}
    parts, num_repeats = _write_parts(workspace, "ontology", 1, tables, stored, RelationChanges(), stats, scratch)
    return Staged(OntologyManifest(**_content_of(parts)), num_repeats)


def _write_parts(
    workspace: Workspace,
    kind: str,
    num_buckets: int,
    tables: Iterable[pa.Table],
    stored: Mapping[int, TableFile],
    changes: RelationChanges,
    stats: ReadStats,
    scratch: Path,
) -> tuple[list[PartFile], int]:
    """Writes the distinct relations of `tables`, and of those stored that were not changed: the parts, and how many repeat."""
    spill = BucketSpill(scratch / kind, RELATIONS_SCHEMA, num_buckets)
    for table in tables:
        spill.add(table, buckets_of(table.column("subject").combine_chunks(), num_buckets))
    stats.check()
    parts: list[PartFile] = []
    num_repeats = 0
    for bucket in range(num_buckets):
        rows = spill.read(bucket)
        if bucket in stored:
            rows = pa.concat_tables([rows, changes.without_changed(read_table(workspace.storage, stored[bucket]))])
        distinct = _distinct(rows)
        num_repeats += rows.num_rows - distinct.num_rows
        file = write_table(workspace.storage, f"{kind}/{part_name(bucket)}", distinct)
        parts.append(PartFile.of(bucket, file))
        stats.report(sum(part.num_rows for part in parts), f"write {kind}")
    return parts, num_repeats


def _content_of(parts: list[PartFile]) -> dict[str, Any]:
    """Returns what a manifest says of its parts."""
    return {
        "num_rows": sum(part.num_rows for part in parts),
        "num_buckets": len(parts),
        "parts": tuple(parts),
        "fingerprint": fingerprint([part.content_digest for part in parts]),
    }


def _distinct(rows: pa.Table) -> pa.Table:
    """Returns the first row of each relation, ascending by subject, predicate and object (UTF-8 bytes)."""
    numbered = rows.append_column("row", pa.array(np.arange(rows.num_rows)))
    first = numbered.group_by(list(_KEY), use_threads=False).aggregate([("row", "min")]).column("row_min")
    return rows.take(first).sort_by([(name, "ascending") for name in _KEY]).cast(RELATIONS_SCHEMA)
