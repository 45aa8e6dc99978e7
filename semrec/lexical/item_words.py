"""The words of items: those of their titles and texts, and those of the documents that some of them have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semrec.lexical.index import WordIndex
from semrec.lexical.terms import Fields

__all__ = ["ItemWords"]


@dataclass(frozen=True, eq=False)
class ItemWords:
    """Scores items by their titles and texts, which `titles` has, plus their documents, if any has one, which `documents` has.

    Each is a collection with statistics of its own: where few items have a document, and long ones, that changes no score of
    the others. Item i is row i of `titles` and row `document_rows[i]` of `documents`, -1 for one without a document; None:
    row i of both.
    """

    titles: WordIndex
    documents: WordIndex | None = None
    document_rows: np.ndarray | None = None

    def scores(self, terms: Sequence[str], start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores the items start:stop that have a term of a query, as `WordIndex.scores` does."""
        rows, scores = self.titles.scores(terms, start, stop)
        if self.documents is None:
            return rows, scores
        total_I = np.zeros(stop - start)
        total_I[rows - start] = scores
        if self.document_rows is None:
            rows, scores = self.documents.scores(terms, start, stop)
            total_I[rows - start] += scores
        else:
            total_I += self.documents.scores_of(terms, self.document_rows[start:stop])
        scored = np.flatnonzero(total_I)
        return scored + start, total_I[scored].astype(np.float32)

    def scores_of(self, terms: Sequence[str], rows: np.ndarray) -> np.ndarray:
        """The scores of some items, as `scores` has them, 0 for those without a term of the query: float32 [len(rows)]."""
        scores = self.titles.scores_of(terms, rows)
        if self.documents is None:
            return scores
        document_rows = rows if self.document_rows is None else self.document_rows[rows]
        return (scores.astype(np.float64) + self.documents.scores_of(terms, document_rows)).astype(np.float32)

    def added(self, fields: Fields, rows: np.ndarray) -> ItemWords:
        """Returns the words of other items, whose scores are those that they would have here.

        `rows` int64 are theirs here, -1 for a new item: a new text leaves an item the document that it has.
        """
        return ItemWords(self.titles.added(fields), self.documents, rows)
