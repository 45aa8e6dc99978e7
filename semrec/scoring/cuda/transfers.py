"""Copy arrays between the host and a device: on a GPU through pinned memory, on streams of their own beside the kernels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from semrec.scoring.formats.base import as_tensor

__all__ = ["Transfers"]


class Transfers:
    """Copies to and from one device. Kernels of the current stream see what was sent before they were launched.

    torch keeps pinned memory for the next call and does not give it out again before the copies from it are done.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self._on_gpu = device, device.type == "cuda"
        self._up, self._down = (torch.cuda.Stream(device) if self._on_gpu else None for _ in range(2))

    def host(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Memory of the host that the device can read and write by itself; its values are undefined."""
        return torch.empty(shape, dtype=dtype, pin_memory=self._on_gpu)

    def send(self, array: np.ndarray, dtype: torch.dtype | None = None) -> torch.Tensor:
        """The array on the device. It may be changed as soon as this returns."""
        source = as_tensor(array)
        staged = self.host(array.shape, dtype or source.dtype)
        staged.copy_(source)  # in several threads
        return self._sent(staged)

    def send_filled(self, length: int, dtype: torch.dtype, fill: Callable[[np.ndarray], None]) -> torch.Tensor:
        """An array on the device that `fill` writes straight into memory that can be sent."""
        staged = self.host((length,), dtype)
        fill(staged.numpy())
        return self._sent(staged)

    def fetch(self, tensor: torch.Tensor, host: torch.Tensor) -> None:
        """Starts a copy into memory of `host`, which is whole once an event of `fetched` has come."""
        if self._down is None:
            host.copy_(tensor)
            return
        self._down.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._down):
            host.copy_(tensor, non_blocking=True)
        tensor.record_stream(self._down)

    def start_fetch(self, tensor: torch.Tensor) -> torch.Tensor:
        """Starts a copy into new memory of the host; see `fetch`."""
        host = self.host(tuple(tensor.shape), tensor.dtype)
        self.fetch(tensor, host)
        return host

    def fetch_now(self, tensor: torch.Tensor) -> np.ndarray:
        """Waits for the values of a tensor."""
        host = self.start_fetch(tensor)
        if self._down is not None:
            self._down.synchronize()
        return host.numpy()

    def fetched(self) -> torch.cuda.Event | None:
        """An event after all copies that `fetch` has started; None where they are done already."""
        return None if self._down is None else self._down.record_event()

    def _sent(self, staged: torch.Tensor) -> torch.Tensor:
        if self._up is None:
            return staged.to(self.device)
        kernels = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self._up):
            sent = staged.to(self.device, non_blocking=True)
        kernels.wait_stream(self._up)
        sent.record_stream(kernels)
        return sent
