"""Scoring: the exact top K of every user among the items they may see. One contract, several engines."""

from semrec.scoring.engine import Engine, make_engine
from semrec.scoring.ranks import exact_ranks
from semrec.scoring.types import ItemShard, Queries, Targets, TopK

__all__ = ["Engine", "ItemShard", "Queries", "Targets", "TopK", "exact_ranks", "make_engine"]
