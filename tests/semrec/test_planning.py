"""Estimates against sums done by hand, refusals, and predictions that a run prints."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from helpers.whole_path import make_world
from jobs.cli import app
from semrec.errors import DeviceError, InputError
from semrec.planning import (
    Calibration,
    Node,
    Rates,
    Workload,
    curve,
    estimate,
    fastest_within,
    fewest_devices,
    limits,
    plot_curve,
    projected_rates,
    read_prices,
    with_embedding,
    write_calibration,
)
from semrec.planning.estimate import _RELEASE_START_S, NODE_START_S
from semrec.settings import ScoreSettings, Settings
from semrec.settings_file import write_settings

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
    assert WORK.matrix_bytes == 1_000_000 * (4 * 388 + 24)
    assert (made.topology.num_shards, made.topology.num_replicas, made.num_nodes) == (1, 16, 2)
    assert WORK.num_parts == 200
    # 13 rounds of 200 parts on 16 replicas; a part has 20,000 users of 1.01 ms.
    assert made.compute_s == pytest.approx(13 * 20_000 * 1.01e-3)
    assert made.embed_s == pytest.approx(16_000 / (1_000 * 16))
    read, written = 4_000_000 * (1536 + 200 + 8 + 16), 4_000_000 * 816
    assert made.network_s == pytest.approx((read + written) / 20e9)  # 2 nodes of 10 GB/s
    loaded = WORK.matrix_bytes * 16
    assert made.network_bytes == read + written + loaded
    assert made.store_requests == 200 * 5  # part, file, record, two lookups
    loading_s = 10 + WORK.matrix_bytes * 16 / 20e9
    assert made.total_s == pytest.approx(NODE_START_S + 1 + made.release_s + loading_s + made.compute_s)
    assert made.on_demand_usd == pytest.approx(2 * made.total_s / 3600 * 36)
    assert made.spot_usd == pytest.approx(made.on_demand_usd / 2)
    assert limits(made)[0].name == "devices"


def test_building_a_release_is_linear_in_items_and_in_events() -> None:
    """The matrix is one process's work, the parts are everybody's, and do not grow with the items."""

    def release_s(num_devices: int, **changes: float) -> float:
        return estimate(replace(WORK, **changes), NODE, RATES, num_devices).release_s - _RELEASE_START_S

    parts_s = (release_s(8) - release_s(16)) * 16
    matrix_s = release_s(16) - parts_s / 16
    assert release_s(16, num_items=3_000_000) == pytest.approx(3 * matrix_s + parts_s / 16)
    assert release_s(16, num_users=12_000_000) == pytest.approx(matrix_s + 3 * parts_s / 16)
    assert release_s(16, seen_per_user=150) == pytest.approx(matrix_s + 3 * parts_s / 16)
    assert min(matrix_s, parts_s) > 0


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


def test_how_far_each_limit_goes() -> None:
    made = estimate(WORK, NODE, RATES, 16)
    until = {limit.name: limit.until for limit in limits(made)}
    num_devices = 16 * made.compute_s / made.driver_s  # where scoring takes as long as handing out
    assert until["driver"] == f"limits above {num_devices:,.0f} devices"
    assert until["one process"] == "breaks above 267 million items"
    assert until["one part"] == f"breaks above {(2**31 - 1) * 99_999 / 100:.1e} users: 99,999 parts at most"
    by_name = {limit.name: limit for limit in limits(estimate(replace(WORK, num_items=266_000_000), NODE, RATES, 64))}
    assert by_name["one process"].use < 1
    by_name = {limit.name: limit for limit in limits(estimate(replace(WORK, num_items=268_000_000), NODE, RATES, 64))}
    assert by_name["one process"].use > 1


def test_embedding_is_never_counted_as_nothing() -> None:
    unmeasured = replace(RATES, texts_per_s=None)
    with pytest.raises(InputError, match="16,000 texts to embed at an unknown speed"):
        estimate(WORK, NODE, unmeasured, 16)
    assert estimate(replace(WORK, num_texts=0), NODE, unmeasured, 16).embed_s == 0
    filled = with_embedding(unmeasured)
    # 2 x 384 FLOP in 1e-9 s are 768 GFLOP/s; a text of 64 tokens takes 1.6 GFLOP.
    assert filled.texts_per_s == pytest.approx(768e9 / 1.6e9)
    assert filled.embed_source.startswith("estimated: 1.6 GFLOP per text of 64 tokens at the 768 GFLOP/s of scoring")
    assert estimate(WORK, NODE, filled, 16).embed_s == pytest.approx(16_000 / (480 * 16))
    assert with_embedding(RATES) is RATES
    with pytest.raises(InputError, match="without a time per item"):
        with_embedding(replace(unmeasured, per_item_s=0.0))


def test_the_package_prices_name_every_accelerator_and_cloud() -> None:
    table = read_prices()
    assert {node.cloud for node in table.nodes} == {"aws", "gcp", "azure"}
    for accelerator in ("cpu", "l4", "a100", "h100"):
        assert all(node.spot_usd < node.on_demand_usd for node in table.of(accelerator))
    with pytest.raises(InputError, match="accelerator 'tpu'"):
        table.of("tpu")


def test_every_price_of_the_package_says_what_stands_behind_it() -> None:
    table = read_prices()
    standing = {node.node: table.standing(node) for node in table.nodes}
    assert standing["p5.48xlarge"] == f"prices looked up 2026-11-21: {table.sources['aws']}"
    assert standing["Standard_D8s_v5"] == f"prices looked up 2026-11-21: {table.sources['azure']}; spot NOT CONFIRMED"
    assert standing["a3-highgpu-8g"] == "prices NOT CONFIRMED"
    assert all(re.search(r"/blob/[0-9a-f]{40}/", address) for address in table.sources.values())  # never changes


_PRICED = (
    '{"dated": "2025-06-30", "nodes": [{"cloud": "aws", "node": "n", "accelerator": "cpu", "devices": 1, "memory_gb": 1,'
    ' "network_gbit_per_s": 1, "on_demand_usd": 1, "spot_usd": 1, %s}]}'
)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (_PRICED % '"source": "web", "confirmed": "both"', "n: no source 'web'"),
        (_PRICED % '"confirmed": "both"', "n: a confirmed price needs a source"),
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


def test_projections_say_that_they_are() -> None:
    rates = projected_rates("h100", dimension=384, k=100)
    assert (rates.measured, "not measured" in rates.source) == (False, True)
    with pytest.raises(InputError, match="no projection for 'cpu'"):
        projected_rates("cpu", dimension=384, k=100)


H100 = ["plan", "--items", "1e8", "--users", "1_000_000_000", "--accelerator", "h100"]


def test_the_command(tmp_path: Path) -> None:
    target = tmp_path / "plan.json"
    done = CliRunner().invoke(app, [*H100, "--json", str(target)])
    assert done.exit_code == 0, done.output
    made = json.loads(target.read_text())
    assert {one["num_devices"] for one in made} == {3, 4, 8, 16, 32, 64, 128, 256}
    assert all(one["embed_s"] > 0 for one in made)
    assert CliRunner().invoke(app, ["plan", "--items", "5"]).exit_code == 2
    assert CliRunner().invoke(app, ["plan", "--items", "5", "--users", "5", "--accelerator", "cpu"]).exit_code == 2
    too_few = ["plan", "--items", "1e8", "--users", "5", "--accelerator", "l4", "--devices", "1"]
    assert CliRunner().invoke(app, too_few).exit_code == 1


def test_the_curve_is_a_table_that_a_person_can_read() -> None:
    """Each row whole on a line of 120 columns, with the traffic; where the numbers are from; and what breaks first."""
    done = CliRunner().invoke(app, [*H100, "--cloud", "aws"])
    lines = done.output.splitlines()
    row = next(line for line in lines if line.split()[:1] == ["256"])
    assert row.split()[:4] == ["256", "3", "x", "85"]
    assert {"23,092", "350,000"} < set(row.split())  # GB, requests
    assert max(len(line) for line in lines if line[:8].strip().isdigit()) <= 120
    assert "scoring: projected: 25% of the data sheet of H100, not measured" in done.output
    assert re.search(r"embedding: [\d,]+ texts/s and device; projected: the same share", done.output)
    assert "p5.48xlarge (aws), 8 x h100 of 80 GB\nprices looked up 2026-11-21: https://" in done.output
    assert "prices NOT CONFIRMED" in CliRunner().invoke(app, [*H100, "--cloud", "gcp"]).output
    assert lines[-1] == "what breaks first: one process, which breaks above 267 million items"
    broken = CliRunner().invoke(app, ["plan", "--items", "1e9", "--users", "1e9", "--accelerator", "h100"]).output
    assert "one process BREAKS" in broken
    assert broken.splitlines()[-1] == "what breaks first: one process: it cannot be done so"


def test_a_calibration_from_before_embedding_was_measured_is_completed(tmp_path: Path) -> None:
    workspace = make_world(tmp_path / "w")
    write_calibration(workspace.storage, Calibration("cpu", 2, "here", replace(RATES, texts_per_s=None), ()))
    write_settings(workspace.storage, Settings(score=ScoreSettings(k=RATES.k)))
    arguments = ["plan", "-w", str(tmp_path / "w"), "--items", "1e6", "--users", "1e6", "--accelerator", "cpu"]
    done = CliRunner().invoke(app, [*arguments, "--cloud", "aws"])
    assert f"K = {RATES.k}\n" in done.output  # the workspace's
    assert "embedding: 960 texts/s and device; estimated: " in done.output  # 480 on two threads, taken for four


def drawn(monkeypatch: pytest.MonkeyPatch, **workload: int) -> Any:
    """The figure of a plan on H100s, laid out."""
    from matplotlib.figure import Figure

    kept: list[Any] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: kept.append(figure))
    work, rates = Workload(**workload), projected_rates("h100", dimension=384, k=100)
    plot_curve(
        [one for node in read_prices().of("h100") for one in curve(work, node, rates, (4, 32, 64, 256))], "p.png"
    )
    kept[0].draw_without_rendering()
    return kept[0]


def test_the_plot_shows_minutes_and_dollars_over_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = drawn(monkeypatch, num_items=100_000_000, num_users=1_000_000_000)
    assert [axes.get_title("left") for axes in figure.axes] == [
        "minutes, from nothing to the last part", "US dollars a run, on demand",
    ]  # fmt: skip
    made = curve(
        Workload(100_000_000, 1_000_000_000), read_prices().of("h100")[0], projected_rates("h100", dimension=384, k=100)
    )
    dollars = {one.num_devices: one.on_demand_usd for one in made}
    for axes in figure.axes:
        assert (axes.get_xscale(), axes.get_yscale(), axes.get_xlabel()) == ("log", "log", "devices")
    line = figure.axes[1].get_lines()[0]
    assert dict(zip(line.get_xdata(), line.get_ydata(), strict=True)) == {n: dollars[n] for n in (4, 32, 64, 256)}
    assert any("price not confirmed" in text.get_text() for text in figure.legends[0].get_texts())
    assert not figure.axes[0].collections[1:]  # nothing breaks, so nothing is marked


def test_the_plot_marks_what_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = drawn(monkeypatch, num_items=1_000_000_000, num_users=1_000_000_000)
    assert "it cannot be done so: one process breaks above 267 million items" in figure.get_suptitle()
    assert "one process breaks" in {text.get_text() for text in figure.legends[0].get_texts()}


@pytest.mark.parametrize("num_items", [1_000_000, 100_000_000, 1_000_000_000])
def test_no_label_of_the_plot_lies_on_another(monkeypatch: pytest.MonkeyPatch, num_items: int) -> None:
    figure = drawn(monkeypatch, num_items=num_items, num_users=1_000_000_000)
    boxes = [figure.legends[0].get_window_extent(), figure._suptitle.get_window_extent()]
    for axes in figure.axes:
        (low, high), labels = axes.get_ylim(), zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
        ticks = [*axes.get_xticklabels(), *(label for at, label in labels if low <= at <= high)]  # others are not drawn
        texts = [axes._left_title, axes.xaxis.label, *axes.texts, *ticks]
        boxes += [text.get_window_extent() for text in texts if text.get_text()]
    assert len(boxes) > 25
    for n, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[n + 1 :])


def test_a_plot_is_refused_before_anything_is_reckoned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "--devices and --budget" in CliRunner().invoke(app, [*H100, "--plot", "p.png", "--budget", "9"]).output
    assert CliRunner().invoke(app, [*H100, "--plot", "plan.pdf"]).exit_code == 2
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = CliRunner().invoke(app, [*H100, "--plot", str(tmp_path / "plan.png")])
    assert done.exit_code == 2
    assert 'pip install "semrec[bench]"' in done.output
    assert not (tmp_path / "plan.png").exists()


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [*H100, "--plot", str(tmp_path / "plan.png")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")
