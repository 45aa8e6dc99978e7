"""What does not go live unasked: a run without users or events, and a release that limits less than the live one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from whole_path import NUM_BUCKETS, directions, events_table, release, score

from semrec.bench.generated import write_catalogue
from semrec.data import UserRow, import_interactions, import_users
from semrec.errors import EligibilityLostError, EmptyResultError, MissingArtefactError
from semrec.runs import (
    Allowed,
    check_against_live,
    inherited_settings,
    measure_health,
    publish,
    read_live,
    require_live,
    verify_run,
)
from semrec.workspace.folder import Workspace

ITEM_IDS = ["a", "b", "c", "d"]
ON_ATLAS = [{"platform": ["Atlas"], "region": ["north"]}] * 4
STATED = {"asks": {"platform": ["Atlas"], "region": ["north"]}, "silent": {}}
EVENTS = [("asks", "a", 1.0, 10)]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace whose live release goes by platform and region."""
    made = Workspace.create(str(tmp_path), num_buckets=NUM_BUCKETS)
    set_items(made, ON_ATLAS)
    set_users(made, STATED)
    import_interactions(made, [events_table(EVENTS)])
    publish(made.storage, scored(made, eligibility=("platform", "region"), half_life_days=45.0))
    return made


def set_items(workspace: Workspace, items: Sequence[Mapping[str, list[str]]]) -> None:
    write_catalogue(workspace, ITEM_IDS, directions(4), [dict(item) for item in items])


def set_users(workspace: Workspace, users: Mapping[str, Mapping[str, list[str]]]) -> None:
    import_users(workspace, [UserRow(user, dict(stated)) for user, stated in users.items()], allow_empty=True)


def scored(workspace: Workspace, **settings: Any) -> str:
    """The id of a verified and measured run of a new release."""
    settings = {"eligibility": ("platform", "region"), **settings}
    run_id = score(workspace, release_id=release(workspace, **settings).release_id).run_id
    assert verify_run(workspace.storage, run_id).ok
    measure_health(workspace.storage, run_id)
    return run_id


def refused(workspace: Workspace, run_id: str, error: type[Exception], words: str, allowed: Allowed) -> None:
    """The run does not go live, until exactly what is missing is allowed."""
    before = require_live(workspace.storage)
    other = Allowed(empty=not allowed.empty, lost_eligibility=not allowed.lost_eligibility)
    for given in (Allowed(), other):
        with pytest.raises(error, match=words):
            publish(workspace.storage, run_id, given)
    assert require_live(workspace.storage) == before
    assert publish(workspace.storage, run_id, allowed).run == run_id


LOST = Allowed(lost_eligibility=True)


def test_a_clause_less_than_the_live_release(workspace: Workspace) -> None:
    run_id = scored(workspace, eligibility=("platform",))
    refused(workspace, run_id, EligibilityLostError, "does not go by 'region' any more", LOST)


def test_items_that_state_nothing_any_more(workspace: Workspace) -> None:
    set_items(workspace, [{"region": ["north"]}] * 4)
    run_id = scored(workspace)
    refused(workspace, run_id, EligibilityLostError, "no item states 'platform' any more", LOST)


def test_users_who_state_nothing_any_more(workspace: Workspace) -> None:
    """They would see everything: their column was forgotten at the last import."""
    set_users(workspace, {"asks": {"region": ["north"]}, "silent": {}})
    run_id = scored(workspace)
    refused(workspace, run_id, EligibilityLostError, "no user states 'platform' any more, of 1 who did", LOST)


def test_what_nobody_stated_is_no_loss(workspace: Workspace) -> None:
    set_items(workspace, [{"platform": ["Atlas"], "region": ["north"]}] * 3 + [{"platform": ["Nova"]}])
    assert publish(workspace.storage, scored(workspace)).history
    bare = Workspace.create(f"{workspace.uri}/bare", num_buckets=NUM_BUCKETS)
    set_items(bare, [{}] * 4)
    import_interactions(bare, [events_table(EVENTS)])
    publish(bare.storage, scored(bare, eligibility=("platform",)))
    assert publish(bare.storage, scored(bare, eligibility=())).history


@pytest.mark.parametrize("is_first", [True, False])
def test_a_run_of_nobody(workspace: Workspace, is_first: bool) -> None:
    if is_first:
        workspace.storage.delete("current.json")
    set_users(workspace, {})
    import_interactions(workspace, [events_table([])], allow_empty=True)
    run_id = scored(workspace)
    with pytest.raises(EmptyResultError, match=r"has no users.*--allow-empty"):
        publish(workspace.storage, run_id, LOST)
    assert publish(workspace.storage, run_id, Allowed(empty=True, lost_eligibility=True)).run == run_id


def test_events_that_are_gone(workspace: Workspace) -> None:
    import_interactions(workspace, [events_table([])], allow_empty=True)
    words = r"has no events \(the live release has 1\)"
    refused(workspace, scored(workspace), EmptyResultError, words, Allowed(empty=True))


def test_a_release_is_refused_before_it_is_scored(workspace: Workspace) -> None:
    release_id = release(workspace, eligibility=()).release_id
    with pytest.raises(EligibilityLostError, match="'platform' any more; it does not go by 'region'"):
        check_against_live(workspace.storage, release_id)
    check_against_live(workspace.storage, release_id, LOST)


def test_settings_are_kept_from_the_live_release_and_said(workspace: Workspace) -> None:
    settings, said = inherited_settings(workspace.storage)
    assert (settings.eligibility, settings.half_life_days, settings.as_of) == (("platform", "region"), 45.0, None)
    assert said == "kept from the live release: eligibility by platform, region, a half-life of 45 days"
    settings, said = inherited_settings(workspace.storage, eligibility=["tier", "tier"], as_of=7)
    assert (settings.eligibility, settings.half_life_days, settings.as_of) == (("tier",), 45.0, 7)
    assert said == "kept from the live release: a half-life of 45 days"
    settings, said = inherited_settings(workspace.storage, eligibility=[""], half_life_days=9.0)
    assert (settings.eligibility, settings.half_life_days, said) == ((), 9.0, None)


def test_without_a_live_release_settings_are_the_defaults(tmp_path: Path, workspace: Workspace) -> None:
    empty = Workspace.create(str(tmp_path / "empty"), num_buckets=1)
    settings, said = inherited_settings(empty.storage)
    assert (settings.eligibility, settings.half_life_days, said) == (("platform",), 180.0, None)
    live = read_live(workspace.storage)
    assert live is not None
    workspace.storage.delete(f"releases/{live.release}/manifest.json")
    with pytest.raises(MissingArtefactError):  # a default in its place would drop a clause
        inherited_settings(workspace.storage)
