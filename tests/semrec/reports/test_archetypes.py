"""Archetypes find planted groups of users, and are named after what these like."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers.learned_world import NUM_ITEMS, embeddings, group_of_items, planted_events
from helpers.whole_path import events_table, release
from jobs.cli import app
from semrec.bench.generated import write_catalogue
from semrec.data import import_interactions
from semrec.errors import InputError
from semrec.release.reader import Release
from semrec.reports.archetypes import ArchetypesManifest, find_archetypes
from semrec.workspace.folder import Workspace

GENRES = ["crime", "music", "western"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """30 users of each of three groups, who like the items of their group; all items are films, and each has a genre."""
    workspace = Workspace.create(str(tmp_path_factory.mktemp("archetypes") / "w"), num_buckets=4)
    attributes = [{"genre": [GENRES[group]], "kind": ["film", f"n{row}"]} for row, group in enumerate(group_of_items())]
    item_ids = [f"i{row:02}" for row in range(NUM_ITEMS)]
    write_catalogue(workspace, item_ids, embeddings() - embeddings().mean(axis=0), attributes)
    events = planted_events()
    columns = (events.user.tolist(), events.row.tolist(), events.value.tolist(), events.timestamp.tolist())
    rows = [(f"u{user:02}", item_ids[row], value, time_s) for user, row, value, time_s in zip(*columns, strict=True)]
    import_interactions(workspace, [events_table(rows)], repeats="latest", neutral_value=2.5)
    release(workspace)
    return workspace


def test_planted_groups_are_found_and_named_after_their_genre(workspace: Workspace) -> None:
    archetypes = find_archetypes(newest(workspace), 3)
    assert [archetype.num_users for archetype in archetypes] == [30, 30, 30]
    assert sorted(archetype.attributes[0] for archetype in archetypes) == GENRES
    for archetype in archetypes:
        group = GENRES.index(archetype.attributes[0])
        assert archetype.share == pytest.approx(1 / 3)
        assert {int(title[-2:]) % 3 for title in archetype.titles} == {group}
        assert {int(user_id[1:]) % 3 for user_id in archetype.user_ids} == {group}
        assert "film" not in archetype.attributes  # what all have distinguishes nobody


def test_one_archetype_is_like_everybody_and_more_than_users_are_refused(workspace: Workspace) -> None:
    (everybody,) = find_archetypes(newest(workspace), 1)
    assert (everybody.name, everybody.num_users, everybody.titles) == ("like everybody", 90, ())
    with pytest.raises(InputError, match="91 archetypes of 90 users"):
        find_archetypes(newest(workspace), 91)


def test_the_command_shows_and_writes_them(workspace: Workspace, tmp_path: Path) -> None:
    report = tmp_path / "archetypes.json"
    result = CliRunner().invoke(app, ["archetypes", "-w", workspace.storage.uri, "--count", "3", "--json", str(report)])
    assert result.exit_code == 0, result.output
    assert "western" in result.output and "33%" in result.output
    shown = json.loads(report.read_text())["archetypes"]
    assert sum(row["num_users"] for row in shown) == 90
    stored = ArchetypesManifest.read(workspace.storage, newest(workspace).release_id).archetypes
    assert [archetype.model_dump(mode="json") for archetype in stored] == shown  # what the service's page offers


def newest(workspace: Workspace) -> Release:
    (name,) = workspace.storage.list_folders("releases")
    return Release(workspace.storage, name)
