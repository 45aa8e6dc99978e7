"""Answers queries on an opened release: ranks items, looks users and items up, compares with the published run."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from semrec.changes.overlay import OverlayView
from semrec.errors import CorruptArtefactError, InputError, MissingArtefactError
from semrec.lexical.engine import TermQueries, WordEngine
from semrec.lexical.item_words import ItemWords
from semrec.online.answers import WORDS, RankedList, RankQuery, ScoredItem, first_of_both, hits_of, short_reason
from semrec.online.facets import OnlineFacets
from semrec.online.filter_layout import CompiledFilters, FilterLayout
from semrec.online.filters import NO_FILTERS, Filters
from semrec.online.item_vectors import OnlineVectors, unknown_item
from semrec.online.items import ItemFacts, ItemTable, fragment
from semrec.online.lru import Lru
from semrec.online.online_graph import OnlineGraph
from semrec.online.overlay_items import OverlayItems
from semrec.online.parity import published_differs
from semrec.online.profile import UserProfile
from semrec.online.published import Published, PublishedLists
from semrec.online.row_lists import blocks_of, concatenated, merged
from semrec.online.users import Users, UserState, rank_query_of
from semrec.release.arrays import read_popularity
from semrec.release.attributes import FlatAttributes
from semrec.release.oracle import may_see
from semrec.release.reader import Release
from semrec.release.sources import source_named
from semrec.scoring.engine import Engine
from semrec.scoring.types import Queries, Targets, TopK
from semrec.workspace.recall import RecallManifest
from semrec.workspace.storage import Storage

if TYPE_CHECKING:
    from semrec.changes.events import Event

__all__ = ["OnlineRelease"]

_FILTER_BYTES: Final = 64 << 20
_KEPT_VIEWS: Final = 4
_ROWS_TOGETHER: Final = 1 << 24  # that are left out of the queries of one call of an engine: 128 MiB
_NO_VECTOR: Final = np.zeros(1, np.float32)


class OnlineRelease:
    """An opened release, ready to answer; it does not change, but for what it keeps in caches. Threads may share it.

    It ranks the matrix rows start:stop, all of them by default and none where both are 0; who holds several such merges
    their answers with `merge_ranked`. What is known of items and users does not depend on the range. The overlay's items
    are ranked by the one that holds row 0. `attributes` says what can be filtered by: attribute -> its values;
    `popularity_I` float32 how many users had each item of the release.
    Raises CorruptArtefactError or MissingArtefactError for a release, or a run of it, that cannot be read.
    """

    def __init__(
        self,
        storage: Storage,
        release_id: str,
        run_id: str | None = None,
        *,
        engine: str = "cpu",
        num_threads: int | None = None,
        start: int = 0,
        stop: int | None = None,
    ) -> None:
        self.release, self.run_id = Release(storage, release_id), run_id
        self.release_id, self._engine, self._threads = release_id, engine, num_threads
        self.start, self.stop = start, self.release.num_items if stop is None else stop
        self._published = _run_of(storage, run_id, release_id) if run_id else None
        flat = FlatAttributes(self.release.attributes())
        self.items, self.facets = ItemTable(self.release), OnlineFacets(self.release, flat)
        self._filters = FilterLayout(flat, self.release.subclasses, self.facets.values)
        if self.stop - self.start in (0, self.num_items):
            self.items.prepare()  # a shard ranks, and shows nothing
        self.attributes = self._filters.attributes
        self.vectors = OnlineVectors(self.release, self.items)
        self.users = Users(self.release, self.items, self.vectors)
        self.popularity_I = read_popularity(storage, self.release.manifest.matrix, 0, self.release.num_items)
        self._engines: dict[str, Engine] | None = None
        self._word_engine: WordEngine | None = None
        if self.stop > self.start:
            self._make_engines(self._filters.item_words(flat))
        self._compiled: Lru[Filters, CompiledFilters] = Lru(_FILTER_BYTES, lambda compiled: compiled.num_bytes)
        self._overlays: Lru[object, OverlayItems] = Lru(_KEPT_VIEWS, lambda _: 1)

    @property
    def num_items(self) -> int:
        return self.release.num_items

    @property
    def dimension(self) -> int:
        return self.release.dimension

    @property
    def run_k(self) -> int | None:
        """K of the run, None without one."""
        return self._published.k if self._published else None

    @property
    def recall(self) -> RecallManifest | None:
        """How exact the run was measured to be where it is approximate."""
        return self._published.recall if self._published else None

    def rank(self, rank_queries: Sequence[RankQuery], overlay: OverlayView) -> list[RankedList]:
        """The exact first K of each query over the release as `overlay` changes it, in the order of `rank_queries`.

        By (score descending, item_id ascending). One call of an engine for all queries of a source, at the largest K of
        the batch, or for as many as fit by what they leave out. A filter by what no item has matches nothing;
        `check_filters` refuses it.
        """
        answers: list[RankedList] = [RankedList([])] * len(rank_queries)
        by_source: dict[str, list[int]] = {}
        for place, rank_query in enumerate(rank_queries):
            by_source.setdefault(rank_query.source, []).append(place)
        num_left_out = [self._num_left_out(rank_query, overlay) for rank_query in rank_queries]
        for source, places in by_source.items():
            for block in blocks_of([num_left_out[place] for place in places], _ROWS_TOGETHER):
                alike = self._rank_alike([rank_queries[place] for place in places[block]], overlay, source)
                for place, ranked in zip(places[block], alike, strict=True):
                    answers[place] = ranked
        return answers

    def check_filters(self, filters: Filters, overlay: OverlayView) -> None:
        """Raises InputError for a filter by what no item has: here, and not for all of a batch in `rank`."""
        if filters.attributes:
            self._filters.check(filters, overlay.values)

    def prepare(self, filters: Filters, overlay: OverlayView) -> None:
        """Does what ranking would otherwise do with a request's filters when they first come: passes over what was added to
        the hierarchy of values, the catalogue, and the overlay.
        """
        filters = self.relations.filters(filters, overlay.relations)
        if self.is_prepared(filters, overlay):
            return
        self._compile(filters)
        if overlay:
            self._overlay(overlay).left_out(filters)

    def is_prepared(self, filters: Filters, overlay: OverlayView) -> bool:
        """Whether filters that are ranked as they are find all done; so where others rank, or nothing is asked of items."""
        if not filters or self._engines is None:
            return True
        changed = self._overlays.kept(overlay.items_key) if overlay else None
        return filters in self._compiled and (not overlay or (changed is not None and changed.has_left_out(filters)))

    def num_excluded(self, rank_query: RankQuery, hits: Sequence[ScoredItem], overlay: OverlayView) -> int:
        """How many of the hits the query's user may not see: 0, unless something is broken.

        By plain sets of what the user and the items state, not by the bits that the engine tested.
        """
        names, seen_rows = self.release.manifest.settings.eligibility, set(rank_query.seen_rows.tolist())
        return sum(
            hit.item_id in rank_query.hidden
            or self.items.row_of.get(hit.item_id) in seen_rows
            or not may_see(rank_query.stated, self.item(hit.item_id, overlay).attributes, names)
            for hit in hits
        )

    def item(self, item_id: str, overlay: OverlayView) -> ItemFacts:
        """Title and attributes of an item as it now is. Raises MissingArtefactError for an unknown or deleted one."""
        change = overlay.changes.get(item_id)
        if change is None:
            return self.items.facts(self._row(item_id))
        if change.deleted:
            raise unknown_item(item_id, self.release_id)
        return ItemFacts(item_id, change.title, dict(change.attributes))

    def filtered(self, item_id: str, overlay: OverlayView) -> dict[str, list[str]]:
        """What filters go by of an item: its attributes and facets. Raises MissingArtefactError as `item` does."""
        change, stated = overlay.changes.get(item_id), self.item(item_id, overlay).attributes
        facets = self.facets.of_row(self._row(item_id)) if change is None else self.facets.of_texts([change.text])[0]
        return {**stated, **facets}

    @cached_property
    def relations(self) -> OnlineGraph:
        """How items are related, as changes leave it."""
        return OnlineGraph(self.release)

    @cached_property
    def greatest_popularity(self) -> float:
        """How many users had the item that most had."""
        return float(self.popularity_I.max(initial=0))

    def vector_of(self, item_id: str, overlay: OverlayView) -> np.ndarray:
        """float32 [D]: an item's vector as it now is. Raises MissingArtefactError for an unknown or deleted one."""
        return self.vectors_of([item_id], overlay)[0]

    def vectors_of(self, item_ids: Sequence[str], overlay: OverlayView) -> np.ndarray:
        """float32 [len(item_ids), D]: `vector_of` each."""
        return self.vectors.of_items(item_ids, overlay)

    def fragments(self, item_ids: Sequence[str], overlay: OverlayView) -> list[bytes]:
        """The JSON object of each item, left open for its score: b'{"item_id":"a","title":"A","attributes":{}'."""
        row_of, stored, changes = self.items.row_of, self.items.fragment, overlay.changes
        if not changes:
            return [stored(row_of[item_id]) for item_id in item_ids]
        return [
            fragment(item_id, changes[item_id].title, dict(changes[item_id].attributes))
            if item_id in changes
            else stored(row_of[item_id])
            for item_id in item_ids
        ]

    def user(self, user_id: str, recent: Sequence[Event] = (), overlay: OverlayView | None = None) -> UserState | None:
        """A user after `recent` events; None for one of whom nothing is known. See `Users.state`."""
        return self.users.state(user_id, recent, overlay)

    def profile(self, user_id: str, recent: Sequence[Event] = (), overlay: OverlayView | None = None) -> UserProfile:
        """What a user's vector is made of, for explanations. Reads the stored interactions."""
        return self.users.profile(user_id, recent, overlay)

    def similar(self, item_id: str, overlay: OverlayView, *, filters: Filters = NO_FILTERS, k: int = 10) -> RankQuery:
        """The query for the items most like one, itself left out. Raises MissingArtefactError for an unknown one."""
        vector = self.release.components.comparing(self.vectors_of([item_id], overlay))[0]
        nobody = self.users.anonymous()
        return RankQuery(vector, nobody.words, self.items.rows_of([item_id]), filters, k, frozenset([item_id]))

    def changed_words(self, overlay: OverlayView) -> ItemWords | None:
        """The index of the words of the overlay's items, by their places; None where there are none."""
        changed = self._overlay(overlay) if overlay else None
        return changed.word_engine.index if changed and changed.word_engine else None

    def count_before(self, rank_query: RankQuery, item_id: str, score: np.float32, overlay: OverlayView) -> int:
        """How many of the items held here that may be shown come before one with this score in the query's order."""
        changed = self._overlay(overlay) if overlay else None
        queries, offsets = self._queries([rank_query], changed), np.array([0, 1])
        place = np.array([self.items.place_of(item_id)])
        count = self._engine_of(rank_query.source).count_before(queries, Targets(offsets, place, np.array([score])))[0]
        if changed and changed.engines and self.start == 0:
            place = np.array([bisect_left(changed.ids, item_id)])
            added = self._overlay_queries([rank_query], queries, changed)
            count += changed.engines[rank_query.source].count_before(added, Targets(offsets, place, np.array([score])))[
                0
            ]
        return int(count)

    def published(self, user_id: str) -> Published | None:
        """The list of a user in the run; None for a user that it does not have. Raises MissingArtefactError without a run."""
        return self._require_run().list_of(user_id)

    def check(self) -> None:
        """Hashes the stored matrix and popularity. Raises CorruptArtefactError naming the first file that differs."""
        self.release.check()

    def probe(
        self, num_users: int = 16, rank: Callable[[Sequence[RankQuery], OverlayView], list[RankedList]] | None = None
    ) -> None:
        """Answers users spread over the run, and compares with their published lists: ids and score bytes must be equal, but
        for ids of approximate lists.

        `rank` stands for `self.rank` where several hold the matrix. Raises CorruptArtefactError naming a user that differs.
        """
        run = self._require_run()
        user_ids = run.sample(num_users)
        states = [self.users.state(user_id) for user_id in user_ids]
        known = [state or self.users.anonymous(user_id) for state, user_id in zip(states, user_ids, strict=True)]
        answers = (rank or self.rank)([rank_query_of(state, k=run.k) for state in known], OverlayView.empty())
        for state, answer in zip(known, answers, strict=True):
            published = run.list_of(state.user_id)
            reason = "nothing was published" if published is None else published_differs(answer.hits, published)
            if reason is not None:
                raise CorruptArtefactError(
                    f"release {self.release_id} answers user {state.user_id!r} otherwise than run {run.run_id}: {reason}",
                    expected="the published items and the same bytes of every score",
                    remedy="Run `semrec verify`; roll back, or build the release again.",
                )

    def _rank_alike(self, rank_queries: list[RankQuery], overlay: OverlayView, source: str) -> list[RankedList]:
        """`rank` for queries of one source."""
        changed = self._overlay(overlay) if overlay else None
        queries, k = self._queries(rank_queries, changed), max(rank_query.k for rank_query in rank_queries)
        of_release = hits_of(self._top_k(queries, k, source), self.items.ids, rank_queries)
        lists: Sequence[Sequence[ScoredItem]] = of_release
        if changed and changed.engines and self.start == 0:
            top = changed.top_k(self._overlay_queries(rank_queries, queries, changed), k, source)
            added = hits_of(top, changed.ids, rank_queries)
            lists = [first_of_both(a, b, q.k) for a, b, q in zip(of_release, added, rank_queries, strict=True)]
        num_items = changed.num_items if changed else self.num_items
        return [
            RankedList(hits, None if len(hits) >= q.k else short_reason(len(hits), num_items, q))
            for hits, q in zip(lists, rank_queries, strict=True)
        ]

    def _num_left_out(self, rank_query: RankQuery, overlay: OverlayView) -> int:
        """How many rows `_queries` leaves out for a query, or some more."""
        by_filters = len(self._compile(rank_query.filters).rows) if rank_query.filters else 0
        return len(rank_query.seen_rows) + by_filters + len(overlay.changes)

    def _queries(self, rank_queries: list[RankQuery], changed: OverlayItems | None) -> Queries:
        """The queries of one source over the release's rows; what the overlay replaces counts as seen."""
        # The words of the release's own clauses come first, those of the filters behind them.
        num, num_own = len(rank_queries), self.release.num_words
        words = np.empty((num, num_own + self._filters.num_words), np.uint64)
        words[:, :num_own] = np.concatenate([rank_query.words for rank_query in rank_queries]).reshape(num, num_own)
        words[:, num_own:] = self._filters.plain
        seen = [rank_query.seen_rows for rank_query in rank_queries]
        for n, rank_query in enumerate(rank_queries):
            if rank_query.filters:
                compiled = self._compile(rank_query.filters)
                words[n, num_own:] = compiled.words_W
                seen[n] = merged(seen[n], compiled.rows)
        if changed:
            seen = [merged(rows, changed.replaced_rows) for rows in seen]
        if rank_queries[0].source == WORDS:
            return TermQueries.of([rank_query.terms or () for rank_query in rank_queries], words, *concatenated(seen))
        stored = [_NO_VECTOR if rank_query.vector is None else rank_query.vector for rank_query in rank_queries]
        vectors_QD = np.concatenate(stored).reshape(num, -1)
        return Queries(source_named(rank_queries[0].source).query_vectors(vectors_QD), words, *concatenated(seen))

    def _overlay_queries(self, rank_queries: list[RankQuery], queries: Queries, changed: OverlayItems) -> Queries:
        """The same queries over the overlay's items, where filters have no words: what they leave out counts as seen."""
        words = np.stack([changed.words(rank_query) for rank_query in rank_queries])
        offsets, rows = concatenated([changed.never_shown(rank_query) for rank_query in rank_queries])
        return replace(queries, words_QW=words, seen_offsets=offsets, seen_rows=rows)

    def _top_k(self, queries: Queries, k: int, source: str) -> TopK:
        """The first K of the rows held here. Raises InputError where there are none, or no index of the words asked for."""
        if not isinstance(queries, TermQueries):
            return self._engine_of(source).top_k(queries, k)
        if self._word_engine is None:
            raise InputError(
                f"release {self.release_id} was opened without rows, or built without an index of words",
                expected="rows to rank, and an index",
                remedy="Ask the shards, or search by vectors.",
            )
        return self._word_engine.top_k(queries, k)

    def _engine_of(self, source: str) -> Engine:
        if self._engines is None:
            raise InputError(
                f"release {self.release_id} was opened without rows to rank",
                expected="a range of rows",
                remedy="Ask the shards, and merge what they answer.",
            )
        return self._engines[source]

    def _compile(self, filters: Filters) -> CompiledFilters:
        def make() -> CompiledFilters:
            shard = self._engine_of(self.release.sources[0].name).shard
            compiled = self._filters.compile(filters, shard.words_IW[:, self.release.num_words :], self.start)
            rows = merged(compiled.rows, self.items.rows_of(filters.exclude))
            return replace(compiled, rows=rows, key_bytes=filters.num_bytes)

        return self._compiled.get(filters, make)

    def _overlay(self, view: OverlayView) -> OverlayItems:
        def make() -> OverlayItems:
            return OverlayItems(
                view, self.vectors.of_overlay(view), self.items, self.release.layout, self.release.subclasses,
                self.release.sources, self.popularity_I, self._engine, self._threads, self.release.word_index, self.facets,
            )  # fmt: skip

        return self._overlays.get(view.items_key, make)

    def _make_engines(self, filter_words: np.ndarray) -> None:
        """Makes an engine for each source by its name, and that of words, with the filters' clauses behind the release's."""
        num_own, coarse = self.release.num_words, self.release.coarse(self._engine)
        starts = (*self.release.layout.clause_starts, *(num_own + start for start in self._filters.clause_starts))
        own_words = self.release.words(self.start, self.stop)
        words = np.concatenate([own_words, filter_words[self.start : self.stop]], axis=1)
        self._engines, index = {}, self.release.word_index
        if index is not None:
            self._word_engine = WordEngine(index, words, starts, self.start)
        for source in self.release.sources:
            items = source.items(self.release, self.start, self.stop)
            filtered = replace(items, words_IW=words, clause_starts=starts)
            self._engines[source.name] = source.engine(filtered, self._engine, coarse=coarse, num_threads=self._threads)

    def _row(self, item_id: str) -> int:
        row = self.items.row_of.get(item_id)
        if row is None:
            raise unknown_item(item_id, self.release_id)
        return row

    def _require_run(self) -> PublishedLists:
        if self._published is None:
            raise MissingArtefactError(
                f"release {self.release_id} was opened without a run",
                expected="a run of it",
                remedy="Score and publish it: `semrec score`, `semrec publish`.",
            )
        return self._published


def _run_of(storage: Storage, run_id: str, release_id: str) -> PublishedLists:
    run = PublishedLists(storage, run_id)
    if run.release_id != release_id:
        raise InputError(
            f"run {run_id} is of release {run.release_id}",
            expected=f"a run of {release_id}",
            remedy="Name both of one pair.",
        )
    return run
