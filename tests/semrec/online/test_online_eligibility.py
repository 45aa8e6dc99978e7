"""Who may see what, whatever came when: a run, a release with changes laid over it, and plain sets agree."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.serving_world import event_table, gone, publish_world, put
from semrec.bench.generated import write_catalogue
from semrec.changes.overlay import OverlayView
from semrec.data import UserRow, import_interactions, import_users
from semrec.errors import InputError
from semrec.online.answers import merge_ranked
from semrec.online.explain import why_not
from semrec.online.filters import Filters
from semrec.online.release import OnlineRelease
from semrec.online.users import rank_query_of
from semrec.workspace.folder import Workspace

Attributes = dict[str, list[str]]
NUM_ITEMS, NUM_SEEN = 12, 4  # only the first items have events, and they do not change
IDS = [f"n{n:02d}" for n in range(NUM_ITEMS)]
NEW_IDS = ["a", "n06x", "z"]
EVERY = 50


def vector_of(item_id: str) -> np.ndarray:
    """A direction of whole numbers that depends on the id alone, so that scores tie and a rebuilt item keeps its own."""
    number = sum(item_id.encode())
    return np.array([number % 5 - 2, number % 3 + 1], np.float32)


def build(folder: Path, items: Mapping[str, Attributes], users: Mapping[str, Attributes]) -> OnlineRelease:
    """A published release of these items and users, of whom every second one saw two items."""
    workspace = Workspace.create(str(folder), num_buckets=2)
    ids = sorted(items)
    write_catalogue(workspace, ids, np.stack([vector_of(item_id) for item_id in ids]), [items[i] for i in ids])
    seen = [(user, IDS[(n + step) % NUM_SEEN]) for n, user in enumerate(users) if n % 2 for step in (0, 1)]
    import_interactions(workspace, [event_table([(user, item, 1.0, 10) for user, item in sorted(seen)])])
    import_users(workspace, [UserRow(user, stated) for user, stated in users.items()])
    return OnlineRelease(workspace.storage, *publish_world(workspace, k=EVERY, eligibility=tuple(NAMES)))


NAMES = {"platform": ["Atlas", "Nova", "Ghost", "Wraith"], "region": ["north", "south", "é"]}
random_attributes = st.fixed_dictionaries(
    {}, optional={name: st.lists(st.sampled_from(values), max_size=2, unique=True) for name, values in NAMES.items()}
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    before=st.lists(random_attributes, min_size=NUM_ITEMS, max_size=NUM_ITEMS),
    stated=st.lists(random_attributes, min_size=5, max_size=5),
    changed=st.dictionaries(st.sampled_from([*IDS[NUM_SEEN:], *NEW_IDS]), st.none() | random_attributes, max_size=9),
    num_shards=st.integers(1, 3),
)
def test_the_next_run_the_overlay_and_plain_sets_agree(
    before: list[Attributes], stated: list[Attributes], changed: dict[str, Attributes | None], num_shards: int
) -> None:
    users = {f"user-{n}": attributes for n, attributes in enumerate(stated)}
    before[0] = {**before[0], "platform": ["Atlas"]}
    users["user-0"] = {**users["user-0"], "region": ["north"]}  # somebody has every attribute that is named
    items = dict(zip(IDS, before, strict=True))
    after = {i: a for i, a in {**items, **changed}.items() if a is not None}
    view = OverlayView.of(
        gone(item_id, n) if attributes is None else put(item_id, vector_of(item_id), attributes, n)
        for n, (item_id, attributes) in enumerate(changed.items(), start=1)
    )
    with tempfile.TemporaryDirectory() as folder:
        released, rebuilt = build(Path(folder) / "w", items, users), build(Path(folder) / "next", after, users)
        edges = np.linspace(0, NUM_ITEMS, num_shards + 1).astype(int).tolist()
        storage, release_id = released.release.storage, released.release_id
        shards = [OnlineRelease(storage, release_id, start=a, stop=b) for a, b in itertools.pairwise(edges)]
        for user, attributes in users.items():
            rank_query = rank_query_of(released.user(user), k=EVERY)
            (online,) = merge_ranked([shard.rank([rank_query], view) for shard in shards], [EVERY])
            batch = rebuilt.published(user)
            assert batch is not None
            seen = {released.items.ids[row] for row in rank_query.seen_rows.tolist()}
            assert [h.item_id for h in online.hits] == [h.item_id for h in batch.hits]
            assert [h.score.tobytes() for h in online.hits] == [h.score.tobytes() for h in batch.hits]
            assert {hit.item_id for hit in online.hits} == may_see(after, attributes) - seen
            assert released.num_excluded(rank_query, online.hits, view) == 0


def may_see(items: Mapping[str, Attributes], stated: Attributes) -> set[str]:
    """The rule in plain lines, which share nothing with the product's."""
    shown = set()
    for item_id, attributes in items.items():
        shut_out = False
        for name in NAMES:
            if stated.get(name) and not any(value in stated[name] for value in attributes.get(name, [])):
                shut_out = True
        if not shut_out:
            shown.add(item_id)
    return shown


