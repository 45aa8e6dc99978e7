"""Where work is done: in this process, or on a Ray cluster. Stages see the same few methods of either."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import ray
import torch
from ray.exceptions import RayTaskError

from cluster.actors import run_function
from cluster.executor import WorkerSpec, run_on_actors
from cluster.metrics import RayMetrics
from semrec.errors import SemrecError
from semrec.ledger import PartRecord
from semrec.metrics import Metrics, NoMetrics
from semrec.workers import run_serial

__all__ = ["Compute", "ComputeOptions", "Devices", "InProcess", "RayCluster", "open_compute"]

_OBJECT_STORE_BYTES = 512 * 1024**2  # holds shard results on their way to the merge, nothing else


@dataclass(frozen=True)
class ComputeOptions:
    """Where to work. Without an address and outside a Ray job, a local Ray is started and ended with the command."""

    in_process: bool = False
    address: str | None = None
    num_workers: int | None = None  # default: what the cluster has room for
    cpus_per_worker: int | None = None  # default: 1 on small nodes, 4 on others


@dataclass(frozen=True)
class Devices:
    """What work may run on: `count` devices of a kind, `memory_bytes` each (None: unknown), `cpus` threads each."""

    kind: str  # cpu | cuda
    count: int
    memory_bytes: int | None
    cpus: int


class Compute(Protocol):
    """Runs parts and functions somewhere."""

    metrics: Metrics

    def devices(self, at_least: int = 1) -> Devices:
        """What is there: GPUs when there are any, otherwise shares of the CPUs. In one process `at_least` take turns."""

    def run_parts(
        self, spec: WorkerSpec, parts: Sequence[int], num_groups: int, on_done: Callable[[PartRecord], None],
        on_retry: Callable[[int, str], None],
    ) -> float:  # fmt: skip
        """Does all parts, or raises; returns the seconds until work began."""

    def run(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """Runs one function away from the driver."""

    def describe(self) -> str:
        """One line for people."""


class InProcess:
    """Everything here, one part after the other."""

    def __init__(self) -> None:
        self.metrics: Metrics = NoMetrics()

    def devices(self, at_least: int = 1) -> Devices:
        threads = os.cpu_count() or 1
        if torch.cuda.is_available():
            return Devices("cuda", at_least, _gpu_memory_bytes() // at_least, threads)
        return Devices("cpu", at_least, None, threads)

    def run_parts(self, spec, parts, num_groups, on_done, on_retry) -> float:  # type: ignore[no-untyped-def]
        started_s = time.monotonic()
        shards: tuple[dict[str, Any], ...] = spec.shards or ({},)
        workers: list[Any] = [spec.worker(**spec.arguments, **shard) for shard in shards]
        startup_s = time.monotonic() - started_s
        if not spec.shards:
            run_serial(workers[0], parts, on_done)
        else:
            for part in parts:
                on_done(workers[0].commit_part(part, *[worker.score_shard(part) for worker in workers]))
        return startup_s

    def run(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        return function(*arguments, **keywords)

    def describe(self) -> str:
        return "in this process"


class RayCluster:
    """The Ray cluster that this process is connected to."""

    def __init__(self, options: ComputeOptions) -> None:
        self._options = options
        self.metrics: Metrics = RayMetrics()

    def devices(self, at_least: int = 1) -> Devices:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpus = int(sum(node.get("GPU", 0) for node in nodes))
        if gpus:
            memory = ray.get(run_function.options(num_gpus=1).remote(_gpu_memory_bytes))
            return Devices("cuda", self._options.num_workers or gpus, memory, 1)
        largest = max((int(node.get("CPU", 0)) for node in nodes), default=1)
        cpus = self._options.cpus_per_worker or (1 if largest <= 4 else 4)
        room = [(int(node.get("CPU", 0)) // cpus, node.get("memory", 0)) for node in nodes]
        count = self._options.num_workers or max(1, sum(slots for slots, _ in room))
        shares = [memory / slots for slots, memory in room if slots]
        return Devices("cpu", count, int(min(shares)) if shares else None, cpus)

    def run_parts(self, spec, parts, num_groups, on_done, on_retry) -> float:  # type: ignore[no-untyped-def]
        return run_on_actors(spec, parts, num_groups=num_groups, on_done=on_done, on_retry=on_retry)

    def run(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        try:
            return ray.get(run_function.remote(function, *arguments, **keywords))
        except RayTaskError as error:
            if isinstance(error.cause, SemrecError):
                raise error.cause from None
            raise

    def describe(self) -> str:
        nodes = sum(node["Alive"] for node in ray.nodes())
        total = ray.cluster_resources()
        return f"on Ray: {nodes} node{'s' * (nodes != 1)}, {total.get('CPU', 0):g} CPUs, {total.get('GPU', 0):g} GPUs"


@contextlib.contextmanager
def open_compute(options: ComputeOptions) -> Iterator[Compute]:
    """Connects to Ray, or starts a local one for the time of the block, unless `in_process`.

    A Ray that was initialised before is used and left running. Inside a Ray job the job's cluster is used.
    """
    if options.in_process:
        yield InProcess()
    elif ray.is_initialized():
        yield RayCluster(options)
    else:
        _connect(options)
        try:
            yield RayCluster(options)
        finally:
            ray.shutdown()


def _connect(options: ComputeOptions) -> None:
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False, "configure_logging": True}
    # Ray puts the driver's folder first on its workers' path; a `cluster` package there must not be taken for this one.
    env = {"worker_process_setup_hook": "semrec.__main__.import_packages"}
    if options.address or os.environ.get("RAY_ADDRESS"):
        ray.init(address=options.address or "auto", runtime_env=env, **quiet)
        return
    # "local": without it Ray joins whatever cluster was last started on this machine, somebody else's, too.
    ray.init(
        address="local", include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES, runtime_env=env, **quiet
    )


def _gpu_memory_bytes() -> int:
    return int(torch.cuda.mem_get_info()[1])
