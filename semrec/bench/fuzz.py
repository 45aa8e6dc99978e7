"""Looks for lists that an engine gets wrong: generated problems of 32 kinds of vectors, each held against the reference.

A case is all that follows from one number, its seed: vectors, sizes, eligibility, seen items, K, the engine's format and the
way the work is cut up. So a case that failed can be run again by its number alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from semrec.progress import Progress
from semrec.scoring.canonical import canonical_scores
from semrec.scoring.cpu.engine import CpuEngine
from semrec.scoring.formats.check import usable_formats
from semrec.scoring.reference import ReferenceEngine
from semrec.scoring.types import ItemShard, Queries, Targets, TopK

__all__ = ["KINDS", "FuzzCase", "FuzzReport", "fuzz", "generate_case"]

Generator = Callable[[np.random.Generator, int, int], np.ndarray]

_MAX_VALUES: Final = 100_000  # of the items, so that the reference takes milliseconds
_DIMENSIONS: Final = (1, 2, 3, 7, 8, 9, 15, 16, 31, 33, 64, 100, 128, 300, 384, 1000, 1024, 1536, 4096)
_MAX_TARGETS: Final = 4  # per query


def _gaussian(rng: np.random.Generator, num: int, dimension: int) -> np.ndarray:
    return rng.standard_normal((num, dimension))


def _rows_scaled(scale: float) -> Generator:
    """Gaussians whose rows have norms that spread by powers of e with this standard deviation, as learned factors have."""
    return lambda rng, num, dim: _gaussian(rng, num, dim) * np.exp(rng.normal(0, scale, (num, 1)))


def _columns_scaled(base: float) -> Generator:
    return lambda rng, num, dim: _gaussian(rng, num, dim) * base ** -np.arange(dim, dtype=np.float64).clip(0, 60)


def _integers(low: int, high: int) -> Generator:
    """Few values, so that scores tie."""
    return lambda rng, num, dim: rng.integers(low, high + 1, (num, dim)).astype(np.float64)


def _chosen_from(num_distinct: Callable[[int], int]) -> Generator:
    """Rows that repeat."""

    def generate(rng: np.random.Generator, num: int, dimension: int) -> np.ndarray:
        return _gaussian(rng, num, dimension)[rng.integers(0, min(num, max(1, num_distinct(num))), num)]

    return generate


def _some(share: float, factor: float) -> Generator:
    """Gaussians of which a share of the rows is multiplied."""

    def generate(rng: np.random.Generator, num: int, dimension: int) -> np.ndarray:
        vectors = _gaussian(rng, num, dimension)
        vectors[rng.random(num) < share] *= factor
        return vectors

    return generate


def _sparse(rng: np.random.Generator, num: int, dimension: int) -> np.ndarray:
    return _gaussian(rng, num, dimension) * (rng.random((num, dimension)) < 0.05)


def _one_hot(rng: np.random.Generator, num: int, dimension: int) -> np.ndarray:
    vectors = np.zeros((num, dimension))
    vectors[np.arange(num), rng.integers(0, dimension, num)] = rng.integers(1, 4, num)
    return vectors


def _clusters(rng: np.random.Generator, num: int, dimension: int) -> np.ndarray:
    centres = _gaussian(rng, 8, dimension)
    return centres[rng.integers(0, 8, num)] + 0.1 * _gaussian(rng, num, dimension)


def _antipodal(rng: np.random.Generator, num: int, dimension: int) -> np.ndarray:
    return _gaussian(rng, num, dimension)[rng.integers(0, max(1, num // 2), num)] * rng.choice([-1.0, 1.0], (num, 1))


def _low_rank(rng: np.random.Generator, num: int, dimension: int) -> np.ndarray:
    return _gaussian(rng, num, 2) @ _gaussian(rng, 2, dimension)


def _large_coordinate(rng: np.random.Generator, num: int, dimension: int) -> np.ndarray:
    vectors = _gaussian(rng, num, dimension)
    vectors[:, 0] = 4096 + rng.integers(0, 2, num)
    return vectors


def _near_ties(unit: float) -> Generator:
    """One row and others that differ from it by single units in the last places."""

    def generate(rng: np.random.Generator, num: int, dimension: int) -> np.ndarray:
        return _gaussian(rng, 1, dimension) + rng.integers(-2, 3, (num, dimension)) * unit

    return generate


def _heavy_tails(rng: np.random.Generator, num: int, dimension: int) -> np.ndarray:
    return rng.standard_cauchy((num, dimension)).clip(-1e12, 1e12)


def _extremes(rng: np.random.Generator, num: int, dimension: int) -> np.ndarray:
    """All codes of an int8 product at its largest, of one sign or of both: what saturates, saturates here."""
    signs = rng.choice([-1.0, 1.0], (num, dimension) if rng.random() < 0.5 else (num, 1))
    return np.broadcast_to(signs, (num, dimension)) * 1.0


def _halfway(rng: np.random.Generator, num: int, dimension: int) -> np.ndarray:
    """Values in the middle between two of bfloat16."""
    return _integers(-128, 127)(rng, num, dimension) / 128 + 1.0 / 512 + 1


#: Kinds of vectors: name -> (generator, number of rows, dimensions) -> float64 [rows, dimensions], finite in float32.
KINDS: Final[dict[str, Generator]] = {
    "gaussian": _gaussian,
    "unit rows": lambda rng, num, dim: (v := _gaussian(rng, num, dim)) / np.linalg.norm(v, axis=1, keepdims=True),
    "positive": lambda rng, num, dim: rng.random((num, dim)),
    "hubs": lambda rng, num, dim: 0.3 * _gaussian(rng, num, dim) + 1,
    "clusters": _clusters,
    "factors": _rows_scaled(1.0),
    "wild factors": _rows_scaled(6.0),
    "decaying columns": _columns_scaled(1.2),
    "steep columns": _columns_scaled(3.0),
    "signs": _integers(-1, 1),
    "bits": _integers(0, 1),
    "small integers": _integers(-9, 9),
    "duplicates": _chosen_from(lambda num: num // 4),
    "few distinct": _chosen_from(lambda num: 3),
    "all equal": _chosen_from(lambda num: 1),
    "zeros": lambda rng, num, dim: np.zeros((num, dim)),
    "mostly zeros": _some(0.7, 0.0),
    "sparse": _sparse,
    "one-hot": _one_hot,
    "antipodal": _antipodal,
    "low rank": _low_rank,
    "large coordinate": _large_coordinate,
    "near ties": _near_ties(2.0**-22),
    "nearer ties": _near_ties(2.0**-30),
    "heavy tails": _heavy_tails,
    "extremes": _extremes,
    "halfway": _halfway,
    "powers of two": lambda rng, num, dim: np.exp2(rng.integers(-30, 31, (num, dim))) * rng.choice([-1, 1], (num, dim)),
    "tiny": lambda rng, num, dim: 1e-22 * _gaussian(rng, num, dim),
    "subnormal": lambda rng, num, dim: 1e-40 * _gaussian(rng, num, dim),
    "huge": lambda rng, num, dim: 1e19 * _gaussian(rng, num, dim),
    "some huge": _some(0.1, 1e36),
}


@dataclass(frozen=True)
class FuzzCase:
    """One problem and how an engine is to solve it. `description` names what it is made of."""

    seed: int
    description: str
    shard: ItemShard
    queries: Queries
    k: int
    targets: Targets
    coarse: str
    edges: tuple[int, ...]  # of the shards whose lists are merged
    num_threads: int
    tile_items: int
    block_queries: int
    few_queries: int
    sample_every: int

    def find_fault(self) -> str | None:
        """Runs the engine; returns in what it differs from the reference, or None. Raises what the engine raises."""
        reference = ReferenceEngine(self.shard)
        engines = [self._engine(self.shard.slice(a, b)) for a, b in zip(self.edges, self.edges[1:], strict=False)]
        lists = TopK.merge([engine.top_k(self.queries, self.k) for engine in engines], self.k)
        expected = reference.top_k(self.queries, self.k)
        for name in ("offsets", "rows", "scores"):
            if getattr(lists, name).tobytes() != getattr(expected, name).tobytes():
                return f"{name} of the lists"
        counts = np.sum([engine.count_before(self.queries, self.targets) for engine in engines], axis=0)
        return None if np.array_equal(counts, reference.count_before(self.queries, self.targets)) else "counts"

    def _engine(self, shard: ItemShard) -> CpuEngine:
        return CpuEngine(
            shard, coarse=self.coarse, num_threads=self.num_threads, tile_items=self.tile_items,
            block_queries=self.block_queries, few_queries=self.few_queries, sample_every=self.sample_every,
        )  # fmt: skip


@dataclass
class FuzzReport:
    """What a search found. `faults`: (seed of the case, its description, in what it differs)."""

    seconds: float = 0.0
    num_cases: int = 0
    num_lists: int = 0
    faults: list[tuple[int, str, str]] = field(default_factory=list)


def fuzz(*, seconds: float, first_seed: int, progress: Progress) -> FuzzReport:
    """Runs the cases from `first_seed` on for a time, those at work at its end included; goes on after a fault."""
    report, started_s = FuzzReport(), time.perf_counter()
    while (taken_s := time.perf_counter() - started_s) < seconds:
        case = generate_case(first_seed + report.num_cases)
        fault = case.find_fault()
        report.num_cases += 1
        report.num_lists += case.queries.num_queries
        if fault:
            report.faults.append((case.seed, case.description, fault))
            progress.note(f"case {case.seed} differs: {fault} ({case.description})")
    report.seconds = taken_s
    return report


def generate_case(seed: int) -> FuzzCase:
    """The case of a seed: the same everywhere, but for a format that is wrong on this machine, which is left out."""
    rng = np.random.default_rng([seed, 41])
    dimension = int(rng.choice(_DIMENSIONS))
    num_items = int(np.exp(rng.uniform(0, np.log(max(2, _MAX_VALUES // dimension)))))
    num_queries = int(rng.choice([1, 2, 5, 16, 17, 40, 64, 65, 90]))
    kind, query_kind = rng.choice(list(KINDS), 2).tolist()
    if rng.random() < 0.6:
        query_kind = kind
    items = _float32(KINDS[kind](rng, num_items, dimension))
    if rng.random() < 0.2:
        query_kind, queries = "some of the items", items[rng.integers(0, num_items, num_queries)]
    else:
        queries = _float32(KINDS[query_kind](rng, num_queries, dimension))

    # Clauses of one word or two; an item passes when it shares a bit of each clause, or the user has all bits of it.
    starts = tuple(np.cumsum([0, *rng.integers(1, 3, rng.integers(0, 3))]).tolist())
    density = rng.choice([0.02, 0.3, 0.9])
    item_words, user_words = _words(rng, num_items, starts[-1], density), _words(rng, num_queries, starts[-1], density)
    share = rng.choice([0.0, 0.01, 0.3, 1.0], num_queries)
    seen = [np.flatnonzero(rng.random(num_items) < s).astype(np.int64) for s in share]
    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in seen])]).astype(np.int64)

    wanted = [rng.integers(0, num_items, rng.integers(0, _MAX_TARGETS)) for _ in range(num_queries)]
    shard = ItemShard.from_vectors(items, item_words, starts[:-1])
    scores = [canonical_scores(queries[q : q + 1], items[rows]).reshape(-1) for q, rows in enumerate(wanted)]
    target_offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in wanted])]).astype(np.int64)
    formats = usable_formats("cpu", dimension)
    coarse = formats[int(rng.integers(0, len(formats)))]
    edges = np.unique(np.linspace(0, num_items, int(rng.integers(1, 4)) + 1).astype(int))
    k = int(rng.choice([1, 2, 10, 33, 100, 500, num_items, num_items + 1]))
    return FuzzCase(
        seed, f"{kind} items {num_items} x {dimension}, {num_queries} {query_kind} queries, K {k}, {coarse}", shard,
        Queries(queries, user_words, offsets, np.concatenate(seen)), k,
        Targets(target_offsets, np.concatenate(wanted).astype(np.int64), np.concatenate(scores).astype(np.float32)),
        coarse, tuple(edges.tolist()), num_threads=int(rng.integers(1, 3)), tile_items=int(rng.choice([64, 128, 1024])),
        block_queries=int(rng.choice([1, 16, 64, 2048])), few_queries=int(rng.choice([0, 16, 64])),
        sample_every=int(rng.choice([2, 21])),
    )  # fmt: skip


def _float32(vectors_ND: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(vectors_ND.astype(np.float32))


def _words(rng: np.random.Generator, num: int, num_words: int, density: float) -> np.ndarray:
    """Random bits, uint64 [num, num_words]; some rows have all of them, some none."""
    bits = rng.random((num, num_words, 64)) < density
    bits[rng.random(num) < 0.1] = True
    bits[rng.random(num) < 0.1] = False
    return np.packbits(bits, axis=2, bitorder="little").view(np.uint64).reshape(num, num_words)
