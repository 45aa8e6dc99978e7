"""BM25F in a few plain lines, which the index must equal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from semrec.lexical.index import K1, TITLE_WEIGHT, B
from semrec.lexical.terms import terms_of

__all__ = ["bm25f_scores"]


def bm25f_scores(query: str, documents: Sequence[tuple[str, str]]) -> list[float]:
    """The score of each document (title, text) for a query, 0 for one without its terms. See `WordIndex` for the formula."""
    collection = [[terms_of(field) for field in document] for document in documents]
    scores = [0.0] * len(collection)
    for term in terms_of(query):
        num_with_term = sum(any(term in field for field in document) for document in collection)
        rarity = math.log(1 + (len(collection) - num_with_term + 0.5) / (num_with_term + 0.5))
        for row, document in enumerate(collection):
            frequency = 0.0
            for place, weight in enumerate((TITLE_WEIGHT, 1.0)):
                mean_length = sum(len(other[place]) for other in collection) / len(collection)
                length = len(document[place]) / mean_length if mean_length else 0.0
                frequency += weight * document[place].count(term) / (1 - B + B * length)
            scores[row] += rarity * frequency / (frequency + K1)
    return scores
