"""How many replicas answer so many requests a second, what they cost, what a failure costs, and what breaks first."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from semrec.errors import InputError
from semrec.planning.prices import Node
from semrec.planning.serving_simulation import Fault, ServiceTimes, Simulated, simulate_serving
from semrec.planning.simulate import Limit
from semrec.scoring.formats import matrix_bytes
from semrec.topology import choose_topology

__all__ = [
    "AVAILABILITY",
    "HOURS_PER_MONTH",
    "USUAL_SERVICES",
    "Failure",
    "MeasuredService",
    "ServingPlan",
    "UsualService",
    "failures",
    "lost_share",
    "plan_serving",
    "read_measured",
    "read_soak",
    "serving_limits",
    "simulate_peak",
    "simulate_soak",
]

HOURS_PER_MONTH: Final = 730
AVAILABILITY: Final = 0.999  # of the answers of a month
_BUSY: Final = 0.7  # of what a replica can do, at most, while everything is up
_SECONDS_PER_MONTH: Final = HOURS_PER_MONTH * 3600
#: An answer of ten with its headers, and its request: about a kilobyte and a half, and the proxy passes both on.
_WIRE_BYTES: Final = 2 * 2_000
#: A replica on CPUs reserves a worker of infra/kuberay; a device of a cpu node is four cores (prices.json).
_WORKER_CPUS, _CORES_PER_DEVICE = 6, 4
_MOST_CPU_NODES, _MOST_GPU_NODES = 20, 8  # cpu_pool.max and gpu_pool.max in terraform/modules/variables.tf
_MOST_CONNECTIONS: Final = 4_096  # of one HAProxy: Ray's RAY_SERVE_HAPROXY_MAXCONN
#: Assumptions. Nobody measured them on a cloud.
_BALANCER_NOTICE_S: Final = 20.0  # a cloud's load balancer asks every ten seconds and believes the second refusal
_NODE_LOSSES_PER_MONTH: Final = 0.1  # of each node: on demand; spot nodes are drained in their two minutes of notice
_ZONE_LOSSES_PER_MONTH: Final = 1 / 12
_SWITCHES_PER_MONTH: Final = 30.0
_HEAD_RESTARTS_PER_MONTH: Final = 4.0
#: Of the measured soak: until Serve had started HAProxy again, and a replica until it was ready.
_PROXY_RESTART_S: Final = 5.0
_REPLICA_RESTART_S: Final = 17.0
_SIMULATED_REPLICAS: Final = 12  # more behave alike: the rate is simulated in proportion
_SIMULATED_S: Final = 3.0


@dataclass(frozen=True)
class MeasuredService:
    """One replica, as `semrec bench serving` measured it, on `machine`."""

    machine: str
    answers_per_s: float  # of one user's recommendations, `concurrency` requests at a time
    concurrency: int
    times: ServiceTimes
    num_items: int | None  # None: a file that does not say


@dataclass(frozen=True)
class UsualService:
    """What a customer pays for an approximate search of its own."""

    machines: str
    usd_per_month: float
    answers_per_s: float


USUAL_SERVICES: Final = (
    UsualService("CPU, 16 cores", 1_408, 608),
    UsualService("one A100", 1_500, 10_000),
    UsualService("four A100", 6_000, 40_000),
)


@dataclass(frozen=True)
class ServingPlan:
    """Replicas in equal shares over the zones, so many that they answer everything while one zone is gone."""

    node: Node
    measured: MeasuredService
    answers_per_s: float
    num_zones: int
    num_replicas: int
    num_shards: int  # devices of a replica
    num_nodes: int
    matrix_bytes: int

    @property
    def busy(self) -> float:
        """Share of what all replicas together can answer."""
        return self.answers_per_s / (self.num_replicas * self.measured.answers_per_s)

    @property
    def busy_without_a_zone(self) -> float:
        """The same share while one zone is gone."""
        return self.busy * self.num_zones / (self.num_zones - 1)

    @property
    def answers_per_node_s(self) -> float:
        """Answers a second of one node."""
        return self.answers_per_s / self.num_nodes

    @property
    def open_per_node(self) -> float:
        """Requests of a node that wait for their answers."""
        return self.answers_per_node_s * self.measured.times.batch_s(self.measured.concurrency)

    @property
    def gbit_per_s(self) -> float:
        """Traffic of a node: requests and answers, in at the proxy and on to a replica."""
        return self.answers_per_node_s * _WIRE_BYTES * 8 / 1e9

    @property
    def on_demand_usd(self) -> float:
        """US dollars of a month of 730 hours."""
        return self.num_nodes * self.node.on_demand_usd * HOURS_PER_MONTH

    @property
    def spot_usd(self) -> float:
        return self.num_nodes * self.node.spot_usd * HOURS_PER_MONTH


@dataclass(frozen=True)
class Failure:
    """What happens `per_month` times, and the answers that are lost each time, by whom nobody asks again."""

    name: str
    per_month: float
    lost_answers: float
    why: str


def read_measured(path: Path) -> MeasuredService:
    """Reads a file that `semrec bench serving --json` wrote. Raises InputError for another."""
    try:
        content = json.loads(path.read_text("utf-8"))
        rows = {(row["endpoint"], row["load"]): row for row in content["rows"] if row["server"] == "semrec"}
        ((concurrency, saturated),) = [
            (int(load.split()[0]), row)
            for (endpoint, load), row in rows.items()
            if endpoint == "recommend_user" and re.fullmatch(r"\d+ at a time", load)
        ]
        (batched,) = [row for (endpoint, _), row in rows.items() if endpoint == "answer_batch"]
        rate, per_answer_s = float(saturated["answers_per_s"]), 1 / float(batched["answers_per_s"])
        # All that are asked at a time are one batch; in a batch of thousands what is fixed has no weight.
        fixed_s = concurrency * (1 / rate - per_answer_s)
        if fixed_s <= 0:
            raise ValueError("single answers are not slower than those of a batch")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise InputError(
            f"{path}: {error}",
            expected="answers per second of one replica, as `semrec bench serving` writes them",
            remedy="Measure on the machine that will serve: semrec bench serving --json serving.json",
        ) from error
    times = ServiceTimes(fixed_s, per_answer_s)
    return MeasuredService(content["machine"], rate, concurrency, times, saturated.get("num_items"))


def read_soak(path: Path) -> dict[str, float]:
    """The row of a file that `semrec bench soak --json` wrote. Raises InputError for another."""
    try:
        (row,) = json.loads(path.read_text("utf-8"))["rows"]
        numbers = ("requests_per_s", "p50_ms", "p95_ms", "p99_ms", "errors", "retried", "num_replicas_killed")
        return {name: float(row[name]) for name in (*numbers, "num_proxies_killed")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: {error}",
            expected="one soak, as `semrec bench soak` writes it",
            remedy="Measure one: semrec bench soak --json soak.json",
        ) from error


def plan_serving(
    measured: MeasuredService, node: Node, answers_per_s: float, *, num_items: int, dimension: int, num_zones: int = 3
) -> ServingPlan:
    """How many replicas and nodes of a kind it takes.

    A replica has a device for each shard; on cpu nodes a worker of the manifests, of which a node of eight cores holds one.

    Raises InputError for a rate that is not positive, fewer than two zones, a node that holds no worker, an accelerator or more
    items than were measured.
    """
    if node.accelerator != "cpu" and node.accelerator.upper() not in measured.machine:
        raise InputError(
            f"{node.accelerator} nodes, and answers measured on {measured.machine}",
            expected=f"a machine with an {node.accelerator.upper()}",
            remedy="Measure on such a machine, or plan with --accelerator cpu.",
        )
    if answers_per_s <= 0 or num_zones < 2:
        raise InputError(
            f"{answers_per_s:g} answers/s over {num_zones} zones",
            expected="a positive rate, and two zones or more, of which one may be lost",
            remedy="Correct them.",
        )
    if measured.num_items is not None and num_items > measured.num_items:
        raise InputError(
            f"{num_items:,} items",
            expected=f"at most the {measured.num_items:,} that answers were measured with",
            remedy=f"Measure with as many: semrec bench serving --items {num_items} --json serving.json",
        )
    # While the live pair is switched a replica holds two releases.
    held_bytes = 2 * matrix_bytes(num_items, dimension)
    num_shards = choose_topology(held_bytes, 1 << 20, int(node.memory_gb * 1e9)).num_shards
    needed = answers_per_s / measured.answers_per_s
    num_replicas = _multiple(max(needed / _BUSY, needed * num_zones / (num_zones - 1)), num_zones)
    num_nodes = _multiple(num_replicas * num_shards / _replicas_per_node(node), num_zones)
    return ServingPlan(node, measured, answers_per_s, num_zones, num_replicas, num_shards, num_nodes, held_bytes // 2)


def _replicas_per_node(node: Node) -> int:
    """Replicas of one shard that a node holds."""
    if node.accelerator != "cpu":
        return node.devices
    num_cores = node.devices * _CORES_PER_DEVICE
    if num_cores < _WORKER_CPUS:
        raise InputError(
            f"{node.node} with {num_cores} cores",
            expected=f"{_WORKER_CPUS} cores or more, which a replica reserves",
            remedy="Take a larger node.",
        )
    return num_cores // _WORKER_CPUS


def failures(plan: ServingPlan) -> list[Failure]:
    """What is expected to go wrong in a month, the costliest first; against `1 - AVAILABILITY` of all answers."""
    of_a_node, of_a_zone = plan.answers_per_node_s, plan.answers_per_s / plan.num_zones
    listed = [
        Failure(
            "a node is lost",
            _NODE_LOSSES_PER_MONTH * plan.num_nodes,
            plan.open_per_node + of_a_node * _BALANCER_NOTICE_S,
            "its proxy is asked until the load balancer notices",
        ),
        Failure(
            "a zone is lost",
            _ZONE_LOSSES_PER_MONTH,
            of_a_zone * _BALANCER_NOTICE_S,
            "the others answer everything: no spare is started",
        ),
        Failure("a release is switched", _SWITCHES_PER_MONTH, 0.0, "none of 120,000 failed in the measured soak"),
        Failure(
            "the head restarts",
            _HEAD_RESTARTS_PER_MONTH,
            of_a_node * _PROXY_RESTART_S,
            "its own proxy alone; replicas answer on, but none is replaced meanwhile (not measured)",
        ),
    ]
    return sorted(listed, key=lambda failure: -failure.per_month * failure.lost_answers)


def lost_share(plan: ServingPlan) -> float:
    """The share of a month's answers that all `failures` together lose."""
    lost = sum(failure.per_month * failure.lost_answers for failure in failures(plan))
    return lost / (plan.answers_per_s * _SECONDS_PER_MONTH)


