"""Known-item search: is an item among the first that a search of its own title finds?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from semrec.bench.retrieval import searches_of
from semrec.errors import InputError
from semrec.online.release import OnlineRelease

__all__ = ["TitleBenchRow", "bench_titles", "reciprocal_rank"]

_K: Final = 10
_SEED: Final = 0


@dataclass(frozen=True)
class TitleBenchRow:
    """One way of searching for items by their titles: mean reciprocal rank, where an item below the tenth counts 0.

    `any` titles are drawn alike, `popular` ones by how many users had the item.
    """

    titles: str
    words_left_out: int
    by: str
    queries: int
    mrr_at_10: float


class _KnownItem(NamedTuple):
    text: str
    item_id: str


def bench_titles(served: OnlineRelease, num_titles: int) -> list[TitleBenchRow]:
    """Each mode of search that the release has, asked for items by their titles, and by titles without one of their words.

    Raises InputError where no title has two words, of which one could be left out.
    """
    rng, titles = np.random.default_rng(_SEED), served.release.items.column("title").to_pylist()
    words_I = [title.split() for title in titles]
    long_I = np.flatnonzero([len(words) > 1 for words in words_I])
    if not len(long_I):
        raise InputError("no item has a title of two words", expected="one at least", remedy="Import titles.")
    chances_I = served.popularity_I[long_I].astype(np.float64)
    samples = {"any": rng.choice(long_I, num_titles)}
    if chances_I.any():
        samples["popular"] = rng.choice(long_I, num_titles, p=chances_I / chances_I.sum())
    rows, searches = [], searches_of(served)
    for name, rows_N in samples.items():
        for num_left_out in (0, 1):
            searched = [_known_item(served, rng, row, words_I[row], num_left_out) for row in rows_N.tolist()]
            for by, search in searches.items():
                ranks = [reciprocal_rank(search(item.text), item.item_id) for item in searched]
                rows.append(TitleBenchRow(name, num_left_out, by, len(searched), float(np.mean(ranks))))
    return rows


def reciprocal_rank(ranked: Sequence[str], item_id: str) -> float:
    """1 / the rank of an item, 0 where it is not there."""
    return 1 / (ranked.index(item_id) + 1) if item_id in ranked else 0.0


def _known_item(
    served: OnlineRelease, rng: np.random.Generator, row: int, words: Sequence[str], num_left_out: int
) -> _KnownItem:
    places = sorted(rng.permutation(len(words))[num_left_out:].tolist())
    return _KnownItem(" ".join(words[place] for place in places), served.items.ids[row])
