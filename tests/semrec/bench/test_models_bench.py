"""The bench of trainings: a library's best run, timed until both libraries reach the same nDCG, as a table and a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from jobs.bench import app
from semrec.bench import models as bench


def measure(folder: Path, *options: str) -> tuple[str, list[dict[str, Any]]]:
    report = folder / "models.json"
    command = ["models", "--users", "300", "--items", "100", "--likes", "6000", "--dimension", "8", "--epochs", "3"]
    result = CliRunner().invoke(app, [*command, *options, "--json", str(report)])
    assert result.exit_code == 0, result.output
    return result.output, json.loads(report.read_text())["rows"]


def test_a_training_is_measured_until_its_quality_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "find_spec", lambda _: None)
    output, (ours,) = measure(tmp_path, "--regularization", "0.01")
    assert "without implicit, which is not installed" in output and "of 300 users and 100 items" in output
    assert ours["regularization"] == 0.01 and ours["best_ndcg"] > 0.1  # by chance it would be some 0.05
    assert 1 <= ours["epochs_to_equal"] <= ours["num_epochs"] <= 3
    assert 0 < ours["cpu_s_to_equal"] <= 1.01 * ours["cpu_s_per_epoch"] * ours["num_epochs"]
    assert ours["peak_bytes"] > 1 << 20


def test_its_peer_stands_beside_it(tmp_path: Path) -> None:
    pytest.importorskip("implicit")
    _, (ours, peer) = measure(tmp_path)
    assert (ours["library"], peer["library"]) == ("semrec", "implicit")
    assert peer["best_ndcg"] == pytest.approx(ours["best_ndcg"], rel=0.3)
