"""The engine contract, and how an engine is chosen."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from semrec.errors import InputError
from semrec.scoring.formats import DEFAULT_FORMAT, CoarseFormat
from semrec.scoring.types import ItemShard, Queries, Targets, TopK

__all__ = ["ENGINES", "Engine", "check_engine", "make_engine"]

ENGINES = ("reference", "cpu", "cuda")


class Engine(Protocol):
    """Holds one shard and answers exact queries over it. Every engine returns the same rows, score bytes and counts."""

    name: str
    shard: ItemShard

    def top_k(self, queries: Queries, k: int) -> TopK:
        """Each query's first K eligible, unseen items by (canonical score descending, row ascending).

        A query with fewer than K such items gets them all. Raises InputError when K < 1 or the queries do not fit the shard.
        """
        ...

    def count_before(self, queries: Queries, targets: Targets) -> np.ndarray:
        """How many eligible, unseen items of the shard stand before each target in its query's order: int64 [targets].

        A target need not lie in the shard, nor be eligible. Raises InputError when the queries do not fit the shard.
        """
        ...


def make_engine(
    name: str, shard: ItemShard, *, coarse: str | CoarseFormat | None = None, num_threads: int | None = None
) -> Engine:
    """The engine called `name` over `shard`; `coarse` and `num_threads` (of the cpu engine) change its speed alone.

    Without `coarse` it is one that is right on this machine. Raises InputError for another name, DeviceError without the
    device, or where its products in the format that was asked for are wrong.
    """
    check_engine(name)
    if name == "reference":
        from semrec.scoring.reference import ReferenceEngine

        return ReferenceEngine(shard)
    from semrec.scoring.formats.check import usable_format

    coarse = coarse or usable_format(name, DEFAULT_FORMAT, shard.dimension)
    if name == "cuda":
        from semrec.scoring.cuda.engine import CudaEngine

        return CudaEngine(shard, coarse=coarse)
    from semrec.scoring.cpu.engine import CpuEngine

    return CpuEngine(shard, coarse=coarse, num_threads=num_threads)


def check_engine(name: str) -> str:
    """The name itself. Raises InputError when there is no such engine."""
    if name not in ENGINES:
        raise InputError(f"engine {name!r}", expected=" or ".join(ENGINES), remedy="Choose one of these.")
    return name
