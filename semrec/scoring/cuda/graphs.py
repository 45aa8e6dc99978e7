"""Replay the launches for a few queries as one CUDA graph for each shape: one by one, they take longer than the kernels."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import torch

__all__ = ["MOST_SHAPES", "Graphs", "Recorded", "record_cuda_graph"]

_log = logging.getLogger(__name__)

MOST_SHAPES: Final = 32  # each keeps the memory of its block

Tensors = tuple[torch.Tensor, ...]
Outputs = TypeVar("Outputs")


@dataclass(frozen=True)
class Recorded(Generic[Outputs]):
    """Launches over the tensors `inputs`; `replay` makes them again, into `outputs`."""

    inputs: Tensors
    outputs: Outputs
    replay: Callable[[], None]


class Graphs(Generic[Outputs]):
    """Launches by shape: made one by one at first, which compiles the kernels, recorded the second time, replayed from then on.

    Outputs are overwritten by the next replay of their shape: hold `lock` from `run` until they are read. The first 32 shapes
    are recorded. Where recording fails, launches are made one by one, and the log says so once.
    """

    def __init__(self, record: Callable[[Tensors, Callable[[Tensors], Outputs]], Recorded[Outputs]]) -> None:
        self._record, self._is_broken = record, False
        self._of_shape: dict[Hashable, Recorded[Outputs]] = {}
        self._shapes_seen: set[Hashable] = set()
        self.lock = threading.Lock()

    def run(self, shape: Hashable, inputs: Tensors, launch: Callable[[Tensors], Outputs]) -> Outputs:
        """What `launch` returns for these inputs; it may look at nothing but them and what `shape` says."""
        recorded = self._of_shape.get(shape) or self._recorded(shape, inputs, launch)
        if recorded is None:
            return launch(inputs)
        for recorded_input, tensor in zip(recorded.inputs, inputs, strict=True):
            recorded_input.copy_(tensor, non_blocking=True)
        recorded.replay()
        return recorded.outputs

    def _recorded(
        self, shape: Hashable, inputs: Tensors, launch: Callable[[Tensors], Outputs]
    ) -> Recorded[Outputs] | None:
        """Records launches whose shape has come before; None where they are to be made one by one."""
        if shape not in self._shapes_seen or self._is_broken or len(self._of_shape) == MOST_SHAPES:
            self._shapes_seen.add(shape)
            return None
        try:
            self._of_shape[shape] = self._record(tuple(tensor.clone() for tensor in inputs), launch)
        except RuntimeError as error:
            _log.warning("the cuda engine launches its kernels one by one: recording them failed (%s)", error)
            self._is_broken = True
        return self._of_shape.get(shape)


def record_cuda_graph(inputs: Tensors, launch: Callable[[Tensors], Outputs]) -> Recorded[Outputs]:
    """Captures launches on the current device; other threads may go on using it meanwhile."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        outputs = launch(inputs)
    return Recorded(inputs, outputs, graph.replay)
