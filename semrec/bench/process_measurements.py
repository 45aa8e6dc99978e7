"""Measures what takes processes of their own: an engine's peak memory, and several processes against several threads."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from semrec.bench.engine_process import EngineProcess, EngineProcessSpec, save_problem
from semrec.bench.workloads import ScoringProblem

__all__ = ["peak_memory", "process_seconds", "saved_problem"]

_FEW_PARTS, _MANY_PARTS = 1, 4  # the second shows that the peak does not grow with the users


@contextmanager
def saved_problem(problem: ScoringProblem) -> Iterator[str]:
    """A folder with the problem's files, for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="semrec-") as folder:
        save_problem(problem, Path(folder))
        yield folder


def peak_memory(spec: EngineProcessSpec, ks: Iterable[int], num_users: int) -> dict[int, tuple[int, int]]:
    """K -> peak bytes over what the process held before it saw the items: the users in one part, and four such parts.

    On the CPU these are resident bytes, mapped files included; on a GPU those that torch allocated there. One child does
    it all in ascending K, so that each figure is the peak up to then.
    """
    with EngineProcess(spec) as child:
        return {
            k: (_peak(child, k, num_users, _FEW_PARTS), _peak(child, k, num_users, _MANY_PARTS)) for k in sorted(ks)
        }


def _peak(child: EngineProcess, k: int, num_users: int, parts: int) -> int:
    child.send(k=k, start=0, stop=num_users, parts=parts)
    return int(child.receive()["peak_bytes"])


def process_seconds(
    folder: str, coarse: str | None, num_threads: int, ks: tuple[int, ...], *, num_users: int, rounds: int
) -> dict[int, list[tuple[float, float]]]:
    """K -> per round, the seconds of one process with all the threads, and of as many processes with one thread each.

    Both score the same users, the processes an equal share each; who waits for orders sleeps.
    """
    spec = EngineProcessSpec(folder, "cpu", "cpu", coarse, num_threads)
    edges = np.linspace(0, num_users, num_threads + 1).astype(int).tolist()
    shares = list(pairwise(edges))
    taken: dict[int, list[tuple[float, float]]] = {k: [] for k in ks}
    with ExitStack() as stack:
        whole = [stack.enter_context(EngineProcess(spec))]
        several = [stack.enter_context(EngineProcess(replace(spec, num_threads=1))) for _ in shares]
        for k in ks:
            _seconds(whole, [(0, num_users)], k)
            _seconds(several, shares, k)
        for _ in range(rounds):
            for k in ks:
                taken[k].append((_seconds(whole, [(0, num_users)], k), _seconds(several, shares, k)))
    return taken


def _seconds(children: list[EngineProcess], shares: list[tuple[int, int]], k: int) -> float:
    """From the first order to the last answer."""
    started_s = time.perf_counter()
    for child, (start, stop) in zip(children, shares, strict=True):
        child.send(k=k, start=start, stop=stop, parts=1)
    for child in children:
        child.receive()
    return time.perf_counter() - started_s
