"""Users after new events: what they get is what a release of those events would give them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.serving_world import DIMENSION, NUM_ITEMS, event_table, gone, make_world, publish_world, put, reference
from semrec.changes.events import Event
from semrec.changes.overlay import OverlayView
from semrec.data import import_interactions
from semrec.online.explain import explain
from semrec.online.lru import Lru
from semrec.online.profile import UserProfile
from semrec.online.release import OnlineRelease
from semrec.online.users import rank_query_of
from semrec.workspace.tables import read_table

NOTHING = OverlayView.empty()
NEWEST_S = 1_000_000 + 10**7


def weights_of(profile: UserProfile) -> list[float]:
    return profile.histories[0].history.weights_L.tolist()


def some_events(user: str, rng: np.random.Generator) -> list[Event]:
    """Events in no order: new and old ones, of items seen before and not, some of value 0, one of them twice."""
    made = [
        Event(
            user,
            f"n{rng.integers(NUM_ITEMS):02d}",
            float(rng.integers(0, 4)),
            int(rng.integers(NEWEST_S - 10**6, NEWEST_S + 10**6)),
        )
        for _ in range(rng.integers(1, 6))
    ]
    return [*made, made[0]]


@pytest.mark.parametrize(("repeats", "neutral_value"), [("sum", 0.0), ("latest", 1.0)])
def test_recent_events_count_as_in_a_release_that_has_them(tmp_path: Path, repeats: str, neutral_value: float) -> None:
    world, rng = make_world(tmp_path), np.random.default_rng(2)
    storage = world.workspace.storage
    if repeats == "latest":
        stored = [event for part in range(4) for event in _stored(world.serve(), part)]
        import_interactions(world.workspace, [event_table(stored)], repeats="latest", neutral_value=neutral_value)
        before = OnlineRelease(storage, *publish_world(world.workspace))
    else:
        before = world.serve()
    users = [f"user-{n}" for n in range(0, 44, 2)]  # the last two are new
    recent = {user: some_events(user, rng) for user in users}
    states = {user: before.user(user, recent[user]) for user in users}
    rows = [(e.user_id, e.item_id, e.value, e.timestamp) for events in recent.values() for e in events]
    rule = {"repeats": repeats, "neutral_value": neutral_value}
    import_interactions(world.workspace, [event_table(rows)], mode="append", **rule)
    after = OnlineRelease(storage, *publish_world(world.workspace))
    changed = 0
    for user in users:
        was, now, then = before.user(user), states[user], after.user(user)
        assert (now.vector is None) == (then.vector is None)
        if now.vector is not None:
            assert now.vector.tobytes() == then.vector.tobytes()
            changed += was is None or was.vector is None or now.vector.tobytes() != was.vector.tobytes()
        assert now.seen_rows.tolist() == then.seen_rows.tolist()
        assert now.words.tolist() == then.words.tolist()
        assert now.hidden == frozenset()
        asked = [rank_query_of(state, k=8) for state in (now, then)]
        if now.vector is not None:
            assert before.rank(asked, NOTHING)[0] == after.rank(asked, NOTHING)[1]
    assert changed > 12


def _stored(served: OnlineRelease, bucket: int) -> list[tuple[str, str, float, int]]:
    assert served.release.manifest.interactions
    file = served.release.manifest.interactions[bucket]
    return [tuple(row.values()) for row in read_table(served.release.storage, file).to_pylist()]


def test_an_import_changes_nothing_in_the_answers_of_a_release_opened_before_or_after_it(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    events = {f"user-{n}": [Event(f"user-{n}", f"n{n:02d}", 2.0, NEWEST_S + n)] for n in range(0, 44, 3)}

    def answers(served: OnlineRelease) -> list[tuple[object, ...]]:
        profiles = [served.profile(user, recent) for user, recent in events.items()]
        states = [served.user(user, recent) for user, recent in events.items()]
        return [
            (profile.names, weights_of(profile), profile.seen, state.vector.tobytes(), state.seen_rows.tolist(),
             explain(served, profile, served.rank([rank_query_of(state, k=3)], NOTHING)[0].hits, NOTHING))
            for profile, state in zip(profiles, states, strict=True)
            if state is not None and state.vector is not None
        ]  # fmt: skip

    opened_before = world.serve()  # reads nothing of the interactions until it is asked
    before = answers(world.serve())
    rows = [(user, f"n{number:02d}", 3.0, 2_000_000) for number, user in enumerate(events)]
    import_interactions(world.workspace, [event_table(rows)])
    assert len(before) == len(events)
    assert answers(opened_before) == answers(world.serve()) == before


def test_a_stranger_gets_popularity_until_there_is_an_event(served: OnlineRelease) -> None:
    assert served.user("nobody") is None
    stranger = served.users.anonymous("nobody")
    assert (stranger.source, len(stranger.seen_rows)) == ("popularity", 0)
    event = Event("nobody", "n10", 1.0, NEWEST_S)
    state = served.user("nobody", [event])
    assert (state.source, state.seen_rows.tolist()) == ("personal", [10])
    vector = served.vector_of("n10", NOTHING).astype(np.float64)
    assert state.vector.tobytes() == (vector / np.sqrt((vector**2).sum())).astype(np.float32).tobytes()
    assert "n10" not in [hit.item_id for hit in served.rank([rank_query_of(state, k=200)], NOTHING)[0].hits]
    worthless = served.user("nobody", [Event("nobody", "n10", 0.0, NEWEST_S)])
    assert (worthless.source, worthless.seen_rows.tolist()) == ("popularity", [10])


def test_an_event_of_an_item_that_only_the_overlay_has(served: OnlineRelease) -> None:
    vector = np.array([0, 0, 2], np.float32)
    view = OverlayView.of([put("new", vector, {}, 1), put("new too", vector, {}, 2)])
    event = Event("nobody", "new", 1.0, NEWEST_S)
    state = served.user("nobody", [event], view)
    assert state.vector.tolist() == [0, 0, 1]
    found = [hit.item_id for hit in served.rank([rank_query_of(state, k=200)], view)[0].hits]
    assert "new too" in found
    assert "new" not in found
    deleted = served.user("nobody", [event], view.with_changes([gone("new", 3)]))
    assert (deleted.vector, deleted.source) == (None, "popularity")


def test_what_was_seen_stays_hidden_when_the_item_is_replaced(served: OnlineRelease) -> None:
    user = served.user("user-1")
    seen = [served.items.ids[row] for row in user.seen_rows]
    assert seen
    view = OverlayView.of(put(item_id, np.full(DIMENSION, 2, np.float32), {}, n) for n, item_id in enumerate(seen, 1))
    (ranked,) = served.rank([rank_query_of(user, k=200)], view)
    assert not {hit.item_id for hit in ranked.hits} & set(seen)


def test_a_profile_is_what_the_vector_was_made_of(served: OnlineRelease) -> None:
    for user in (f"user-{n}" for n in range(40)):
        state, profile = served.user(user), served.profile(user)
        assert set(profile.seen) == {served.items.ids[row] for row in state.seen_rows}
        if state.vector is None:
            assert profile.vector is None
            continue
        assert profile.vector.tobytes() == state.vector.tobytes()
        history = profile.histories[0].history
        mean = history.weights_L @ history.vectors_LD.astype(np.float64) / history.divisor
        np.testing.assert_allclose(mean, state.vector, rtol=0, atol=1e-6)


def test_a_bounded_cache_keeps_what_was_used_last() -> None:
    cache: Lru[str, int] = Lru(10, lambda size: size)
    made = []

    def get(key: str, size: int) -> int:
        return cache.get(key, lambda: made.append(key) or size)

    for key, size in (("a", 4), ("b", 4), ("a", 4), ("c", 4), ("a", 4), ("b", 4), ("large", 99), ("a", 4)):
        assert get(key, size) == size
    assert made == ["a", "b", "c", "b", "large", "a"]
    assert cache.num_bytes == 4


def test_the_cache_of_parts_may_be_smaller_than_a_part(served: OnlineRelease) -> None:
    from semrec.online.users import Users

    small = Users(served.release, served.items, served.vectors, cache_bytes=1)
    for user in (f"user-{n}" for n in range(40)):
        one, other = small.state(user), served.user(user)
        assert (one.source, one.seen_rows.tolist()) == (other.source, other.seen_rows.tolist())
    assert len(small._parts._kept) == 1


def test_a_user_with_an_unusual_name_and_no_history(served: OnlineRelease) -> None:
    for name in ("", "\u0000", "a/b?c", "\U0001f600" * 1000):
        assert served.user(name) is None
        assert served.published(name) is None
    assert reference({}, rank_query_of(served.users.anonymous()), set(), []) == []
