"""Relations by the names of a graph's nodes, for whoever only writes them down: nothing here loads a compiler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["TRIPLE", "Triple", "TripleChange", "node_triples"]

Triple = tuple[str, str, str]
TRIPLE: Final = ("subject", "predicate", "object")


@dataclass(frozen=True)
class TripleChange:
    """A relation by the names of its nodes, and its weight; None when it was deleted."""

    subject: str
    predicate: str
    object: str
    weight: float | None

    @property
    def triple(self) -> Triple:
        return self.subject, self.predicate, self.object


def node_triples(relations: pa.Table) -> pa.Table:
    """The subject, predicate and object of relations (RELATIONS_SCHEMA) by the names of nodes: a literal with its predicate."""
    literals = pc.binary_join_element_wise(relations["predicate"], relations["object"], "=")
    objects = pc.if_else(relations["is_literal"], literals, relations["object"])
    return pa.table([relations["subject"], relations["predicate"], objects], names=list(TRIPLE))
