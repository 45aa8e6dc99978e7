"""Measures what the host does in runs of the CUDA engine, without a GPU: its work alone, everything of the device left out.

Kernels are noted and not run, tensors of the device have shapes and no values, and nothing is sent. What is left is what a
CPU does beside a GPU: it checks and stages queries, makes launches ready and hands out the lists.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import numpy as np
import torch

from semrec.bench.workloads import VARIANTS, ScoringProblem
from semrec.scoring.cuda.engine import CudaEngine
from semrec.scoring.cuda.launches import BLOCK_QUERIES, power_of_two
from semrec.scoring.cuda.products import Kernels, Products
from semrec.scoring.cuda.transfers import Transfers
from semrec.scoring.formats import DEFAULT_FORMAT, CoarseFormat
from semrec.scoring.types import ItemShard, Queries
from semrec.torch_threads import single_threads

__all__ = ["HostWorkRow", "NotedKernels", "bench_gpu_host", "engine_without_device"]

_CALLS: Final = 200

#: Is told of a launch: the kernel's name, arguments in order, arguments by name.
Note = Callable[[str, tuple[Any, ...], dict[str, Any]], None]


@dataclass(frozen=True)
class HostWorkRow:
    """Milliseconds of the host for one call with so many users.

    `cpu_ms` and `wall_ms` of one thread are those of the fastest round; `ratio_to_copy` says how many times the time of
    one copy of the users' vectors the former is. `launches` are kernels of ours.
    """

    variant: str
    items: int
    users: int
    k: int
    launches: int
    cpu_ms: float
    wall_ms: float
    ratio_to_copy: float


class NotedKernels:
    """Stands for a module of kernels: whatever is launched is noted and not run."""

    def __init__(self, note: Note) -> None:
        self._note = note

    def __getattr__(self, name: str) -> _NotedGrid:
        return _NotedGrid(lambda *arguments, **named: self._note(name, arguments, named))


class _NotedGrid:
    def __init__(self, launch: Callable[..., None]) -> None:
        self._launch = launch

    def __getitem__(self, _: object) -> Callable[..., None]:
        return self._launch


class _NoTransfers(Transfers):
    """Stages what is sent and sends nothing. What is fetched of int32 says that each query's vector is finite and that it has
    as many candidates as results, all of them listed; other memory stays as it was.
    """

    def __init__(self, num_results: int) -> None:
        super().__init__(torch.device("meta"))
        self._num_results = num_results
        self._staged: dict[tuple[int, torch.dtype], torch.Tensor] = {}

    def host(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        # A copy to a GPU is done before the next block is staged. torch then gives its memory out again, for any size of the
        # same power of two.
        length = math.prod(shape)
        key = power_of_two(length), dtype
        if key not in self._staged:
            self._staged[key] = torch.zeros(key[0], dtype=dtype)
        return self._staged[key][:length].view(shape)

    def fetch(self, tensor: torch.Tensor, host: torch.Tensor) -> None:
        assert tensor.shape == host.shape
        if host.dtype == torch.int32:
            host.fill_(self._num_results)


def engine_without_device(
    shard: ItemShard,
    num_results: int,
    note: Note,
    coarse: str | CoarseFormat = DEFAULT_FORMAT,
    products: Products | None = None,
) -> CudaEngine:
    """The CUDA engine with the sizes that it has on a GPU. Each list gets `num_results` results of arbitrary values."""
    noted = NotedKernels(note)
    kernels = Kernels(noted, noted, noted)
    transfers = _NoTransfers(num_results)
    return CudaEngine(shard, coarse=coarse, device="meta", kernels=kernels, transfers=transfers, products=products)


def bench_gpu_host(problem: ScoringProblem, k: int, *, rounds: int = 5) -> list[HostWorkRow]:
    """The host's work for lists of all users, in each variant; and for one user at a time, the median of some."""
    with single_threads(1, "semrec-host") as pool:  # else threads of torch that wait count as work
        return pool.submit(_bench, problem, k, rounds).result()


def _bench(problem: ScoringProblem, k: int, rounds: int) -> list[HostWorkRow]:
    size = problem.items.num_items, problem.num_users, k
    copy_ms = min(_copy_ms(problem.users_UD) for _ in range(rounds + 1))
    rows = []
    for variant in VARIANTS:
        launched: list[str] = []
        engine = engine_without_device(problem.shard(variant), k, lambda name, *_, to=launched: to.append(name))
        queries = problem.queries(variant)
        engine.top_k(queries, k)  # compiles, and makes the memory that later rounds find
        num_launches = len(launched)
        taken_ms = [_call_ms(engine, queries, k) for _ in range(rounds)]
        cpu_ms, wall_ms = (min(times) for times in zip(*taken_ms, strict=True))
        rows.append(HostWorkRow(variant, *size, num_launches, cpu_ms, wall_ms, cpu_ms / copy_ms))
        if variant == "seen":
            rows.append(_one_at_a_time(engine, queries, k, launched))
    return rows


def _one_at_a_time(engine: CudaEngine, queries: Queries, k: int, launched: list[str]) -> HostWorkRow:
    launched.clear()
    calls = range(min(_CALLS, queries.num_queries))
    taken_ms = [_call_ms(engine, queries.between(call, call + 1), k) for call in calls]
    cpu_ms, wall_ms = (median(times) for times in zip(*taken_ms, strict=True))
    copy_ms = median(_copy_ms(queries.vectors_QD[call : call + 1]) for call in calls)
    num_launches = len(launched) // len(calls)
    return HostWorkRow("seen", engine.shard.num_items, 1, k, num_launches, cpu_ms, wall_ms, cpu_ms / copy_ms)


def _call_ms(engine: CudaEngine, queries: Queries, k: int) -> tuple[float, float]:
    """Milliseconds of the processors and of the clock."""
    started = time.process_time(), time.perf_counter()
    engine.top_k(queries, k)
    return (time.process_time() - started[0]) * 1e3, (time.perf_counter() - started[1]) * 1e3


def _copy_ms(vectors_UD: np.ndarray) -> float:
    """Milliseconds of the processors for a copy of vectors, a block of them at a time into the same memory."""
    out = np.empty((min(BLOCK_QUERIES, len(vectors_UD)), vectors_UD.shape[1]), np.float32)
    started_s = time.process_time()
    for start in range(0, len(vectors_UD), BLOCK_QUERIES):
        part = vectors_UD[start : start + BLOCK_QUERIES]
        out[: len(part)] = part
    return (time.process_time() - started_s) * 1e3
