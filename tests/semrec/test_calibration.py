"""Calibrations come back as they were measured; predictions and a whole plan are held against the run that they are of."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.bench.plan import bench_plan
from cluster.compute import InProcess
from cluster.stages.score import score_users
from helpers.whole_path import make_world, release
from semrec.bench.workloads import generated_vectors
from semrec.demo import film_items
from semrec.errors import EncoderError, InputError
from semrec.planning import (
    CALIBRATION_VECTORS,
    Calibration,
    Rates,
    calibrate,
    predicted_s,
    read_calibration,
    write_calibration,
)
from semrec.planning.calibration import _line
from semrec.progress import NoProgress
from semrec.release.reader import Release, newest_release
from semrec.settings import ScoreSettings
from semrec.topology import Topology
from semrec.workspace.folder import Workspace

RATES = Rates(384, 100, fixed_s=1e-5, per_item_s=1e-9, texts_per_s=1_000.0, measured=True, source="by hand")
TEXTS = [film.text for film in film_items()]


@pytest.fixture(scope="module")
def generated() -> np.ndarray:
    return generated_vectors(CALIBRATION_VECTORS, 8, seed=11)


def test_the_line_through_the_points() -> None:
    fixed_s, per_item_s = _line([(1_000, 3e-6), (10_000, 2.1e-5), (100_000, 2.01e-4)])
    assert (fixed_s, per_item_s) == pytest.approx((1e-6, 2e-9))
    assert _line([(1_000, 1e-6), (10_000, 2e-5), (100_000, 3e-4)])[0] == 0.0  # never a negative start


def test_without_weights_a_calibration_says_that_embedding_was_not_measured(
    generated: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(name: str) -> None:
        raise EncoderError(f"no files of {name}", expected="a model", remedy="Install it.")

    monkeypatch.setattr("semrec.encoders.identity.resolve_model", nothing)
    calibration = calibrate(generated, TEXTS, engine="cpu", num_threads=1, k=3, budget_s=0.1)
    assert calibration.rates.texts_per_s == pytest.approx(2 * 8 / calibration.rates.per_item_s / 1.6e9)
    assert calibration.rates.embed_source.endswith("of scoring, not measured (no files of all-MiniLM-L6-v2)")


def test_a_calibration_measures_and_comes_back_from_the_workspace(generated: np.ndarray, tmp_path: Path) -> None:
    workspace = make_world(tmp_path / "w")
    assert read_calibration(workspace.storage, "cpu") is None
    calibration = calibrate(generated, TEXTS, engine="cpu", num_threads=1, k=3, budget_s=0.1)
    assert [items for items, _ in calibration.points] == [8_192, 32_768, 131_072]
    assert calibration.rates.per_item_s > 0
    assert calibration.rates.texts_per_s and calibration.rates.texts_per_s > 1
    assert re.match(r"measured: all-MiniLM-L6-v2, \w+, \d+ texts of \d+ characters", calibration.rates.embed_source)
    write_calibration(workspace.storage, calibration)
    assert read_calibration(workspace.storage, "cpu") == calibration


def test_too_few_vectors_or_texts_for_a_calibration_are_refused(generated: np.ndarray) -> None:
    for vectors, texts in ((generated[1:], TEXTS), (generated, TEXTS[:31])):
        with pytest.raises(InputError, match="vectors, "):
            calibrate(vectors, texts, engine="cpu", num_threads=1, k=3)


def test_a_slower_device_takes_longer_for_everything() -> None:
    slowed = RATES.slowed(2)
    assert slowed.seconds_per_user(1_000) == pytest.approx(2 * RATES.seconds_per_user(1_000))
    assert slowed.texts_per_s == 500 and replace(RATES, texts_per_s=None).slowed(2).texts_per_s is None


def test_the_plan_of_a_run_is_held_against_the_run(tmp_path: Path) -> None:
    workspace = Workspace.create(str(tmp_path / "w"), num_buckets=2)
    rows = bench_plan(
        workspace, num_items=50, num_users=100, k=5, budget_s=0.1, compute=InProcess("cpu"), progress=NoProgress()
    )
    assert [row.stage for row in rows] == ["embed", "release", "score", "all"]
    assert all(row.planned_s > 0 and row.ratio == row.took_s / row.planned_s for row in rows)
    assert rows[-1].took_s == pytest.approx(sum(row.took_s for row in rows[:-1]))
    assert Release(workspace.storage, newest_release(workspace.storage)).num_items == 50


def test_a_prediction_follows_topology_and_threads() -> None:
    calibration = Calibration("cpu", 2, "here", RATES, ())
    one = predicted_s(
        calibration,
        num_items=1_000_000,
        num_users=100,
        dimension=384,
        k=100,
        topology=Topology(1, 1, ""),
        num_threads=2,
    )
    assert one == pytest.approx(100 * 1.01e-3)
    four = predicted_s(
        calibration,
        num_items=1_000_000,
        num_users=100,
        dimension=384,
        k=100,
        topology=Topology(2, 2, ""),
        num_threads=1,
    )
    assert four == pytest.approx(100 * 0.51e-3)
    other = predicted_s(
        calibration, num_items=10, num_users=10, dimension=384, k=99, topology=Topology(1, 1, ""), num_threads=2
    )
    assert other is None


class Notes(NoProgress):
    """Keeps what a stage says."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def calibrated(path: Path, **settings: Any) -> Workspace:
    """A workspace with a release and a calibration by hand: a second for each user."""
    workspace = make_world(path)
    release(workspace, **settings)
    rates = Rates(2, 3, fixed_s=1.0, per_item_s=0.0, texts_per_s=None, measured=True, source="by hand")
    write_calibration(workspace.storage, Calibration("cpu", InProcess().devices().cpus, "here", rates, ()))
    return workspace


def test_a_run_says_how_wrong_its_prediction_was(tmp_path: Path) -> None:
    workspace, notes = calibrated(tmp_path / "w"), Notes()
    result = score_users(workspace, ScoreSettings(k=3), compute=InProcess(), progress=notes, engine="cpu")
    assert result.predicted_s == pytest.approx(8.0)  # eight users of a second
    assert any(text.startswith("predicted 8.0 s of scoring, took ") for text in notes.texts)
    again = score_users(workspace, ScoreSettings(k=3), compute=InProcess(), progress=NoProgress(), engine="cpu")
    assert again.predicted_s is None  # nothing was computed


def test_no_time_of_a_compressed_format_is_predicted(tmp_path: Path) -> None:
    workspace = calibrated(tmp_path / "w", coarse_format="pq")
    result = score_users(workspace, ScoreSettings(k=3), compute=InProcess(), progress=NoProgress(), engine="cpu")
    assert result.parts.computed and result.predicted_s is None
