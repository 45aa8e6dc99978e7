"""BM25 in a few plain lines, which the index must equal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from semrec.lexical.index import K1, B
from semrec.lexical.terms import terms_of

__all__ = ["bm25_scores"]


def bm25_scores(query: str, documents: Sequence[str]) -> list[float]:
    """The score of each document for a query, 0 for one that has none of its terms. See `WordIndex` for the formula."""
    collection = [terms_of(document) for document in documents]
    mean_length = sum(map(len, collection)) / len(collection)
    scores = [0.0] * len(collection)
    for term in terms_of(query):
        num_with_term = sum(term in document for document in collection)
        rarity = math.log(1 + (len(collection) - num_with_term + 0.5) / (num_with_term + 0.5))
        for row, document in enumerate(collection):
            count = document.count(term)
            scores[row] += rarity * count / (count + K1 * (1 - B + B * len(document) / mean_length))
    return scores
