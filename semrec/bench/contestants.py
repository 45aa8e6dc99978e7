"""Lists the contestants that the bench times: our engines in every variant, the reference on few users, the peers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch

from semrec.bench.engine_process import EngineProcess, EngineProcessSpec
from semrec.bench.kernels import kernel_choices
from semrec.bench.peers import Search, available_peers, make_peer
from semrec.bench.workloads import ScoringProblem, Variant
from semrec.progress import Progress
from semrec.scoring.engine import Engine, make_engine
from semrec.scoring.formats.check import usable_formats
from semrec.scoring.formats.measure import measure_formats
from semrec.scoring.types import Queries, TopK

__all__ = ["Contestant", "choose_formats", "our_contestants", "peer_contestants", "reference_contestant"]

_REFERENCE_USERS: Final = 4  # it scores about 100,000 pairs in a second,
_REFERENCE_PAIRS: Final = 1 << 19  # so that of many items fewer users must do
_LOOK_USERS: Final = 2_048  # for each thread
_LOOK_ITEMS: Final = 65_536
_LOOK_QUERIES: Final = 512  # for each choice of a peer's kernels,
_LOOK_K: Final = 10
_LOOKS: Final = 3  # of which the fastest counts

_Run = Callable[[int, int], tuple[TopK | np.ndarray, float]]


@dataclass(frozen=True)
class Contestant:
    """Something to be timed. `run(k, stop)` scores the users 0:stop: the lists, and the seconds that they took.

    Peers give rows alone, int64 [stop, min(k, I)]. `kernels` is the fastest of those that a peer's library offers.
    """

    engine: str
    device: str
    variant: Variant
    coarse: str | None
    num_users: int
    run: _Run
    kernels: str | None = None


def choose_formats(problem: ScoringProblem, num_threads: int, coarse: str | None, progress: Progress) -> dict[str, str]:
    """Our engines on this machine -> the coarse format of each: `coarse`, or what a quick look finds fastest."""
    formats = {}
    for name in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        if coarse:
            formats[name] = coarse
            continue
        looks = _looks(problem, name, num_threads)
        formats[name] = max(looks, key=looks.__getitem__)
        rates = ", ".join(f"{kind} {rate:,.0f}" for kind, rate in looks.items())
        progress.note(f"{name}: {formats[name]}, of {rates} users/s in a quick look")
    return formats


def our_contestants(
    problem: ScoringProblem, variants: Iterable[Variant], formats: dict[str, str], num_threads: int
) -> list[Contestant]:
    """Our engines on this machine, in the order of `formats` and `variants`."""
    return [contestant for name in formats for contestant in _ours(problem, name, variants, formats[name], num_threads)]


def peer_contestants(
    problem: ScoringProblem, num_threads: int, folder: str, processes: ExitStack, progress: Progress
) -> list[Contestant]:
    """The peers that are installed. On the CPU each works in a process of its own, on the problem that `folder` holds, and
    with the fastest kernels that it offers; leaving `processes` ends it.
    """
    contestants = []
    for engine, device in available_peers():
        if device == "cpu":
            spec = EngineProcessSpec(folder, engine, device, None, num_threads)
            run, kernels = _fastest_child(problem, spec, progress, processes)
        else:  # in this process: a GPU's library has no such choice, and its memory no room for the items twice
            search, kernels = make_peer(engine, device, problem.items.vectors(), num_threads), None
            run = _peer_run(search, problem.users_UD)
        contestants.append(Contestant(engine, device, "plain", None, problem.num_users, run, kernels))
    return contestants


def reference_contestant(problem: ScoringProblem) -> Contestant:
    """The reference, on the few users that it has time for."""
    reference = make_engine("reference", problem.items)
    few = min(_REFERENCE_USERS, max(1, _REFERENCE_PAIRS // problem.items.num_items), problem.num_users)
    return Contestant("reference", "cpu", "plain", None, few, _engine_run(reference, problem.queries("plain")))


def _looks(problem: ScoringProblem, name: str, num_threads: int) -> dict[str, float]:
    """Users per second in each coarse format that is right on this machine."""
    return measure_formats(
        lambda items, coarse: make_engine(name, items, coarse=coarse, num_threads=num_threads),
        usable_formats(name, problem.items.dimension),
        problem.items,
        problem.queries("plain").between(0, min(_LOOK_USERS * num_threads, problem.num_users)),
        num_items=problem.items.num_items,
        max_items=_LOOK_ITEMS,
    )


def _ours(
    problem: ScoringProblem, name: str, variants: Iterable[Variant], coarse: str, num_threads: int
) -> Iterator[Contestant]:
    device = "cuda" if name == "cuda" else "cpu"
    without_words = make_engine(name, problem.items, coarse=coarse, num_threads=num_threads)
    for variant in variants:
        engine = without_words
        if variant == "filters":
            engine = make_engine(name, problem.shard(variant), coarse=coarse, num_threads=num_threads)
        run = _engine_run(engine, problem.queries(variant))
        yield Contestant(name, device, variant, coarse, problem.num_users, run)


def _fastest_child(
    problem: ScoringProblem, spec: EngineProcessSpec, progress: Progress, processes: ExitStack
) -> tuple[_Run, str | None]:
    """The run of a peer with the kernels that are fastest in a quick look, and which those are where it has a choice.

    One child of a peer works at a time, so all of them may leave their rows in one file.
    """
    choices, rows_file = kernel_choices(spec.engine), Path(spec.folder, f"rows-{spec.engine}.npy")
    rates = {}
    for choice in choices if len(choices) > 1 else ():
        with EngineProcess(replace(spec, kernels=choice)) as child:
            run = _child_run(child, rows_file)
            stop = min(_LOOK_QUERIES, problem.num_users)
            rates[choice] = stop / min(run(_LOOK_K, stop)[1] for _ in range(_LOOKS))
    chosen = max(rates, key=rates.__getitem__) if rates else choices[0]
    if rates:
        told = ", ".join(f"{choice} {rate:,.0f}" for choice, rate in rates.items())
        progress.note(f"{spec.engine}: {chosen}, of {told} users/s in a quick look")
    child = processes.enter_context(EngineProcess(replace(spec, kernels=chosen)))
    return _child_run(child, rows_file), chosen if rates else None


def _child_run(child: EngineProcess, rows_file: Path) -> _Run:
    def run(k: int, stop: int) -> tuple[np.ndarray, float]:
        child.send(k=k, start=0, stop=stop, parts=1, save=str(rows_file))
        seconds = child.receive()["seconds"]
        rows: np.ndarray = np.load(rows_file)
        return rows, seconds

    return run


def _engine_run(engine: Engine, queries: Queries) -> _Run:
    return lambda k, stop: _timed(lambda: engine.top_k(queries.between(0, stop), k))


def _peer_run(search: Search, users_UD: np.ndarray) -> _Run:
    return lambda k, stop: _timed(lambda: search(users_UD[:stop], k))


def _timed(score: Callable[[], TopK | np.ndarray]) -> tuple[TopK | np.ndarray, float]:
    started_s = time.perf_counter()
    found = score()
    return found, time.perf_counter() - started_s
