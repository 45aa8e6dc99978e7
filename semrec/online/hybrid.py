"""Search by words, by meaning, and by both: what a search asks the engines, and how two rankings become one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np

from semrec.changes.overlay import OverlayView
from semrec.errors import EncoderError, InputError
from semrec.lexical.terms import terms_of
from semrec.online.anonymous import anonymous_profile, anonymous_query
from semrec.online.answers import RankedList, RankQuery, ScoredItem, sorted_hits
from semrec.online.filters import NO_FILTERS, Filters
from semrec.online.release import OnlineRelease

__all__ = ["SearchMode", "default_mode", "fused", "search_queries"]

#: By the encoder's vector of the text, by its words (BM25), or by both.
SearchMode = Literal["hybrid", "dense", "words"]
#: How many items of each ranking are fused at least: what both have further down than this would hardly come first.
_FUSED: Final = 100
_RANK_OFFSET: Final = 60


def default_mode(served: OnlineRelease, *, has_encoder: bool) -> SearchMode:
    """Returns how a release is searched unless it is said: by all that it has. Raises EncoderError where it has neither."""
    has_words = served.release.word_index is not None
    if not has_words and not has_encoder:
        raise EncoderError(
            f"release {served.release_id} has neither an encoder of texts nor an index of words",
            expected="one of them",
            remedy="Build a release of items with titles or texts: `semrec release`.",
        )
    return "dense" if not has_words else "hybrid" if has_encoder else "words"


def search_queries(
    served: OnlineRelease,
    overlay: OverlayView,
    text: str,
    vector: np.ndarray | None,
    *,
    filters: Filters = NO_FILTERS,
    k: int = 10,
    mode: SearchMode,
) -> list[RankQuery]:
    """Returns what is ranked for a search, of whose lists `fused` makes the answer.

    `vector` float32 [D] is the text's by the release's encoder, which a search by words alone does without; InputError
    where it is missing. Raises EncoderError where the release is to be searched by an index of words that it lacks.
    """
    num_ranked = max(k, _FUSED) if mode == "hybrid" else k
    rank_queries = []
    if mode != "words":
        if vector is None:
            raise InputError("a text without its vector", expected="one, for any mode but words", remedy="Embed it.")
        profile = anonymous_profile(served, overlay, texts=[(text, vector)])
        rank_queries.append(anonymous_query(served, profile, filters=filters, k=num_ranked))
    if mode != "dense":
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


def fused(rankings: Sequence[RankedList], k: int) -> RankedList:
    """Returns the first K of one ranking, or of several fused: each item's score is the sum of 1 / (60 + rank) over them.

    Cormack, Clarke, Buettcher, Reciprocal Rank Fusion, SIGIR 2009. Ranks count from 1; scores are float32, ties go to the
    lower item_id. The first ranking says why there are fewer than K: that by vectors leaves out only what may not be shown.
    """
    if len(rankings) == 1:
        return rankings[0]
    score_of: dict[str, float] = {}
    for ranking in rankings:
        for rank, hit in enumerate(ranking.hits, start=1):
            score_of[hit.item_id] = score_of.get(hit.item_id, 0.0) + 1 / (_RANK_OFFSET + rank)
    hits = sorted_hits((ScoredItem(item_id, np.float32(score)) for item_id, score in score_of.items()), k)
    return RankedList(hits, rankings[0].short_reason if len(hits) < k else None)
