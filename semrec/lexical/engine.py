"""Ranks items by the words of a query under the same eligibility and seen items as every other list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semrec.lexical.item_words import ItemWords
from semrec.scoring.eligibility import eligible_items
from semrec.scoring.types import ItemShard, Queries, TopK, check_queries, select_top_k

__all__ = ["TermQueries", "WordEngine"]


@dataclass(frozen=True)
class TermQueries(Queries):
    """Queries by terms, those of query q in `terms_Q[q]`; `vectors_QD` has no dimension."""

    terms_Q: Sequence[Sequence[str]]

    @classmethod
    def of(
        cls, terms_Q: Sequence[Sequence[str]], words_QW: np.ndarray, offsets: np.ndarray, rows: np.ndarray
    ) -> TermQueries:
        """Queries with these eligibility words and seen rows, as `Queries` has them."""
        return cls(np.zeros((len(terms_Q), 0), np.float32), words_QW, offsets, rows, terms_Q)


class WordEngine:
    """Holds the rows of a shard whose items `index` has under the same numbers, and answers queries by terms over them.

    `words_IW` uint64 are their eligibility words; `clause_starts` and `first_row` are as in `ItemShard`.
    """

    name = "words"

    def __init__(
        self, index: ItemWords, words_IW: np.ndarray, clause_starts: tuple[int, ...], first_row: int = 0
    ) -> None:
        no_vectors = np.zeros((len(words_IW), 0), np.float32)
        self.index, self.shard = index, ItemShard.from_vectors(no_vectors, words_IW, clause_starts, first_row)

    def top_k(self, queries: TermQueries, k: int) -> TopK:
        """Each query's first K eligible, unseen items that have one of its terms, by (BM25F descending, row ascending).

        Raises InputError when K < 1 or the queries do not fit the shard.
        """
        check_queries(queries, k, self.shard)
        seen_offsets, seen_rows = queries.seen_of(self.shard)
        firsts = [
            self._first(terms, queries.words_QW[q], seen_rows[seen_offsets[q] : seen_offsets[q + 1]], k)
            for q, terms in enumerate(queries.terms_Q)
        ]
        owner = np.repeat(np.arange(len(firsts)), [len(rows) for rows, _ in firsts])
        rows = np.concatenate([np.zeros(0, np.int64), *(rows for rows, _ in firsts)])
        scores = np.concatenate([np.zeros(0, np.float32), *(scores for _, scores in firsts)])
        return select_top_k(owner, rows, scores, len(firsts), k)

    def _first(
        self, terms: Sequence[str], words_W: np.ndarray, seen_rows: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The rows and scores of one query that may stand among its first K: the first K, and what ties with the last."""
        shard = self.shard
        rows, scores = self.index.scores(terms, shard.first_row, shard.first_row + shard.num_items)
        own_rows = rows - shard.first_row
        may_be_shown = eligible_items(shard.words_IW[own_rows], words_W, shard.clause_ranges)
        may_be_shown &= ~np.isin(own_rows, seen_rows, assume_unique=False)
        rows, scores = rows[may_be_shown], scores[may_be_shown]
        if len(rows) > k:
            is_first = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
            rows, scores = rows[is_first], scores[is_first]
        return rows, scores
