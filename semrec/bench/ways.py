"""The ways of scoring that the bench times: our engines in every variant, the reference on few users, the peers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from semrec.bench.peers import Search, available_peers, make_peer
from semrec.bench.problems import ScoringProblem, Variant
from semrec.progress import Progress
from semrec.scoring import Engine, Queries, TopK, make_engine
from semrec.scoring.coarse import CoarseFormat
from semrec.scoring.formats import measure_formats
from semrec.scoring.products import usable_formats

__all__ = ["Way", "all_ways", "choose_formats"]

_REFERENCE_USERS: Final = 4  # it scores about 100,000 pairs in a second,
_REFERENCE_PAIRS: Final = 1 << 19  # so that of many items fewer users must do
_LOOK_USERS: Final = 2_048  # for each thread
_LOOK_ITEMS: Final = 65_536


@dataclass(frozen=True)
class Way:
    """Something to be timed. `run(k, stop)` scores the users 0:stop; peers give rows alone, int64 [stop, min(k, I)]."""

    engine: str
    device: str
    variant: Variant
    coarse: CoarseFormat | None
    num_users: int
    run: Callable[[int, int], TopK | np.ndarray]


def choose_formats(
    problem: ScoringProblem, num_threads: int, coarse: CoarseFormat | None, progress: Progress
) -> dict[str, CoarseFormat]:
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


def all_ways(
    problem: ScoringProblem, variants: Iterable[Variant], formats: dict[str, CoarseFormat], num_threads: int
) -> list[Way]:
    """Ours, in the order of `formats` and `variants`; then the peers, then the reference."""
    ours = [way for name in formats for way in _ours(problem, name, variants, formats[name], num_threads)]
    reference = make_engine("reference", problem.items)
    few = min(_REFERENCE_USERS, max(1, _REFERENCE_PAIRS // problem.items.num_items), problem.num_users)
    last = Way("reference", "cpu", "plain", None, few, _engine_run(reference, problem.queries("plain")))
    return [*ours, *_peers(problem, num_threads), last]


def _looks(problem: ScoringProblem, name: str, num_threads: int) -> dict[CoarseFormat, float]:
    """Users per second in each coarse format that is right on this machine."""
    return measure_formats(
        lambda items, coarse: make_engine(name, items, coarse=coarse, num_threads=num_threads),
        usable_formats(name, problem.items.dimension),
        problem.items,
        problem.queries("plain").between(0, min(_LOOK_USERS * num_threads, problem.num_users)),
        num_items=problem.items.num_items,
        most_items=_LOOK_ITEMS,
    )


def _ours(
    problem: ScoringProblem, name: str, variants: Iterable[Variant], coarse: CoarseFormat, num_threads: int
) -> Iterator[Way]:
    device = "cuda" if name == "cuda" else "cpu"
    without_words = make_engine(name, problem.items, coarse=coarse, num_threads=num_threads)
    for variant in variants:
        engine = without_words
        if variant == "filters":
            engine = make_engine(name, problem.shard(variant), coarse=coarse, num_threads=num_threads)
        run = _engine_run(engine, problem.queries(variant))
        yield Way(name, device, variant, coarse, problem.num_users, run)


def _peers(problem: ScoringProblem, num_threads: int) -> Iterator[Way]:
    vectors = problem.items.vectors()
    for engine, device in available_peers():
        run = _peer_run(make_peer(engine, device, vectors, num_threads), problem.users_UD)
        yield Way(engine, device, "plain", None, problem.num_users, run)


def _engine_run(engine: Engine, queries: Queries) -> Callable[[int, int], TopK]:
    return lambda k, stop: engine.top_k(queries.between(0, stop), k)


def _peer_run(search: Search, users_UD: np.ndarray) -> Callable[[int, int], np.ndarray]:
    return lambda k, stop: search(users_UD[:stop], k)
