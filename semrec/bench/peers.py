"""Exact peers without exclusion or filters, and the rate of the bfloat16 product alone, which nothing coarse can beat."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from semrec.torch_threads import single_threads

__all__ = ["PEERS", "Product", "Search", "available_peers", "make_peer"]

#: engine, device
PEERS = (
    ("faiss-cpu", "cpu"),
    ("scann", "cpu"),
    ("implicit", "cpu"),
    ("torch", "cpu"),
    ("faiss-gpu", "cuda"),
    ("torch", "cuda"),
)

_BLOCK_QUERIES = 256
# Queries x items of one product: on threads of their own, in one call on all threads, on a GPU.
_THREAD_SHAPES = ((1024, 1024), (1024, 2048), (2048, 1024))
_CALL_SHAPES = ((1024, 2048), (2048, 4096))
_CUDA_SHAPES = ((2048, 16_384), (4096, 32_768), (8192, 65_536))
_LOOK_ITEMS = {"cpu": 8_192, "cuda": 131_072}  # for the choice of a shape: at least two of the largest tiles

Search = Callable[[np.ndarray, int], np.ndarray]
"""(vectors float32 [Q, D], K) -> matrix rows, best first: int64 [Q, min(K, I)]."""


def available_peers() -> list[tuple[str, str]]:
    """The (engine, device) of `PEERS` that this machine has."""
    devices = {"cpu", "cuda"} if torch.cuda.is_available() else {"cpu"}
    found = {("torch", device) for device in devices}
    found |= {(name, "cpu") for name in ("scann", "implicit") if importlib.util.find_spec(name)}
    if importlib.util.find_spec("faiss"):
        found.add(("faiss-cpu", "cpu"))
        if _faiss_gpus():
            found.add(("faiss-gpu", "cuda"))
    return [peer for peer in PEERS if peer in found]


def make_peer(engine: str, device: str, items_ID: np.ndarray, num_threads: int) -> Search:
    """One of `PEERS` over float32 items. Sets the threads of its libraries for the process."""
    if engine == "torch":
        return _torch(items_ID, device, num_threads)
    if engine == "scann":
        return _scann(items_ID, num_threads)
    if engine == "implicit":
        return _implicit(items_ID, num_threads)
    return _faiss(items_ID, num_threads, gpu=device == "cuda")


def _faiss_gpus() -> int:
    import faiss

    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


def _faiss(items_ID: np.ndarray, num_threads: int, *, gpu: bool) -> Search:
    import faiss

    faiss.omp_set_num_threads(num_threads)
    flat = faiss.IndexFlatIP(items_ID.shape[1])
    index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, flat) if gpu else flat
    index.add(np.ascontiguousarray(items_ID))
    num_items = len(items_ID)

    def search(vectors_QD: np.ndarray, k: int) -> np.ndarray:
        rows: np.ndarray = index.search(vectors_QD, min(k, num_items))[1]
        return rows

    return search


def _scann(items_ID: np.ndarray, num_threads: int) -> Search:
    """Its brute force in float32, which needs no tensorflow."""
    from scann import scann_ops_pybind

    items = np.ascontiguousarray(items_ID)
    searcher = scann_ops_pybind.builder(items, 1, "dot_product").score_brute_force(quantize=False).build()
    searcher.set_num_threads(num_threads)

    def search(vectors_QD: np.ndarray, k: int) -> np.ndarray:
        rows, _ = searcher.search_batched_parallel(vectors_QD, final_num_neighbors=min(k, len(items)))
        return np.asarray(rows, np.int64)

    return search


def _implicit(items_ID: np.ndarray, num_threads: int) -> Search:
    """What its models recommend with: a product of BLAS for some users at a time, and a selection."""
    from implicit.cpu.topk import topk
    from threadpoolctl import threadpool_limits

    items = np.ascontiguousarray(items_ID)
    threadpool_limits(1, user_api="blas")  # as it asks for; it has threads of its own

    def search(vectors_QD: np.ndarray, k: int) -> np.ndarray:
        rows, _ = topk(items, vectors_QD, min(k, len(items)), num_threads=num_threads)
        return np.asarray(rows, np.int64)

    return search


def _torch(items_ID: np.ndarray, device: str, num_threads: int) -> Search:
    torch.set_num_threads(num_threads)
    items = torch.from_numpy(np.ascontiguousarray(items_ID)).to(device)
    scratch = torch.empty((_BLOCK_QUERIES, len(items)), device=device)

    def search(vectors_QD: np.ndarray, k: int) -> np.ndarray:
        rows = np.empty((len(vectors_QD), min(k, len(items))), np.int64)
        for start in range(0, len(vectors_QD), _BLOCK_QUERIES):
            block = torch.from_numpy(vectors_QD[start : start + _BLOCK_QUERIES]).to(device)
            scores = torch.mm(block, items.T, out=scratch[: len(block)])
            rows[start : start + len(block)] = torch.topk(scores, rows.shape[1], dim=1).indices.cpu().numpy()
        return rows

    return search


class Product:
    """The bfloat16 product of all users and items, tile after tile into a reused buffer; nothing looks at the scores."""

    def __init__(self, users_UD: np.ndarray, items_ID: np.ndarray, device: str, num_threads: int) -> None:
        """`items_ID` uint16 bits of bfloat16, `users_UD` float32."""
        self._users = torch.from_numpy(users_UD).to(torch.bfloat16).to(device)
        self._items = torch.from_numpy(np.array(items_ID)).view(torch.bfloat16).to(device)
        self._device, self._num_threads = device, num_threads
        if device == "cpu":
            self._pool = _single_threads(num_threads)
        self._buffers: dict[tuple[int, int], torch.Tensor] = {}
        self._fastest: list[tuple[str, int, tuple[int, int]]] = []

    @property
    def num_users(self) -> int:
        return len(self._users)

    def seconds(self) -> tuple[float, str]:
        """Seconds for all users in the fastest shape, and that shape: "2 threads, 1024x2048".

        The first call looks for the fastest on a few items; all shapes on all items would take minutes where the processor has
        no instructions for bfloat16.
        """
        if not self._fastest:
            looks = [(self._timed(*way, num_items=_LOOK_ITEMS[self._device])[0], way) for way in self._ways()]
            self._fastest = [min(looks)[1]]
        return self._timed(*self._fastest[0], num_items=len(self._items))

    def _ways(self) -> list[tuple[str, int, tuple[int, int]]]:
        """What may be fastest: a name, the number of threads that share the users, queries and items of one product."""
        if self._device == "cuda":
            return [("GPU", 1, shape) for shape in _CUDA_SHAPES]
        alone = [(f"{self._num_threads} threads", self._num_threads, shape) for shape in _THREAD_SHAPES]
        return alone + [("one call", 1, shape) for shape in _CALL_SHAPES]

    def _timed(self, way: str, lanes: int, shape: tuple[int, int], *, num_items: int) -> tuple[float, str]:
        all_items = self._items[:num_items]
        num_users, tile = len(self._users), min(shape[1], len(all_items))
        block = -(-num_users // (lanes * -(-num_users // (lanes * shape[0]))))  # even blocks
        buffers = [self._buffer(lane, block * tile) for lane in range(lanes)]
        started_s = time.perf_counter()
        if lanes > 1:
            list(
                self._pool.map(
                    lambda lane: self._multiply(all_items, lane, lanes, block, tile, buffers[lane]), range(lanes)
                )
            )
        else:
            self._multiply(all_items, 0, 1, block, tile, buffers[0])
        if self._device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started_s, f"{way}, {block}x{tile}"

    def _multiply(
        self, all_items: torch.Tensor, lane: int, lanes: int, block: int, tile: int, buffer: torch.Tensor
    ) -> None:
        """Every `lanes`-th block of users with all items."""
        for start in range(lane * block, len(self._users), lanes * block):
            users = self._users[start : start + block]
            for first in range(0, len(all_items), tile):
                items = all_items[first : first + tile]
                torch.mm(users, items.T, out=buffer[: len(users) * len(items)].view(len(users), len(items)))

    def _buffer(self, lane: int, size: int) -> torch.Tensor:
        """Written to when made, so that no first use of its memory is timed."""
        key = (lane, size)
        if key not in self._buffers:
            self._buffers[key] = torch.zeros(size, dtype=torch.bfloat16, device=self._device)
        return self._buffers[key]


def _single_threads(num_threads: int) -> ThreadPoolExecutor:
    """Threads in each of which torch computes alone."""
    pool = single_threads(num_threads, "semrec-bench")
    torch.set_num_threads(num_threads)  # for the rest of the process; these threads keep theirs
    return pool
