"""One engine in a process of its own: for a peer whose kernels its environment chooses, and for what only a process shows,
peak memory and two processes against two threads.

The parent saves the problem as .npy files, which the child maps as a worker maps a release. Orders and answers are lines of
JSON on stdin and stdout: {"k": 100, "start": 0, "stop": 512, "parts": 1} -> {"peak_bytes": 123456, "seconds": 0.5}, after a
first answer {} when the engine stands. A child scores `parts` times the users start:stop, and `seconds` is what that took
without reading them. It keeps no result, as a worker does, unless `save` names a file for a peer's rows.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import torch

from semrec.bench.kernels import LIBRARY_CHOICE, with_kernels
from semrec.bench.peers import PEERS, make_peer
from semrec.bench.workloads import ScoringProblem
from semrec.errors import IncompleteRunError
from semrec.machine import status_bytes
from semrec.scoring.engine import make_engine
from semrec.scoring.types import ItemShard, Queries

__all__ = ["EngineProcess", "EngineProcessSpec", "main", "save_problem"]

_WARM_UP_ITEMS = 2_048
_CLEAR_REFS = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class EngineProcessSpec:
    """What a child is to be. `folder` holds a saved problem."""

    folder: str
    engine: str
    device: str
    coarse: str | None
    num_threads: int
    kernels: str = LIBRARY_CHOICE  # of kernel_choices


class EngineProcess:
    """A running child, seen from its parent. Leaving the context ends it."""

    def __init__(self, spec: EngineProcessSpec) -> None:
        command = [sys.executable, "-m", "semrec.bench.engine_process", json.dumps(asdict(spec))]
        self._name = spec.engine
        self._process = subprocess.Popen(
            with_kernels(spec.kernels, command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> EngineProcess:
        self.receive()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    def send(self, **order: int | str) -> None:
        """Starts an order."""
        print(json.dumps(order), file=self._pipe(self._process.stdin), flush=True)

    def receive(self) -> dict[str, Any]:
        """Waits for the answer. Raises IncompleteRunError when the child has died."""
        line = self._pipe(self._process.stdout).readline()
        if not line:
            raise IncompleteRunError(
                f"the process that measured {self._name} ended with {self._process.wait()}",
                expected="an answer",
                remedy="Read its message above, or leave it out: --no-memory --no-processes.",
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe


def save_problem(problem: ScoringProblem, folder: Path) -> None:
    """Writes what children read; the float32 vectors are for the peers."""
    items, queries = problem.items, problem.queries("seen")
    arrays = {
        "high": items.high_ID,
        "low": items.low_ID,
        "norms": items.norms_IN,
        "vectors": items.vectors(),
        "users": queries.vectors_QD,
        "seen_offsets": queries.seen_offsets,
        "seen_rows": queries.seen_rows,
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def main(argument: str) -> None:
    """The child: warms up on items of its own, maps the problem, obeys until stdin ends."""
    spec = EngineProcessSpec(**json.loads(argument))
    folder = Path(spec.folder)
    users = np.load(folder / "users.npy", mmap_mode="r")[:1].repeat(16, axis=0)
    warm_up = ItemShard.from_vectors(np.ones((_WARM_UP_ITEMS, users.shape[1]), np.float32))
    _scorer(spec, warm_up, None)(Queries.unfiltered(users), 10)  # code and thread pools are not the engine's memory
    before = _forget_peak(spec.device)
    high, low, norms = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("high", "low", "norms"))
    shard = ItemShard(high, low, norms, np.zeros((len(high), 0), np.uint64))
    score = _scorer(spec, shard, folder / "vectors.npy")
    print("{}", flush=True)
    for line in sys.stdin:
        order, seconds = json.loads(line), 0.0
        for _ in range(order["parts"]):
            queries = _load_queries(folder, order["start"], order["stop"])
            started_s = time.perf_counter()
            result = score(queries, order["k"])
            seconds += time.perf_counter() - started_s
            if "save" in order:
                np.save(order["save"], np.asarray(result))
            del queries, result
        print(json.dumps({"peak_bytes": _peak_bytes(spec.device) - before, "seconds": seconds}), flush=True)


def _scorer(spec: EngineProcessSpec, shard: ItemShard, vectors: Path | None) -> Callable[[Queries, int], object]:
    if (spec.engine, spec.device) not in PEERS:
        return make_engine(spec.engine, shard, coarse=spec.coarse, num_threads=spec.num_threads).top_k
    items = np.load(vectors, mmap_mode="c") if vectors else shard.vectors()
    search = make_peer(spec.engine, spec.device, items, spec.num_threads)
    return lambda queries, k: search(queries.vectors_QD, k)


def _load_queries(folder: Path, start: int, stop: int) -> Queries:
    users, offsets, rows = (
        np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("users", "seen_offsets", "seen_rows")
    )
    edges = np.array(offsets[start : stop + 1])
    words = np.zeros((stop - start, 0), np.uint64)
    return Queries(np.array(users[start:stop]), words, edges - edges[0], np.array(rows[edges[0] : edges[-1]]))


def _forget_peak(device: str) -> int:
    """The memory in use, from where the peak counts now."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return int(torch.cuda.memory_allocated())
    _CLEAR_REFS.write_text("5")  # sets VmHWM to VmRSS: proc(5)
    return status_bytes("VmRSS")


def _peak_bytes(device: str) -> int:
    return int(torch.cuda.max_memory_allocated()) if device == "cuda" else status_bytes("VmHWM")


if __name__ == "__main__":
    main(sys.argv[1])
