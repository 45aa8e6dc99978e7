"""Search by words, by meaning or an image, and by both: what a search asks the engines, and how two rankings become one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np

from semrec.changes.overlay import OverlayView
from semrec.errors import EncoderError, InputError
from semrec.lexical.terms import terms_of
from semrec.online.anonymous import ContentVector, anonymous_profile, anonymous_query
from semrec.online.answers import RankedList, RankQuery, ScoredItem, sorted_hits
from semrec.online.filters import NO_FILTERS, Filters
from semrec.online.item_scores import popularity_shares, scores_of
from semrec.online.release import OnlineRelease

__all__ = ["SearchMode", "default_mode", "fused", "search_queries"]

#: By the encoders' vectors of the text and the image, by the text's words (BM25F), or by both.
SearchMode = Literal["hybrid", "dense", "words"]
#: How many items of each ranking are fused at least: what both have further down than this would hardly come first.
_FUSED: Final = 100
#: What the best of the ranking by vectors has, and the best of that by words.
_WEIGHTS: Final = (0.4, 0.6)
_POPULARITY_WEIGHT: Final = 0.1


def default_mode(served: OnlineRelease, text: str | None, *, has_encoder: bool, has_image: bool = False) -> SearchMode:
    """Returns how a release is searched unless it is said: for a text by all that there is, for an image alone by meaning.

    `has_encoder`: of texts; `has_image`: there is an image beside the text. Raises EncoderError for a text where the release
    has neither an encoder of texts nor an index of words.
    """
    if text is None:
        return "dense"
    has_words = served.release.word_index is not None
    if not has_words and not has_encoder:
        raise EncoderError(
            f"release {served.release_id} has neither an encoder of texts nor an index of words",
            expected="one of them",
            remedy="Build a release of items with titles or texts: `semrec release`.",
        )
    return "dense" if not has_words else "hybrid" if has_encoder or has_image else "words"


def search_queries(
    served: OnlineRelease,
    overlay: OverlayView,
    text: str | None,
    contents: Sequence[ContentVector],
    *,
    filters: Filters = NO_FILTERS,
    k: int = 10,
    mode: SearchMode,
) -> list[RankQuery]:
    """Returns what is ranked for a search, by vectors first, of whose lists `fused` makes the answer.

    `contents` are the text and an image, or one of the two, with their encoders' vectors, which a search by words alone does
    without; it alone, and hybrid, go by the words of `text`. InputError where what the mode goes by is missing. Raises
    EncoderError where the release is to be searched by an index of words that it lacks.
    """
    num_ranked = max(k, _FUSED) if mode == "hybrid" else k
    rank_queries = []
    if mode != "words":
        if not contents:
            raise InputError("a text without its vector", expected="one, for any mode but words", remedy="Embed it.")
        profile = anonymous_profile(served, overlay, contents=contents)
        rank_queries.append(anonymous_query(served, profile, filters=filters, k=num_ranked))
    if mode != "dense":
        if text is None:
            raise InputError("no text", expected="one, for any mode but dense", remedy="Ask with mode dense.")
        if served.release.word_index is None:
            raise EncoderError(
                f"release {served.release_id} has no index of words",
                expected="mode dense, or a release that was built with one",
                remedy="Ask with mode dense, or build the release again.",
            )
        words = served.users.anonymous().words
        no_rows = np.zeros(0, np.int64)
        rank_queries.append(RankQuery(None, words, no_rows, filters, num_ranked, terms=tuple(terms_of(text))))
    return rank_queries


def fused(
    served: OnlineRelease,
    overlay: OverlayView,
    rank_queries: Sequence[RankQuery],
    rankings: Sequence[RankedList],
    k: int,
) -> RankedList:
    """Returns the first K of one ranking as it is, or of two fused, whose queries are those of `search_queries`.

    Every item of either ranking has the score

        0.4 * dense / best dense + 0.6 * words / best words + 0.1 * ln(1 + popularity) / ln(1 + greatest popularity)

    with what it scores by both, a negative dense score as 0 (Bruch, Gai, Ingber, An Analysis of Fusion Functions for Hybrid
    Retrieval, 2023: better than reciprocal ranks, which forget by how much a title is better than the next item; popularity
    as Craswell, Robertson, Zaragoza, Taylor, Relevance weighting for query independent evidence, 2005). float32; ties go to
    the lower item_id. The first ranking says why there are fewer than K: that by vectors leaves out only what may not be
    shown.
    """
    if len(rankings) == 1:
        return rankings[0]
    item_ids = sorted({hit.item_id for ranking in rankings for hit in ranking.hits})
    score_N = _POPULARITY_WEIGHT * popularity_shares(served, item_ids)
    for weight, rank_query, ranking in zip(_WEIGHTS, rank_queries, rankings, strict=True):
        best = float(ranking.hits[0].score) if ranking.hits else 0.0
        if best > 0:
            scores_N = scores_of(served, rank_query, item_ids, overlay).astype(np.float64)
            score_N += weight * np.maximum(scores_N, 0) / best
    hits = sorted_hits(map(ScoredItem, item_ids, score_N.astype(np.float32)), k)
    return RankedList(hits, rankings[0].short_reason if len(hits) < k else None)
