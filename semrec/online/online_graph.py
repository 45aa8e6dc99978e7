"""Holds the relations of an opened release, and the graph that changed ones make of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa

from semrec.changes.relations import RelationsView
from semrec.contracts import RELATIONS_SCHEMA
from semrec.graph.changed import ChangedGraph, changed_graph
from semrec.graph.graph import Graph, build_graph
from semrec.graph.inference import Subclasses, subclasses_with
from semrec.graph.reasons import Reasons
from semrec.graph.sparql import SparqlAnswer, SparqlLimits, SparqlStore
from semrec.online.filters import Filters
from semrec.online.lru import Lru
from semrec.release.reader import Release

__all__ = ["OnlineGraph"]

_KEPT_VIEWS: Final = 2
_FILTER_BYTES: Final = 16 << 20


@dataclass(frozen=True)
class _Changed:
    """The relations after some changes."""

    graph: ChangedGraph
    reasons: Reasons


class _ExtendedFilters:
    """Filters with the values below those that are asked for. The queries of a batch share theirs, and so these."""

    def __init__(self, subclasses: Subclasses) -> None:
        self._subclasses = subclasses
        self._extended: Lru[Filters, Filters] = Lru(_FILTER_BYTES, lambda filters: filters.num_bytes)

    def of(self, filters: Filters) -> Filters:
        return self._extended.get(filters, lambda: filters.including(self._subclasses))


class OnlineGraph:
    """How items are related in a release, as it was built and as `RelationsView` changes it. Threads may share it.

    The graph after changes is made at the first question after them, which copies the edges once.
    """

    def __init__(self, release: Release) -> None:
        self._release = release
        self._changed: Lru[RelationsView, _Changed] = Lru(_KEPT_VIEWS, lambda _: 1)
        self._extended: Lru[tuple[tuple[str, str], ...], _ExtendedFilters] = Lru(_KEPT_VIEWS, lambda _: 1)

    @cached_property
    def released(self) -> Graph:
        """The graph of the release, empty where it has no relations."""
        graph = self._release.graph
        return build_graph(RELATIONS_SCHEMA.empty_table()) if graph is None else graph

    def reasons(self, view: RelationsView) -> Reasons | None:
        """How items are related; None without any relation."""
        if not view:
            return self._released_reasons if self.released.num_relations else None
        changed = self._after(view)
        return changed.reasons if changed.graph.graph.num_relations else None

    def query(self, text: str, limits: SparqlLimits, view: RelationsView) -> SparqlAnswer:
        """Answers SPARQL. Raises as `SparqlStore.query` does."""
        return self._sparql.query(text, limits, self._after(view).graph if view else None)

    def filters(self, filters: Filters, view: RelationsView) -> Filters:
        """The filters with what relations that came since the release put below the values that are asked for."""
        added = view.subclasses if filters.wanted else ()
        if not added or not self._release.manifest.settings.ontology:
            return filters
        known = self._release.subclasses
        return self._extended.get(added, lambda: _ExtendedFilters(subclasses_with(known, added))).of(filters)

    @cached_property
    def _is_item(self) -> np.ndarray:
        """Which nodes of the released graph are items: bool [N]."""
        return self.released.are_among(self._release.item_ids)

    @cached_property
    def _released_reasons(self) -> Reasons:
        return Reasons(self.released, self._is_item)

    @cached_property
    def _sparql(self) -> SparqlStore:
        return SparqlStore(self.released, lambda: (self._release.item_ids, self._release.items.column("title")))

    def _after(self, view: RelationsView) -> _Changed:
        def make() -> _Changed:
            changed = changed_graph(self.released, view.triples())
            before_M = changed.nodes_before_M
            is_item_M = np.concatenate([self._is_item, [False]])[before_M]  # the last one of -1
            new_nodes = np.flatnonzero(before_M < 0)
            new_names = pa.array(changed.graph.names_of(new_nodes), pa.string())
            is_item_M[new_nodes] = self._release.ids.rows_of(new_names) >= 0
            return _Changed(changed, Reasons(changed.graph, is_item_M))

        return self._changed.get(view, make)
