"""Defines where a command's work is done. Imports neither Ray nor torch, so that `--help` is quick."""

from __future__ import annotations

from dataclasses import dataclass

from semrec.errors import InputError

__all__ = ["ComputeOptions"]

_DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class ComputeOptions:
    """The place and resources of a command's work. Without an address and outside a Ray job, a local Ray is started and ended
    with the command.
    """

    in_process: bool = False
    address: str | None = None
    num_workers: int | None = None  # default: what the cluster has room for
    cpus_per_worker: int | None = None  # default: 1 on small nodes, 4 on others
    device: str = "auto"  # auto: GPUs where nodes with some are alive | cpu: never a GPU | cuda: waits for one
    device_wait_s: float = 900.0  # for a GPU: a node to be rented, its image pulled, another's job to end

    def __post_init__(self) -> None:
        if self.device not in _DEVICES or self.device_wait_s <= 0:
            raise InputError(
                f"device {self.device!r}, waited for {self.device_wait_s:g} s",
                expected=f"one of {', '.join(_DEVICES)}, and a time above 0",
                remedy="Correct --device or --device-wait.",
            )
