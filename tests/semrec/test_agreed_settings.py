"""What goes live has the workspace's settings, or those that are live already: a release of other settings is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from helpers.whole_path import history, make_world, release, score
from semrec.data import UserRow, import_users
from semrec.errors import MissingArtefactError, SettingsNotAgreedError
from semrec.release.reader import Release
from semrec.runs.agreed_settings import settings_of_release
from semrec.runs.gates import Allowed
from semrec.runs.health import measure_health
from semrec.runs.live import require_live
from semrec.runs.publish import check_settings_for_live, publish
from semrec.runs.verify import verify_run
from semrec.settings import ReleaseSettings, Settings
from semrec.settings_file import SETTINGS_FILE, write_settings
from semrec.workspace.folder import Workspace

NEWEST = max(seconds for *_, seconds in history())
OTHER_CLAUSES = Allowed(lost_clauses=frozenset({"platform"}))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Items and events; nothing is released."""
    return make_world(tmp_path)


def state(workspace: Workspace, **settings: Any) -> None:
    write_settings(workspace.storage, Settings(release=ReleaseSettings(**settings)))


def scored(workspace: Workspace, **settings: Any) -> str:
    run_id = score(workspace, release_id=release(workspace, **settings).release_id).run_id
    assert verify_run(workspace.storage, run_id).ok
    measure_health(workspace.storage, run_id)
    return run_id


def wanted(workspace: Workspace, **settings: Any) -> list[str]:
    return check_settings_for_live(workspace.storage, ReleaseSettings(**settings))


def test_the_defaults_go_live_first_where_nothing_is_stated(workspace: Workspace) -> None:
    assert wanted(workspace) == []
    assert publish(workspace.storage, scored(workspace)).history in ([], ())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"half_life_days": 90.0}, "release.half_life_days = 90 would go live unnoticed"),
        ({"eligibility": ()}, "release.eligibility = nothing would go live unnoticed"),
        ({"as_of": NEWEST - 1}, f"release.as_of = {NEWEST - 1} would go live unnoticed"),
    ],
)
def test_what_was_chosen_for_one_call_does_not_go_live(workspace: Workspace, settings: Any, said: str) -> None:
    publish(workspace.storage, scored(workspace))
    live = require_live(workspace.storage)
    with pytest.raises(SettingsNotAgreedError, match=said):
        wanted(workspace, **settings)
    run_id = scored(workspace, **settings)
    with pytest.raises(SettingsNotAgreedError, match=said) as caught:
        publish(workspace.storage, run_id, OTHER_CLAUSES)
    (name,) = settings
    assert f"semrec config set release.{name}" in caught.value.remedy
    assert require_live(workspace.storage) == live
    state(workspace, **settings)
    assert publish(workspace.storage, run_id, OTHER_CLAUSES).run == run_id


def test_a_stated_setting_goes_live_and_the_difference_is_said(workspace: Workspace) -> None:
    publish(workspace.storage, scored(workspace))
    state(workspace, half_life_days=90.0)
    assert wanted(workspace, half_life_days=90.0) == ["release.half_life_days is 90 (the live release has 180)"]
    assert wanted(workspace) == []  # what is live already may stay
    run_id = scored(workspace, half_life_days=90.0)
    assert publish(workspace.storage, run_id).run == run_id
    assert wanted(workspace, half_life_days=90.0) == []


def test_a_workspace_without_a_file_goes_on_with_what_is_live(workspace: Workspace) -> None:
    state(workspace, half_life_days=45.0)
    publish(workspace.storage, scored(workspace, half_life_days=45.0))
    workspace.storage.delete(SETTINGS_FILE)  # as it is where an earlier version worked
    with pytest.raises(SettingsNotAgreedError, match=r"half_life_days = 180 .*45 of the live release.*`semrec init`"):
        wanted(workspace)
    assert wanted(workspace, half_life_days=45.0) == []


def test_an_instant_that_leaves_no_event_out_is_the_default(workspace: Workspace) -> None:
    run_id = scored(workspace, as_of=NEWEST + 5)
    manifest: Any = Release(workspace.storage, require_run_release(workspace, run_id)).manifest
    assert settings_of_release(manifest).as_of is None
    assert publish(workspace.storage, run_id).run == run_id
    state(workspace, as_of=NEWEST + 5)
    again = scored(workspace, as_of=NEWEST + 5)
    assert publish(workspace.storage, again).run == run_id


def require_run_release(workspace: Workspace, run_id: str) -> str:
    return str(workspace.storage.read_json(f"runs/{run_id}/plan.json")["settings"]["release"])


def test_the_order_of_clauses_does_not_matter(workspace: Workspace) -> None:
    import_users(workspace, [UserRow("user-0", {"region": ["north"]})])
    state(workspace, eligibility=("region", "platform"))
    assert wanted(workspace, eligibility=("platform", "region")) == []


def test_a_live_release_that_cannot_be_read_is_no_reason_to_take_the_defaults(workspace: Workspace) -> None:
    publish(workspace.storage, scored(workspace))
    workspace.storage.delete(f"releases/{require_live(workspace.storage).release}/manifest.json")
    with pytest.raises(MissingArtefactError):
        wanted(workspace)
