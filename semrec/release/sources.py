"""Defines the sources that rank users' lists. Each has item vectors of its own, an engine for them, and a query per user.

A release lists its sources by name, each user of it has one, and so has each row of a run (`source`). Queries are grouped by
source, and an engine per source answers them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from semrec.errors import InputError
from semrec.scoring.approximate import ApproximateEngine, make_approximate_engine
from semrec.scoring.engine import Engine, make_engine
from semrec.scoring.formats import CoarseFormat
from semrec.scoring.popularity import PopularityEngine
from semrec.scoring.types import ItemShard, Queries
from semrec.workspace.records import ApproximateRule

if TYPE_CHECKING:
    from semrec.release.reader import Release

__all__ = ["PERSONAL", "POPULARITY", "SOURCES", "Source", "source_named"]

PERSONAL: Final = "personal"
POPULARITY: Final = "popularity"


class Source(ABC):
    """One way to rank the items of a release."""

    name: ClassVar[str]

    @abstractmethod
    def items(self, release: Release, start: int = 0, stop: int | None = None) -> ItemShard:
        """Returns the item vectors of rows start:stop of a release, with their eligibility words."""

    @abstractmethod
    def added_items(self, vectors_OD: np.ndarray, popularity_O: np.ndarray) -> np.ndarray:
        """Returns vectors, float32, of items changed online, from those by the release's models and their popularity."""

    @abstractmethod
    def engine(
        self, items: ItemShard, engine: str, *, coarse: str | CoarseFormat | None = None, num_threads: int | None = None
    ) -> Engine:
        """Returns the engine that ranks `items`; `engine` is the one that was asked for."""

    def approximate_engine(
        self, items: ItemShard, engine: str, rule: ApproximateRule, *, num_threads: int | None = None
    ) -> ApproximateEngine | None:
        """Returns what fetches `items` for approximate lists; None: lists of this source are always exact."""
        return None

    @abstractmethod
    def query_vectors(self, vectors_QD: np.ndarray) -> np.ndarray:
        """Returns the vectors to ask with, from those that the release stores for the same users (zeros: none)."""

    def queries(self, queries: Queries) -> Queries:
        """Returns the users of the source as the queries of its engine."""
        vectors_QD = self.query_vectors(queries.vectors_QD)
        return Queries(vectors_QD, queries.words_QW, queries.seen_offsets, queries.seen_rows)


class PersonalSource(Source):
    """The user's own vector against the item matrix."""

    name = PERSONAL

    def items(self, release: Release, start: int = 0, stop: int | None = None) -> ItemShard:
        """Reads as `Source.items`; memory-mapped when one block holds them all."""
        return release.shard(start, stop)

    def added_items(self, vectors_OD: np.ndarray, popularity_O: np.ndarray) -> np.ndarray:
        """Returns what `Source.added_items` says."""
        return vectors_OD

    def engine(
        self, items: ItemShard, engine: str, *, coarse: str | CoarseFormat | None = None, num_threads: int | None = None
    ) -> Engine:
        """Returns what `Source.engine` says."""
        return make_engine(engine, items, coarse=coarse, num_threads=num_threads)

    def approximate_engine(
        self, items: ItemShard, engine: str, rule: ApproximateRule, *, num_threads: int | None = None
    ) -> ApproximateEngine | None:
        """Returns what `Source.approximate_engine` says."""
        return make_approximate_engine(
            engine, items, coarse=rule.coarse, over_fetch=rule.over_fetch, num_threads=num_threads
        )

    def query_vectors(self, vectors_QD: np.ndarray) -> np.ndarray:
        """Returns what `Source.query_vectors` says."""
        return vectors_QD


class PopularitySource(Source):
    """The number of users who interacted with an item; for a user whose events say nothing to the models."""

    name = POPULARITY

    def items(self, release: Release, start: int = 0, stop: int | None = None) -> ItemShard:
        """Reads as `Source.items`: one dimension, whose score is the popularity."""
        return release.popularity_shard(start, stop)

    def added_items(self, vectors_OD: np.ndarray, popularity_O: np.ndarray) -> np.ndarray:
        """Returns what `Source.added_items` says."""
        return popularity_O[:, None]

    def engine(
        self, items: ItemShard, engine: str, *, coarse: str | CoarseFormat | None = None, num_threads: int | None = None
    ) -> Engine:
        """Returns what `Source.engine` says. One order serves all, whatever engine was asked for."""
        return PopularityEngine(items)

    def query_vectors(self, vectors_QD: np.ndarray) -> np.ndarray:
        """Returns what `Source.query_vectors` says."""
        return np.ones((len(vectors_QD), 1), np.float32)


SOURCES: Final[Mapping[str, Source]] = {source.name: source for source in (PersonalSource(), PopularitySource())}


def source_named(name: str) -> Source:
    """Returns the source of a name. Raises InputError when there is no such source."""
    if name not in SOURCES:
        raise InputError(
            f"source {name!r}", expected=" or ".join(SOURCES), remedy="Read the release with the version that built it."
        )
    return SOURCES[name]
