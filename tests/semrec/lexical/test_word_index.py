"""The index of words equals BM25F in plain lines, whatever blocks and rows it is made of, and the engine what may be shown."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semrec.errors import InputError
from semrec.lexical.engine import TermQueries, WordEngine
from semrec.lexical.index import K1, MAX_QUERY_TERMS, B, WordIndex, build_index
from semrec.lexical.item_words import ItemWords
from semrec.lexical.reference import bm25f_scores
from semrec.lexical.terms import Fields, fields_of, joined, occurrences, terms_of

WORDS = ["sea", "robot", "the", "ships", "Été", "x1"]
SHORT = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)
DOCUMENTS = st.lists(st.tuples(SHORT, SHORT), min_size=1, max_size=12)


def fields(documents: list[tuple[str, str]]) -> Fields:
    """Titles and texts."""
    return Fields(*(pa.array([document[place] for document in documents], pa.string()) for place in (0, 1)))


def index_of(documents: list[tuple[str, str]], edges: tuple[int, ...] = ()) -> WordIndex:
    """The index of documents that come in blocks, the last block first."""
    cuts = [0, *edges, len(documents)]
    blocks = [(np.arange(a, b), fields(documents[a:b])) for a, b in pairwise(cuts)]
    return build_index(reversed(blocks), len(documents))


def index_of_texts(texts: list[str]) -> WordIndex:
    """The index of documents without titles."""
    return index_of([("", text) for text in texts])


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Amélie's Robots — 3.5 GLASSES", ["amelie", "s", "robot", "3", "5", "glasse"]),
        ("ladies bus glass toes", ["lady", "bus", "glass", "toes"]),
        ("東京 Tokyo", ["東", "京", "tokyo"]),
        ("किताब", ["किताब"]),
        ("!? \U0001f600", []),
    ],
)
def test_terms(text: str, terms: list[str]) -> None:
    assert terms_of(text) == terms


def test_a_text_has_the_same_terms_among_others() -> None:
    texts = ["plain ASCII, 2 words_3", "déjà vu", "x" * 70]
    row_N, code_N, terms = occurrences(pa.array(texts))
    together = [[terms[code].as_py() for code in code_N[row_N == row]] for row in range(3)]
    assert together == [terms_of(text) for text in texts]


def test_a_title_that_the_text_begins_with_counts_once() -> None:
    own = fields_of(pa.array(["a", "a", ""]), pa.array(["a b", "b", "c"]))
    assert [column.to_pylist() for column in own] == [["a", "a", ""], [" b", "b", "c"]]
    assert joined(own).texts.to_pylist() == ["a\n b", "a\nb", "\nc"]


def test_bm25s_gives_the_same_scores() -> None:
    bm25s = pytest.importorskip("bm25s", reason="NOT TESTED: bm25s is absent (extra `test`)")
    texts = [" ".join(WORDS[n * m % 6] for m in range(1 + n % 5)) for n in range(40)]
    peer = bm25s.BM25(method="lucene", k1=K1, b=B)
    peer.index([terms_of(text) for text in texts], show_progress=False)
    query = terms_of("the robots and the sea")
    rows, scores = index_of_texts(texts).scores(query, 0, 40)
    expected = peer.get_scores(query)
    np.testing.assert_allclose(scores, expected[rows], rtol=1e-5)
    assert np.count_nonzero(expected) == len(rows)


@given(DOCUMENTS, st.lists(st.sampled_from([*WORDS, "unknown"]), max_size=5).map(" ".join), st.integers(0, 12))
def test_scores_are_those_of_the_plain_formula(documents: list[tuple[str, str]], query: str, cut: int) -> None:
    start = min(cut, len(documents))
    index, terms, expected = index_of(documents), terms_of(query), bm25f_scores(query, documents)
    rows, scores = index.scores(terms, start, len(documents))
    found = np.zeros(len(documents))
    found[rows] = scores
    np.testing.assert_allclose(found[start:], expected[start:], rtol=1e-6)
    assert rows.tolist() == [row for row, score in enumerate(expected) if score > 0 and row >= start]
    some = np.arange(len(documents))[::-2]
    every_row, every_score = index.scores(terms, 0, len(documents))
    of_row = dict(zip(every_row.tolist(), every_score, strict=True))
    assert index.scores_of(terms, some).tolist() == [of_row.get(row, 0.0) for row in some.tolist()]


@given(DOCUMENTS, st.data())
def test_blocks_leave_no_trace(documents: list[tuple[str, str]], data: st.DataObject) -> None:
    edges = tuple(sorted(data.draw(st.lists(st.integers(0, len(documents)), max_size=3))))
    one = index_of(documents)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("semrec.lexical.index._COUNTS_AT_ONCE", data.draw(st.integers(1, 8)))
        several = index_of(documents, edges)
    for name in ("offsets_T1", "rows_P", "scores_P"):
        assert getattr(one, name).tobytes() == getattr(several, name).tobytes()
    assert one.terms.data.tobytes() == several.terms.data.tobytes() and one.mean_lengths == several.mean_lengths


def test_a_title_finds_its_item_however_much_is_said_of_it() -> None:
    tags = " ".join(f"tag{n}" for n in range(200))
    documents = [
        ("Toy Story", f"Story. {tags}"),
        ("Toy Story of Terror", "a"),
        ("Ball", "Toys. A story."),
        ("Ship", "b"),
    ]
    rows, scores = index_of(documents).scores(terms_of("toy story"), 0, 4)
    assert rows[scores.argmax()] == 0


@pytest.mark.parametrize("title", ["", "a sea"])
def test_added_documents_score_as_those_of_the_collection(title: str) -> None:
    documents = [(title, text) for text in ("the sea", "the robot at sea", "a robot and a robot")]
    index = index_of(documents)
    added = index.added(fields([documents[1], (title, "a new word by the sea"), documents[2]]))
    for query in ("robot sea", "the", "new sea"):
        rows, scores = index.scores(terms_of(query), 0, 3)
        again, as_before = added.scores(terms_of(query), 0, 3)
        of_row, of_added = dict(zip(rows, scores, strict=True)), dict(zip(again, as_before, strict=True))
        assert [of_added.get(0), of_added.get(2)] == [of_row.get(1), of_row.get(2)]
    assert added.scores(["new"], 0, 3)[0].tolist() == [1]
    assert index_of_texts(["!"]).added(fields([("", "sea")])).scores(["sea"], 0, 1)[0].tolist() == [0]


@given(st.lists(st.tuples(SHORT, SHORT, st.none() | SHORT), min_size=1, max_size=12), st.integers(0, 12))
def test_documents_add_their_score_among_those_that_have_one(
    items: list[tuple[str, str, str | None]], cut: int
) -> None:
    documents = {row: ("", text) for row, (*_, text) in enumerate(items) if text}
    rows, query, start = np.array(list(documents), np.int64), "the robot at sea", min(cut, len(items))
    own = bm25f_scores(query, [(title, text) for title, text, _ in items])
    expected = np.array(own)
    expected[rows] += bm25f_scores(query, list(documents.values()))
    blocks = [(rows, fields(list(documents.values())))] if documents else []
    words = ItemWords(index_of([item[:2] for item in items]), build_index(blocks, len(items), skips_empty=True))
    assert words.documents is not None and words.documents.num_documents == len(documents)
    found_rows, scores = words.scores(terms_of(query), start, len(items))
    np.testing.assert_allclose(scores, expected[found_rows], rtol=1e-6)
    assert found_rows.tolist() == [row for row in np.flatnonzero(expected).tolist() if row >= start]
    np.testing.assert_allclose(words.scores_of(terms_of(query), np.arange(len(items))), expected, rtol=1e-6)
    # Items that are put there again, as they were, keep their documents; a new one has none.
    again = words.added(
        fields([*(item[:2] for item in items[::-1]), ("", "sea")]), np.array([*range(len(items))[::-1], -1])
    )
    before, after = (each.scores(terms_of(query), 0, len(items)) for each in (words, again))
    assert dict(zip(len(items) - 1 - after[0], after[1], strict=True)) == dict(zip(*before, strict=True))
    assert (
        again.scores_of(terms_of(query), np.arange(len(items) + 1))[-1]
        == words.titles.added(fields([("", "sea")])).scores_of(["sea"], np.array([0]))[0]
    )


def test_where_titles_were_not_counted_an_added_title_is_text() -> None:
    index = index_of_texts(["robot\nsea", "a ship"])
    added = index.added(fields([("robot", "sea")]))
    assert added.scores(["robot"], 0, 1)[1].tolist() == index.scores(["robot"], 0, 1)[1].tolist()


def test_the_order_of_a_query_changes_no_byte_and_its_first_terms_count() -> None:
    index = index_of_texts([" ".join(f"w{n}x" for n in range(m)) for m in range(1, 300)])
    terms = [f"w{n}x" for n in range(MAX_QUERY_TERMS)]
    rows, scores = index.scores(terms, 0, 299)
    backwards = index.scores(terms[::-1], 0, 299)
    longer = index.scores([*terms, "w280x"], 0, 299)
    for other_rows, other_scores in (backwards, longer):
        assert (other_rows.tolist(), other_scores.tobytes()) == (rows.tolist(), scores.tobytes())


@given(st.integers(1, 8), st.sampled_from([0, 7]), st.sets(st.integers(0, 19)))
def test_the_engine_ranks_what_may_be_shown(k: int, first_row: int, seen: set[int]) -> None:
    texts = [" ".join(WORDS[m] for m in range(6) if n >> m & 1) for n in range(20)]
    index = index_of_texts(texts)
    words_IW = np.array([[1 << (n % 3)] for n in range(20)], np.uint64)
    engine = WordEngine(ItemWords(index), words_IW[first_row:], (0,), first_row)
    queries, asked = ["robot sea", "nothing", "the the x1"], np.array([[3], [7], [5]], np.uint64)
    per_query = [sorted(seen), [], [0]]
    offsets = np.cumsum([0, *map(len, per_query)])
    rows = np.array([row for rows in per_query for row in rows], np.int64)
    top = engine.top_k(TermQueries.of([terms_of(query) for query in queries], asked, offsets, rows), k)
    for q, query in enumerate(queries):
        rows_q, scores = index.scores(terms_of(query), 0, 20)
        allowed = [
            (-score, row)
            for row, score in zip(rows_q.tolist(), scores, strict=True)
            if row >= first_row and row not in per_query[q] and words_IW[row, 0] & asked[q, 0]
        ]
        expected = sorted(allowed)[:k]
        place = slice(top.offsets[q], top.offsets[q + 1])
        assert top.rows[place].tolist() == [row for _, row in expected]
        assert top.scores[place].tolist() == [-score for score, _ in expected]
    with pytest.raises(InputError, match="K = 0"):
        engine.top_k(TermQueries.of([["sea"]], asked[:1], np.array([0, 0]), np.zeros(0, np.int64)), 0)