USERS = {
    "ghost": {"platform": ["Ghost"]},
    "both": {"platform": ["Atlas", "Ghost"]},
    "atlas": {"platform": ["Atlas"]},
    "south": {"region": ["south"]},
    "silent": {},
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> OnlineRelease:
    items: dict[str, Attributes] = {item_id: {"platform": ["Atlas"]} for item_id in IDS}
    return build(tmp_path_factory.mktemp("ghost") / "w", items, USERS)


def shown_to(served: OnlineRelease, user: str, view: OverlayView, filters: Filters | None = None) -> set[str]:
    rank_query = rank_query_of(served.user(user), filters or Filters(), EVERY)
    (ranked,) = served.rank([rank_query], view)
    return {hit.item_id for hit in ranked.hits}


def test_a_value_that_came_after_the_release_meets_who_states_it(served: OnlineRelease) -> None:
    view = OverlayView.of([put("new", vector_of("new"), {"platform": ["Ghost"]}), put("bare", vector_of("b"), {}, 2)])
    assert shown_to(served, "ghost", OverlayView.empty()) == set()
    assert shown_to(served, "ghost", view) == {"new"}
    assert shown_to(served, "both", view) >= {"new", "n05"}
    assert not shown_to(served, "atlas", view) & {"new", "bare"}
    assert shown_to(served, "silent", view) >= {"new", "bare", "n05"}
    reasons = {}
    for user in ("ghost", "atlas"):
        rank_query = rank_query_of(served.user(user), k=EVERY)
        (ranked,) = served.rank([rank_query], view)
        reasons[user] = why_not(served, rank_query, "new", view, ranked.hits).reason
    assert reasons == {"ghost": "shown", "atlas": "not_eligible"}


def test_an_attribute_that_came_after_the_release_meets_who_states_it(served: OnlineRelease) -> None:
    view = OverlayView.of([put("new", vector_of("new"), {"region": ["south"]})])
    assert shown_to(served, "south", OverlayView.empty()) == set()
    assert shown_to(served, "south", view) == {"new"}


def test_what_came_after_the_release_can_be_filtered_by(served: OnlineRelease) -> None:
    view = OverlayView.of([put("new", vector_of("new"), {"colour": ["red"], "weight": ["2.5"]}), gone("n05", 2)])
    red, heavy = Filters({"colour": frozenset(["red"])}), Filters({}, {"weight": (2.0, None)})
    for filters in (red, heavy):
        served.check_filters(filters, view)
        assert shown_to(served, "silent", view, filters) == {"new"}
        assert shown_to(served, "atlas", view, filters) == set()
        with pytest.raises(InputError, match=r"no item has an attribute"):
            served.check_filters(filters, OverlayView.empty())
    assert shown_to(served, "silent", view, Filters({"colour": frozenset(["blue"])})) == set()
    (ranked,) = served.rank([served.similar("n06", view, filters=red, k=EVERY)], view)
    assert [hit.item_id for hit in ranked.hits] == ["new"]
    with pytest.raises(InputError, match=r"no item has an attribute 'size'; expected one of colour, platform, weight"):
        served.check_filters(Filters({"size": frozenset(["L"])}), view)
