"""Answers how items are related in a release as later changes left it: what was deleted is not shown, nor on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from semrec.changes.overlay import OverlayView
from semrec.errors import MissingArtefactError
from semrec.graph.reasons import Reasons, RelatedItem
from semrec.graph.search import Path
from semrec.graph.sparql import SparqlAnswer, SparqlLimits

if TYPE_CHECKING:
    from semrec.online.release import OnlineRelease

__all__ = ["answer_sparql", "paths_between", "reasons_for", "related_items"]


def reasons_for(
    served: OnlineRelease, liked_ids: Sequence[str], item_ids: Sequence[str], overlay: OverlayView
) -> list[Path | None]:
    """How each item is related to one that was liked; None without relations, and where a deleted item is on the way."""
    if served.reasons is None or not liked_ids:
        return [None] * len(item_ids)
    paths = served.reasons.reasons(liked_ids, item_ids)
    return [None if path is None or _names(path) & overlay.deleted else path for path in paths]


def related_items(
    served: OnlineRelease, item_id: str, k: int, overlay: OverlayView, *, predicates: Sequence[str] | None = None
) -> list[RelatedItem]:
    """Up to k items that relations lead to from one, rare relations first.

    Raises MissingArtefactError for an unknown or deleted item or without relations, InputError for an unknown predicate.
    """
    served.item(item_id, overlay)
    deleted = overlay.deleted
    related = _reasons(served).related(item_id, k + len(deleted), predicates=predicates)
    return [one for one in related if not deleted & _names(one.path)][:k]


def paths_between(
    served: OnlineRelease,
    start: str,
    end: str,
    k: int,
    overlay: OverlayView,
    *,
    predicates: Sequence[str] | None = None,
) -> list[Path]:
    """The up to k paths between two items or entities, rare relations first.

    Raises MissingArtefactError without relations, InputError for unknown names, a deleted item's among them.
    """
    return _reasons(served).paths(start, end, k, predicates=predicates, without=overlay.deleted)


def answer_sparql(served: OnlineRelease, text: str, limits: SparqlLimits) -> SparqlAnswer:
    """Answers a query of the relations as they were released: later changes, deleted items among them, are not applied.

    Raises MissingArtefactError without relations, and as `SparqlStore.query` does.
    """
    if served.sparql is None:
        raise _no_relations(served)
    return served.sparql.query(text, limits)


def _reasons(served: OnlineRelease) -> Reasons:
    if served.reasons is None:
        raise _no_relations(served)
    return served.reasons


def _no_relations(served: OnlineRelease) -> MissingArtefactError:
    return MissingArtefactError(
        f"release {served.release_id} has no relations",
        expected="relations that were imported, or attributes that release.relations_from names",
        remedy="semrec import csv --kind relations, or semrec config set release.relations_from NAME, then semrec run.",
    )


def _names(path: Path) -> set[str]:
    return {name for edge in path.edges for name in (edge.start, edge.end)}
