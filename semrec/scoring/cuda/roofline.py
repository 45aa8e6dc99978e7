"""Predict the passes of the CUDA engine on named GPUs from operations and bytes: what it could reach, not what it does.

The time of a pass is that of the resource which takes the longest for it, as if all others ran beside it (Williams, Waterman,
Patterson: Roofline, CACM 2009): tensor cores, float64 units, conversions to float64, issued instructions, second-level cache,
memory. A pass that is measured far above its prediction wastes something; one below it shows a wrong figure here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from semrec.errors import InputError
from semrec.scoring.cuda.items import padded_dimension
from semrec.scoring.cuda.launches import BLOCK_QUERIES, GROUP, sample_stride
from semrec.scoring.cuda.products import DEPTH, Product, ResidentProduct, TiledProduct, resident_products
from semrec.scoring.formats import get_format

__all__ = [
    "GPUS",
    "WARP_INSTRUCTIONS",
    "Gpu",
    "KernelProblem",
    "Prediction",
    "formats_of",
    "gpu_of",
    "predict_passes",
    "predict_product",
]

_WORD_BYTES: Final = 4  # the bits, or the largest score, of 32 rows
_WARPS_ISSUED: Final = 4  # instructions of a multiprocessor per clock
_WARPS: Final = 8  # of a tile
#: Of each of them beside the product, by format and tile, as compiled for sm_90.
WARP_INSTRUCTIONS: Final[dict[tuple[str, Product], int]] = {
    ("bfloat16", TiledProduct((128, 128))): 1224,
    ("int8", TiledProduct((128, 128))): 1168,
    ("bfloat16", ResidentProduct((128, 128))): 1360,
    ("bfloat16", ResidentProduct((128, 64))): 1064,
    ("int8", ResidentProduct((128, 128))): 1504,
    ("int8", ResidentProduct((128, 64))): 1016,
}
_RANK_INSTRUCTIONS: Final = 4  # for 32 comparisons of two keys
_CONVERSIONS: Final = 16  # from float32 to float64, of a multiprocessor per clock
_SEEN_ROWS: Final = 100  # of each user
_CANDIDATES_PER_RESULT: Final = {"bfloat16": 1.6, "int8": 2.5}  # of generated clusters at K = 100


@dataclass(frozen=True)
class Gpu:
    """One kind of GPU, by its data sheet: dense rates, without sparsity.

    `int8_tops` is 0 where Triton takes other instructions than the sheet counts. No sheet says what the second-level cache
    gives: `l2_tb_per_s` is of microbenchmarks for A100 and H100, to about a fifth, and scaled from these for the others.
    `resident_kib` is the shared memory of a program where there is a copy unit for tensors, else 0.
    """

    name: str
    multiprocessors: int
    clock_ghz: float
    bfloat16_tflops: float
    int8_tops: float
    float64_tflops: float
    memory_tb_per_s: float
    l2_tb_per_s: float
    link_gb_per_s: float
    resident_kib: int = 0

    @property
    def clocks_per_s(self) -> float:
        """Clocks of all multiprocessors together."""
        return self.multiprocessors * self.clock_ghz * 1e9


GPUS: Final = {
    gpu.name: gpu
    for gpu in (
        Gpu("A100", 108, 1.41, 312, 624, 9.7, 2.04, 4.5, 25),
        Gpu("H100", 132, 1.83, 989, 1979, 34, 3.35, 5.5, 50, 227),
        Gpu("H200", 132, 1.83, 989, 1979, 34, 4.8, 5.5, 50, 227),
        Gpu("L4", 58, 2.04, 121, 242, 0.47, 0.3, 1.8, 25),
        Gpu("B200", 148, 1.85, 2250, 0, 40, 8.0, 9.0, 50, 227),
    )
}


@dataclass(frozen=True)
class KernelProblem:
    """A run of the engine: all users against all items, in blocks of queries, some seen rows of each user hidden."""

    num_items: int
    num_users: int
    dimension: int = 384
    k: int = 100
    coarse: str = "bfloat16"
    block_queries: int = BLOCK_QUERIES

    @property
    def num_blocks(self) -> int:
        return -(-self.num_users // self.block_queries)

    @property
    def candidates(self) -> float:
        """Of each user, after the second threshold."""
        return min(self.num_items, self.k * _CANDIDATES_PER_RESULT[self.coarse])


@dataclass(frozen=True)
class Prediction:
    """The least seconds of one pass over all users, the resource that takes them, and of a product the kernel."""

    gpu: str
    what: str
    seconds: float
    limit: str
    kernel: str = ""


def gpu_of(device_name: str) -> Gpu | None:
    """The GPU that a driver calls so, as "NVIDIA H200"; None for one without figures here."""
    words = device_name.replace("-", " ").split()
    return next((gpu for name, gpu in GPUS.items() if name in words), None)


def formats_of(gpu: Gpu) -> list[str]:
    """The formats whose products there is a rate for."""
    return [name for name in _CANDIDATES_PER_RESULT if name != "int8" or gpu.int8_tops]


def predict_passes(gpu: Gpu, problem: KernelProblem) -> list[Prediction]:
    """Each pass of a run, in order, and "device", their sum; a link that takes longer than all of them limits a run."""
    stride = sample_stride(problem.num_items, problem.k)
    passes = [predict_product(gpu, problem, "sample product", stride)]  # of all items where they are few
    passes += [predict_product(gpu, problem, "product"), _masks(gpu, problem, stride)]
    passes += [_finish(gpu, problem), _rank(gpu, problem)]
    device_s = sum(each.seconds for each in passes)
    slowest = max(passes, key=lambda each: each.seconds)
    up = problem.num_users * (4 * problem.dimension + 4 * _SEEN_ROWS)
    down = problem.num_users * problem.k * 12
    link = Prediction(gpu.name, "link to the host", max(up, down) / (gpu.link_gb_per_s * 1e9), "link")
    return [*passes, Prediction(gpu.name, "device", device_s, slowest.what), link]


def predict_product(
    gpu: Gpu, problem: KernelProblem, what: str = "product", stride: int = 1, product: Product | None = None
) -> Prediction:
    """The coarse product of all users and every `stride`-th item, with its comparisons; by default of the fastest kernel.

    Programs read their rows from the second-level cache; the items come from memory once for each block of queries. Raises
    InputError for a format without a rate.
    """
    if problem.coarse not in formats_of(gpu):
        raise InputError(
            f"coarse format {problem.coarse} on {gpu.name}",
            expected=" or ".join(formats_of(gpu)),
            remedy="Predict one of these.",
        )
    form = get_format(problem.coarse).gpu
    assert form is not None
    if product is None:
        others = resident_products(form, padded_dimension(problem.dimension, DEPTH), gpu.resident_kib << 10)
        predict = partial(predict_product, gpu, problem, what, stride)
        return min(map(predict, (TiledProduct(form.tile), *others)), key=lambda each: each.seconds)
    num_items, num_users = -(-problem.num_items // stride), problem.num_users
    value_bytes = 1 if form.integer else 2
    num_query_tiles = -(-num_users // product.tile[0])
    num_tiles, num_runs = (num_query_tiles * -(-num_items // size) for size in (product.tile[1], product.run_items))
    rows_read = num_runs * (product.tile[0] + min(product.run_items, num_items))
    num_instructions = num_tiles * _WARPS * WARP_INSTRUCTIONS[problem.coarse, product]
    words = num_users * num_items / GROUP
    matrix_bytes = num_items * problem.dimension * value_bytes * problem.num_blocks
    rate = gpu.int8_tops if form.integer else gpu.bfloat16_tflops
    predicted = _slowest(
        gpu, what,
        {
            "tensor cores": 2.0 * num_users * num_items * problem.dimension / (rate * 1e12),
            "instructions": num_instructions / (_WARPS_ISSUED * gpu.clocks_per_s),
            "cache": rows_read * problem.dimension * value_bytes / (gpu.l2_tb_per_s * 1e12),
            "memory": (matrix_bytes + words * 3 * _WORD_BYTES) / (gpu.memory_tb_per_s * 1e12),
        },
    )  # fmt: skip
    return replace(predicted, kernel=product.name)


def _masks(gpu: Gpu, problem: KernelProblem, stride: int) -> Prediction:
    """Writes visible rows, raises thresholds, lists candidates: words and maxima are read and written a few times."""
    words = problem.num_users * problem.num_items / GROUP
    moved = words * (5 + 2 / stride) * _WORD_BYTES
    return _slowest(gpu, "masks and thresholds", {"memory": moved / (gpu.memory_tb_per_s * 1e12)})


def _finish(gpu: Gpu, problem: KernelProblem) -> Prediction:
    """Scores candidates in float64; their rows lie all over the memory, the queries in the cache."""
    values = problem.num_users * problem.candidates * problem.dimension
    return _slowest(
        gpu, "finish",
        {
            "float64": 2 * values / (gpu.float64_tflops * 1e12),
            "conversions": 2 * values / (_CONVERSIONS * gpu.clocks_per_s),
            "memory": 4 * values / (gpu.memory_tb_per_s * 1e12),
        },
    )  # fmt: skip


def _rank(gpu: Gpu, problem: KernelProblem) -> Prediction:
    """Compares each candidate with all of its query."""
    compared = problem.num_users * problem.candidates**2
    return _slowest(
        gpu, "rank",
        {
            "instructions": compared / 32 * _RANK_INSTRUCTIONS / (_WARPS_ISSUED * gpu.clocks_per_s),
            "memory": problem.num_users * (8 * problem.candidates + 12 * problem.k) / (gpu.memory_tb_per_s * 1e12),
        },
    )  # fmt: skip


def _slowest(gpu: Gpu, what: str, seconds: dict[str, float]) -> Prediction:
    limit = max(seconds, key=lambda name: seconds[name])
    return Prediction(gpu.name, what, seconds[limit], limit)
