"""Ranks the items of an overlay as one more shard, by the same engines, so that they rank as exactly as the others."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from semrec.changes.overlay import OverlayView
from semrec.graph.inference import Subclasses
from semrec.lexical.engine import TermQueries, WordEngine
from semrec.lexical.item_words import ItemWords
from semrec.lexical.terms import fields_of
from semrec.online.answers import RankQuery
from semrec.online.facets import OnlineFacets
from semrec.online.filters import Filters
from semrec.online.items import ItemTable
from semrec.online.lru import Lru
from semrec.release.sources import Source
from semrec.scoring.eligibility import Layout
from semrec.scoring.engine import Engine
from semrec.scoring.types import ItemShard, Queries, TopK

__all__ = ["OverlayItems"]

_FILTER_BYTES: Final = 16 << 20


class _LeftOut(NamedTuple):
    """Overlay rows that filters leave out, and what they and the filters take in memory."""

    rows: np.ndarray
    num_bytes: int


class OverlayItems:
    """One view, made ready over one release. `vectors_OD` float32 are the live items' vectors by the release's models.

    `replaced_rows` are the release's rows that are deleted or replaced, ascending, int64. `engines` rank the live items,
    one for each source by its name, or are None without any; their row r is item `ids[r]`. `word_engine` finds them by words,
    scored by the statistics of the release's index; it is None without one.
    """

    def __init__(
        self,
        view: OverlayView,
        vectors_OD: np.ndarray,
        items: ItemTable,
        layout: Layout,
        subclasses: Subclasses,
        sources: Sequence[Source],
        popularity_I: np.ndarray,
        engine: str,
        threads: int | None,
        word_index: ItemWords | None,
        facets: OnlineFacets,
    ) -> None:
        self.view, self.ids = view, list(view.ids)
        self.replaced_rows = items.rows_of(list(view.changes))
        self.num_items = len(items) - len(self.replaced_rows) + len(self.ids)
        rows = [items.row_of.get(item_id) for item_id in self.ids]
        self._place_of_row = {row: place for place, row in enumerate(rows) if row is not None}
        self._left_out: Lru[Filters, _LeftOut] = Lru(_FILTER_BYTES, lambda entry: entry.num_bytes)
        self._layout, self._extended = layout, layout.extended(view.attributes)
        self._subclasses, self._facets = subclasses, facets
        self.engines: dict[str, Engine] | None = None
        self.word_engine: WordEngine | None = None
        if self.ids:
            words, starts = self._extended.item_words(view.attributes), self._extended.clause_starts
            # An item that the release knows keeps its popularity; a new one has none yet.
            counts = np.array([0.0 if row is None else popularity_I[row] for row in rows], np.float32)
            self.engines = {}
            for source in sources:
                added = ItemShard.from_vectors(source.added_items(vectors_OD, counts), words, starts)
                self.engines[source.name] = source.engine(added, engine, num_threads=threads)
            if word_index is not None:
                titles, texts = (
                    pa.array(column, pa.string())
                    for column in zip(*((item.title, item.text) for item in view.live), strict=True)
                )
                own_rows = np.array([-1 if row is None else row for row in rows], np.int64)
                self.word_engine = WordEngine(word_index.added(fields_of(titles, texts), own_rows), words, starts)

    def words(self, rank_query: RankQuery) -> np.ndarray:
        """The query's eligibility words over the overlay's items, which may state values that no release item has."""
        if self._extended.clauses == self._layout.clauses:
            return rank_query.words
        return self._extended.extended_words(rank_query.words, rank_query.stated, self._layout)

    def top_k(self, queries: Queries, k: int, source: str) -> TopK:
        """The first K live items of each query of a source; there must be some."""
        if isinstance(queries, TermQueries):
            assert self.word_engine is not None
            return self.word_engine.top_k(queries, k)
        assert self.engines is not None
        return self.engines[source].top_k(queries, k)

    def never_shown(self, rank_query: RankQuery) -> np.ndarray:
        """The overlay rows that a query must not be answered with: seen, hidden, or left out by a filter. Ascending."""
        hidden: set[int] = set()
        if self._place_of_row:
            place_of = self._place_of_row
            hidden.update(place_of[row] for row in rank_query.seen_rows.tolist() if row in place_of)
        hidden.update(self._places(rank_query.hidden))
        if rank_query.filters:
            hidden.update(self.left_out(rank_query.filters).tolist())
        return np.array(sorted(hidden), np.int64)

    def left_out(self, filters: Filters) -> np.ndarray:
        """The overlay rows that filters leave out, ascending, int64. It looks at each item, so it is kept."""

        def make() -> _LeftOut:
            asked = filters.including(self._subclasses)
            failing = {place for place, item in enumerate(self._filtered) if asked.failed(item) is not None}
            rows = np.array(sorted(failing | set(self._places(filters.exclude))), np.int64)
            return _LeftOut(rows, rows.nbytes + filters.num_bytes)

        return self._left_out.get(filters, make).rows

    @cached_property
    def _filtered(self) -> list[dict[str, list[str]]]:
        """What filters go by of each item: its attributes and facets."""
        facets = self._facets.of_texts([item.text for item in self.view.live])
        return [{**stated, **own} for stated, own in zip(self.view.attributes, facets, strict=True)]

    def has_left_out(self, filters: Filters) -> bool:
        """Whether `left_out` is kept for these filters."""
        return filters in self._left_out

    def _places(self, item_ids: Sequence[str] | frozenset[str]) -> list[int]:
        return [self.view.place_of[item_id] for item_id in item_ids if item_id in self.view.place_of]
