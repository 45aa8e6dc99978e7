"""Estimates against sums done by hand, refusals, and predictions that a run prints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner
from whole_path import make_world, release

from cluster.compute import InProcess
from cluster.stages.score import score_users
from jobs.cli import app
from semrec.capacity import (
    Calibration,
    Node,
    Rates,
    Workload,
    calibrate,
    curve,
    estimate,
    fastest_within,
    fewest_devices,
    limits,
    predicted_s,
    projected_rates,
    read_calibration,
    read_prices,
    write_calibration,
)
from semrec.capacity.calibration import _line
from semrec.capacity.estimate import NODE_START_S
from semrec.errors import DeviceError, InputError
from semrec.progress import NoProgress
from semrec.runs import ScoreSettings
from semrec.topology import Topology

NODE = Node(
    cloud="aws",
    node="n",
    accelerator="h100",
    devices=8,
    memory_gb=80,
    network_gbit_per_s=80,
    on_demand_usd=36.0,
    spot_usd=18.0,
)
RATES = Rates(384, 100, fixed_s=1e-5, per_item_s=1e-9, texts_per_s=1_000.0, measured=True, source="by hand")
WORK = Workload(num_items=1_000_000, num_users=4_000_000, seen_per_user=50, num_texts=16_000)


def test_an_estimate_is_the_sum_done_by_hand() -> None:
    made = estimate(WORK, NODE, RATES, 16)
    assert WORK.matrix_bytes == 1_000_000 * (4 * 388 + 16)
    assert (made.topology.num_shards, made.topology.num_replicas, made.num_nodes) == (1, 16, 2)
    assert WORK.num_parts == 200
    # 13 rounds of 200 parts on 16 replicas; a part has 20,000 users of 1.01 ms.
    assert made.compute_s == pytest.approx(13 * 20_000 * 1.01e-3)
    assert made.embed_s == pytest.approx(16_000 / (1_000 * 16))
    read, written = 4_000_000 * (1536 + 200 + 8 + 16), 4_000_000 * 816
    assert made.network_s == pytest.approx((read + written) / 20e9)  # 2 nodes of 10 GB/s
    assert made.total_s == pytest.approx(NODE_START_S + 1 + 10 + WORK.matrix_bytes * 16 / 20e9 + made.compute_s)
    assert made.on_demand_usd == pytest.approx(2 * made.total_s / 3600 * 36)
    assert made.spot_usd == pytest.approx(made.on_demand_usd / 2)
    assert limits(made)[0].name == "devices"


def test_a_matrix_that_needs_shards() -> None:
    work = replace(WORK, num_items=100_000_000)
    made = estimate(work, NODE, RATES, 9)
    assert (made.topology.num_shards, made.topology.num_replicas) == (3, 3)
    assert made.device_bytes == work.matrix_bytes // 3
    per_user_s = RATES.seconds_per_user(100_000_000 / 3)
    assert made.compute_s == pytest.approx(67 * 20_000 * per_user_s)  # 200 parts on 3 replicas
    assert fewest_devices(work, NODE) == 3
    assert [one.num_devices for one in curve(work, NODE, RATES)] == [4, 8, 16, 32, 64, 128, 256]


def test_what_cannot_fit_is_refused() -> None:
    with pytest.raises(DeviceError, match="2 devices for 3 shards"):
        estimate(replace(WORK, num_items=100_000_000), NODE, RATES, 2)
    with pytest.raises(InputError, match="items = 0"):
        Workload(0, 5)


def test_a_budget_buys_the_fastest_run_that_it_can() -> None:
    cost = {one.num_devices: one.spot_usd for one in curve(WORK, NODE, RATES)}
    chosen = fastest_within(cost[64] + 0.01, WORK, NODE, RATES, spot=True)
    dearer = [one for one in curve(WORK, NODE, RATES) if one.total_s < chosen.total_s]
    assert chosen.spot_usd <= cost[64] + 0.01
    assert dearer and all(one.spot_usd > cost[64] + 0.01 for one in dearer)
    with pytest.raises(DeviceError, match=r"budget of \$0.01; expected at least \$"):
        fastest_within(0.01, WORK, NODE, RATES, spot=True)


def test_more_devices_than_parts_stay_idle() -> None:
    work = replace(WORK, num_users=40_000)  # two parts
    assert estimate(work, NODE, RATES, 256).compute_s == estimate(work, NODE, RATES, 2).compute_s


def test_what_breaks_first() -> None:
    """A billion users need so many parts that handing them out limits fast devices; ids of too many items break the builder."""
    fast = replace(RATES, fixed_s=1e-9, per_item_s=1e-16)
    by_driver = limits(estimate(Workload(1_000_000, 1_000_000_000), NODE, fast, 256))[0]
    assert (by_driver.name, by_driver.use) == ("driver", 1.0)
    too_many = limits(estimate(Workload(1_000_000_000, 1_000), NODE, RATES, 256))[0]
    assert too_many.name == "one process"
    assert too_many.use == pytest.approx(3.75)


def test_the_package_prices_name_every_accelerator_and_cloud() -> None:
    table = read_prices()
    assert {node.cloud for node in table.nodes} == {"aws", "gcp", "azure"}
    for accelerator in ("cpu", "l4", "a100", "h100"):
        assert all(node.spot_usd < node.on_demand_usd for node in table.of(accelerator))
    with pytest.raises(InputError, match="accelerator 'tpu'"):
        table.of("tpu")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "Expecting"),
        ('{"dated": "2025-06-30"}', "nodes"),
        ('{"dated": "2025-06-30", "nodes": [{"cloud": "aws"}]}', "nodes.0.node"),
    ],
)
def test_a_wrong_price_table_is_refused_by_name(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "prices.json"
    path.write_text(text)
    with pytest.raises(InputError, match=what):
        read_prices(path)


def test_the_line_through_the_points() -> None:
    fixed_s, per_item_s = _line([(1_000, 3e-6), (10_000, 2.1e-5), (100_000, 2.01e-4)])
    assert (fixed_s, per_item_s) == pytest.approx((1e-6, 2e-9))
    assert _line([(1_000, 1e-6), (10_000, 2e-5), (100_000, 3e-4)])[0] == 0.0  # never a negative start


def test_a_calibration_measures_and_comes_back_from_the_workspace(tmp_path: Path) -> None:
    workspace = make_world(tmp_path / "w")
    assert read_calibration(workspace.storage, "cpu") is None
    made = calibrate(engine="cpu", num_threads=1, dimension=8, k=3, budget_s=0.1)
    assert [items for items, _ in made.points] == [8_192, 32_768, 131_072]
    assert made.rates.per_item_s > 0
    write_calibration(workspace.storage, made)
    assert read_calibration(workspace.storage, "cpu") == made


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


def test_a_run_says_how_wrong_its_prediction_was(tmp_path: Path) -> None:
    workspace = make_world(tmp_path / "w")
    release(workspace)
    rates = Rates(2, 3, fixed_s=1.0, per_item_s=0.0, texts_per_s=None, measured=True, source="by hand")
    write_calibration(workspace.storage, Calibration("cpu", InProcess().devices().cpus, "here", rates, ()))
    notes = Notes()
    result = score_users(workspace, ScoreSettings(k=3), compute=InProcess(), progress=notes, engine="cpu")
    assert result.predicted_s == pytest.approx(8.0)  # eight users of a second
    assert any(text.startswith("predicted 8.0 s of scoring, took ") for text in notes.texts)
    again = score_users(workspace, ScoreSettings(k=3), compute=InProcess(), progress=NoProgress(), engine="cpu")
    assert again.predicted_s is None  # nothing was computed


def test_projections_say_that_they_are() -> None:
    rates = projected_rates("h100", dimension=384, k=100)
    assert (rates.measured, "not measured" in rates.source) == (False, True)
    with pytest.raises(InputError, match="no projection for 'cpu'"):
        projected_rates("cpu", dimension=384, k=100)


def test_the_command(tmp_path: Path) -> None:
    target = tmp_path / "plan.json"
    arguments = ["plan", "--items", "1e8", "--users", "1_000_000_000", "--accelerator", "h100", "--json", str(target)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "not measured" in done.output and "p5.48xlarge" in done.output
    made = json.loads(target.read_text())
    assert {one["num_devices"] for one in made} == {3, 4, 8, 16, 32, 64, 128, 256}
    assert CliRunner().invoke(app, ["plan", "--items", "5"]).exit_code == 2
    assert CliRunner().invoke(app, ["plan", "--items", "5", "--users", "5", "--accelerator", "cpu"]).exit_code == 2
    too_few = ["plan", "--items", "1e8", "--users", "5", "--accelerator", "l4", "--devices", "1"]
    assert CliRunner().invoke(app, too_few).exit_code == 1
