"""Looks up the users of a release, and folds in events that came after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from semrec.changes.overlay import OverlayView
from semrec.contracts import bucket_of
from semrec.online.answers import RankQuery
from semrec.online.filters import NO_FILTERS, Filters
from semrec.online.histories import Histories
from semrec.online.item_vectors import OnlineVectors
from semrec.online.items import ItemTable
from semrec.online.lru import Lru
from semrec.online.profile import UserProfile, profile_of
from semrec.release.reader import Release, UserPart
from semrec.release.sources import PERSONAL, POPULARITY

if TYPE_CHECKING:
    from semrec.changes.events import Event

__all__ = ["UserState", "Users", "rank_query_of"]

_CACHE_BYTES: Final = 512 << 20
_CACHED_STATES: Final = 4096
_STATES_NOTHING: Final[Mapping[str, Sequence[str]]] = {}
_NOTHING_SEEN: Final = np.zeros(0, np.int64)

_Moment = tuple[str, "tuple[Event, ...]", int]  # user, events, sequence of the overlay


@dataclass(frozen=True, eq=False)
class UserState:
    """A user as queries need one. `vector` float32 [D], None for popularity; `words` uint64 [W] eligibility words;
    `seen_rows` int64 matrix rows, ascending; `hidden` ids of items seen that the release does not have; `stated` the
    values of attributes that the words were made of.
    """

    user_id: str
    vector: np.ndarray | None
    words: np.ndarray
    seen_rows: np.ndarray
    hidden: frozenset[str] = frozenset()
    stated: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """What the user's list is ranked by: a name of `semrec.release.sources`."""
        return POPULARITY if self.vector is None else PERSONAL


def rank_query_of(user: UserState, filters: Filters = NO_FILTERS, k: int = 10) -> RankQuery:
    """The query for a user's recommendations."""
    return RankQuery(user.vector, user.words, user.seen_rows, filters, k, user.hidden, user.stated)


class Users:
    """Looks users up. Parts are decoded on first use and kept, `cache_bytes` of them at most."""

    def __init__(
        self, release: Release, items: ItemTable, vectors: OnlineVectors, *, cache_bytes: int = _CACHE_BYTES
    ) -> None:
        self._release, self._items, self._vectors = release, items, vectors
        self._num_parts = len(release.manifest.users)
        self._parts: Lru[int, _Part] = Lru(cache_bytes, lambda part: part.num_bytes)
        self._histories = Histories(release)
        self._later: Lru[_Moment, UserState] = Lru(_CACHED_STATES, lambda _: 1)
        self._silent = release.layout.user_words([{}])[0]

    def state(self, user_id: str, recent: Sequence[Event] = (), overlay: OverlayView | None = None) -> UserState | None:
        """Returns a user after `recent` events, or None when neither the release nor an event knows the id.

        Without events it is what the release has. With events the vector is the one that a release of the stored
        interactions and these events would have; items that only `overlay` knows count with their vector there.
        """
        if not recent:
            return self._known(user_id)
        key = user_id, tuple(recent), overlay.sequence if overlay else 0
        return self._later.get(key, lambda: self._after(user_id, recent, overlay))

    def _after(self, user_id: str, recent: Sequence[Event], overlay: OverlayView | None) -> UserState:
        profile, before = self.profile(user_id, recent, overlay), self._known(user_id) or self.anonymous(user_id)
        rows = self._items.rows_of(profile.seen)
        return replace(
            before,
            vector=profile.vector,
            seen_rows=np.union1d(before.seen_rows, rows),
            hidden=frozenset(item_id for item_id in profile.seen if item_id not in self._items.row_of),
        )

    def anonymous(self, user_id: str = "") -> UserState:
        """Returns a user without a history: ranked by popularity, everything eligible, nothing seen."""
        return UserState(user_id, None, self._silent, _NOTHING_SEEN)

    def profile(self, user_id: str, recent: Sequence[Event] = (), overlay: OverlayView | None = None) -> UserProfile:
        """Returns what a user's vector is made of: the stored interactions up to the release's as_of, and `recent`."""
        events = self._histories.events(user_id, recent)
        return profile_of(events, self._vectors, self._release.components, overlay)

    def _known(self, user_id: str) -> UserState | None:
        part = self._part(bucket_of(user_id, self._num_parts))
        place = part.place_of.get(user_id)
        return None if place is None else part.state(user_id, place)

    def _part(self, part: int) -> _Part:
        return self._parts.get(part, lambda: _Part(self._release.user_part(part)))


class _Part:
    """A decoded part of the release's users."""

    def __init__(self, users: UserPart) -> None:
        self.place_of = {user_id: place for place, user_id in enumerate(users.user_ids.to_pylist())}
        self._queries, self._has_vector = users.queries, (users.source_U == users.sources.index(PERSONAL)).tolist()
        self._stated = _shared(users.stated)
        self._edges = np.ascontiguousarray(users.queries.seen_offsets, np.int64).data
        arrays = (users.queries.vectors_QD, users.queries.words_QW, users.queries.seen_offsets, users.queries.seen_rows)
        self.num_bytes = sum(array.nbytes for array in arrays) + 150 * len(
            self.place_of
        )  # an id, its number, its place

    def state(self, user_id: str, place: int) -> UserState:
        queries = self._queries
        vector = queries.vectors_QD[place] if self._has_vector[place] else None
        seen = queries.seen_rows[self._edges[place] : self._edges[place + 1]]
        stated = self._stated[place] if self._stated else _STATES_NOTHING
        return UserState(user_id, vector, queries.words_QW[place], seen, stated=stated)


def _shared(stated: pa.Array | None) -> list[Mapping[str, Sequence[str]]]:
    """Decodes what each user states, with one shared object for users who state the same; empty when nobody does."""
    if stated is None or stated.null_count == len(stated):
        return []
    known: dict[str, Mapping[str, Sequence[str]]] = {}
    return [known.setdefault(repr(pairs), dict(pairs or ())) for pairs in stated.to_pylist()]
