"""Reasons that a person understands: how an item is related to something that the user liked."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from semrec.graph.graph import Graph
from semrec.graph.search import Path, PathSearch, hub_costs

__all__ = ["Reasons", "RelatedItem"]

_MOST_NODES: Final = 2_000  # settled before a reason is given up: what is farther away explains nothing
_MOST_STEPS: Final = 4


@dataclass(frozen=True)
class RelatedItem:
    """An item related to another, by the path that says most."""

    item_id: str
    path: Path


class Reasons:
    """Finds how items are related, rare relations first: what two films share with few others says more than their genre.

    `is_item_N`, bool [N], says which nodes are items; entities are the end of no reason. Threads may share it.
    """

    def __init__(self, graph: Graph, is_item_N: np.ndarray) -> None:
        self._graph, self._search = graph, PathSearch(graph, hub_costs(graph))
        self._is_item_N = is_item_N

    def reasons(self, liked_ids: Sequence[str], item_ids: Sequence[str]) -> list[Path | None]:
        """The cheapest path from something liked to each item, of at most 4 steps; None when there is none near enough.

        It begins at another item than it ends at: an item is no reason for itself.
        """
        is_liked_N = self._graph.are_among(pa.array(liked_ids, pa.string()))
        nearest = [self._nearest(item_id, is_liked_N, 1, None) for item_id in item_ids]
        return [paths[0].reversed() if paths and len(paths[0].edges) <= _MOST_STEPS else None for paths in nearest]

    def related(
        self, item_id: str, k: int, *, predicates: Sequence[str] | None = None, more_items: Sequence[str] = ()
    ) -> list[RelatedItem]:
        """Up to k other items by the cost of their paths from one, then by id; [] for an item that no relation names.

        Follows all predicates or some. `more_items` are items, too. Raises InputError for an unknown predicate.
        """
        is_item_N = self._is_item_N
        if more_items:
            is_item_N = is_item_N | self._graph.are_among(pa.array(more_items, pa.string()))
        paths = self._nearest(item_id, is_item_N, k, predicates)
        return [RelatedItem(path.edges[-1].end, path) for path in paths]

    def paths(
        self,
        start: str,
        end: str,
        k: int,
        *,
        predicates: Sequence[str] | None = None,
        without: Collection[str] = (),
    ) -> list[Path]:
        """The up to k cheapest paths between two nodes, items or entities, by way of no node of `without`.

        Raises InputError for unknown names, those of `without` among them.
        """
        source, target = (self._graph.node_of(name, without=without) for name in (start, end))
        banned = np.flatnonzero(self._graph.are_among(pa.array(sorted(without), pa.string()))).tolist()
        return self._search.k_cheapest(source, target, k, predicates=predicates, banned=banned)

    def _nearest(self, item_id: str, is_wanted_N: np.ndarray, k: int, predicates: Sequence[str] | None) -> list[Path]:
        self._graph.allowed(predicates)  # an unknown predicate is an error of an unrelated item, too
        (node,) = self._graph.nodes.rows_of(pa.array([item_id], pa.string())).tolist()
        if node < 0:
            return []
        return self._search.nearest(node, is_wanted_N, k, predicates=predicates, most_nodes=_MOST_NODES)
