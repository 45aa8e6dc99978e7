"""Recent events of one user: as the plain formula says whatever the batches, and at a cost that a bot cannot square."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semrec.changes import events as events_module
from semrec.changes.events import Event, RecentEvents

rows = st.tuples(st.sampled_from("uv"), st.sampled_from("abc"), st.sampled_from([1.0, 2.0]), st.integers(0, 4))


def plain(events: list[Event], user_id: str) -> tuple[Event, ...]:
    """Each distinct event of a user with its lowest sequence, by (timestamp, item_id, value)."""
    mine = sorted(
        (e for e in events if e.user_id == user_id), key=lambda e: (e.timestamp, e.item_id, e.value, e.sequence)
    )
    distinct = [(e.timestamp, e.item_id, e.value) for e in mine]
    return tuple(e for n, e in enumerate(mine) if n == 0 or distinct[n] != distinct[n - 1])


@given(st.lists(rows, max_size=200), st.lists(st.integers(0, 200), max_size=6), st.randoms(use_true_random=False))
def test_any_batches_in_any_order_give_what_the_plain_formula_gives(
    drawn: list[tuple[str, str, float, int]], cuts: list[int], rng: random.Random
) -> None:
    events = [Event(*row, sequence=n + 1) for n, row in enumerate(drawn)]
    shuffled = rng.sample(events, len(events))
    recent = RecentEvents()
    for start, stop in pairwise([0, *sorted(cuts), len(shuffled)]):
        recent.add(shuffled[start:stop])
    for user_id in "uv":
        assert recent.of(user_id) == plain(events, user_id)
        assert recent.of(user_id, applied=7) == tuple(e for e in plain(events, user_id) if e.sequence > 7)
    assert recent.sequence == len(events)


@pytest.mark.parametrize("order", ["ascending", "descending", "mixed"])
@pytest.mark.parametrize("batch_size", [1, 100])
def test_many_events_of_one_user_are_compared_a_few_times_each(
    monkeypatch: pytest.MonkeyPatch, order: str, batch_size: int
) -> None:
    """Sorting the whole history for each batch would make 2,000 single events cost about 2,000,000 keys."""
    num_events, num_keys, key = 2_000, 0, events_module._key

    def counted(event: Event) -> tuple[int, str, float]:
        nonlocal num_keys
        num_keys += 1
        return key(event)

    monkeypatch.setattr(events_module, "_key", counted)
    seconds = list(range(num_events))
    if order == "descending":
        seconds.reverse()
    elif order == "mixed":
        random.Random(1).shuffle(seconds)
    events = [Event("bot", "a", 1.0, second, n + 1) for n, second in enumerate(seconds)]
    recent = RecentEvents()
    for start in range(0, num_events, batch_size):
        recent.add(events[start : start + batch_size])
    assert [event.timestamp for event in recent.of("bot")] == list(range(num_events))
    assert num_keys < 20 * num_events
