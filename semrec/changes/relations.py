"""Keeps the relations that were added and deleted online, until a release holds them.

A relation is known by its triple as the graph has it: a literal's node is `predicate=value`. The last change of one counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pyarrow as pa

from semrec.changes.latest import changes_after, with_latest
from semrec.contracts import RELATION_CHANGES_SCHEMA
from semrec.data.columns import ColumnMap
from semrec.data.rdf import IS_LITERAL
from semrec.data.rejects import RejectedRows, RowBlock
from semrec.data.relations import relations_of
from semrec.errors import InputError
from semrec.graph.triples import TripleChange
from semrec.owl import SUBCLASS_OF

__all__ = [
    "NO_RELATIONS",
    "RelationChange",
    "RelationsView",
    "checked_relations",
    "relation_change_table",
    "relation_changes_of",
]


@dataclass(frozen=True, slots=True)
class RelationChange:
    """One change: a relation as it now is, or its deletion. `sequence` from 1, 0 while not acknowledged."""

    subject: str
    predicate: str
    object: str
    is_literal: bool = False
    weight: float = 1.0
    deleted: bool = False
    sequence: int = 0

    @property
    def triple(self) -> tuple[str, str, str]:
        """Subject, predicate and object by the names of nodes."""
        return self.subject, self.predicate, f"{self.predicate}={self.object}" if self.is_literal else self.object


def checked_relations(changes: Sequence[Mapping[str, Any]]) -> list[RelationChange]:
    """Returns changes as an import would store them: mappings with the fields of RelationChange, blanks stripped.

    Raises InputError for the first that an import would reject, with its place from 0 and the import's own reason.
    """
    names = (*RELATION_CHANGES_SCHEMA.names[:3], "weight")
    columns = {name: [change.get(name, 1.0) for change in changes] for name in names}
    columns[IS_LITERAL] = pa.array([bool(change.get("is_literal")) for change in changes], pa.bool_())
    block = RowBlock("(relations)", columns, len(changes), np.arange(len(changes)), lambda row: "")
    rejected = RejectedRows()
    try:
        rows = relations_of(block, ColumnMap(weight="weight"), stats=rejected).to_pylist()
    except UnicodeEncodeError:  # a lone surrogate, which JSON can spell
        raise _refused("bad UTF-8") from None
    if rejected.rows:
        first = rejected.rows[0]
        triple = [changes[first.row].get(name) for name in names[:3]]
        raise _refused(f"relation {first.row}: {first.reason} {first.detail} of {triple!r}"[:300])
    return [
        RelationChange(**row, deleted=bool(change.get("deleted"))) for row, change in zip(rows, changes, strict=True)
    ]


def relation_change_table(changes: Sequence[RelationChange]) -> pa.Table:
    """Returns changes as a table of RELATION_CHANGES_SCHEMA, in the order of `changes`."""
    columns = [[getattr(change, name) for change in changes] for name in RELATION_CHANGES_SCHEMA.names]
    arrays = [pa.array(column, kind.type) for column, kind in zip(columns, RELATION_CHANGES_SCHEMA, strict=True)]
    return pa.table(arrays, schema=RELATION_CHANGES_SCHEMA)


def relation_changes_of(first: int, table: pa.Table) -> list[RelationChange]:
    """Returns the changes of the segment that begins at sequence `first`."""
    return [RelationChange(**row, sequence=sequence) for sequence, row in enumerate(table.to_pylist(), start=first)]


@dataclass(frozen=True, eq=False)
class RelationsView:
    """The relations changed since a release was planned, as of `sequence`; `changes` has the latest of each triple.

    Never altered: a later state is another view.
    """

    sequence: int
    changes: Mapping[tuple[str, str, str], RelationChange]

    def with_changes(self, changes: Iterable[RelationChange]) -> RelationsView:
        """Returns this view after more changes, in any order: of two of one triple the one with the higher sequence counts."""
        changes = list(changes)
        sequence = max([self.sequence, *(change.sequence for change in changes)])
        return RelationsView(sequence, with_latest(self.changes, changes, lambda c: c.triple))

    def after(self, applied: int) -> RelationsView:
        """Returns this view over a release that holds every change up to sequence `applied`."""
        later = changes_after(self.changes, applied)
        if later is self.changes and self.sequence >= applied:
            return self  # what others made of this view holds on
        return RelationsView(max(self.sequence, applied), later)

    def __bool__(self) -> bool:
        return bool(self.changes)

    @cached_property
    def subclasses(self) -> tuple[tuple[str, str], ...]:
        """The axioms of subclasses that were added, ascending: a class and one above it."""
        changes = self.changes.values()
        added = {(c.subject, c.triple[2]) for c in changes if c.predicate == SUBCLASS_OF and not c.deleted}
        return tuple(sorted(added))

    def triples(self) -> list[TripleChange]:
        """The changes as a graph takes them, ascending."""
        return [
            TripleChange(*triple, None if change.deleted else float(np.float32(change.weight)))
            for triple, change in sorted(self.changes.items())
        ]


NO_RELATIONS: Final = RelationsView(0, MappingProxyType({}))


def _refused(what: str) -> InputError:
    return InputError(
        what,
        expected="subject, predicate and object as names or texts, and a finite weight",
        remedy="Mend the relation.",
    )
