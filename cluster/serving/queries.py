"""Typed queries: what can be asked of a release, whatever protocol a request came by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from semrec.errors import InputError
from semrec.online.anonymous import Weighted
from semrec.online.diversity import num_candidates
from semrec.online.filters import NO_FILTERS, Filters
from semrec.online.hybrid import SearchMode

__all__ = [
    "AnonymousQuery",
    "ListOptions",
    "Query",
    "QueryBatch",
    "SearchQuery",
    "SimilarQuery",
    "UserQuery",
    "is_quick",
]


@dataclass(frozen=True)
class ListOptions:
    """Length, filters and order of a list; `use_overlay` False: as released, without later changes and events.

    `diversity` is 0 for a list by score alone, towards 1 for items that are less alike. Raises InputError for less than
    one item and for a diversity outside of 0 to 1.
    """

    k: int = 10
    filters: Filters = NO_FILTERS
    diversity: float = 0.0
    use_overlay: bool = True

    def __post_init__(self) -> None:
        if self.k < 1 or not 0 <= self.diversity <= 1:
            raise InputError(
                f"k = {self.k} with diversity = {self.diversity}",
                expected="k of at least 1 and a diversity from 0 to 1",
                remedy="Correct the query.",
            )

    @property
    def num_ranked(self) -> int:
        """How many items are ranked, of which k are chosen."""
        return num_candidates(self.k, self.diversity)


@dataclass(frozen=True)
class UserQuery:
    """A user's recommendations: ranked now, or the published list as it is (`source` "batch").

    `explain` asks what each score is made of, `why` at which place an item would be or why it may not be shown.
    """

    user_id: str
    options: ListOptions = ListOptions()
    source: Literal["live", "batch"] = "live"
    explain: bool = False
    why: str | None = None


@dataclass(frozen=True)
class SimilarQuery:
    """The items most like one."""

    item_id: str
    options: ListOptions = ListOptions()


@dataclass(frozen=True)
class AnonymousQuery:
    """Recommendations from liked and disliked items and a text."""

    liked: Sequence[Weighted] = ()
    disliked: Sequence[Weighted] = ()
    text: str | None = None
    options: ListOptions = ListOptions()
    explain: bool = False


@dataclass(frozen=True)
class SearchQuery:
    """Items by a text, by an image (a file's bytes), or by both.

    `mode` None: by all that the release has, its encoders and, for a text, its index of words.
    """

    text: str | None
    options: ListOptions = ListOptions()
    mode: SearchMode | None = None
    image: bytes | None = None


_QUICK_K: Final = 200  # items
_QUICK_LIKES: Final = 256

Query = UserQuery | SimilarQuery | AnonymousQuery | SearchQuery


@dataclass(frozen=True)
class QueryBatch:
    """Many queries that share their options."""

    queries: Sequence[Query]
    options: ListOptions = ListOptions()


def is_quick(query: Query) -> bool:
    """Whether a query may be ranked together with others that must not wait: a short list of few likes, not explained."""
    if query.options.num_ranked > _QUICK_K:
        return False
    if isinstance(query, UserQuery):
        return not query.explain and query.why is None
    if isinstance(query, AnonymousQuery):
        return not query.explain and len(query.liked) + len(query.disliked) <= _QUICK_LIKES
    return True
