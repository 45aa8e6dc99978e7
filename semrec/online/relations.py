"""Answers how items are related in a release as later changes left it: what was deleted is not shown, nor on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from semrec.changes.overlay import OverlayView
from semrec.errors import MissingArtefactError
from semrec.graph.reasons import Reasons, RelatedItem
from semrec.graph.search import Path

if TYPE_CHECKING:
    from semrec.online.release import OnlineRelease

__all__ = ["paths_between", "reason_for", "related_items"]


def reason_for(served: OnlineRelease, liked_ids: Sequence[str], item_id: str, overlay: OverlayView) -> Path | None:
    """How an item is related to one that was liked; None without relations, and where a deleted item is on the way."""
    path = served.reasons.reason(liked_ids, item_id) if served.reasons and liked_ids else None
    return None if path is None or _names(path) & _deleted(overlay) else path


def related_items(
    served: OnlineRelease, item_id: str, k: int, overlay: OverlayView, *, predicates: Sequence[str] | None = None
) -> list[RelatedItem]:
    """Up to k items that relations lead to from one, rare relations first.

    Raises MissingArtefactError for an unknown or deleted item or without relations, InputError for an unknown predicate.
    """
    served.item(item_id, overlay)
    deleted = _deleted(overlay)
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
    return _reasons(served).paths(start, end, k, predicates=predicates, without=_deleted(overlay))


def _reasons(served: OnlineRelease) -> Reasons:
    if served.reasons is None:
        raise MissingArtefactError(
            f"release {served.release_id} has no relations",
            expected="relations that were imported, or attributes that release.relations_from names",
            remedy="semrec import relations, or semrec config set release.relations_from NAME, then semrec run.",
        )
    return served.reasons


def _deleted(overlay: OverlayView) -> set[str]:
    return {item_id for item_id, change in overlay.changes.items() if change.deleted}


def _names(path: Path) -> set[str]:
    return {name for edge in path.edges for name in (edge.start, edge.end)}
