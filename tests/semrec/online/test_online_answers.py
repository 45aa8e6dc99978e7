"""A served release: the published lists, changed items, shards, filters, and what a damaged release is answered with."""

from __future__ import annotations

import itertools
import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.serving_world import (
    DIMENSION,
    GENRES,
    NUM_ITEMS,
    PLATFORMS,
    K,
    World,
    changed_items,
    gone,
    make_world,
    put,
    reference,
)
from semrec.changes.overlay import OverlayView
from semrec.errors import CorruptArtefactError, InputError, MissingArtefactError
from semrec.online.answers import RankedList, RankQuery, ScoredItem, merge_ranked
from semrec.online.filters import NO_FILTERS, Filters
from semrec.online.item_scores import scores_of
from semrec.online.lists_json import items_json
from semrec.online.release import OnlineRelease
from semrec.online.users import rank_query_of

NOTHING = OverlayView.empty()
USERS = [f"user-{n}" for n in range(40)]
MORE_IDS = ("a", "n00x", "n35", "n69", "n7", "z", "é")


def listed(ranked: RankedList) -> list[tuple[str, bytes]]:
    return [(hit.item_id, hit.score.tobytes()) for hit in ranked.hits]


def test_every_user_gets_the_published_list(served: OnlineRelease) -> None:
    states = [served.user(user) for user in USERS]
    found = served.rank([rank_query_of(state, k=served.run_k) for state in states], NOTHING)
    for user, state, ranked in zip(USERS, states, found, strict=True):
        published = served.published(user)
        assert listed(ranked) == [(hit.item_id, hit.score.tobytes()) for hit in published.hits]
        assert (state.source, ranked.short_reason) == (published.source, published.short_reason)
    assert {state.source for state in states} == {"personal", "popularity"}


