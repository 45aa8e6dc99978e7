"""Answers how items are related in a release as later changes left it: what was deleted is not shown, nor on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from semrec.changes.overlay import OverlayView
from semrec.changes.relations import RelationChange, checked_relations
from semrec.errors import InputError, MissingArtefactError
from semrec.graph.changed import stated_triples
from semrec.graph.graph import MOST_PREDICATES, Graph, check_predicates
from semrec.graph.reasons import Reasons, RelatedItem
from semrec.graph.search import Path
from semrec.graph.sparql import SparqlAnswer, SparqlLimits

if TYPE_CHECKING:
    from semrec.online.release import OnlineRelease

__all__ = ["answer_sparql", "checked_changes", "paths_between", "reasons_for", "related_items"]

#: Changes are checked against what one replica knows: the other half is room for those that others check meanwhile.
_MOST_PREDICATES: Final = MOST_PREDICATES // 2


def reasons_for(
    served: OnlineRelease, liked_ids: Sequence[str], item_ids: Sequence[str], overlay: OverlayView
) -> list[Path | None]:
    """How each item is related to one that was liked; None without relations, and where a deleted item is on the way."""
    reasons = served.relations.reasons(overlay.relations) if liked_ids else None
    if reasons is None:
        return [None] * len(item_ids)
    paths = reasons.reasons(liked_ids, item_ids)
    return [None if path is None or _names(path) & overlay.deleted else path for path in paths]


def related_items(
    served: OnlineRelease, item_id: str, k: int, overlay: OverlayView, *, predicates: Sequence[str] | None = None
) -> list[RelatedItem]:
    """Up to k items that relations lead to from one, rare relations first.

    Raises MissingArtefactError for an unknown or deleted item or without relations, InputError for an unknown predicate.
    """
    served.item(item_id, overlay)
    deleted = overlay.deleted
    related = _reasons(served, overlay).related(
        item_id, k + len(deleted), predicates=predicates, more_items=overlay.ids
    )
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
    return _reasons(served, overlay).paths(start, end, k, predicates=predicates, without=overlay.deleted)


def answer_sparql(served: OnlineRelease, text: str, limits: SparqlLimits, overlay: OverlayView) -> SparqlAnswer:
    """Answers a query of the relations as they now are; changes of items are not applied, so deleted ones are found.

    Raises MissingArtefactError without relations, and as `SparqlStore.query` does.
    """
    _reasons(served, overlay)
    return served.relations.query(text, limits, overlay.relations)


def checked_changes(
    served: OnlineRelease, changes: Sequence[Mapping[str, Any]], overlay: OverlayView
) -> list[RelationChange]:
    """Returns changes as `checked_relations` does, if the relations as they now are can take them.

    Raises InputError as that does, for too many predicates, and for a deletion of what attributes or the ontology state,
    MissingArtefactError for one of what is not stated.
    """
    checked, released, known = checked_relations(changes), served.relations.released, overlay.relations.changes
    _check_predicates(released, known, checked)
    deleted = [change.triple for change in checked if change.deleted]
    stated = stated_triples(released, deleted)
    for triple in deleted:
        relation = " ".join(triple)
        if stated.get(triple):
            raise InputError(
                f"the deletion of {relation!r}, which an attribute or the ontology says",
                expected="a relation that was imported or added",
                remedy="Change the item's attribute, or the ontology.",
            )
        if known[triple].deleted if triple in known else triple not in stated:
            raise MissingArtefactError(
                f"no relation {relation!r} is stated",
                expected="a relation that was imported or added; what was inferred goes with what it follows from",
                remedy="Look at what is: GET /v1/graph/path.",
            )
    return checked


def _reasons(served: OnlineRelease, overlay: OverlayView) -> Reasons:
    reasons = served.relations.reasons(overlay.relations)
    if reasons is None:
        raise MissingArtefactError(
            f"release {served.release_id} has no relations",
            expected="relations that were imported, or attributes that release.relations_from names",
            remedy="semrec import csv --kind relations, or semrec config set release.relations_from NAME, then semrec run.",
        )
    return reasons


def _check_predicates(
    released: Graph, known: Iterable[tuple[str, str, str]], checked: Sequence[RelationChange]
) -> None:
    """Raises InputError for predicates that are new where there are many. Those that rules lead to count, too."""
    names = {*released.predicates, *(rule.head for rule in released.rules), *(triple[1] for triple in known)}
    if new_predicates := {change.predicate for change in checked if not change.deleted} - names:
        check_predicates(names | new_predicates, most=_MOST_PREDICATES)


def _names(path: Path) -> set[str]:
    return {name for edge in path.edges for name in (edge.start, edge.end)}
