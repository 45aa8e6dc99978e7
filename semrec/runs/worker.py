"""Scores parts: users of one bucket against one shard or all of the item matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from semrec.contracts import RECOMMENDATIONS_SCHEMA, part_name
from semrec.ranges import even_ranges
from semrec.release.reader import Release, UserPart
from semrec.release.sources import PERSONAL, POPULARITY
from semrec.runs.plan import run_inputs
from semrec.scoring.approximate import ApproximateEngine, Fetched, merge_lists
from semrec.scoring.engine import Engine
from semrec.scoring.types import Queries, TopK
from semrec.sorted_ids import SortedIds
from semrec.workspace.ledger import Ledger, PartRecord, Plan, build_info
from semrec.workspace.storage import Storage
from semrec.workspace.tables import write_table

__all__ = ["ScoreWorker", "ShardResult", "recommendations_table"]

_FETCHED_ROWS: Final = 1 << 22  # for approximate lists, at once: 16 bytes each


@dataclass(frozen=True)
class ShardResult:
    """One shard's answer for a part: by name of a source, the top K of its users in the order of the part.

    Of approximate lists it is what they are chosen from.
    """

    by_source: Mapping[str, TopK | Fetched]


class ScoreWorker:
    """Holds rows `start:stop` of a release's item matrix in an engine; several such make a sharded matrix.

    `num_threads` are those of the cpu engine (None: torch's default).
    """

    def __init__(
        self,
        storage: Storage,
        ledger_folder: str,
        plan: Plan,
        *,
        engine: str = "cpu",
        start: int = 0,
        stop: int | None = None,
        num_threads: int | None = None,
    ) -> None:
        self._storage, self._folder, self._plan = storage, ledger_folder, plan
        inputs = run_inputs(plan)
        self._k, self._release, rule = inputs.k, Release(storage, inputs.release), inputs.approximate
        self._over_fetch = rule.over_fetch if rule else 0
        self._engines: dict[str, Engine | ApproximateEngine] = {}
        for source in self._release.sources:
            items = source.items(self._release, start, stop)
            fetching = rule and source.approximate_engine(items, engine, rule, num_threads=num_threads)
            self._engines[source.name] = fetching or source.engine(
                items, engine, coarse=self._release.coarse(engine), num_threads=num_threads
            )
        self._ledger = Ledger(storage, ledger_folder)
        self._read: tuple[int, UserPart] | None = None

    def run_part(self, part: int) -> PartRecord:
        """Scores and commits one part; for a worker that holds the whole matrix."""
        return self._commit(part, {name: self._lists(name, queries) for name, queries in self._queries(part).items()})

    def score_shard(self, part: int) -> ShardResult:
        """Returns the part's top K within this worker's rows."""
        queries = self._queries(part)
        return ShardResult({name: engine.top_k(queries[name], self._k) for name, engine in self._engines.items()})

    def commit_part(self, part: int, *results: ShardResult) -> PartRecord:
        """Merges the shards' results, writes the part's file, then its record."""
        return self._commit(
            part, {name: merge_lists([result.by_source[name] for result in results], self._k) for name in self._engines}
        )

    def _lists(self, name: str, queries: Queries) -> TopK:
        """Returns the lists of a source; approximate ones a few users at a time, as many times their rows are fetched."""
        num_fetched = queries.num_queries * self._k * self._over_fetch
        blocks = even_ranges(queries.num_queries, max(1, -(-num_fetched // _FETCHED_ROWS)))
        fetched = (self._engines[name].top_k(queries.between(*edges), self._k) for edges in blocks)
        return TopK.concatenate([merge_lists([block], self._k) for block in fetched])

    def _commit(self, part: int, lists: Mapping[str, TopK]) -> PartRecord:
        table = recommendations_table(self._users(part), lists, self._release.ids, self._k)
        file = write_table(self._storage, f"{self._folder}/parts/{part_name(part)}", table, digest_in_name=False)
        counts = {
            "users": table.num_rows,
            POPULARITY: lists[POPULARITY].num_queries,
            "short": table.num_rows - table.column("short_reason").null_count,
            "candidates": sum(top.num_candidates for top in lists.values()),
            "exhaustive": sum(top.num_exhaustive for top in lists.values()),
        }
        engine = self._engines[PERSONAL]
        made_by = {**build_info(), "engine": engine.name, "coarse": getattr(engine, "coarse", None)}
        record = PartRecord(part, self._plan.parts[part].fingerprint, file, counts, made_by)
        self._ledger.commit(record)
        return record

    def _queries(self, part: int) -> dict[str, Queries]:
        """Returns the part's users by name of their source, as its engine takes them."""
        users = self._users(part)
        return {
            source.name: source.queries(users.queries.take(users.of_source(source.name)))
            for source in self._release.sources
        }

    def _users(self, part: int) -> UserPart:
        if self._read is None or self._read[0] != part:
            self._read = (part, self._release.user_part(part))
        return self._read[1]


def recommendations_table(users: UserPart, by_source: Mapping[str, TopK], ids: SortedIds, k: int) -> pa.Table:
    """Returns the part's output: RECOMMENDATIONS_SCHEMA, one row per user in the order of `users`."""
    owner = np.concatenate([np.repeat(users.of_source(name), top.lengths) for name, top in by_source.items()])
    order = np.argsort(owner, kind="stable")
    rows = np.concatenate([top.rows for top in by_source.values()])[order]
    scores = np.concatenate([top.scores for top in by_source.values()])[order]
    lengths = np.bincount(owner, minlength=len(users.user_ids))
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    used, index = np.unique(rows, return_inverse=True)
    item_ids = pa.DictionaryArray.from_arrays(pa.array(index.reshape(-1), pa.int32()), ids.take(used))
    columns = [
        users.user_ids,
        pa.ListArray.from_arrays(offsets, item_ids),
        pa.ListArray.from_arrays(offsets, pa.array(scores, pa.float32())),
        pa.array(users.sources, pa.string()).take(pa.array(users.source_U)),
        _short_reasons(lengths, k, len(ids)),
    ]
    return pa.table(columns, schema=RECOMMENDATIONS_SCHEMA)


def _short_reasons(lengths: np.ndarray, k: int, num_items: int) -> pa.Array:
    reasons = [
        None if length >= k else f"{length} of {num_items} items are eligible and not seen"
        for length in lengths.tolist()
    ]
    return pa.array(reasons, pa.string())
