"""What does not go live unasked: a run without users or events, and a release that limits less than the live one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from helpers.whole_path import NUM_BUCKETS, directions, events_table, release, score
from semrec.bench.generated import write_catalogue
from semrec.data import UserRow, import_interactions, import_users
from semrec.errors import EligibilityLostError, EmptyResultError, InputError, QualityLostError
from semrec.release.metrics import EvaluationManifest, MetricValue
from semrec.runs.gates import Allowed, Proposal
from semrec.runs.health import measure_health
from semrec.runs.live import require_live
from semrec.runs.publish import check_against_live, publish
from semrec.runs.verify import verify_run
from semrec.settings import ReleaseSettings, Settings
from semrec.settings_file import read_settings, write_settings
from semrec.workspace.folder import Workspace
from semrec.workspace.manifests import ReleaseManifest
from semrec.workspace.storage import Storage

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
    state(made, eligibility=("platform", "region"), half_life_days=45.0)
    publish(made.storage, scored(made))
    return made


def state(workspace: Workspace, **settings: Any) -> None:
    """Writes release settings into the workspace's file."""
    write_settings(workspace.storage, Settings(release=ReleaseSettings(**settings)))


def set_items(workspace: Workspace, items: Sequence[Mapping[str, list[str]]]) -> None:
    write_catalogue(workspace, ITEM_IDS, directions(4), [dict(item) for item in items])


def set_users(workspace: Workspace, users: Mapping[str, Mapping[str, list[str]]]) -> None:
    import_users(workspace, [UserRow(user, dict(stated)) for user, stated in users.items()], allow_empty=True)


def scored(workspace: Workspace, **settings: Any) -> str:
    """The id of a verified and measured run of a release with the workspace's settings, some of them replaced."""
    settings = {**read_settings(workspace.storage).release.model_dump(), **settings}
    run_id = score(workspace, release_id=release(workspace, **settings).release_id).run_id
    assert verify_run(workspace.storage, run_id).ok
    measure_health(workspace.storage, run_id)
    return run_id


def refused(workspace: Workspace, run_id: str, error: type[Exception], words: str, allowed: Allowed) -> None:
    """The run does not go live, until exactly what is missing is allowed."""
    before = require_live(workspace.storage)
    other = Allowed(empty=not allowed.empty, lost_clauses=BOTH - allowed.lost_clauses)
    for given in (Allowed(), other):
        with pytest.raises(error, match=words):
            publish(workspace.storage, run_id, given)
    assert require_live(workspace.storage) == before
    assert publish(workspace.storage, run_id, allowed).run == run_id


BOTH = frozenset({"platform", "region"})
LOST_PLATFORM = Allowed(lost_clauses=frozenset({"platform"}))


def test_a_clause_less_than_the_live_release(workspace: Workspace) -> None:
    state(workspace, eligibility=("platform",), half_life_days=45.0)
    allowed = Allowed(lost_clauses=frozenset({"region"}))
    refused(workspace, scored(workspace), EligibilityLostError, "does not go by 'region' any more", allowed)


def test_each_lost_clause_is_allowed_by_its_own_name(workspace: Workspace) -> None:
    state(workspace, eligibility=(), half_life_days=45.0)
    run_id = scored(workspace)
    with pytest.raises(EligibilityLostError, match="--allow-lost-clause platform --allow-lost-clause region"):
        publish(workspace.storage, run_id)
    with pytest.raises(EligibilityLostError, match="it does not go by 'region' any more") as caught:
        publish(workspace.storage, run_id, LOST_PLATFORM)
    assert "'platform'" not in caught.value.got
    assert publish(workspace.storage, run_id, Allowed(lost_clauses=BOTH)).run == run_id


def test_items_that_state_nothing_any_more(workspace: Workspace) -> None:
    set_items(workspace, [{"region": ["north"]}] * 4)
    run_id = scored(workspace)
    refused(workspace, run_id, EligibilityLostError, "no item states 'platform' any more", LOST_PLATFORM)


def test_users_who_state_nothing_any_more(workspace: Workspace) -> None:
    """They would see everything: their column was forgotten at the last import."""
    set_users(workspace, {"asks": {"region": ["north"]}, "silent": {}})
    run_id = scored(workspace)
    refused(workspace, run_id, EligibilityLostError, "no user states 'platform' any more, of 1 who did", LOST_PLATFORM)


def test_a_clause_that_users_state_and_no_item_fills_does_not_even_go_live_first(tmp_path: Path) -> None:
    fresh = Workspace.create(str(tmp_path), num_buckets=NUM_BUCKETS)
    set_items(fresh, [{}] * 4)
    set_users(fresh, STATED)
    import_interactions(fresh, [events_table(EVENTS)])
    run_id = scored(fresh)
    with pytest.raises(EligibilityLostError, match="1 users state 'platform' and no item does, so they get nothing"):
        publish(fresh.storage, run_id)
    assert publish(fresh.storage, run_id, LOST_PLATFORM).run == run_id


