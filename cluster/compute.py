"""Runs parts and functions in this process or on a Ray cluster. Stages see the same few methods of either."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from cluster.compute_options import ComputeOptions
from cluster.executor import NO_WORKER_S, run_on_pool
from cluster.local_ray import local_ray
from cluster.metrics import RayMetrics
from cluster.pool import GroupShape, WorkerPool, WorkerSpec
from semrec.errors import DeviceError, InputError, SemrecError
from semrec.metrics import Metrics, NoMetrics
from semrec.workspace.ledger import PartRecord

__all__ = ["Compute", "ComputeOptions", "Devices", "InProcess", "RayCluster", "open_compute"]

_DRIVER = Path("/proc/driver/nvidia/version")  # in containers too
_GPU_SHAPE = GroupShape(num_cpus=1, num_gpus=1)
_OBJECT_STORE_BYTES = 512 * 1024**2  # holds shard results on their way to the merge, nothing else
_QUIET: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, "configure_logging": True}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Devices:
    """Devices available to a stage: `count` of a kind, `memory_bytes` each (None: unknown), `cpus` threads each."""

    kind: str  # cpu | cuda
    count: int
    memory_bytes: int | None
    cpus: int


class Compute(Protocol):
    """Runs parts and functions somewhere."""

    metrics: Metrics

    def devices(self, at_least: int = 1, *, kind: str | None = None) -> Devices:
        """Finds GPUs, or shares of the CPUs: of the `kind` that the work needs (cpu, cuda), by default that of the options.

        In one process `at_least` take turns. Raises InputError for cuda where the options forbid it, DeviceError where no
        GPU is to be had.
        """

    def run_parts(
        self, spec: WorkerSpec, parts: Sequence[int], num_groups: int, on_done: Callable[[PartRecord], None],
        on_retry: Callable[[int, str], None],
    ) -> float:  # fmt: skip
        """Does all parts, or raises; returns the seconds until work began. Workers stay for the next plan."""

    def run(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """Runs one function away from the driver."""

    def describe(self) -> str:
        """Describes the place in one line for people."""

    def close(self) -> None:
        """Ends the workers, which otherwise stay for the next plan. The next plan starts new ones."""


class InProcess:
    """Runs everything in this process, one part after the other."""

    def __init__(self, device: str = "auto") -> None:
        self._device = device
        self.metrics: Metrics = NoMetrics()

    def devices(self, at_least: int = 1, *, kind: str | None = None) -> Devices:
        import torch  # seconds, which a service's driver need not wait for

        threads = os.cpu_count() or 1
        wanted = _wanted(kind, self._device)
        if wanted != "cpu" and torch.cuda.is_available():
            return Devices("cuda", at_least, _gpu_memory_bytes() // at_least, threads)
        if wanted == "cuda":
            raise DeviceError(
                f"torch {torch.__version__} sees no GPU",
                expected="a GPU in this machine",
                remedy="Work without one (--device cpu), or on a cluster that has some (--address).",
            )
        return Devices("cpu", at_least, None, threads)

    def run_parts(self, spec, parts, num_groups, on_done, on_retry) -> float:  # type: ignore[no-untyped-def]
        started_s = time.monotonic()
        workers: list[Any] = [spec.worker(**arguments) for arguments in spec.arguments_by_actor]
        startup_s = time.monotonic() - started_s
        for part in parts:
            if spec.shards:
                on_done(workers[0].commit_part(part, *[worker.score_shard(part) for worker in workers]))
            else:
                on_done(workers[0].run_part(part))
        return startup_s

    def run(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        return function(*arguments, **keywords)

    def describe(self) -> str:
        return "in this process"

    def close(self) -> None: ...


class RayCluster:
    """Runs everything on the Ray cluster that this process is connected to, in a pool of actors that stays until `close`."""

    def __init__(self, options: ComputeOptions, *, is_own: bool = False) -> None:
        """Takes the cluster's options. `is_own`: a Ray of this command alone, to which no node will be added."""
        self._options, self._is_own = options, is_own
        self.pool = WorkerPool()
        self.metrics: Metrics = RayMetrics()

    def __enter__(self) -> RayCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.pool.close()

    def devices(self, at_least: int = 1, *, kind: str | None = None) -> Devices:
        wanted = _wanted(kind, self._options.device)
        if wanted == "cpu" or (wanted == "auto" and not self._num_gpus()):
            return self._cpus()
        # Only who says so waits for a node: elsewhere an engine or encoder for GPUs, too, takes what is alive.
        if not self._num_gpus() and (self._is_own or self._options.device != "cuda"):
            raise DeviceError(
                f"no GPU ({self.describe()})",
                expected="a node with a GPU",
                remedy="Use --device cuda on a cluster that scales to have one rented, or --device cpu to do without.",
            )
        memory = self._ask_for_gpu()
        return Devices("cuda", self._options.num_workers or self._num_gpus(), memory, int(_GPU_SHAPE.num_cpus))

    def _num_gpus(self) -> int:
        return int(sum(resources.get("GPU", 0) for resources in _alive()))

    def _cpus(self) -> Devices:
        nodes = _alive()
        largest = max((int(node.get("CPU", 0)) for node in nodes), default=1)
        cpus = self._options.cpus_per_worker or (1 if largest <= 4 else 4)
        room = [(int(node.get("CPU", 0)) // cpus, node.get("memory", 0)) for node in nodes]
        count = self._options.num_workers or max(1, sum(slots for slots, _ in room))
        shares = [memory / slots for slots, memory in room if slots]
        return Devices("cpu", count, int(min(shares)) if shares else None, cpus)

    def _ask_for_gpu(self) -> int:
        """Returns a GPU's memory in bytes. Waits for a free one: the pending actor is what an autoscaler brings a node for."""
        limit_s = self._options.device_wait_s
        if not self._num_gpus():
            _log.warning("asked the cluster for a GPU; waiting for up to %.0f s", limit_s)
        try:
            # The actor that answers stays in the pool: nobody else takes its GPU before the work begins.
            return int(self.pool.run(_gpu_memory_bytes, (), {}, shape=_GPU_SHAPE, is_exact=True, timeout_s=limit_s))
        except GetTimeoutError:
            free = ray.available_resources().get("GPU", 0)
            raise DeviceError(
                f"no free GPU in {limit_s:.0f} s ({self.describe()}, {free:g} of the GPUs free)",
                expected="a node with a free GPU",
                remedy="Look at the pool's largest size, the cloud's quota and the autoscaler's log; wait longer "
                "(--device-wait), or do without (--device cpu).",
            ) from None
        except (RayTaskError, RayActorError) as error:
            raise DeviceError(
                f"a node with a GPU that torch cannot use: {getattr(error, 'cause', error)}",
                expected="an image with the CUDA build of torch, and the driver that it needs (580 or newer for CUDA 13)",
                remedy="Mend the image or the driver, or use --device cpu.",
            ) from error

    def run_parts(self, spec, parts, num_groups, on_done, on_retry) -> float:  # type: ignore[no-untyped-def]
        # The GPU that `devices` found was only looked at: another job may have it now, or its node be gone.
        wait_s = max(NO_WORKER_S, self._options.device_wait_s) if spec.num_gpus else NO_WORKER_S
        return run_on_pool(
            self.pool, spec, parts, num_groups=num_groups, on_done=on_done, on_retry=on_retry, ready_within_s=wait_s
        )

    def run(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        try:
            return self.pool.run(function, arguments, keywords, shape=GroupShape(self._cpus().cpus))
        except RayTaskError as error:
            if isinstance(error.cause, SemrecError):
                raise error.cause from None
            raise

    def describe(self) -> str:
        nodes = sum(node["Alive"] for node in ray.nodes())
        total = ray.cluster_resources()
        named = "1 node" if nodes == 1 else f"{nodes} nodes"
        return f"on Ray: {named}, {total.get('CPU', 0):g} CPUs, {total.get('GPU', 0):g} GPUs"


@contextlib.contextmanager
def open_compute(options: ComputeOptions) -> Iterator[Compute]:
    """Connects to Ray, or starts a local one for the time of the block, unless `in_process`.

    A Ray that was initialised before is used and left running. Inside a Ray job the job's cluster is used.
    """
    if options.in_process:
        yield InProcess(options.device)
    elif ray.is_initialized():
        with RayCluster(options) as cluster:
            yield cluster
    else:
        # Ray puts the driver's folder first on its workers' path; a `cluster` package there must not be taken for this one.
        env = {"worker_process_setup_hook": "semrec.__main__.import_packages"}
        address = options.address or os.environ.get("RAY_ADDRESS") or "local"
        is_own = address == "local"
        connected = _own_ray(env) if is_own else _joined_ray(options.address or "auto", env)
        with connected, RayCluster(options, is_own=is_own) as cluster:
            yield cluster


@contextlib.contextmanager
def _joined_ray(address: str, env: dict[str, str]) -> Iterator[None]:
    ray.init(address=address, runtime_env=env, **_QUIET)
    try:
        yield
    finally:
        ray.shutdown()


def _own_ray(env: dict[str, str]) -> contextlib.AbstractContextManager[None]:
    return local_ray(include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES, runtime_env=env, **_QUIET)


def _wanted(kind: str | None, device: str) -> str:
    """Resolves the kind of device that work needs: `kind`, or what the option says."""
    if kind == "cuda" and device == "cpu":
        raise InputError(
            "an engine or encoder on a GPU, and device cpu",
            expected="one of them",
            remedy="Leave --device cpu out, or choose the cpu engine and encoder.",
        )
    return kind or device


def _alive() -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _gpu_memory_bytes() -> int:
    import torch

    try:
        return int(torch.cuda.mem_get_info()[1])
    except RuntimeError as error:  # torch gives the driver's version as a number of CUDA, or none
        with contextlib.suppress(OSError):
            raise RuntimeError(f"{error}; {_DRIVER.read_text().splitlines()[0]}") from error
        raise RuntimeError(f"{error}; no driver of NVIDIA ({_DRIVER})") from error
