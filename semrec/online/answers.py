"""Questions and answers: what the serving asks of the engine, and what it gets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, overload

import numpy as np

from semrec.online.filters import NO_FILTERS, Filters
from semrec.release.sources import PERSONAL, POPULARITY
from semrec.scoring.types import TopK

__all__ = [
    "WORDS",
    "RankQuery",
    "RankedList",
    "RowHits",
    "ScoredItem",
    "first_of_both",
    "hits_of",
    "item_ids_of",
    "merge_ranked",
    "scores_in",
    "short_reason",
    "sorted_hits",
]

#: The source of a search by words, beside those of `semrec.release.sources`.
WORDS: Final = "words"


@dataclass(frozen=True, eq=False)
class RankQuery:
    """One thing to be scored.

    `vector` float32 [D], or `terms` of a search, or neither to go by popularity; `words` uint64 [W] eligibility words in
    the release's layout;
    `seen_rows` int64 matrix rows that are never shown, ascending; `hidden` ids of overlay items that are never shown;
    `stated` what `words` were made of: values of attributes, also those that no item of the release has.
    """

    vector: np.ndarray | None
    words: np.ndarray
    seen_rows: np.ndarray
    filters: Filters = NO_FILTERS
    k: int = 10
    hidden: frozenset[str] = frozenset()
    stated: Mapping[str, Sequence[str]] = field(default_factory=dict)
    terms: tuple[str, ...] | None = None

    @property
    def source(self) -> str:
        """What it is ranked by: `WORDS`, or a name of `semrec.release.sources`."""
        if self.terms is not None:
            return WORDS
        return POPULARITY if self.vector is None else PERSONAL


class ScoredItem(NamedTuple):
    """One item of an answer. The score is the canonical one, float32."""

    item_id: str
    score: np.float32


class RowHits(Sequence[ScoredItem]):
    """Scored items as an engine finds them: `rows_K` int64 of a table with `item_ids`, `scores_K` float32, best first.

    A hit is made when it is asked for: of thousands of lists that are only written out, none ever is.
    """

    __slots__ = ("item_ids", "rows_K", "scores_K")

    def __init__(self, item_ids: Sequence[str], rows_K: np.ndarray, scores_K: np.ndarray) -> None:
        self.item_ids, self.rows_K, self.scores_K = item_ids, rows_K, scores_K

    def __len__(self) -> int:
        return len(self.rows_K)

    @overload
    def __getitem__(self, place: int) -> ScoredItem: ...

    @overload
    def __getitem__(self, place: slice) -> RowHits: ...

    def __getitem__(self, place: int | slice) -> ScoredItem | RowHits:
        if isinstance(place, slice):
            return RowHits(self.item_ids, self.rows_K[place], self.scores_K[place])
        return ScoredItem(self.item_ids[self.rows_K[place]], self.scores_K[place])

    def __iter__(self) -> Iterator[ScoredItem]:
        return map(ScoredItem, item_ids_of(self), self.scores_K)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)  # another process has no use for all the ids


@dataclass(frozen=True)
class RankedList:
    """The first K items, best first; `short_reason` says why there are fewer."""

    hits: Sequence[ScoredItem]
    short_reason: str | None = None


def item_ids_of(hits: Sequence[ScoredItem]) -> list[str]:
    """The ids of a list."""
    if isinstance(hits, RowHits):
        item_ids = hits.item_ids
        return [item_ids[row] for row in hits.rows_K.tolist()]
    return [hit.item_id for hit in hits]


def scores_in(hits: Sequence[ScoredItem]) -> np.ndarray:
    """The scores of a list: float32 [K]."""
    return hits.scores_K if isinstance(hits, RowHits) else np.array([hit.score for hit in hits], np.float32)


def hits_of(top: TopK, item_ids: Sequence[str], rank_queries: Sequence[RankQuery]) -> list[RowHits]:
    """What an engine found for each query, cut to its own K; `item_ids` are those of the engine's rows."""
    starts = top.offsets.tolist()
    stops = [min(stop, start + query.k) for start, stop, query in zip(starts, starts[1:], rank_queries, strict=False)]
    return [
        RowHits(item_ids, top.rows[start:stop], top.scores[start:stop])
        for start, stop in zip(starts, stops, strict=False)
    ]


def first_of_both(hits: RowHits, added: RowHits, k: int) -> Sequence[ScoredItem]:
    """The first K of two lists of different items: `hits` themselves where none of `added` comes among them."""
    if not len(added) or (len(hits) >= k and added.scores_K[0] < hits.scores_K[k - 1]):
        return hits[:k]
    return sorted_hits([*hits, *added], k)


def sorted_hits(hits: Iterable[ScoredItem], k: int) -> list[ScoredItem]:
    """The first K by (score descending, item_id ascending)."""
    return sorted(hits, key=_order)[:k]


def merge_ranked(shards: Sequence[Sequence[RankedList]], ks: Sequence[int]) -> list[RankedList]:
    """The answers of disjoint shards to the same queries as those of the whole matrix: exact, since each has its first K.

    `shards[s][q]` answers query q, of which `ks[q]` items are wanted.
    """
    merged = []
    for parts, k in zip(zip(*shards, strict=True), ks, strict=True):
        hits = sorted_hits((hit for part in parts for hit in part.hits), k)
        reason = next((part.short_reason for part in parts if part.short_reason), None)
        # A shard's reason begins with its own count; all else in it is the same in every shard.
        merged.append(
            RankedList(hits, f"{len(hits)}{reason[reason.index(' ') :]}" if reason and len(hits) < k else None)
        )
    return merged


def short_reason(num_hits: int, num_items: int, rank_query: RankQuery) -> str | None:
    """Why a query's answer has fewer than K items, or None when it has K. Without filters it is what a run says."""
    if num_hits >= rank_query.k:
        return None
    have_words = " have a word of the text and" if rank_query.terms is not None else ""
    if rank_query.filters:
        return f"{num_hits} of {num_items} items{have_words} are eligible, not seen and pass the filters"
    return f"{num_hits} of {num_items} items{have_words} are eligible and not seen"


def _order(hit: ScoredItem) -> tuple[float, str]:
    return -float(hit.score), hit.item_id
