"""Lists written out together have the bytes of each written by itself, and of the same lists of plain hits."""

from __future__ import annotations

import itertools
import pickle
import random

import numpy as np
import orjson

from semrec.changes.overlay import ItemChange, OverlayView
from semrec.online.answers import RowHits, ScoredItem, first_of_both, sorted_hits
from semrec.online.lists_json import items_json, write_lists
from semrec.online.release import OnlineRelease
from semrec.online.users import rank_query_of

NOTHING = OverlayView.empty()
#: Scores whose shortest forms are of every kind: whole, long, with exponents of both signs, the largest, the smallest.
SCORES = [0.0, -0.0, 1.0, 0.1, -2.5, 1 / 3, 1e-7, 123456792.0, 1e16, 3e-45, 1.1754944e-38, 3.4028235e38, 16777216.0]


def test_many_lists_are_written_as_each_alone(served: OnlineRelease) -> None:
    rng = np.random.default_rng(5)
    lengths = [0, 3, 0, 0, 1, 13, 7, 0]
    lists = [
        RowHits(
            served.items.ids,
            rng.integers(0, served.num_items, length),
            rng.permutation(np.array(SCORES, np.float32))[:length],
        )
        for length in lengths
    ]
    texts = [b"<%d>" % n if n % 3 else b"" for n in range(len(lists) + 1)]
    alone = [items_json(served, hits, NOTHING) for hits in lists]
    assert alone == [items_json(served, list(hits), NOTHING) for hits in lists]
    pieces = zip(texts, [one[1:-1] for one in alone], strict=False)
    expected = b"".join(itertools.chain(*pieces)) + texts[-1]
    assert bytes(write_lists(*served.items.fragment_bytes, texts, lists)) == expected
    assert bytes(write_lists(*served.items.fragment_bytes, [b"text"], [])) == b"text"
    for hits, one in zip(lists, alone, strict=True):
        scores = [np.float32(item["score"]).tobytes() for item in orjson.loads(one)]
        assert scores == [score.tobytes() for score in hits.scores_K]


def test_rows_of_an_engine_are_a_sequence_of_hits(served: OnlineRelease) -> None:
    hits = RowHits(served.items.ids, np.array([4, 2, 9]), np.array([3, 2, 1], np.float32))
    plain = [ScoredItem(served.items.ids[row], np.float32(score)) for row, score in ((4, 3), (2, 2), (9, 1))]
    assert list(hits) == plain and hits == plain and plain == hits and hits != plain[:2]
    assert (hits[0], hits[-1], hits[1:]) == (plain[0], plain[-1], plain[1:])
    assert pickle.loads(pickle.dumps(hits)) == plain


def test_the_first_of_two_lists_are_those_of_their_union() -> None:
    rng = random.Random(1)
    for _ in range(300):
        items, k = [f"i{n:02d}" for n in range(20)], rng.randint(1, 8)
        rng.shuffle(items)
        both = []
        for ids in (items[:9], items[9 : 9 + rng.randint(0, 6)]):
            hits = sorted_hits([ScoredItem(i, np.float32(rng.randint(0, 6))) for i in ids], k)
            rows = [ids.index(hit.item_id) for hit in hits]
            both.append(RowHits(ids, np.array(rows, np.int64), np.array([hit.score for hit in hits], np.float32)))
        assert first_of_both(*both, k) == sorted_hits([*both[0], *both[1]], k)


def test_a_list_with_an_item_changed_online_is_not_of_rows(served: OnlineRelease) -> None:
    vector = np.array([2, 0, 0], np.float32)
    view = OverlayView.of([ItemChange(1, "n03", False, 'Another "title"', "", {}, vector)])
    state = served.user("user-1")
    assert state is not None
    long, short = served.rank([rank_query_of(state, k=70), rank_query_of(state, k=2)], view)
    assert not isinstance(long.hits, RowHits)
    assert b'Another \\"title\\"' in items_json(served, long.hits, view)
    assert len(short.hits) == 2
