"""Search by words and by both: filters, eligibility, changes and shards leave nothing out and let nothing in."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from helpers.serving_world import publish_world
from semrec.bench.generated import write_embedding
from semrec.changes.overlay import ItemChange, OverlayView
from semrec.data import ItemRow, UserRow, import_items, import_users
from semrec.errors import CorruptArtefactError, EncoderError, InputError
from semrec.lexical.reference import bm25f_scores
from semrec.lexical.terms import terms_of
from semrec.online.anonymous import ContentVector
from semrec.online.answers import RankedList, merge_ranked
from semrec.online.filters import Filters
from semrec.online.hybrid import default_mode, fused, search_queries
from semrec.online.release import OnlineRelease
from semrec.workspace.folder import Workspace

NOTHING = OverlayView.empty()
NOUNS, PLACES = ("robot", "ship", "garden", "king", "storm"), ("at sea", "on the moon", "in town")
TEXTS = {f"i{n:02d}": f"{NOUNS[n % 5]} and {NOUNS[n // 2 % 5]} {PLACES[n % 3]}" for n in range(30)}
ROBOT = [ContentVector("robot", np.array([1, 0], np.float32))]
HORROR = Filters({"genre": frozenset({"Horror"})})


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = Workspace.create(str(tmp_path_factory.mktemp("w")), num_buckets=3)
    genres = [{"genre": ["Horror" if n % 4 == 0 else "Drama"]} for n in range(30)]
    import_items(made, [ItemRow(i, f"Film {i}", text, g) for (i, text), g in zip(TEXTS.items(), genres, strict=True)])
    write_embedding(made, {i: np.array([n % 7, 7 - n % 7], np.float32) for n, i in enumerate(TEXTS) if n != 29})
    import_users(made, [UserRow("viewer")])
    return made


@pytest.fixture(scope="module")
def pair(workspace: Workspace) -> tuple[str, str]:
    return publish_world(workspace)


@pytest.fixture(scope="module")
def served(workspace: Workspace, pair: tuple[str, str]) -> OnlineRelease:
    return OnlineRelease(workspace.storage, *pair)


def by_words(served: OnlineRelease, text: str, overlay: OverlayView = NOTHING, **options: object) -> RankedList:
    (ranked,) = served.rank(search_queries(served, overlay, text, [], mode="words", **options), overlay)
    return ranked


def put(item_id: str, text: str, sequence: int = 1) -> ItemChange:
    return ItemChange(sequence, item_id, False, f"Film {item_id}", text, {"genre": ["Horror"]}, np.ones(2, np.float32))


def test_words_rank_as_the_plain_formula_does(served: OnlineRelease) -> None:
    ids = [i for i in TEXTS if i != "i29"]  # which has no vector, and so is in no release
    scores = bm25f_scores("a robot at sea", [(f"Film {i}", TEXTS[i]) for i in ids])
    expected = sorted((-score, i) for i, score in zip(ids, scores, strict=True) if score > 0)
    ranked = by_words(served, "a robot at sea", k=29)
    assert [hit.item_id for hit in ranked.hits] == [i for _, i in expected]
    np.testing.assert_allclose([hit.score for hit in ranked.hits], [-score for score, _ in expected], rtol=1e-6)
    assert ranked.short_reason == f"{len(expected)} of 29 items have a word of the text and are eligible and not seen"
    horror = by_words(served, "a robot at sea", filters=HORROR, k=29)
    assert [hit.item_id for hit in horror.hits] == [i for _, i in expected if int(i[1:]) % 4 == 0]
    assert by_words(served, "!?").hits == [] and by_words(served, "unheard").hits == []


def test_changed_items_are_found_by_their_new_words_with_the_scores_of_the_next_index(
    served: OnlineRelease, workspace: Workspace
) -> None:
    gone = ItemChange(3, "i05", True)
    view = OverlayView.of([put("i10", "a lighthouse in town"), put("new", "another lighthouse", 2), gone])
    assert {hit.item_id for hit in by_words(served, "lighthouse", view).hits} == {"i10", "new"}
    before, after = by_words(served, "robot", k=29), by_words(served, "robot", view, k=29)
    assert [hit for hit in before.hits if hit.item_id not in ("i05", "i10")] == after.hits
    excluded = by_words(served, "lighthouse", view, filters=Filters(exclude=("new",)))
    assert [hit.item_id for hit in excluded.hits] == ["i10"]
    assert by_words(served, "lighthouse", view, filters=Filters({"genre": frozenset({"Drama"})})).hits == []
    # An item that is put there as it was scores as it did.
    same = OverlayView.of([put("i00", TEXTS["i00"])])
    assert by_words(served, "robot", same, k=29).hits == before.hits


def test_shards_merge_to_the_whole(served: OnlineRelease, workspace: Workspace, pair: tuple[str, str]) -> None:
    view = OverlayView.of([put("new", "a robot ship")])
    queries = search_queries(served, view, "robot ship storm", [], mode="words", k=12)
    edges = [0, 3, 17, 29]
    shards = [OnlineRelease(workspace.storage, *pair, start=start, stop=stop) for start, stop in pairwise(edges)]
    assert merge_ranked([shard.rank(queries, view) for shard in shards], [12]) == served.rank(queries, view)


def test_both_are_fused_by_what_an_item_scores_by_each(served: OnlineRelease, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.array([n % 4 for n in range(29)], np.float32)
    monkeypatch.setattr(served, "popularity_I", counts)
    view = OverlayView.of([put("i10", "a robot on the moon"), put("new", "a robot", 2)])
    queries = search_queries(served, view, "robot at sea", ROBOT, mode="hybrid", k=5)
    assert [(query.source, query.k) for query in queries] == [("personal", 100), ("words", 100)]
    rankings = served.rank(queries, view)
    dense, words = ({hit.item_id: float(hit.score) for hit in one.hits} for one in rankings)
    assert set(words) < set(dense) and len(dense) == 30

    def expected(item_id: str) -> np.float32:
        shares = [max(scores.get(item_id, 0), 0) / max(scores.values()) for scores in (dense, words)]
        count = 0 if item_id == "new" else counts[int(item_id[1:])]
        return np.float32(0.1 * (np.log1p(float(count)) / np.log1p(3.0)) + 0.4 * shares[0] + 0.6 * shares[1])

    answer = fused(served, view, queries, rankings, 5)
    assert [hit.item_id for hit in answer.hits] == sorted(dense, key=lambda i: (-expected(i), i))[:5]
    np.testing.assert_allclose(
        [hit.score for hit in answer.hits], [expected(hit.item_id) for hit in answer.hits], rtol=1e-6
    )
    # What one ranking has cut off still counts with what it scores there.
    cut = [RankedList(rankings[0].hits[:3]), rankings[1]]
    of_item = {hit.item_id: hit.score for hit in fused(served, view, queries, cut, 30).hits}
    np.testing.assert_allclose([of_item[i] for i in sorted(words)], [expected(i) for i in sorted(words)], rtol=1e-6)


def test_one_ranking_stays_as_it_is_and_the_first_says_why_there_are_fewer(served: OnlineRelease) -> None:
    queries = search_queries(served, NOTHING, "robot", ROBOT, mode="hybrid", filters=HORROR)
    dense, words = served.rank(queries, NOTHING)
    assert fused(served, NOTHING, queries[1:], [words], 5) is words
    assert fused(served, NOTHING, queries, [dense, words], 5).short_reason is None
    assert fused(served, NOTHING, queries, [dense, words], 100).short_reason == dense.short_reason
    nothing = fused(served, NOTHING, queries, [dense, RankedList([])], 3)
    assert [hit.item_id for hit in nothing.hits] == [hit.item_id for hit in dense.hits[:3]]


def test_the_mode_goes_by_what_the_release_has(served: OnlineRelease, workspace: Workspace) -> None:
    assert [default_mode(served, "robot", has_encoder=has) for has in (True, False)] == ["hybrid", "words"]
    older = OnlineRelease(workspace.storage, served.release_id)
    older.release.word_index = None  # as of a release that was built before there was one
    assert default_mode(older, "robot", has_encoder=True) == "dense"
    with pytest.raises(EncoderError, match="neither an encoder of texts nor an index of words"):
        default_mode(older, "robot", has_encoder=False)
    with pytest.raises(EncoderError, match="no index of words"):
        search_queries(older, NOTHING, "robot", [], mode="words")
    with pytest.raises(InputError, match="without its vector"):
        search_queries(served, NOTHING, "robot", [], mode="hybrid")


def test_the_stored_index_is_hashed_and_its_bytes_do_not_depend_on_the_parts(
    served: OnlineRelease, workspace: Workspace, tmp_path: object
) -> None:
    files = served.release.manifest.matrix.word_index
    assert files is not None
    again = Workspace.create(str(tmp_path), num_buckets=5)
    import_items(again, [ItemRow(i, f"Film {i}", text) for i, text in reversed(TEXTS.items())])
    write_embedding(again, {i: np.array([n % 7, 7 - n % 7], np.float32) for n, i in enumerate(TEXTS) if n != 29})
    import_users(again, [UserRow("viewer")])
    other = OnlineRelease(again.storage, *publish_world(again)).release.manifest.matrix.word_index
    assert other is not None and (other.mean_length, other.mean_title_length) == (files.mean_length, 2.0)
    assert [file.sha256 for file in other.files] == [file.sha256 for file in files.files]
    again.storage.write_bytes(other.scores.file, again.storage.read_bytes(other.scores.file)[:-1] + b"!")
    with pytest.raises(CorruptArtefactError, match="index/scores"):
        OnlineRelease(again.storage, other.scores.file.split("/")[1]).check()


def test_terms_travel_with_the_query(served: OnlineRelease) -> None:
    (query,) = search_queries(served, NOTHING, "Robots, robots!", [], mode="words")
    assert query.terms == tuple(terms_of("robot robot")) and query.vector is None
