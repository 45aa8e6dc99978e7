"""The bench of rating models: ours and scikit-surprise's in the same folds, as rows of a table and of a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.bench import app


def test_our_model_stands_beside_its_peer(tmp_path: Path) -> None:
    pytest.importorskip("surprise")
    ratings, report = tmp_path / "ratings.csv", tmp_path / "report.json"
    ratings.write_text("".join(f"{u},{i},{1 + (u * 3 + i * 7) % 5}\n" for u in range(12) for i in range(9)))
    command = ["ratings", str(ratings), "--models", "slope_one", "--folds", "3", "--json", str(report)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "108 ratings of 12 users and 9 items" in result.output
    ours, peer = json.loads(report.read_text())["rows"]
    assert (ours["model"], ours["library"], peer["library"]) == ("slope_one", "semrec", "scikit-surprise")
    # Not the same: ours weighs by how many rated both, which all did here but for the fold.
    assert abs(ours["rmse"] - peer["rmse"]) < 0.1
    assert ours["times_faster"] > 0