def serving_limits(plan: ServingPlan) -> list[Limit]:
    """What limits the service, the most used first; 1 or more cannot be done so."""
    most_nodes = _MOST_CPU_NODES if plan.node.accelerator == "cpu" else _MOST_GPU_NODES
    device_bytes = plan.node.memory_gb * 1e9
    listed = [
        Limit("replicas", plan.busy_without_a_zone, "busy while a zone is gone", "add replicas"),
        Limit(
            "node pool",
            plan.num_nodes / most_nodes,
            f"{most_nodes} nodes at most in one pool",
            f"breaks above {most_nodes * plan.answers_per_node_s:,.0f} answers/s: take larger nodes",
        ),
        Limit("network", plan.gbit_per_s / plan.node.network_gbit_per_s, "of a node", "grows with the nodes"),
        Limit("connections", plan.open_per_node / _MOST_CONNECTIONS, "open at one proxy", "grows with the nodes"),
        Limit(
            "memory",
            2 * plan.matrix_bytes / plan.num_shards / device_bytes,
            "two releases during a switch",
            "more shards",
        ),
    ]
    return sorted(listed, key=lambda limit: -limit.use)


def simulate_peak(plan: ServingPlan) -> tuple[Simulated, Simulated]:
    """A few seconds at the planned rate: with everything up, and while the first zone is lost from the first second on."""
    num_replicas = min(plan.num_replicas, _multiple(_SIMULATED_REPLICAS, plan.num_zones))
    rate_per_s = plan.answers_per_s * num_replicas / plan.num_replicas
    zone = tuple(range(0, num_replicas, plan.num_zones))
    lost = Fault(1.0, 2 * _SIMULATED_S, zone)

    def simulate(*faults: Fault) -> Simulated:
        return simulate_serving(
            plan.measured.times, num_replicas=num_replicas, rate_per_s=rate_per_s, seconds=_SIMULATED_S, faults=faults
        )

    return simulate(), simulate(lost)


def simulate_soak(measured: MeasuredService, soak: dict[str, float]) -> Simulated:
    """Repeats a soak, as `read_soak` gives it, in simulated time: two replicas, one killed every minute, the proxy once."""
    seconds = 60.0 * max(int(soak["num_replicas_killed"]), 1)
    kills = [Fault(60.0 * n + 30, _REPLICA_RESTART_S, (n % 2,)) for n in range(int(soak["num_replicas_killed"]))]
    proxies = [Fault(0.45 * seconds, _PROXY_RESTART_S) for _ in range(int(soak["num_proxies_killed"]))]
    return simulate_serving(
        measured.times,
        num_replicas=2,
        rate_per_s=round(soak["requests_per_s"]),
        seconds=seconds,
        faults=[*kills, *proxies],
        num_connections=measured.concurrency,
    )


def _multiple(value: float, of: int) -> int:
    """The smallest positive multiple that is not less."""
    return max(1, math.ceil(value / of)) * of
