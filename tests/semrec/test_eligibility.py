"""Eligibility is closed by default: what nobody stated meets nobody who asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from cluster.compute import InProcess
from cluster.stages.release import build_release
from helpers.whole_path import NUM_BUCKETS, directions, events_table, release, score
from semrec.bench.generated import write_catalogue
from semrec.data import UserRow, import_interactions, import_users
from semrec.errors import InputError
from semrec.progress import NoProgress
from semrec.release.reader import Release
from semrec.settings import ReleaseSettings
from semrec.workspace.folder import Workspace
from semrec.workspace.tables import read_table

ITEM_IDS = ["a", "b", "c", "d"]
SERVICES = [{"platform": ["Atlas"]}, {"platform": ["Atlas", "Nova"]}, {"platform": ["Nova"]}, {}]
EVENTS = [("asks", "a", 1.0, 10), ("silent", "a", 1.0, 10)]


def make_workspace(
    folder: Path, items: Sequence[Mapping[str, list[str]]], users: Mapping[str, Mapping[str, list[str]]]
) -> Workspace:
    """Four items and what they state; users and what they state, two of whom saw item a."""
    workspace = Workspace.create(str(folder), num_buckets=NUM_BUCKETS)
    set_items(workspace, items)
    import_users(workspace, [UserRow(user, dict(stated)) for user, stated in users.items()])
    import_interactions(workspace, [events_table(EVENTS)])
    return workspace


def set_items(workspace: Workspace, items: Sequence[Mapping[str, list[str]]]) -> None:
    write_catalogue(workspace, ITEM_IDS, directions(4), [dict(item) for item in items])


def lists_of(workspace: Workspace, **settings: object) -> dict[str, set[str]]:
    """What the next run shows to each user."""
    manifest = score(workspace, k=10, release_id=release(workspace, **settings).release_id).manifest
    tables = [read_table(workspace.storage, part) for part in manifest.parts]
    return {row["user_id"]: set(row["item_ids"]) for table in tables for row in table.to_pylist()}


def test_items_imported_again_without_the_attribute_meet_nobody_who_asks(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path, SERVICES, {"asks": {"platform": ["Atlas"]}})
    assert lists_of(workspace) == {"asks": {"b"}, "silent": {"b", "c", "d"}}
    set_items(workspace, [{}] * 4)
    assert lists_of(workspace) == {"asks": set(), "silent": {"b", "c", "d"}}


def test_who_states_what_no_item_has_gets_nothing(tmp_path: Path) -> None:
    users = {"asks": {"platform": ["Ghost"]}, "both": {"platform": ["Ghost", "Nova"]}}
    workspace = make_workspace(tmp_path, SERVICES, users)
    assert lists_of(workspace) == {"asks": set(), "both": {"b", "c"}, "silent": {"b", "c", "d"}}


def test_an_attribute_that_only_users_have_is_a_clause(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path, SERVICES, {"asks": {"region": ["north"]}})
    assert lists_of(workspace, eligibility=("platform", "region")) == {"asks": set(), "silent": {"b", "c", "d"}}


def test_a_clause_that_nobody_has_is_refused_with_the_names_that_exist(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path, SERVICES, {"asks": {"region": ["north"], "tier": []}})
    with pytest.raises(
        InputError, match=r"'platfrom', .*neither items nor users.*items \(platform\) or of users \(region"
    ):
        release(workspace, eligibility=("platfrom",))
    bare = make_workspace(tmp_path / "bare", [{}] * 4, {"asks": {}})
    assert lists_of(bare) == {"asks": {"b", "c", "d"}, "silent": {"b", "c", "d"}}  # nobody asks for the default clause
    with pytest.raises(InputError, match="there is none"):
        release(bare, eligibility=("platform", "region"))


def test_a_release_keeps_what_its_users_state(tmp_path: Path) -> None:
    users = {"asks": {"platform": ["Ghost", "Nova"], "age": ["4"]}, "other": {"age": ["5"]}}
    workspace = make_workspace(tmp_path, SERVICES, users)
    built = release(workspace)
    opened = Release(workspace.storage, built.release_id)
    stated: dict[str, dict[str, list[str]]] = {}
    for part in map(opened.user_part, range(NUM_BUCKETS)):
        assert part.stated is not None
        pairs = zip(part.user_ids.to_pylist(), part.stated.to_pylist(), strict=True)
        stated |= {user: dict(values or ()) for user, values in pairs}
    assert stated == {"asks": {"platform": ["Ghost", "Nova"]}, "other": {}, "silent": {}}
    assert built.manifest.counts["users_stating:platform"] == 1


class Notes(NoProgress):
    """Keeps what is said aloud."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def test_a_release_says_aloud_who_gets_nothing(tmp_path: Path) -> None:
    workspace, notes = make_workspace(tmp_path, [{}] * 4, {"asks": {"platform": ["Atlas"]}}), Notes()
    settings = ReleaseSettings()
    build_release(workspace, settings, embedding=None, compute=InProcess(), progress=notes)
    assert any("1 users state values of 'platform' and no item does" in text for text in notes.texts)
    notes.texts.clear()
    set_items(workspace, SERVICES)
    build_release(workspace, settings, embedding=None, compute=InProcess(), progress=notes)
    assert not any("no item does" in text for text in notes.texts)