def test_what_nobody_stated_is_no_loss(workspace: Workspace) -> None:
    set_items(workspace, [{"platform": ["Atlas"], "region": ["north"]}] * 3 + [{"platform": ["Nova"]}])
    assert publish(workspace.storage, scored(workspace)).history
    bare = Workspace.create(f"{workspace.uri}/bare", num_buckets=NUM_BUCKETS)
    set_items(bare, [{}] * 4)
    import_interactions(bare, [events_table(EVENTS)])
    publish(bare.storage, scored(bare))
    state(bare, eligibility=())
    assert publish(bare.storage, scored(bare)).history


@pytest.mark.parametrize("is_first", [True, False])
def test_a_run_of_nobody(workspace: Workspace, is_first: bool) -> None:
    if is_first:
        workspace.storage.delete("current.json")
    set_users(workspace, {})
    import_interactions(workspace, [events_table([])], allow_empty=True)
    run_id = scored(workspace)
    with pytest.raises(EmptyResultError, match=r"has no users.*--allow-empty"):
        publish(workspace.storage, run_id, Allowed(lost_clauses=BOTH))
    assert publish(workspace.storage, run_id, Allowed(empty=True, lost_clauses=BOTH)).run == run_id


def test_events_that_are_gone(workspace: Workspace) -> None:
    import_interactions(workspace, [events_table([])], allow_empty=True)
    words = r"has no events \(the live release has 1\)"
    refused(workspace, scored(workspace), EmptyResultError, words, Allowed(empty=True))


def test_a_release_is_refused_before_it_is_scored(workspace: Workspace) -> None:
    state(workspace, eligibility=(), half_life_days=45.0)
    release_id = release(workspace, eligibility=(), half_life_days=45.0).release_id
    with pytest.raises(EligibilityLostError, match="'platform' any more; it does not go by 'region'"):
        check_against_live(workspace.storage, release_id)
    check_against_live(workspace.storage, release_id, Allowed(lost_clauses=BOTH))


def test_a_gate_sees_what_the_evaluations_of_both_releases_measured(workspace: Workspace) -> None:
    storage, live_id = workspace.storage, require_live(workspace.storage).release
    after, before = release(workspace, half_life_days=90.0).manifest, ReleaseManifest.read(storage, live_id)
    EvaluationManifest(metrics={"ndcg@10": MetricValue(value=0.3, low=0.2, high=0.4)}).write(storage, after.release)
    proposal = Proposal(storage, after, before)
    assert proposal.metrics == {"ndcg@10": MetricValue(value=0.3, low=0.2, high=0.4)}
    assert proposal.live_metrics is None


def measured(storage: Storage, release_id: str, value: float) -> None:
    metric = MetricValue(value=value, low=value - 0.05, high=value + 0.05)
    EvaluationManifest(metrics={"ndcg@10": metric}).write(storage, release_id)


def test_a_release_must_reach_what_is_required_and_lose_nothing(workspace: Workspace) -> None:
    storage, live_id = workspace.storage, require_live(workspace.storage).release
    state(workspace, eligibility=("platform", "region"), half_life_days=90.0)
    release_id = release(workspace, eligibility=("platform", "region"), half_life_days=90.0).release_id
    check_against_live(storage, release_id)
    with pytest.raises(QualityLostError, match=r"has no measured ndcg@10; expected ndcg@10 of at least 0\.3 "):
        check_against_live(storage, release_id, Allowed(required=("ndcg@10>=0.3",)))
    measured(storage, release_id, 0.30)
    check_against_live(storage, release_id, Allowed(required=("ndcg@10>=0.3",)))
    with pytest.raises(
        QualityLostError, match=r"has ndcg@10 0\.3000 \[0\.2500, 0\.3500\]; expected .* of at least 0\.31 "
    ):
        check_against_live(storage, release_id, Allowed(required=("ndcg@10 >= .31",)))
    measured(storage, live_id, 0.39)  # better, but the intervals meet
    check_against_live(storage, release_id)
    measured(storage, live_id, 0.41)
    with pytest.raises(QualityLostError, match=r"no less than the live release, which has ndcg@10 0\.4100"):
        check_against_live(storage, release_id)
    check_against_live(storage, release_id, Allowed(worse=True))
    storage.delete(f"releases/{release_id}/evaluation.json")
    with pytest.raises(QualityLostError, match=r"has no measured ndcg@10; .*--allow-worse"):
        check_against_live(storage, release_id)
    for condition in ("good", "recal>=0.9", "ndcg>=0.3"):
        with pytest.raises(InputError, match=f"--require {condition}; expected a metric at a length, or recall,"):
            check_against_live(storage, release_id, Allowed(required=(condition,)))
    check_against_live(storage, release_id, Allowed(worse=True, required=("recall>=0.99",)))  # asked of its run
