"""Memory, parts, minutes and money of one run on a given number of devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from semrec.errors import InputError
from semrec.planning.prices import Node
from semrec.planning.rates import Rates
from semrec.scoring.formats import matrix_bytes
from semrec.topology import Topology, choose_topology

__all__ = ["MOST_PARTS", "NODE_START_S", "Estimate", "Workload", "estimate"]

NODE_START_S: Final = 240.0  # from the request for a node to a worker on it, image pulled; an assumption
_WORKER_START_S: Final = 10.0
_USERS_PER_PART: Final = 20_000
MOST_PARTS: Final = 99_999
_ID_BYTES: Final = 16
_SCORED_BYTES: Final = 12  # of a row and a score on their way to the merge
_DRIVER_S_PER_PART: Final = 0.002
_REQUESTS_PER_PART: Final = 5  # user part, parts file, ledger record, and two lookups
#: CPU seconds of building a release, by `semrec bench release` (see semrec/planning/README.md): of an item in the matrix and
#: for each of its dimensions, and of an event in a user part and for each dimension of its item. Taken for every machine.
_MATRIX_S_PER_ITEM: Final = 1.2e-5
_MATRIX_S_PER_NUMBER: Final = 1.9e-7
_PART_S_PER_EVENT: Final = 2.0e-6
_PART_S_PER_NUMBER: Final = 1.5e-9
_RELEASE_START_S: Final = 9.0  # workers, and a look at the coarse formats; by `semrec bench plan`
_STORE_REQUESTS_PER_S: Final = 3_500.0  # what S3 promises for writes to one prefix; GCS and Azure start lower


@dataclass(frozen=True)
class Workload:
    """What is to be done: all of it counts, nothing is reused from an earlier run."""

    num_items: int
    num_users: int
    dimension: int = 384
    k: int = 100
    seen_per_user: float = 50.0
    num_words: int = 1  # eligibility words
    num_texts: int | None = None  # to be embedded; None: every item

    def __post_init__(self) -> None:
        counts = {"items": self.num_items, "users": self.num_users, "dimension": self.dimension, "K": self.k}
        wrong = {name: value for name, value in counts.items() if value < 1}
        if wrong:
            what = ", ".join(f"{name} = {value}" for name, value in wrong.items())
            raise InputError(what, expected="at least 1", remedy="Correct the workload.")

    @property
    def matrix_bytes(self) -> int:
        """Item matrix and eligibility words, as an engine holds them."""
        return matrix_bytes(self.num_items, self.dimension) + self.num_items * 16 * self.num_words

    @property
    def num_parts(self) -> int:
        """User buckets for a workspace of this size: about 20,000 users in each."""
        return min(MOST_PARTS, max(1, -(-self.num_users // _USERS_PER_PART)))

    @property
    def input_bytes(self) -> int:
        """User parts as scoring reads them."""
        return int(self.num_users * (4 * self.dimension + 4 * self.seen_per_user + 8 * self.num_words + _ID_BYTES))

    @property
    def output_bytes(self) -> int:
        """Recommendations before compression: a dictionary index and a score for each."""
        return self.num_users * (8 * self.k + _ID_BYTES)


@dataclass(frozen=True)
class Estimate:
    """One run on `num_devices` devices of a node kind. Times in seconds, by what takes them; they overlap in scoring."""

    workload: Workload
    node: Node
    rates: Rates
    num_devices: int
    topology: Topology
    device_bytes: int
    embed_s: float
    release_s: float  # the item matrix by one process, the user parts by all devices' processors
    load_s: float
    compute_s: float
    network_s: float
    store_s: float
    driver_s: float
    network_bytes: int  # user parts in, lists out, shards' results to the merge, the matrix to every device or node
    store_requests: int  # of parts and ledger

    @property
    def num_nodes(self) -> int:
        return -(-self.num_devices // self.node.devices)

    @property
    def score_s(self) -> float:
        """Scoring: the slowest of what goes on at once."""
        return max(self.compute_s, self.network_s, self.store_s, self.driver_s)

    @property
    def total_s(self) -> float:
        """From the request for nodes to the last committed part."""
        return NODE_START_S + self.embed_s + self.release_s + self.load_s + self.score_s

    @property
    def users_per_s(self) -> float:
        return self.workload.num_users / self.score_s

    @property
    def node_hours(self) -> float:
        return self.num_nodes * self.total_s / 3600

    @property
    def on_demand_usd(self) -> float:
        return self.node_hours * self.node.on_demand_usd

    @property
    def spot_usd(self) -> float:
        return self.node_hours * self.node.spot_usd


def estimate(workload: Workload, node: Node, rates: Rates, num_devices: int) -> Estimate:
    """What the run takes. Raises DeviceError when the devices together cannot hold the item matrix, InputError for rates that
    do not say how fast texts are embedded: no estimate counts that as nothing."""
    topology = choose_topology(workload.matrix_bytes, num_devices, int(node.memory_gb * 1e9))
    shards, replicas = topology.num_shards, topology.num_replicas
    num_nodes = -(-num_devices // node.devices)
    bytes_per_s = num_nodes * node.network_gbit_per_s / 8 * 1e9
    loaded_bytes = workload.matrix_bytes * replicas if node.accelerator != "cpu" else workload.matrix_bytes * num_nodes
    merged_bytes = workload.num_users * workload.k * _SCORED_BYTES * (shards if shards > 1 else 0)
    # Every shard reads its users; with parts for a whole replica the last ones leave some replicas idle.
    read_bytes = workload.input_bytes * shards
    rounds = -(-workload.num_parts // replicas)
    per_part_s = workload.num_users / workload.num_parts * rates.seconds_per_user(workload.num_items / shards)
    num_texts = workload.num_items if workload.num_texts is None else workload.num_texts
    if num_texts and not rates.texts_per_s:
        raise InputError(
            f"{num_texts:,} texts to embed at an unknown speed",
            expected="rates with texts_per_s",
            remedy="Calibrate again, or estimate it with `with_embedding`.",
        )
    scored_bytes = read_bytes + workload.output_bytes + merged_bytes
    store_requests = workload.num_parts * (_REQUESTS_PER_PART + shards - 1)
    return Estimate(
        workload,
        node,
        rates,
        num_devices,
        topology,
        device_bytes=workload.matrix_bytes // shards,
        embed_s=num_texts / (rates.texts_per_s * num_devices) if num_texts and rates.texts_per_s else 0.0,
        release_s=_RELEASE_START_S + _matrix_s(workload) + _parts_s(workload) / num_devices,
        load_s=_WORKER_START_S + loaded_bytes / bytes_per_s,
        compute_s=rounds * per_part_s,
        network_s=scored_bytes / bytes_per_s,
        store_s=store_requests / _STORE_REQUESTS_PER_S,
        driver_s=workload.num_parts * _DRIVER_S_PER_PART * shards,
        network_bytes=scored_bytes + loaded_bytes,
        store_requests=store_requests,
    )


def _matrix_s(workload: Workload) -> float:
    """Seconds of one process for the item matrix: linear in items and dimensions."""
    return workload.num_items * (_MATRIX_S_PER_ITEM + _MATRIX_S_PER_NUMBER * workload.dimension)


def _parts_s(workload: Workload) -> float:
    """Seconds of one process for all user parts: linear in events and dimensions, and the same whatever the items."""
    num_events = workload.num_users * workload.seen_per_user
    return num_events * (_PART_S_PER_EVENT + _PART_S_PER_NUMBER * workload.dimension)
