"""The engine contract, and how an engine is chosen."""

from __future__ import annotations

from typing import Protocol

from semrec.errors import InputError
from semrec.scoring.types import ItemShard, Queries, TopK

__all__ = ["ENGINES", "Engine", "check_engine", "make_engine"]

ENGINES = ("reference", "cpu", "cuda")


class Engine(Protocol):
    """Holds one shard and answers exact top-K queries over it."""

    name: str
    shard: ItemShard

    def top_k(self, queries: Queries, k: int) -> TopK:
        """Each query's first K eligible, unseen items by (canonical score descending, row ascending).

        A query with fewer than K such items gets them all. Every engine returns the same rows and score bytes.
        Raises InputError when K < 1 or dimensions differ.
        """
        ...


def make_engine(name: str, shard: ItemShard) -> Engine:
    """The engine called `name` over `shard`. Raises InputError for another name, DeviceError without the device."""
    check_engine(name)
    if name == "reference":
        from semrec.scoring.reference import ReferenceEngine

        return ReferenceEngine(shard)
    from semrec.scoring.tiled import TiledEngine

    return TiledEngine(shard, device=name)


def check_engine(name: str) -> str:
    """The name itself. Raises InputError when there is no such engine."""
    if name not in ENGINES:
        raise InputError(f"engine {name!r}", expected=" or ".join(ENGINES), remedy="Choose one of these.")
    return name
