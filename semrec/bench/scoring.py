"""Scoring speed, memory and proof of equality of the engines against exact peers, on the same data in the same run."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from statistics import median
from typing import Final

import numpy as np
import torch

from semrec.bench.contestants import Contestant, choose_formats, our_contestants, peer_contestants, reference_contestant
from semrec.bench.engine_process import EngineProcessSpec
from semrec.bench.kernels import LIBRARY_CHOICE
from semrec.bench.peers import Product
from semrec.bench.process_measurements import peak_memory, process_seconds, saved_problem
from semrec.bench.small_batches import small_batches
from semrec.bench.workloads import VARIANTS, ScoringProblem, Variant
from semrec.errors import InputError
from semrec.progress import NoProgress, Progress
from semrec.scoring.engine import make_engine
from semrec.scoring.types import TopK

__all__ = ["ScoreBenchRow", "bench_scoring"]

_SAMPLE_USERS: Final = 16  # compared with the reference,
_SAMPLE_PAIRS: Final = 1 << 21  # but no more than this, of which it scores about 100,000 in a second,
_FEWEST_SAMPLED: Final = 2  # as long as that leaves so many users
_WARM_UP_USERS: Final = 64
_PAUSE_S: Final = 0.05  # OpenMP's threads spin that long after their last work, on cores that the next contestant needs


@dataclass(frozen=True)
class ScoreBenchRow:
    """One engine in one variant at one K. Rates are medians over the rounds, ratios medians of each round's ratio.

    None stands for what was not measured or does not apply. Ratios are to the plain peer on the same device.
    """

    engine: str  # reference, cpu, cuda, or one of `peers.PEERS`
    device: str  # cpu, cuda
    variant: str  # plain, seen, filters; "8 at once"; of whole processes "2 threads", "2 processes x 1 thread"
    k: int
    data: str
    num_items: int
    dimension: int
    num_users: int
    threads: int
    coarse: str | None
    users_per_s: float
    kernels: str | None = None  # of a peer that offers a choice: the fastest (OPENBLAS_CORETYPE)
    ratio_to_faiss: float | None = None
    ratio_to_torch: float | None = None
    ratio_to_one_process: float | None = None
    ratio_to_reading: float | None = None  # CPU time of a pass / that of reading a byte for each value of the items
    filter_cost: float | None = None  # seconds with filters / seconds with seen alone - 1
    of_product: float | None = None  # users_per_s / that of the bfloat16 product alone
    product_users_per_s: float | None = None
    product_shape: str | None = None  # which shape was fastest in the last round
    candidates_per_row: float | None = None
    exhaustive_rows: int | None = None
    exhaustive_share: float | None = None
    equal: bool | None = None  # rows and score bytes of the sampled users are the reference's
    agreement: float | None = None  # of a peer: share of users whose list of rows is ours
    peak_memory_bytes: int | None = None  # over what the process held before it mapped the items
    memory_ratio: float | None = None  # to the float32 item matrix
    memory_ratio_4x_users: float | None = None
    spread: float | None = None  # slowest round / fastest - 1


@dataclass
class _Taken:
    """What the rounds at one K took: seconds per user, one entry per round; results of the last round."""

    seconds: dict[Contestant, list[float]]
    product: dict[str, list[float]]  # by device
    shape: dict[str, str]
    results: dict[Contestant, TopK | np.ndarray]


def bench_scoring(
    problem: ScoringProblem,
    *,
    ks: tuple[int, ...],
    num_threads: int,
    rounds: int = 3,
    coarse: str | None = None,
    filters: bool = True,
    peers: bool = True,
    memory: bool = True,
    processes: bool = True,
    progress: Progress | None = None,
) -> list[ScoreBenchRow]:
    """Every engine and every peer that is installed, at every K; ours also while they exclude what the peers cannot.

    A round runs all of them in turn, so that a drift of the machine falls on all. Peers on the CPU are processes of their
    own, each with the kernels that a quick look finds fastest of those that its library offers. Without `coarse` a quick look
    picks each engine's format, too. Sets torch's threads for the process.

    Raises InputError for K, users, threads or rounds below 1.
    """
    ks = tuple(dict.fromkeys(ks))
    if min(*ks, problem.num_users, num_threads, rounds) < 1:
        raise InputError(
            f"K = {ks}, {problem.num_users} users, {num_threads} threads, {rounds} rounds",
            expected="at least one of each",
            remedy="Measure something.",
        )
    progress = progress or NoProgress()
    torch.set_num_threads(num_threads)
    variants = VARIANTS if filters else VARIANTS[:-1]
    formats = choose_formats(problem, num_threads, coarse, progress)
    with saved_problem(problem) as folder:
        with ExitStack() as started:
            contestants = our_contestants(problem, variants, formats, num_threads)
            if peers:
                contestants += peer_contestants(problem, num_threads, folder, started, progress)
            contestants.append(reference_contestant(problem))
            if peers and not any(contestant.engine.startswith("faiss") for contestant in contestants):
                progress.note('faiss is not installed, and so not measured: `pip install "semrec[bench]"`')
            progress.note(f"the reference's lists of {_sample_users(problem)} users")
            expected = _expected(problem, variants, max(ks))
            taken_at = _timed(contestants, _products(problem, contestants, num_threads), ks, rounds, progress)
        rows = [
            _row(problem, num_threads, k, contestant, taken, expected)
            for k, taken in taken_at.items()
            for contestant in contestants
        ]
        if memory:
            rows = _with_memory(rows, folder, progress)
        if processes:
            progress.note("a few users at once")
            rows += [row for k in ks for row in _small_rows(problem, k, formats["cpu"], num_threads, rounds)]
            progress.note("one process against several")
            rows += _process_rows(rows, folder, ks, rounds)
    return sorted(rows, key=lambda row: ks.index(row.k))


def _products(problem: ScoringProblem, contestants: list[Contestant], num_threads: int) -> dict[str, Product]:
    devices = {contestant.device for contestant in contestants}
    return {device: Product(problem.users_UD, problem.items.high_ID, device, num_threads) for device in devices}


def _expected(problem: ScoringProblem, variants: Iterable[Variant], k: int) -> dict[Variant, TopK]:
    """What the reference finds for the sampled users. A smaller K is a prefix of each list."""
    sample = _sample_users(problem)
    return {
        variant: make_engine("reference", problem.shard(variant)).top_k(problem.queries(variant).between(0, sample), k)
        for variant in variants
    }


def _sample_users(problem: ScoringProblem) -> int:
    affordable = max(_FEWEST_SAMPLED, _SAMPLE_PAIRS // problem.items.num_items)
    return min(_SAMPLE_USERS, affordable, problem.num_users)


def _timed(
    contestants: list[Contestant], products: dict[str, Product], ks: tuple[int, ...], rounds: int, progress: Progress
) -> dict[int, _Taken]:
    for contestant in contestants:
        contestant.run(max(ks), min(_WARM_UP_USERS, contestant.num_users))
    for measured in products.values():
        measured.seconds()
    taken = {
        k: _Taken({contestant: [] for contestant in contestants}, {device: [] for device in products}, {}, {})
        for k in ks
    }
    for number in range(1, rounds + 1):
        for k in ks:
            progress.note(f"round {number} of {rounds}, K = {k}")
            for device, measured in products.items():
                time.sleep(_PAUSE_S)
                seconds, taken[k].shape[device] = measured.seconds()
                taken[k].product[device].append(seconds / measured.num_users)
            for contestant in contestants:
                time.sleep(_PAUSE_S)
                taken[k].results[contestant], seconds = contestant.run(k, contestant.num_users)
                taken[k].seconds[contestant].append(seconds / contestant.num_users)
    return taken


def _row(
    problem: ScoringProblem,
    num_threads: int,
    k: int,
    contestant: Contestant,
    taken: _Taken,
    expected: dict[Variant, TopK],
) -> ScoreBenchRow:
    def to(engine: str, variant: Variant = "plain") -> float | None:
        """How many times as fast as that contestant on the same device, where there is one."""
        compared = [w for w in taken.seconds if (w.engine, w.variant, w.device) == (engine, variant, contestant.device)]
        return _ratio(taken.seconds[compared[0]], taken.seconds[contestant]) if compared else None

    slower = to(contestant.engine, "seen") if contestant.variant == "filters" else None
    row = ScoreBenchRow(
        contestant.engine,
        contestant.device,
        contestant.variant,
        k,
        problem.data,
        problem.items.num_items,
        problem.items.dimension,
        contestant.num_users,
        num_threads,
        contestant.coarse,
        1 / median(taken.seconds[contestant]),
        contestant.kernels,
        to("faiss-gpu" if contestant.device == "cuda" else "faiss-cpu"),
        to("torch"),
        filter_cost=1 / slower - 1 if slower else None,
        of_product=_ratio(taken.product[contestant.device], taken.seconds[contestant]),
        product_users_per_s=1 / median(taken.product[contestant.device]),
        product_shape=taken.shape[contestant.device],
        spread=max(taken.seconds[contestant]) / min(taken.seconds[contestant]) - 1,
    )
    lists = taken.results[contestant]
    if isinstance(lists, np.ndarray):
        ours = next(result for w, result in taken.results.items() if w.variant == "plain" and isinstance(result, TopK))
        assert isinstance(ours, TopK)
        return replace(row, agreement=float((lists == ours.rows.reshape(lists.shape)).all(axis=1).mean()))
    return replace(
        row,
        candidates_per_row=lists.num_candidates / lists.num_queries,
        exhaustive_rows=lists.num_exhaustive,
        exhaustive_share=lists.num_exhaustive / lists.num_queries,
        equal=_same_lists(lists, expected[contestant.variant], k),
    )


def _ratio(others: list[float], own: list[float]) -> float:
    """Median over the rounds of how many times longer the other took."""
    return median(other / mine for other, mine in zip(others, own, strict=True))


def _same_lists(found: TopK, expected: TopK, k: int) -> bool:
    """Whether the first users' lists are the first K of the expected ones, rows and score bytes."""
    for q in range(min(found.num_queries, expected.num_queries)):
        mine = slice(found.offsets[q], found.offsets[q + 1])
        theirs = slice(expected.offsets[q], min(expected.offsets[q] + k, expected.offsets[q + 1]))
        if not np.array_equal(found.rows[mine], expected.rows[theirs]):
            return False
        if found.scores[mine].tobytes() != expected.scores[theirs].tobytes():
            return False
    return True


