"""How a workload scales over devices, and what breaks first."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from semrec.errors import DeviceError
from semrec.planning.estimate import MOST_PARTS, Estimate, Workload, estimate
from semrec.planning.prices import Node
from semrec.planning.rates import Rates
from semrec.topology import choose_topology

__all__ = ["DEVICE_COUNTS", "Limit", "curve", "fastest_within", "fewest_devices", "limits"]

DEVICE_COUNTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_LIST_OFFSETS: Final = 2**31 - 1  # entries of one list column in a file: Arrow's 32-bit offsets
_DRIVER_BYTES: Final = 16e9  # of the one process that holds all item ids while it builds the item matrix
_ITEM_ID_BYTES: Final = 60


@dataclass(frozen=True)
class Limit:
    """A resource of the system: `use` is its share in use, 1 meaning that it is what limits, more that it breaks.

    `until` says how far it goes from here, when the rest stays as it is.
    """

    name: str
    use: float
    meaning: str
    until: str


def limits(made: Estimate) -> list[Limit]:
    """What limits the run, the most used first.

    For what is busy while parts are scored, the use is its share of that time; for what has a fixed size, of that size.
    """
    work, scored_s = made.workload, made.score_s
    longest_list = max(work.k, work.seen_per_user)
    most_users, most_items = _LIST_OFFSETS * MOST_PARTS / longest_list, _DRIVER_BYTES / _ITEM_ID_BYTES
    found = [
        Limit("devices", made.compute_s / scored_s, "the scoring itself", "more devices, less time"),
        Limit(
            "network",
            made.network_s / scored_s,
            "user parts in, lists out, shards' results to the merge",
            "grows with the nodes",
        ),
        Limit("object store", made.store_s / scored_s, "requests to one prefix", _until(made, made.store_s)),
        Limit("driver", made.driver_s / scored_s, "hands out parts, writes progress", _until(made, made.driver_s)),
        Limit(
            "one part",
            work.num_users / work.num_parts * longest_list / _LIST_OFFSETS,
            "entries of a list column in a file",
            f"breaks above {most_users:.1e} users: {MOST_PARTS:,} parts at most",
        ),
        Limit(
            "one process",
            work.num_items / most_items,
            "holds all item ids while the matrix is built",
            f"breaks above {most_items / 1e6:,.0f} million items",
        ),
    ]
    return sorted(found, key=lambda limit: -limit.use)


def _until(made: Estimate, fixed_s: float) -> str:
    """Of what takes the same time on any number of devices: where scoring is as quick as that."""
    return f"limits above {made.num_devices * made.compute_s / fixed_s:,.0f} devices"


def fewest_devices(workload: Workload, node: Node) -> int:
    """The fewest devices that hold the item matrix together."""
    return choose_topology(workload.matrix_bytes, 1 << 20, int(node.memory_gb * 1e9)).num_shards


def curve(workload: Workload, node: Node, rates: Rates, counts: Iterable[int] = DEVICE_COUNTS) -> list[Estimate]:
    """One estimate for each number of devices that can hold the matrix."""
    fewest = fewest_devices(workload, node)
    return [estimate(workload, node, rates, count) for count in counts if count >= fewest]


def fastest_within(budget_usd: float, workload: Workload, node: Node, rates: Rates, *, spot: bool) -> Estimate:
    """The fastest run on up to 256 devices that costs no more. Raises DeviceError naming the cheapest when none does."""
    made = curve(workload, node, rates)
    if not made:
        made = [estimate(workload, node, rates, DEVICE_COUNTS[-1])]  # raises, naming how many devices are needed
    cost = {one.num_devices: one.spot_usd if spot else one.on_demand_usd for one in made}
    affordable = [one for one in made if cost[one.num_devices] <= budget_usd]
    if not affordable:
        cheapest = min(cost.values())
        raise DeviceError(
            f"a budget of ${budget_usd:,.2f}",
            expected=f"at least ${math.ceil(cheapest * 100) / 100:,.2f} on {node.node}",
            remedy="Raise the budget, choose another accelerator, or lower K, items or users.",
        )
    return min(affordable, key=lambda one: one.total_s)
