"""The plan of a service: its simulation against a measured soak and by hand, its sums, what it refuses, what it prints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cluster.serving import batcher, service
from jobs.cli import app
from semrec.bench import load
from semrec.errors import InputError
from semrec.planning import (
    AVAILABILITY,
    MeasuredService,
    Node,
    failures,
    lost_share,
    plan_serving,
    read_measured,
    read_soak,
    serving_limits,
    serving_simulation,
    simulate_peak,
    simulate_soak,
)
from semrec.planning.serving_simulation import NOTICE_S, Fault, ServiceTimes, simulate_serving

RESULTS = Path(__file__).parents[1] / "bench/results"
MEASURED = MeasuredService("a machine", 1_000.0, 32, ServiceTimes(0.010, 0.0001), num_items=100_000)
NODE = Node(
    cloud="aws", node="n", accelerator="cpu", devices=2, memory_gb=16, network_gbit_per_s=10, on_demand_usd=1.0, spot_usd=0.4
)  # fmt: skip


def test_it_reproduces_the_measured_soak() -> None:
    """Of 120,000 requests; the figures of one replica come from another run, and nothing was fitted to the soak."""
    soak = read_soak(RESULTS / "soak.json")
    simulated = simulate_soak(read_measured(RESULTS / "serving.json"), soak)
    assert simulated.num_requests == 120_000
    assert simulated.num_failed == soak["errors"] == 0
    assert simulated.num_resent == pytest.approx(soak["retried"], rel=0.25)
    assert simulated.p50_ms == pytest.approx(soak["p50_ms"], rel=0.5)
    assert simulated.p95_ms == pytest.approx(soak["p95_ms"], rel=0.15)
    assert soak["p99_ms"] / 2 < simulated.p99_ms < soak["p99_ms"] * 2  # of the second without a proxy or a replica


def test_it_reproduces_the_measured_rates_of_one_replica() -> None:
    """The steady load of the bench was fitted to no more than the soak."""
    rows = json.loads((RESULTS / "serving.json").read_text())["rows"]
    (steady,) = [row for row in rows if row["load"] == "1,000/s"]
    measured = read_measured(RESULTS / "serving.json")
    simulated = simulate_serving(measured.times, num_replicas=1, rate_per_s=1_000, seconds=5, num_connections=32)
    assert simulated.p50_ms == pytest.approx(steady["p50_ms"], rel=0.3)
    assert measured.times.batch_s(32) == pytest.approx(32 / measured.answers_per_s)


def test_a_lone_request_takes_a_batch_of_one_and_a_dead_replica_costs_a_moment() -> None:
    times = ServiceTimes(0.010, 0.001)
    alone = simulate_serving(times, num_replicas=2, rate_per_s=1, seconds=20, num_connections=1)
    assert (alone.p50_ms, alone.p99_ms) == (pytest.approx(11.0), pytest.approx(11.0))
    dead = Fault(9.9, 5.0, (0,))
    killed = simulate_serving(times, num_replicas=2, rate_per_s=1, seconds=20, faults=[dead], num_connections=1)
    # That of second 10 goes to the dead replica, which has no more open than the other, until it is known.
    assert killed.num_resent == 3 and NOTICE_S == 0.25
    assert killed.num_failed == 0
    both = [Fault(4.9, 20.0, (0, 1))]
    nobody = simulate_serving(times, num_replicas=2, rate_per_s=1, seconds=6, faults=both)
    assert nobody.num_failed == pytest.approx(1, abs=2) and nobody.num_requests == 6


def test_what_waits_while_a_replica_works_is_one_batch() -> None:
    # At ten times what it can do one by one, batches grow until they carry the load.
    simulated = simulate_serving(ServiceTimes(0.010, 0.0001), num_replicas=1, rate_per_s=1_000, seconds=5)
    assert simulated.num_failed == 0 and simulated.p99_ms < 40


def test_a_plan_is_the_sum_done_by_hand() -> None:
    plan = plan_serving(MEASURED, NODE, 10_000, num_items=100_000, dimension=384, num_zones=3)
    assert plan.num_replicas == 15  # ten of them answer all while five are gone
    assert (plan.num_shards, plan.num_nodes) == (1, 15)  # a node of eight cores holds one worker of six
    assert plan.on_demand_usd == 15 * 730 and plan.spot_usd == pytest.approx(0.4 * 15 * 730)
    assert plan.busy == pytest.approx(2 / 3)
    limits = {limit.name: limit.use for limit in serving_limits(plan)}
    assert limits["replicas"] == pytest.approx(1.0) and limits["node pool"] == 15 / 20
    assert limits["network"] == pytest.approx(10_000 * 4_000 * 8 / 1e9 / 15 / 10)
    large = NODE.model_copy(update={"devices": 8})
    assert (
        plan_serving(MEASURED, large, 10_000, num_items=100_000, dimension=384).num_nodes == 3
    )  # five workers of six each
    four = plan_serving(MEASURED, NODE, 10_000, num_items=100_000, dimension=384, num_zones=8)
    assert four.num_replicas == 16  # here 70 % of what they can do is the tighter bound: 14.3


def test_a_matrix_that_does_not_fit_twice_is_sharded() -> None:
    small = NODE.model_copy(update={"memory_gb": 0.4})
    plan = plan_serving(MEASURED, small, 10_000, num_items=100_000, dimension=384)
    assert plan.num_shards == 2  # of 310 MB, two releases during a switch, of which 280 MB fit
    assert plan.num_nodes == 30


def test_the_failure_budget_is_the_sum_of_what_is_lost() -> None:
    plan = plan_serving(MEASURED, NODE, 10_000, num_items=100_000, dimension=384)
    listed = {failure.name: failure for failure in failures(plan)}
    assert listed["a zone is lost"].lost_answers == pytest.approx(10_000 / 3 * 20)
    assert listed["a node is lost"].per_month == pytest.approx(1.5)
    lost = sum(failure.per_month * failure.lost_answers for failure in listed.values())
    assert lost_share(plan) == pytest.approx(lost / (10_000 * 730 * 3600))
    assert lost_share(plan) < 1 - AVAILABILITY


def test_a_lost_zone_is_borne_and_with_fewer_replicas_it_is_not() -> None:
    measured = replace(MEASURED, times=ServiceTimes(0.016, 0.0005))  # at most 1,780 answers/s in the largest batches
    plan = plan_serving(measured, NODE, 5_000, num_items=100_000, dimension=384)
    calm, lost = simulate_peak(plan)
    assert calm.num_failed == lost.num_failed == 0 and calm.p99_ms < lost.p99_ms < 1_000
    starved = replace(plan, answers_per_s=plan.answers_per_s * 3)
    assert simulate_peak(starved)[1].p99_ms > 1_000


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"answers_per_s": 0.0}, "positive rate"), ({"num_zones": 1}, "two zones"),
        ({"num_items": 100_001}, "at most the 100,000"), ({"accelerator": "l4"}, "a machine with an L4"),
    ],
)  # fmt: skip
def test_what_cannot_be_planned_is_refused(changed: dict[str, Any], message: str) -> None:
    wanted: dict[str, Any] = {"answers_per_s": 10.0, "num_items": 10, "dimension": 8, "num_zones": 3, **changed}
    node = NODE.model_copy(update={"accelerator": wanted.pop("accelerator", "cpu")})
    with pytest.raises(InputError, match=message):
        plan_serving(MEASURED, node, **wanted)


def test_a_node_that_holds_no_worker_is_refused() -> None:
    with pytest.raises(InputError, match="6 cores or more"):
        plan_serving(MEASURED, NODE.model_copy(update={"devices": 1}), 10, num_items=10, dimension=8)


def test_gpus_are_counted_where_they_were_measured() -> None:
    node = NODE.model_copy(update={"accelerator": "l4", "memory_gb": 24, "devices": 1})
    plan = plan_serving(replace(MEASURED, machine="AMD, NVIDIA L4"), node, 10_000, num_items=100_000, dimension=384)
    assert (plan.num_replicas, plan.num_nodes) == (15, 15)
    assert {limit.name: limit.use for limit in serving_limits(plan)}["node pool"] == 15 / 8


@pytest.mark.parametrize("content", ["", "{}", '{"rows": []}', '{"rows": [{"server": "semrec"}]}', "[]"])
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "f.json").write_text(content)
    for read in (read_measured, read_soak):
        with pytest.raises(InputError, match=r"semrec bench (serving|soak)"):
            read(tmp_path / "f.json")


def test_the_command_prints_the_page_and_writes_it(tmp_path: Path) -> None:
    written = tmp_path / "plan.json"
    common = ["plan", "--serve", "--qps", "1e5", "--accelerator", "cpu", "--items", "62423"]
    files = ["--measured", str(RESULTS / "serving.json"), "--soak", str(RESULTS / "soak.json"), "--json", str(written)]
    done = CliRunner().invoke(app, [*common, *files])
    assert done.exit_code == 0, done.output
    assert "node pool: it cannot be done so" in done.output  # 78 nodes of eight processors; a pool has 20
    assert "232,320 dollars a month" in done.output  # 165 machines of 608 answers/s
    plans = json.loads(written.read_text())
    assert {plan["node"]["cloud"] for plan in plans} == {"aws", "gcp", "azure"}
    assert all(plan["num_replicas"] == 78 and plan["num_nodes"] == 78 for plan in plans)
    refused = CliRunner().invoke(app, ["plan", "--serve", "--qps", "10"])
    assert refused.exit_code == 2 and "--measured" in refused.output


def test_the_simulation_has_the_constants_of_the_service() -> None:
    """Copies, because what is computed does not import what serves."""
    assert serving_simulation._MAX_BATCH == service._MAX_BATCH
    assert (serving_simulation._WAIT_SHARE, serving_simulation._FEWEST_CALLERS) == (
        batcher._WAIT_SHARE, batcher._FEWEST_CALLERS,
    )  # fmt: skip
    assert serving_simulation._GIVE_UP_S == load._RETRY_S