def _with_memory(rows: list[ScoreBenchRow], folder: str, progress: Progress) -> list[ScoreBenchRow]:
    """The rows with the peak memory of ours while they exclude seen items, and of the others as they are."""
    measured = {}
    for row in rows:
        key = (row.engine, row.device)
        if key in measured or row.engine == "faiss-gpu":  # which does not say what it takes
            continue
        progress.note(f"peak memory of {row.engine} on {row.device}")
        coarse, kernels = _format_of(rows, row.engine), row.kernels or LIBRARY_CHOICE
        spec = EngineProcessSpec(folder, row.engine, row.device, coarse, row.threads, kernels)
        measured[key] = peak_memory(spec, {r.k for r in rows}, row.num_users)
    found = []
    for row in rows:
        wanted = "seen" if row.engine in ("cpu", "cuda") else "plain"
        if row.variant == wanted and (row.engine, row.device) in measured:
            peak, with_many = measured[row.engine, row.device][row.k]
            matrix = row.num_items * row.dimension * 4
            row = replace(
                row, peak_memory_bytes=peak, memory_ratio=peak / matrix, memory_ratio_4x_users=with_many / matrix
            )
        found.append(row)
    return found


def _process_rows(rows: list[ScoreBenchRow], folder: str, ks: tuple[int, ...], rounds: int) -> Iterator[ScoreBenchRow]:
    """The cpu engine while it excludes seen items: one process with all threads, and a process for each thread."""
    like = next(row for row in rows if (row.engine, row.variant) == ("cpu", "seen"))
    coarse, threads, num_users = _format_of(rows, "cpu"), like.threads, like.num_users
    taken = process_seconds(folder, coarse, threads, ks, num_users=num_users, rounds=rounds)
    names = (f"{threads} threads", f"{threads} processes x 1 thread")
    for k, seconds in taken.items():
        one = [first for first, _ in seconds]
        for name, mine in zip(names, zip(*seconds, strict=True), strict=True):
            yield ScoreBenchRow(
                "cpu", "cpu", name, k, like.data, like.num_items, like.dimension, num_users, threads, coarse,
                num_users / median(mine), ratio_to_one_process=_ratio(one, list(mine)),
            )  # fmt: skip


def _small_rows(
    problem: ScoringProblem, k: int, coarse: str | None, num_threads: int, rounds: int
) -> Iterator[ScoreBenchRow]:
    """The cpu engine with as few users at once as a service asks for; their rate is per second of CPU time."""
    taken = small_batches(problem, k=k, coarse=coarse, num_threads=num_threads, rounds=rounds)
    for num_queries, seconds in taken.items():
        yield ScoreBenchRow(
            "cpu", "cpu", f"{num_queries} at once", k, problem.data, problem.items.num_items, problem.items.dimension,
            num_queries, num_threads, coarse, num_queries / median(own for own, _ in seconds),
            ratio_to_reading=median(own / read for own, read in seconds),
        )  # fmt: skip


def _format_of(rows: Iterable[ScoreBenchRow], engine: str) -> str | None:
    return next((row.coarse for row in rows if row.engine == engine), None)
