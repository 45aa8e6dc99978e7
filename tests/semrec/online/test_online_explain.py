"""Explanations add up, reasons are true, and diversity is what its formula says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.serving_world import DIMENSION, NUM_ITEMS, World, changed_items, gone, put, reference
from semrec.changes.events import Event
from semrec.changes.overlay import OverlayView
from semrec.errors import InputError, MissingArtefactError
from semrec.online.anonymous import ContentVector, Weighted, anonymous_profile, anonymous_query
from semrec.online.answers import RankedList, ScoredItem, merge_ranked
from semrec.online.diversity import diversified, diversify, num_candidates
from semrec.online.explain import explain, why_not
from semrec.online.filters import Filters
from semrec.online.release import OnlineRelease
from semrec.online.users import rank_query_of

NOTHING = OverlayView.empty()
CHANGED = OverlayView.of(
    [
        put("n33", np.array([1, 2, 0], np.float32), {"platform": ["Atlas"], "genre": ["Noir"]}, 1),
        put("m", np.array([1, 1, 1], np.float32), {"genre": ["Horror"], "year": ["1995"]}, 2),
        gone("n02", 3),
    ]
)


@pytest.mark.parametrize("view", [NOTHING, CHANGED], ids=["plain", "changed"])
def test_contributions_add_up_to_the_score(served: OnlineRelease, view: OverlayView) -> None:
    num_explained = 0
    for user in (f"user-{n}" for n in range(40)):
        recent = [Event(user, "n07", 2.0, 12_000_000)] if user.endswith("5") else []
        state, profile = served.user(user, recent, view), served.profile(user, recent, view)
        (ranked,) = served.rank([rank_query_of(state, k=6)], view)
        for hit, one in zip(ranked.hits, explain(served, profile, ranked.hits, view, num_parts=3), strict=True):
            assert (one.item_id, one.score) == (hit.item_id, float(hit.score))
            assert sum(part.contribution for part in one.parts) + one.rest == pytest.approx(one.score, abs=2e-6)
            if state.vector is None:
                assert (one.parts, one.nearest, one.rest) == ([], [], one.score)
                continue
            num_explained += 1
            (made_by,) = profile.histories
            assert len(one.parts) == len(one.nearest) == min(3, len(made_by.history.rows_L))
            assert {part.component for part in one.parts} == {"content"}
            sizes = [abs(part.contribution) for part in one.parts]
            assert sizes == sorted(sizes, reverse=True)
            item = served.vector_of(hit.item_id, view).astype(float)
            cosines = [_cosine(item, vector) for vector in made_by.history.vectors_LD.astype(float)]
            assert [p.cosine for p in one.nearest] == pytest.approx(sorted(cosines, reverse=True)[:3])
            for part in one.nearest:
                assert part.cosine == pytest.approx(_cosine(item, served.vector_of(part.name, NOTHING)))
    assert num_explained > 100


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_an_anonymous_profile_is_the_weighted_sum(served: OnlineRelease) -> None:
    liked, disliked = [Weighted("n01", 2.0), Weighted("n05")], [Weighted("n09", 0.5)]
    text = np.array([0, 1, 0], np.float32)
    profile = anonymous_profile(
        served, NOTHING, liked=liked, disliked=disliked, contents=[ContentVector("a robot", text)]
    )
    vectors = [served.vector_of(item_id, NOTHING).astype(float) for item_id in ("n01", "n05", "n09")]
    total = 2 * vectors[0] + vectors[1] - 0.5 * vectors[2] + text
    np.testing.assert_allclose(profile.vector, total / np.linalg.norm(total), atol=1e-7)
    assert profile.names == ["n01", "n05", "n09", '"a robot"']
    (ranked,) = served.rank([anonymous_query(served, profile, k=200)], NOTHING)
    assert len(ranked.hits) == NUM_ITEMS - 3
    assert not {"n01", "n05", "n09"} & {hit.item_id for hit in ranked.hits}
    for one in explain(served, profile, ranked.hits[:9], NOTHING):
        assert sum(part.contribution for part in one.parts) + one.rest == pytest.approx(one.score, abs=2e-6)
        assert sum(part.share for part in one.parts) == pytest.approx(1)


def test_an_anonymous_profile_of_one_item_ranks_as_similar_does(served: OnlineRelease) -> None:
    for view, item_id in ((NOTHING, "n20"), (CHANGED, "n33"), (CHANGED, "m")):
        profile = anonymous_profile(served, view, liked=[Weighted(item_id, 1e300)])
        length = np.linalg.norm(served.vector_of(item_id, view).astype(float))
        found = served.rank([anonymous_query(served, profile, k=9), served.similar(item_id, view, k=9)], view)
        np.testing.assert_allclose(*([hit.score for hit in ranked.hits] for ranked in found), rtol=length)
        for one in explain(served, profile, found[0].hits, view):
            assert one.parts[0].contribution == pytest.approx(one.score)


def test_a_profile_of_nothing_goes_by_popularity(served: OnlineRelease) -> None:
    for liked, disliked in (([], []), ([Weighted("n03")], [Weighted("n03")]), ([Weighted("n03", 1e-300)], [])):
        profile = anonymous_profile(served, NOTHING, liked=liked, disliked=disliked)
        assert (profile.vector is None) == (len(liked) == len(disliked))
    rank_query = anonymous_query(served, anonymous_profile(served, NOTHING), k=200)
    scores = [float(hit.score) for hit in served.rank([rank_query], NOTHING)[0].hits]
    assert len(scores) == NUM_ITEMS
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 1
    for weight in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="weight"):
            anonymous_profile(served, NOTHING, liked=[Weighted("n01", weight)])
    with pytest.raises(MissingArtefactError, match="n02"):
        anonymous_profile(served, CHANGED, liked=[Weighted("n02")])


@pytest.mark.parametrize("user", ["user-0", "user-1", "user-2", "user-3", "user-7"])
@pytest.mark.parametrize("view", [NOTHING, CHANGED], ids=["plain", "changed"])
def test_every_item_is_accounted_for(served: OnlineRelease, world: World, user: str, view: OverlayView) -> None:
    asked = Filters({"genre": frozenset(["Horror", "Noir", "Drama"])}, {"year": (1991, 1996)}, ("n11", "n12", "m"))
    state, items = served.user(user), changed_items(world.items, view)
    rank_query = rank_query_of(state, asked, 4)
    (ranked,) = served.rank([rank_query], view)
    seen, platforms = {served.items.ids[row] for row in state.seen_rows}, world.stated.get(user, [])
    every = reference(items, rank_query_of(state, asked, 1000), seen, platforms)
    rank_of = {item_id: rank for rank, (item_id, _) in enumerate(every, start=1)}
    halves = [world.serve(stop=40), world.serve(start=40)]
    reasons = set()
    for item_id, item in items.items():
        found = why_not(served, rank_query, item_id, view, ranked.hits)
        reasons.add(found.reason)
        assert found == why_not(
            served, rank_query, item_id, view, ranked.hits,
            count_before=lambda *asked: sum(half.count_before(*asked) for half in halves),
        )  # fmt: skip
        assert found.rank == rank_of.get(item_id)
        if item_id in rank_of:
            assert found.reason == ("shown" if found.rank <= 4 else "below")
            if found.reason == "below":
                assert found.short_by == float(ranked.hits[-1].score) - found.score
            continue
        if item_id in seen:
            assert found.reason == "seen"
        elif platforms and not set(platforms) & set(item.attributes.get("platform", [])):
            assert (found.reason, found.attribute) == ("not_eligible", "platform")
        elif item_id in asked.exclude:
            assert found.reason == "excluded"
        else:
            assert (found.reason, found.attribute) == ("filtered", asked.failed(item.attributes))
    assert {"shown", "below", "excluded", "filtered"} <= reasons
    with pytest.raises(MissingArtefactError):
        why_not(served, rank_query, "never was", view, ranked.hits)


vectors = st.lists(st.lists(st.integers(-3, 3), min_size=3, max_size=3), min_size=1, max_size=12)


@settings(deadline=None)
@given(vectors, st.integers(1, 14), st.sampled_from([0.1, 0.3, 0.5, 0.9, 1.0]))
def test_diversity_picks_by_its_formula(rows: list[list[int]], k: int, diversity: float) -> None:
    vectors_ND = np.array(rows, np.float32)
    hits = [ScoredItem(f"i{n:02d}", np.float32(20 - n)) for n in range(len(rows))]
    picked: list[int] = []
    while len(picked) < min(k, len(hits)):
        left = [n for n in range(len(hits)) if n not in picked]

        def value(n: int) -> float:
            alike = max((_cosine_or_0(vectors_ND[n], vectors_ND[p]) for p in picked), default=0.0)
            return (1 - diversity) * float(hits[n].score) / 20 - diversity * alike

        values = [value(n) for n in left] if picked else [float(hits[n].score) for n in left]
        best = max(values)
        found = diversify(hits, vectors_ND, len(picked) + 1, diversity)[-1]
        place = hits.index(found)
        assert value(place) >= best - 1e-6 if picked else place == 0
        picked.append(place)
    assert [hits[n] for n in picked] == diversify(hits, vectors_ND, k, diversity)


def _cosine_or_0(one: np.ndarray, other: np.ndarray) -> float:
    return _cosine(one, other) if one.any() and other.any() else 0.0


def test_no_diversity_is_the_plain_order_bit_for_bit(served: OnlineRelease) -> None:
    rank_query = rank_query_of(served.user("user-1"), k=num_candidates(10, 0.0))
    (ranked,) = served.rank([rank_query], NOTHING)
    assert diversified(served, ranked, 10, 0.0, NOTHING) is ranked
    assert diversify(ranked.hits, np.eye(10, DIMENSION, dtype=np.float32), 10, 0.0) == ranked.hits
    assert (num_candidates(3, 0.2), num_candidates(20, 1.0)) == (50, 100)
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="diversity"):
            num_candidates(10, wrong)


def test_a_diverse_answer_says_why_it_is_short_and_what_it_left_out(served: OnlineRelease) -> None:
    user = served.user("user-1")
    (ranked,) = served.rank([rank_query_of(user, k=num_candidates(4, 0.7))], CHANGED)
    chosen = diversified(served, ranked, 4, 0.7, CHANGED)
    assert (len(chosen.hits), chosen.short_reason) == (4, None)
    assert chosen.hits != ranked.hits[:4]
    left_out = next(hit.item_id for hit in ranked.hits if hit not in chosen.hits)
    found = why_not(served, rank_query_of(user, k=50), left_out, CHANGED, chosen.hits)
    assert (found.reason, found.rank) == ("diverse", [hit.item_id for hit in ranked.hits].index(left_out) + 1)
    few = RankedList(ranked.hits[:2], "2 of 9 items are eligible and not seen")
    assert diversified(served, few, 4, 0.7, CHANGED).short_reason == few.short_reason
    assert diversify([], np.zeros((0, 3), np.float32), 3, 0.5) == []


def test_merging_keeps_the_reason_of_a_short_answer() -> None:
    parts = [
        [RankedList([ScoredItem("b", np.float32(1))], "1 of 9 items are eligible and not seen")],
        [
            RankedList(
                [ScoredItem("a", np.float32(1)), ScoredItem("c", np.float32(0))],
                "2 of 9 items are eligible and not seen",
            )
        ],
    ]
    assert merge_ranked(parts, [4]) == [
        RankedList(
            [parts[1][0].hits[0], parts[0][0].hits[0], parts[1][0].hits[1]], "3 of 9 items are eligible and not seen"
        )
    ]
    assert merge_ranked(parts, [2])[0] == RankedList([ScoredItem("a", np.float32(1)), ScoredItem("b", np.float32(1))])
