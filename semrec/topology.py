"""Chooses how many shards and replicas of the item matrix: replicated when it fits a device, sharded when it must."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from semrec.errors import DeviceError

__all__ = ["Topology", "choose_topology", "shard_ranges"]

#: The engine holds the matrix once and two tiles of scratch; the rest of a device is left to queries and the allocator.
_USABLE_SHARE = 0.7


@dataclass(frozen=True)
class Topology:
    """S shards x R replicas, one device each, and why."""

    num_shards: int
    num_replicas: int
    reason: str

    def __str__(self) -> str:
        shape = "replicated" if self.num_shards == 1 else f"in {self.num_shards} shards"
        replicas = "1 replica" if self.num_replicas == 1 else f"{self.num_replicas} replicas"
        return f"item matrix {shape}, {replicas}: {self.reason}"


def choose_topology(
    matrix_bytes: int, num_devices: int, device_bytes: int | None, *, forced_shards: int | None = None
) -> Topology:
    """Chooses the topology for `num_devices` alike devices of `device_bytes` memory each (None: unknown, taken as enough).

    Raises DeviceError when the devices together cannot hold the matrix, or are fewer than the forced shards.
    """
    usable = int(device_bytes * _USABLE_SHARE) if device_bytes else None
    size = f"{_gigabytes(matrix_bytes)} of matrix"
    if forced_shards:
        needed, reason = forced_shards, f"{forced_shards} shards were asked for"
    elif usable is None or matrix_bytes <= usable:
        needed, reason = 1, f"{size} fit the {_gigabytes(usable)} usable on a device" if usable else size
    else:
        needed = -(-matrix_bytes // usable)
        reason = f"{size} exceed the {_gigabytes(usable)} usable on a device"
    if needed > num_devices:
        raise DeviceError(
            f"{num_devices} devices for {needed} shards ({reason})",
            expected=f"at least {needed}",
            remedy="Add devices or workers, or force fewer shards.",
        )
    return Topology(needed, num_devices // needed, reason)


def shard_ranges(num_items: int, num_shards: int) -> list[tuple[int, int]]:
    """Splits the rows into contiguous ranges that differ by at most one in length; no more than there are items."""
    count = max(1, min(num_shards, num_items))
    edges = [num_items * shard // count for shard in range(count + 1)]
    return list(itertools.pairwise(edges))


def _gigabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2f} GB"
