"""An index of words: for each term the documents that have it, with what it adds to their score for a query (BM25F)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.lexical.terms import Fields, joined, occurrences
from semrec.sorted_ids import SortedIds

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["K1", "MAX_QUERY_TERMS", "TITLE_WEIGHT", "B", "WordIndex", "build_index"]

#: How soon a term that comes again counts no more, and how much long documents lose: the usual values (Robertson,
#: Zaragoza, The Probabilistic Relevance Framework, 2009, section 3.5).
K1: Final = 1.2
B: Final = 0.75
#: How many times a term of a title counts: in one of usual length as much as in the shortest text, 1 / (1 - B).
TITLE_WEIGHT: Final = 4.0
#: Of one field of a block: its rows, its terms, and how often each has which: int32, sparse, [terms, rows].
_BlockCounts = tuple[np.ndarray, pa.Array, "csr_array"]
#: Distinct terms of a query that count: its first ones. It bounds what a long text costs.
MAX_QUERY_TERMS: Final = 256
_NONE: Final = np.zeros(0, np.int32)
_COUNTS_AT_ONCE: Final = 1 << 20


@dataclass(frozen=True, eq=False)
class WordIndex:
    """Terms and the documents that have them.

    Term t has the documents `rows_P[offsets_T1[t] : offsets_T1[t + 1]]`, ascending, and adds `scores_P` to the score of
    each. `offsets_T1` int64, `rows_P` int32, `scores_P` float32, all of which may be memory-mapped. `num_documents` and
    `mean_lengths`, of titles and texts in terms, are those of the collection that the scores go by.

    A score is that of BM25F (Robertson, Zaragoza, The Probabilistic Relevance Framework, 2009, section 3.6) with the rarity
    that Lucene has, the sum over the terms of a query of

        ln(1 + (N - n + 0.5) / (n + 0.5)) * f / (f + K1)
        f = sum over title and text of weight * count / (1 - B + B * length / mean length)

    where N documents are in the collection and n of them have the term. A title has a length of its own, so that an item of
    which much is said is found by its title like any other. Because nothing in a score but the terms comes from a query,
    what each term adds is computed beforehand (Lu, BM25S, 2024).
    """

    terms: SortedIds
    offsets_T1: np.ndarray
    rows_P: np.ndarray
    scores_P: np.ndarray
    num_documents: int
    mean_lengths: tuple[float, float]

    def scores(self, terms: Sequence[str], start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores the documents start:stop that have a term of a query.

        Returns their rows, int64 ascending, and their scores, float32. A term that a query has twice counts twice. The sum
        is made in float64 in the terms' own order, so it does not depend on the query's.
        """
        total_I = np.zeros(stop - start)
        for count, rows_P, scores_P in self._postings(terms):
            inside = slice(*np.searchsorted(rows_P, [start, stop]).tolist())
            total_I[rows_P[inside] - start] += count * scores_P[inside].astype(np.float64)
        scored = np.flatnonzero(total_I)  # what a term adds is above 0
        return scored + start, total_I[scored].astype(np.float32)

    def scores_of(self, terms: Sequence[str], rows: np.ndarray) -> np.ndarray:
        """The scores of some documents, as `scores` has them, 0 for those without a term of the query: float32 [len(rows)]."""
        total_N = np.zeros(len(rows))
        for count, rows_P, scores_P in self._postings(terms):
            place_N = np.minimum(np.searchsorted(rows_P, rows), len(rows_P) - 1)
            has_term_N = rows_P[place_N] == rows
            total_N[has_term_N] += count * scores_P[place_N[has_term_N]].astype(np.float64)
        return total_N.astype(np.float32)

    def _postings(self, terms: Sequence[str]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """For each known term of a query, in the terms' order: how often it is there, its documents, what it adds to each."""
        counts = Counter(terms)
        distinct = sorted(list(counts)[:MAX_QUERY_TERMS])
        for term, place in zip(distinct, self.terms.rows_of(pa.array(distinct, pa.string())).tolist(), strict=True):
            first, last = self.offsets_T1[place : place + 2].tolist() if place >= 0 else (0, 0)
            if last > first:
                yield counts[term], self.rows_P[first:last], self.scores_P[first:last]

    def added(self, fields: Fields) -> WordIndex:
        """Returns an index of other documents, rows from 0, whose scores are those that they would have in this collection."""
        # Where no title was counted, as in releases made before titles were, all is text.
        fields = fields if self.mean_lengths[0] else joined(fields)
        return _scored(_counted([(np.arange(len(fields.titles)), fields)], len(fields.titles)), self)


@dataclass(frozen=True, eq=False)
class _Counts:
    """How often the titles and the texts of documents have each term: int32 [T, I], sparse rows."""

    terms: SortedIds
    titles_TI: csr_array
    texts_TI: csr_array


def build_index(blocks: Iterable[tuple[np.ndarray, Fields]], num_rows: int, *, skips_empty: bool = False) -> WordIndex:
    """Builds the index of documents that come in blocks, in any order: the rows of some, int64, and their titles and texts.

    The time is that of all occurrences of terms, the memory that of the distinct terms of each document: some 22 bytes for
    each. The same documents give the same bytes, whatever the blocks. Where it `skips_empty`, rows without a term are no
    documents of the collection: neither number nor mean lengths know of them.
    """
    return _scored(_counted(blocks, num_rows), skips_empty=skips_empty)


def _counted(blocks: Iterable[tuple[np.ndarray, Fields]], num_rows: int) -> _Counts:
    from scipy.sparse import coo_array

    of_fields: tuple[list[_BlockCounts], list[_BlockCounts]] = ([], [])
    for rows_B, fields in blocks:
        for of_field, texts in zip(of_fields, fields, strict=True):
            text_N, code_N, terms = occurrences(texts)
            counts = coo_array((np.ones(len(text_N), np.int32), (code_N, text_N)), (len(terms), len(texts)))
            of_field.append((rows_B, terms, counts.tocsr()))  # adds up what is there twice
    vocabularies = [own for of_field in of_fields for _, own, _ in of_field]
    every = pa.chunked_array(vocabularies, pa.string()).unique().cast(pa.large_string())
    terms = SortedIds.of(every.take(pc.sort_indices(every)))  # Arrow's own look-up would hash all again for each block
    return _Counts(terms, *(_merged(of_field, terms, num_rows) for of_field in of_fields))


def _merged(blocks: list[_BlockCounts], terms: SortedIds, num_rows: int) -> csr_array:
    """Puts the counts of blocks, which it takes out of the list, into their places among those of all terms."""
    from scipy.sparse import csr_array

    places = [terms.rows_of(own) for _, own, _ in blocks]
    next_T1 = np.zeros(len(terms) + 1, np.int64)
    for place_C, (*_, counts) in zip(places, blocks, strict=True):
        next_T1[place_C + 1] += np.diff(counts.indptr)
    np.cumsum(next_T1, out=next_T1)
    offsets_T1 = next_T1.copy()
    rows_P, counts_P = np.empty(offsets_T1[-1], np.int32), np.empty(offsets_T1[-1], np.int32)
    while blocks:
        (rows_B, _, counts), place_C = blocks.pop(), places.pop()
        num_C = np.diff(counts.indptr)
        at_N = np.repeat(next_T1[place_C] - counts.indptr[:-1], num_C) + np.arange(counts.nnz)
        rows_P[at_N], counts_P[at_N] = rows_B[counts.indices], counts.data
        next_T1[place_C] += num_C
    merged = csr_array((counts_P, rows_P, offsets_T1), (len(terms), num_rows))
    merged.sum_duplicates()  # sorts the rows of each term, too
    return merged


def _scored(counts: _Counts, collection: WordIndex | None = None, *, skips_empty: bool = False) -> WordIndex:
    """The index of counted terms, scored by their own statistics or by those of another collection."""
    num_rows = counts.titles_TI.shape[1]
    lengths_I = [field_TI.sum(axis=0).astype(np.float64) for field_TI in (counts.titles_TI, counts.texts_TI)]
    num_documents = int(np.count_nonzero(sum(lengths_I))) if skips_empty else num_rows
    means = [float(lengths.sum()) / max(num_documents, 1) for lengths in lengths_I]
    mean_lengths = collection.mean_lengths if collection else (means[0], means[1])
    if collection:
        num_documents = collection.num_documents
    factors = [1 / (1 - B + B * own_I / (mean or 1.0)) for own_I, mean in zip(lengths_I, mean_lengths, strict=True)]
    num_with_term, rows, scores = [_NONE], [_NONE], [_NONE.astype(np.float32)]
    for terms_of_block in _blocks_of_terms(counts):
        titles_CI, texts_CI = counts.titles_TI[terms_of_block], counts.texts_TI[terms_of_block]
        frequencies_CI = _scaled(titles_CI, TITLE_WEIGHT * factors[0]) + _scaled(texts_CI, factors[1])
        num_C = np.diff(frequencies_CI.indptr)
        known_C = _num_documents_of(collection, counts.terms.array()[terms_of_block]) if collection else num_C
        rarity_N = np.repeat(_rarity(known_C, num_documents), num_C)
        num_with_term.append(num_C)
        rows.append(frequencies_CI.indices.astype(np.int32))
        scores.append((rarity_N * (frequencies_CI.data / (frequencies_CI.data + K1))).astype(np.float32))
    offsets_T1 = np.concatenate([[0], np.cumsum(np.concatenate(num_with_term), dtype=np.int64)])
    return WordIndex(
        counts.terms, offsets_T1, np.concatenate(rows), np.concatenate(scores), num_documents, mean_lengths
    )


def _blocks_of_terms(counts: _Counts) -> Iterator[slice]:
    """All terms in ranges of about as many occurrences each, so that what is computed of them takes little memory."""
    before_T1 = counts.titles_TI.indptr.astype(np.int64) + counts.texts_TI.indptr
    edges = np.searchsorted(before_T1, np.arange(0, before_T1[-1], _COUNTS_AT_ONCE)).tolist()
    for first, last in pairwise(dict.fromkeys([*edges, len(counts.terms)])):
        yield slice(first, last)


def _num_documents_of(collection: WordIndex, terms: pa.Array) -> np.ndarray:
    """How many documents of a collection have each term: int64 [C]."""
    place_C, num_T = collection.terms.rows_of(terms), np.diff(collection.offsets_T1)
    return np.where(place_C < 0, 0, num_T[place_C] if len(num_T) else 0)


def _scaled(counts_TI: csr_array, factor_I: np.ndarray) -> csr_array:
    """Counts times a factor of each document: float64, of the same sparsity."""
    scaled = counts_TI.astype(np.float64)
    scaled.data *= factor_I[counts_TI.indices]
    return scaled


def _rarity(in_documents_T: np.ndarray, num_documents: int) -> np.ndarray:
    """The factor of each term, from how many documents have it: float64 [T], rounded to float32.

    By the C library, whose last digit, unlike that of numpy's vectors, does not depend on the processor's instructions.
    """
    distinct, place_T = np.unique(in_documents_T, return_inverse=True)
    values = [math.log(1 + (num_documents - n + 0.5) / (n + 0.5)) for n in distinct.tolist()]
    return np.array(values, np.float32).astype(np.float64)[place_T.reshape(-1)]
