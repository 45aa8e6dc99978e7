"""How long scoring will take here, from the workspace's calibration."""

from __future__ import annotations

from semrec.planning.calibration import Calibration
from semrec.topology import Topology

__all__ = ["predicted_s"]


def predicted_s(
    calibration: Calibration,
    *,
    num_items: int,
    num_users: int,
    dimension: int,
    k: int,
    topology: Topology,
    num_threads: int,
) -> float | None:
    """Seconds of scoring without the start of workers, or None where the calibration is of another D or K.

    A cpu engine is taken to be as much faster as it has more threads than when it was measured.
    """
    rates = calibration.rates
    if (rates.dimension, rates.k) != (dimension, k):
        return None
    threads = num_threads / calibration.num_threads if calibration.engine == "cpu" else 1.0
    return num_users * rates.seconds_per_user(num_items / topology.num_shards) / topology.num_replicas / threads
