"""Opens a workspace from Python and queries its releases: a thin layer over what the service does, without a server.

release = semrec.open_workspace("workspace").release()
for item in release.recommend("user-1", k=5):
    print(item.score, item.title)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from semrec.changes.overlay import OverlayView
from semrec.errors import InputError
from semrec.online.answers import RankQuery
from semrec.online.filters import Filters, each_alone
from semrec.online.release import OnlineRelease
from semrec.online.users import rank_query_of
from semrec.runs.status import live_or_newest
from semrec.workspace.folder import Workspace

__all__ = ["AskedValues", "OpenRelease", "OpenWorkspace", "RecommendedItem", "open_workspace"]

#: Attribute -> values, of which an item must have one, or {"all": values}.
AskedValues = Mapping[str, Sequence[str] | Mapping[Literal["all"], Sequence[str]]]


@dataclass(frozen=True)
class RecommendedItem:
    """One item of a list. `score` is the canonical score, a float32 as a float: comparable within one list."""

    item_id: str
    title: str
    score: float
    attributes: Mapping[str, Sequence[str]]


class OpenWorkspace(Workspace):
    """A workspace whose releases can be opened."""

    def __reduce__(self) -> tuple[object, ...]:
        return (OpenWorkspace, (self.storage, self.num_buckets))

    def release(
        self, release_id: str | None = None, *, engine: str = "cpu", num_threads: int | None = None
    ) -> OpenRelease:
        """Opens a release: by its id, else the live one, else the one that was finished last.

        Raises MissingArtefactError when there is none, CorruptArtefactError for one that cannot be read.
        """
        if release_id is None:
            release_id = live_or_newest(self.storage)
        return OpenRelease(OnlineRelease(self.storage, release_id, engine=engine, num_threads=num_threads))


class OpenRelease:
    """A release that answers, as it was built: item changes and events that came online since are the service's.

    Lists are exact, leave out what the user has seen and may not see, and are the bytes that an all-user run publishes.
    Threads may share it.
    """

    def __init__(self, served: OnlineRelease) -> None:
        self._served = served

    @property
    def release_id(self) -> str:
        return self._served.release_id

    @property
    def num_items(self) -> int:
        return self._served.num_items

    def recommend(self, user_id: str, k: int = 10, *, filters: AskedValues | None = None) -> list[RecommendedItem]:
        """Returns the first K items for a user; by popularity for one without a vector, or of whom nothing is known.

        `filters`: attribute -> values, of which an item must have one, {"genre": ["Drama", "War"]}, or each,
        {"genre": {"all": ["Drama", "War"]}}. Raises InputError for K < 1, or a filter by what no item has.
        """
        users = self._served.users
        user = users.state(user_id) or users.anonymous(user_id)
        return self._list(rank_query_of(user, self._filters(filters), _checked(k)))

    def similar(self, item_id: str, k: int = 10, *, filters: AskedValues | None = None) -> list[RecommendedItem]:
        """Returns the K items whose vectors score highest with an item's own, itself left out.

        Raises MissingArtefactError for an unknown item, InputError as `recommend` does.
        """
        chosen = self._filters(filters)
        return self._list(self._served.similar(item_id, OverlayView.empty(), filters=chosen, k=_checked(k)))

    def _filters(self, filters: AskedValues | None) -> Filters:
        any_of: dict[str, frozenset[str]] = {}
        all_of: dict[str, frozenset[str]] = {}
        for attribute, asked in (filters or {}).items():
            if not isinstance(asked, Mapping):
                any_of[attribute] = _values(attribute, asked)
            elif set(asked) == {"all"} and asked["all"]:
                all_of[attribute] = _values(attribute, asked["all"])
            else:
                raise InputError(
                    f"filters: {asked!r} for {attribute!r}",
                    expected='{"all": a list of one value or more}',
                    remedy="Ask for values, or for all of some values.",
                )
        chosen = Filters(any_of, all_of=each_alone(all_of))
        self._served.check_filters(chosen, OverlayView.empty())
        return chosen

    def _list(self, rank_query: RankQuery) -> list[RecommendedItem]:
        unchanged = OverlayView.empty()
        [ranked] = self._served.rank([rank_query], unchanged)
        items = [(self._served.item(hit.item_id, unchanged), hit.score) for hit in ranked.hits]
        return [RecommendedItem(item.item_id, item.title, float(score), item.attributes) for item, score in items]


def open_workspace(uri: str) -> OpenWorkspace:
    """Opens the workspace at a path or object-store URI. Raises WorkspaceError when there is none there."""
    workspace = Workspace.open(uri)
    return OpenWorkspace(workspace.storage, workspace.num_buckets)


def _values(attribute: str, values: Sequence[str]) -> frozenset[str]:
    if isinstance(values, str):  # a sequence of letters, which nobody means
        raise InputError(
            f"filters: {values!r} for {attribute!r}",
            expected="a list of values",
            remedy=f"Write {attribute!r}: [{values!r}].",
        )
    return frozenset(values)


def _checked(k: int) -> int:
    if k < 1:
        raise InputError(f"K = {k}", expected="at least 1", remedy="Ask for one result or more.")
    return k