@pytest.mark.usefixtures("saturating_int8")
def test_a_format_that_is_wrong_here_is_not_served(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another machine measured int8 as the fastest and recorded it; the lists are those of any other format."""
    world = make_world(tmp_path)
    expected = world.serve()
    path = f"releases/{world.release_id}/manifest.json"
    manifest = world.workspace.storage.read_json(path)
    world.workspace.storage.write_json(path, {**manifest, "coarse": {"cpu": "int8"}})
    served = world.serve()
    assert "scores in bfloat16 instead of int8" in caplog.text
    rank_queries = [rank_query_of(served.user(user), k=K) for user in USERS]
    assert served.rank(rank_queries, NOTHING) == expected.rank(rank_queries, NOTHING)


def test_one_by_one_is_as_together_and_each_has_its_own_k(served: OnlineRelease) -> None:
    rank_queries = [rank_query_of(served.user(user), k=1 + n % 9) for n, user in enumerate(USERS)]
    together = served.rank(rank_queries, NOTHING)
    assert together == [served.rank([rank_query], NOTHING)[0] for rank_query in rank_queries]
    assert {len(ranked.hits) for ranked in together} == set(range(10))
    assert served.rank([], NOTHING) == []


def test_threads_get_the_same_answers(served: OnlineRelease, world: World) -> None:
    view = OverlayView.of([put("a", np.ones(DIMENSION, np.float32), {}), gone("n03", 2)])
    rank_queries = [rank_query_of(served.user(user), Filters({"genre": frozenset(["Drama"])}), 4) for user in USERS]
    expected, found = world.serve().rank(rank_queries, view), {}

    def ask(number: int) -> None:
        found[number] = served.rank(rank_queries, view)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(found.values()) == [expected] * 4


changes = st.lists(
    st.tuples(
        st.sampled_from(MORE_IDS) | st.integers(0, NUM_ITEMS - 1).map("n{:02d}".format),
        st.booleans(),
        st.lists(st.integers(-2, 2), min_size=DIMENSION, max_size=DIMENSION),
        st.sets(st.sampled_from([*GENRES, "Western"])),
        st.sets(st.sampled_from([*PLATFORMS, "Ghost"])),
        st.sampled_from(["1988", "1994", "2001", "?"]),
    ),
    max_size=14,
)
filters = st.builds(
    lambda genres, platforms, years, exclude: Filters(
        {name: frozenset(v) for name, v in (("genre", genres), ("platform", platforms)) if v is not None},
        {} if years is None else {"year": years},
        tuple(exclude),
    ),
    st.none() | st.sets(st.sampled_from([*GENRES, "Western"])),
    st.none() | st.sets(st.sampled_from([*PLATFORMS, "Nowhere"]), min_size=1),
    st.none() | st.tuples(st.none() | st.integers(1986, 2002), st.none() | st.integers(1986, 2002)),
    st.lists(st.sampled_from([*MORE_IDS, "n01", "n02", "n44", "no such item"]), max_size=4),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changed=changes, asked=filters, k=st.integers(1, 80), shards=st.integers(1, 3), data=st.data())
def test_changed_items_rank_as_in_a_plain_reference(
    served: OnlineRelease, world: World, changed: list, asked: Filters, k: int, shards: int, data: st.DataObject
) -> None:
    view = OverlayView.of(
        gone(item_id, n)
        if deleted
        else put(
            item_id,
            np.array(vector, np.float32),
            {"genre": sorted(genres), "platform": sorted(platforms), "year": [year]},
            n,
        )
        for n, (item_id, deleted, vector, genres, platforms, year) in enumerate(changed, start=1)
    )
    items, users = changed_items(world.items, view), data.draw(st.lists(st.sampled_from(USERS), min_size=1, max_size=6))
    rank_queries = [rank_query_of(served.user(user), asked, k) for user in users]
    edges = np.linspace(0, NUM_ITEMS, shards + 1).astype(int).tolist()
    held = [served] if shards == 1 else [world.serve(start=a, stop=b) for a, b in itertools.pairwise(edges)]
    found = merge_ranked([shard.rank(rank_queries, view) for shard in held], [k] * len(users))
    assert shards > 1 or found == served.rank(rank_queries, view)
    for user, rank_query, ranked in zip(users, rank_queries, found, strict=True):
        seen = {served.items.ids[row] for row in rank_query.seen_rows}
        assert listed(ranked) == reference(items, rank_query, seen, world.stated.get(user, []))
        assert (ranked.short_reason is None) == (len(ranked.hits) == k)
        if ranked.short_reason and asked:
            expected = f"{len(ranked.hits)} of {len(items)} items are eligible, not seen and pass the filters"
            assert ranked.short_reason == expected


def test_ties_between_release_and_overlay_go_by_item_id(served: OnlineRelease, world: World) -> None:
    vector = world.items["n30"].vector
    view = OverlayView.of([put(item_id, vector, {}, n) for n, item_id in enumerate(("n29x", "n30x", "A", "n30"), 1)])
    (ranked,) = served.rank([RankQuery(vector, served.users.anonymous().words, np.zeros(0, np.int64), k=200)], view)
    own = [hit.item_id for hit in ranked.hits if hit.score == np.float32(vector @ vector)]
    assert own == sorted(own)
    assert {"A", "n29x", "n30", "n30x"} <= set(own)


def test_by_popularity_a_replaced_item_keeps_its_users_and_a_new_one_has_none(
    served: OnlineRelease, world: World
) -> None:
    popular = max(world.items, key=lambda item_id: world.items[item_id].popularity)
    view = OverlayView.of(
        [put(popular, np.ones(DIMENSION, np.float32), {}, 1), put("new", np.ones(3, np.float32), {}, 2)]
    )
    rank_query = rank_query_of(served.users.anonymous(), k=200)
    (ranked,) = served.rank([rank_query], view)
    assert listed(ranked) == reference(changed_items(world.items, view), rank_query, set(), [])
    score_of = {hit.item_id: hit.score for hit in ranked.hits}
    assert score_of[popular] == ranked.hits[0].score > 1
    assert score_of["new"] == 0 == scores_of(served, rank_query, ["new"], view)[0]


def test_similar_leaves_the_item_itself_out(served: OnlineRelease) -> None:
    view = OverlayView.of([put("n30", served.vector_of("n31", NOTHING), {})])
    for overlay, item_id in ((NOTHING, "n30"), (view, "n30"), (view, "n31")):
        (ranked,) = served.rank([served.similar(item_id, overlay, k=100)], overlay)
        assert len(ranked.hits) == NUM_ITEMS - 1
        assert item_id not in [hit.item_id for hit in ranked.hits]
    assert np.array_equal(served.vector_of("n30", view), served.vector_of("n31", view))


def test_items_are_what_the_catalogue_and_the_overlay_say(served: OnlineRelease, world: World) -> None:
    title = 'a "quoted" \u2028 title \U0001f600'
    change = put("new", np.ones(DIMENSION, np.float32), {"genre": ["Noir"]})
    view = OverlayView.of(
        [type(change)(1, "new", False, title, "", {"genre": ["Noir"]}, change.vector), gone("n01", 2)]
    )
    for item_id, item in world.items.items():
        facts = served.item(item_id, NOTHING)
        assert (facts.title, facts.attributes) == (f"title of {item_id}", item.attributes)
    assert served.item("new", view).title == title
    hits = served.rank([served.similar("n00", view, k=200)], view)[0].hits
    shown = json.loads(items_json(served, hits, view))
    assert [one["item_id"] for one in shown] == [hit.item_id for hit in hits]
    assert (
        np.array([one["score"] for one in shown], np.float32).tobytes() == np.array([h.score for h in hits]).tobytes()
    )
    assert next(one for one in shown if one["item_id"] == "new")["title"] == title
    assert items_json(served, [], view) == b"[]"
    for call in (served.item, served.vector_of):
        for item_id in ("n01", "never was"):
            with pytest.raises(MissingArtefactError, match=item_id):
                call(item_id, view)


def test_ids_of_a_large_overlay_stay_in_order(served: OnlineRelease) -> None:
    rng = np.random.default_rng(3)
    vectors = rng.integers(-2, 3, (500, DIMENSION)).astype(np.float32)
    view = OverlayView.of(put(f"n{n % 70:02d}-{n}", vector, {}, n + 1) for n, vector in enumerate(vectors))
    (ranked,) = served.rank([rank_query_of(served.user("user-1"), k=570)], view)
    keys = [(-hit.score, hit.item_id) for hit in ranked.hits]
    assert keys == sorted(keys)
    assert len(keys) == 570 - len(served.user("user-1").seen_rows)


def test_who_holds_no_rows_knows_items_and_users_but_ranks_nothing(world: World, served: OnlineRelease) -> None:
    front = world.serve(stop=0)
    assert front.item("n05", NOTHING) == served.item("n05", NOTHING)
    states = front.user("user-1"), served.user("user-1")
    assert np.array_equal(states[0].vector, states[1].vector)
    with pytest.raises(InputError, match="without rows"):
        front.rank([rank_query_of(states[0])], NOTHING)
    halves = [world.serve(stop=30), world.serve(start=30)]
    front.probe(
        40,
        lambda rank_queries, view: merge_ranked(
            [h.rank(rank_queries, view) for h in halves], [q.k for q in rank_queries]
        ),
    )
    assert all("items" not in vars(half.release) for half in halves)  # a shard ranks without titles


def test_a_run_that_says_otherwise_is_found_by_the_probe(tmp_path: Path) -> None:
    world = make_world(tmp_path, num_users=12)
    world.serve().probe()
    served = world.serve()
    served._published.list_of("user-3").hits  # noqa: B018  # it is there
    part = served._published._part(2)
    scores = part._scores
    victim = next(user for user in part.user_ids if len(part.list_of(user).hits))
    part._scores = type(scores).from_arrays(scores.offsets, np.nextafter(scores.flatten().to_numpy(), np.float32(9)))
    with pytest.raises(CorruptArtefactError, match="the score of place 1"):
        served.probe(12)
    assert victim


def test_an_altered_matrix_is_found_by_the_check(tmp_path: Path) -> None:
    world = make_world(tmp_path, num_users=4)
    served = world.serve()
    served.check()
    path = tmp_path / f"releases/{world.release_id}/matrix/block-00000.low.npy"
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(CorruptArtefactError, match=r"block-00000\.low"):
        world.serve().check()


def test_a_run_of_another_release_is_refused(world: World, tmp_path: Path) -> None:
    other = make_world(tmp_path, num_users=4, seed=6)
    files = f"runs/{other.run_id}"
    for name in ("plan.json", "manifest.json"):
        data = other.workspace.storage.read_bytes(f"{files}/{name}")
        world.workspace.storage.write_bytes(f"{files}/{name}", data)
    with pytest.raises(InputError, match="is of release"):
        OnlineRelease(world.workspace.storage, world.release_id, other.run_id)
    with pytest.raises(MissingArtefactError, match="without a run"):
        OnlineRelease(world.workspace.storage, world.release_id).published("user-1")


def test_the_engines_agree(world: World, served: OnlineRelease) -> None:
    slow = OnlineRelease(world.workspace.storage, world.release_id, world.run_id, engine="reference")
    view = OverlayView.of([put("n30x", np.array([2, 1, 0], np.float32), {"platform": ["Lumina"]})])
    asked = Filters({"genre": frozenset(["Noir", "Drama"])}, {"year": (1992, None)}, ("n04",))
    rank_queries = [rank_query_of(served.user(user), f, 7) for user in USERS for f in (NO_FILTERS, asked)]
    assert slow.rank(rank_queries, view) == served.rank(rank_queries, view)


def test_an_item_that_must_not_be_shown_is_counted(served: OnlineRelease) -> None:
    """Against a list that breaks each rule once, because a right engine never gives one."""
    states = [served.user(user) for user in USERS]
    for state, ranked in zip(
        states, served.rank([rank_query_of(state, k=9) for state in states], NOTHING), strict=True
    ):
        assert served.num_excluded(rank_query_of(state), ranked.hits, NOTHING) == 0
    state = next(s for s in states if len(s.seen_rows) and (s.words != 1).any())
    rank_query = rank_query_of(state)
    shown = served.rank([rank_query], NOTHING)[0].hits
    seen = ScoredItem(served.items.ids[int(state.seen_rows[0])], np.float32(1))
    eligible = {hit.item_id for hit in served.rank([replace(rank_query, k=NUM_ITEMS)], NOTHING)[0].hits}
    unseen = sorted(set(served.items.ids) - eligible - {served.items.ids[row] for row in state.seen_rows.tolist()})
    barred = ScoredItem(unseen[0], np.float32(1))
    assert served.num_excluded(rank_query, [*shown, barred], NOTHING) == 1
    assert served.num_excluded(rank_query, [seen, *shown], NOTHING) >= 1
    hidden = replace(rank_query, hidden=frozenset(["only in the overlay"]))
    assert served.num_excluded(hidden, [ScoredItem("only in the overlay", np.float32(1)), *shown], NOTHING) == 1
    other = OverlayView.of([put("new", np.ones(3, np.float32), {"platform": ["Ghost"]})])
    assert served.num_excluded(rank_query, [*shown, ScoredItem("new", np.float32(1))], other) == 1
