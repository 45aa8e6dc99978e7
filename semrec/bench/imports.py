"""Measures the import of interactions: ratings like MovieLens', and DuckDB's plain partitioned copy of the same file.

DuckDB checks nothing, hashes no id and orders no row: it is the floor of reading the file and writing it in partitions.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from semrec.data import ItemRow, import_items
from semrec.errors import InputError
from semrec.workspace.folder import Workspace

__all__ = ["ImportMeasurement", "bench_import", "num_movies", "write_ratings"]

NUM_BUCKETS: Final = 64
_RATINGS_PER_USER: Final = 153.8  # the mean of ml-25m: 25,000,095 ratings of 162,541 users
_SIGMA: Final = 1.18  # of the logarithm of a user's ratings beyond the 20 that everyone has
_MOVIES_PER_USER: Final = 0.363  # 59,047 rated movies
_POPULARITY_POWER: Final = 2.6  # a movie's place among all by popularity is a uniform number to this power
_FIRST_S, _LAST_S = 789_652_009, 1_574_327_703
#: Shares of the ratings 0.5, 1.0, ... 5.0 in ml-25m.
_RATING_SHARES: Final = (0.016, 0.031, 0.016, 0.066, 0.050, 0.196, 0.127, 0.266, 0.088, 0.144)
_BLOCK_USERS: Final = 10_000

_CHILD: Final = """
import json, resource, sys, time
start = time.perf_counter()
{work}
used = resource.getrusage(resource.RUSAGE_SELF)
wall_s = time.perf_counter() - start
from semrec.machine import resident_bytes
print(json.dumps([wall_s, used.ru_utime + used.ru_stime, resident_bytes()["peak_resident_bytes"]]))
"""
_IMPORT: Final = """
from semrec.data import ColumnMap, import_table
from semrec.workspace.folder import Workspace
columns = ColumnMap(user_id="userId", item_id="movieId", value="rating", timestamp="timestamp")
import_table(Workspace.open(sys.argv[1]), sys.argv[2], fmt="csv", kind="interactions", columns=columns, mode=sys.argv[3],
             repeats="latest", neutral_value=2.5)
"""
_DUCKDB: Final = f"""
import duckdb
link = duckdb.connect(config={{"memory_limit": "2GB", "temp_directory": sys.argv[1] + ".tmp"}})
link.execute("set preserve_insertion_order = false")
rows = f"select *, hash(userId) % {NUM_BUCKETS} as bucket from read_csv('{{sys.argv[2]}}')"
link.execute(f"copy ({{rows}}) to '{{sys.argv[1]}}' (format parquet, partition_by (bucket))")
"""


@dataclass(frozen=True)
class ImportMeasurement:
    """Wall and CPU seconds, and the peak of the resident memory in GiB, of a process that imports one file."""

    what: str
    ratings: int
    wall_s: float
    cpu_s: float
    peak_gib: float


def bench_import(folder: str, num_ratings: int, num_appended: int, *, rounds: int = 1) -> Iterator[ImportMeasurement]:
    """Measures in turn: DuckDB's copy where it is installed, the import, and an append of users that are new.

    `folder` holds the files and workspaces. Of several rounds the one with the least CPU time counts.
    """
    whole, more, workspace = Path(folder, "ratings.csv"), Path(folder, "more.csv"), str(Path(folder, "W"))
    num_whole = write_ratings(whole, num_ratings)
    num_more = write_ratings(more, num_appended, seed=1, first_user=1 + num_ratings, num_items=num_movies(num_ratings))
    opened = Workspace.create(workspace, num_buckets=NUM_BUCKETS)
    import_items(opened, (ItemRow(str(n + 1), f"Movie {n + 1}") for n in range(num_movies(num_ratings))))
    measured: dict[str, list[ImportMeasurement]] = {}
    for n in range(rounds):
        if find_spec("duckdb"):
            measured.setdefault("duckdb", []).append(
                _measured("duckdb", num_whole, _DUCKDB, f"{folder}/duckdb-{n}", whole)
            )
        measured.setdefault("import", []).append(_measured("import", num_whole, _IMPORT, workspace, whole, "replace"))
        measured.setdefault("append", []).append(_measured("append", num_more, _IMPORT, workspace, more, "append"))
    for measurements in measured.values():
        yield min(measurements, key=lambda measurement: measurement.cpu_s)


def write_ratings(
    path: Path, num_ratings: int, *, seed: int = 0, first_user: int = 1, num_items: int | None = None
) -> int:
    """Writes ratings as MovieLens' ratings.csv has them, by user, and returns how many: about `num_ratings`.

    Users have 20 ratings and more, log-normally, movies are popular by a power of their place, and a user rates in one
    sitting. Movies are numbered from 1 to `num_items`, by default `num_movies(num_ratings)`.
    """
    chance = np.random.default_rng(seed)
    num_users = max(1, round(num_ratings / _RATINGS_PER_USER))
    mean = np.log(_RATINGS_PER_USER - 20) - _SIGMA**2 / 2
    num_items = num_items or num_movies(num_ratings)
    lengths_U = 20 + chance.lognormal(mean, _SIGMA, num_users).astype(np.int64)
    with path.open("wb") as file:
        file.write(b"userId,movieId,rating,timestamp\n")
        for start in range(0, num_users, _BLOCK_USERS):
            lengths = lengths_U[start : start + _BLOCK_USERS]
            users = np.repeat(np.arange(first_user + start, first_user + start + len(lengths)), lengths)
            popularity_ranks = chance.random(len(users)) ** _POPULARITY_POWER
            sitting_s = np.repeat(chance.integers(_FIRST_S, _LAST_S, len(lengths)), lengths)
            table = pa.table(
                {
                    "userId": users,
                    "movieId": 1 + (popularity_ranks * num_items).astype(np.int64),
                    "rating": chance.choice(np.arange(1, 11) / 2, len(users), p=_RATING_SHARES),
                    "timestamp": sitting_s + chance.integers(0, 7_200, len(users)),
                }
            )
            pacsv.write_csv(table, file, pacsv.WriteOptions(include_header=False))
    return int(lengths_U.sum())


def num_movies(num_ratings: int) -> int:
    """How many movies that many ratings are of."""
    return max(10, round(num_ratings / _RATINGS_PER_USER * _MOVIES_PER_USER))


def _measured(what: str, num_ratings: int, work: str, *arguments: str | Path) -> ImportMeasurement:
    command = [sys.executable, "-c", _CHILD.replace("{work}", work), *map(str, arguments)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode:
        raise InputError(
            f"a process that failed: {child.stderr.strip()[-300:]}", expected="an import", remedy="Look at the message."
        )
    wall_s, cpu_s, peak_bytes = json.loads(child.stdout.splitlines()[-1])
    return ImportMeasurement(what, num_ratings, round(wall_s, 2), round(cpu_s, 2), round(peak_bytes / 2**30, 2))
