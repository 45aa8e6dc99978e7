"""What went live is exported to the places of the settings, and a place that fails is named and undoes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers.whole_path import make_world, release, score
from jobs.cli import app
from semrec.errors import IncompleteRunError, InputError
from semrec.export.published import check_exports, export_places, export_published
from semrec.runs.live import require_live
from semrec.runs.status import read_status
from semrec.settings import PublishSettings, Settings
from semrec.settings_file import write_settings


def settings_of(*places: str) -> PublishSettings:
    return PublishSettings(export=places)


def test_a_place_that_fails_keeps_no_other_back(tmp_path: Path) -> None:
    workspace = make_world(tmp_path / "w")
    made = release(workspace).release_id
    (tmp_path / "a file").write_text("no folder")
    settings = settings_of(f"parquet={tmp_path / 'a file'}", f"parquet={tmp_path / 'there'}")
    done = export_published(workspace.storage, made, settings)
    assert [place.error is None for place in done.places] == [False, True]
    assert (done.places[1].num_put, (tmp_path / "there" / "semrec_items.parquet").exists()) == (8, True)
    with pytest.raises(IncompleteRunError, match=f"release {made} is live, but: export to parquet at .*a file FAILED"):
        check_exports(done)
    assert [line.partition(" at ")[0] for line in read_status(workspace).exports] == 2 * ["export to parquet"]
    again = export_published(workspace.storage, made, settings_of(f"parquet={tmp_path / 'there'}"))
    assert (again.places[0].num_put, again.places[0].num_unchanged) == (0, 8)
    check_exports(again)


def test_publish_exports_and_stays_published_where_that_fails(tmp_path: Path) -> None:
    workspace = make_world(tmp_path / "w")
    release(workspace)
    run = score(workspace).run_id
    (tmp_path / "a file").write_text("no folder")
    write_settings(workspace.storage, Settings(publish=settings_of(f"parquet={tmp_path / 'a file'}")))
    runner = CliRunner()
    assert runner.invoke(app, ["verify", "-w", workspace.uri, "--in-process"]).exit_code == 0
    result = runner.invoke(app, ["publish", "-w", workspace.uri])
    assert (result.exit_code, "FAILED" in result.output) == (1, True)
    assert require_live(workspace.storage).run == run
    write_settings(workspace.storage, Settings(publish=settings_of("redis=nowhere")))
    assert runner.invoke(app, ["publish", "-w", workspace.uri]).exit_code != 0


def test_an_exporter_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match="redis=nowhere"):
        export_places(settings_of("redis=nowhere"))
