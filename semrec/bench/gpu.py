"""Everything that wants a GPU, in one command: is the cuda engine right, and how fast is it?

python -m semrec.bench.gpu --json gpu.json

Compares the engine with the reference on generated data, then times its coarse kernel and what finishes lists beside what data
sheets promise (`scoring.cuda.roofline`), what the host does by itself, whole runs from vectors to lists in host memory, and
single queries. Every figure is a median of rounds after a warm-up. Exits 1 without a GPU, and when any result
differs from the reference.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import torch

from semrec.bench.gpu_host import bench_gpu_host
from semrec.bench.workloads import DATA, VARIANTS, ScoringProblem, Variant, generated_problem
from semrec.errors import SemrecError
from semrec.machine import machine
from semrec.scoring.cuda.block import BlockTargets, Pairs, PassMode
from semrec.scoring.cuda.engine import CudaEngine
from semrec.scoring.cuda.items import DeviceShard
from semrec.scoring.cuda.launches import Launches
from semrec.scoring.cuda.product_choice import device_seconds, fault_of
from semrec.scoring.cuda.products import (
    Product,
    Products,
    ResidentProduct,
    TiledProduct,
    resident_products,
    shared_bytes_of,
)
from semrec.scoring.cuda.roofline import (
    WARP_INSTRUCTIONS,
    KernelProblem,
    formats_of,
    gpu_of,
    predict_passes,
    predict_product,
)
from semrec.scoring.formats.check import usable_formats
from semrec.scoring.reference import ReferenceEngine
from semrec.scoring.types import ItemShard, Queries, Targets, TopK

__all__ = ["main", "measure"]

DIMENSION: Final = 384
K: Final = 100
MOVIELENS: Final = (62_423, 162_541)  # items and users of MovieLens 25M
MILLION: Final = (1_000_000, 262_144)
ALL_USERS: Final = 10_000_000
_CHECKED: Final = (20_000, 48)
_SINGLE_CHECKED: Final = 12  # the first is launched, the second recorded, the others replayed
_ROUNDS: Final = 5
_LAUNCHES: Final = 20  # of a round
_CALLS: Final = 300
_KERNEL_QUERIES: Final = 8192
_PEER_BLOCK: Final = 2048
_TILES: Final = ((128, 128), (128, 256))  # queries, items

Row = dict[str, Any]


def measure() -> Iterator[Row]:
    """All rows, in order. Raises DeviceError without a GPU."""
    CudaEngine(ItemShard.from_vectors(np.ones((1, 1), np.float32)))  # says at once what is missing
    yield from _checks()
    yield from _kernel_rates()
    yield from _finish_rates()
    for (num_items, num_users), all_users in ((MOVIELENS, None), (MILLION, ALL_USERS)):
        problem = generated_problem("clusters", num_items, num_users, dimension=DIMENSION)
        if all_users is None:
            yield from ({"what": "work of the host alone", **asdict(row)} for row in bench_gpu_host(problem, K))
        yield from _whole_runs(problem, all_users)
        yield from _latencies(problem)


def _checks() -> Iterator[Row]:
    """The reference's lists, score bytes and counts, on every kind of data, in every variant and coarse format."""
    for data in DATA:
        problem = generated_problem(data, *_CHECKED, dimension=DIMENSION)
        for variant in VARIANTS:
            shard, queries = problem.shard(variant), problem.queries(variant)
            reference = ReferenceEngine(shard)
            expected = {k: reference.top_k(queries, k) for k in (1, K, 1000)}
            targets = _targets(expected[1000])
            counts = reference.count_before(queries, targets)
            for coarse in usable_formats("cuda", DIMENSION):
                engine = CudaEngine(shard, coarse=coarse)
                at = {"data": data, "variant": variant, "coarse": coarse, "users": queries.num_queries}
                for k, lists in expected.items():
                    found = engine.top_k(queries, k)
                    equal = _same(found, lists)
                    yield {"what": "lists equal the reference", **at, "k": k, "equal": equal, **_effort(found)}
                for product in _resident_products(engine.launches.items):
                    if not fault_of(engine.launches.items, product):
                        found = CudaEngine(shard, coarse=coarse, products=Products.always(product)).top_k(queries, K)
                        equal = _same(found, expected[K])
                        yield {
                            "what": "lists equal the reference",
                            **at,
                            "product": product.name,
                            "k": K,
                            "equal": equal,
                        }
                equal = np.array_equal(engine.count_before(queries, targets), counts)
                yield {"what": "counts equal the reference", **at, "targets": len(targets.rows), "equal": bool(equal)}
            engine, singles = CudaEngine(shard), [queries.between(q, q + 1) for q in range(_SINGLE_CHECKED)]
            equal = _same(
                TopK.concatenate([engine.top_k(single, K) for single in singles]),
                reference.top_k(queries.between(0, _SINGLE_CHECKED), K),
            )
            yield {
                "what": "single queries, replayed, equal the reference",
                "data": data,
                "variant": variant,
                "equal": equal,
            }
            middle = shard.num_items // 2
            halves = [shard.slice(0, middle), shard.slice(middle, shard.num_items)]
            merged = TopK.merge([CudaEngine(half).top_k(queries, K) for half in halves], K)
            equal = _same(merged, expected[K])
            yield {"what": "two shards merged equal one", "data": data, "variant": variant, "k": K, "equal": equal}


def _kernel_rates() -> Iterator[Row]:
    """The coarse kernels, and which of them the engine takes, against a plain bfloat16 product, which writes its scores."""
    num_items = MOVIELENS[0]
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((num_items, DIMENSION), dtype=np.float32)
    shard = ItemShard.from_vectors(vectors)
    operations = 2.0 * _KERNEL_QUERIES * num_items * DIMENSION
    left = torch.randn(_KERNEL_QUERIES, DIMENSION, device="cuda").bfloat16()
    right = torch.from_numpy(vectors).cuda().bfloat16()
    out = torch.empty(_KERNEL_QUERIES, num_items, device="cuda", dtype=torch.bfloat16)
    size = {"queries": _KERNEL_QUERIES, "items": num_items, "dimension": DIMENSION}
    taken_s = device_seconds(lambda: torch.mm(left, right.T, out=out), _ROUNDS, _LAUNCHES)
    yield {"what": "torch.mm", "coarse": "bfloat16", **size, "tflop_per_s": operations / taken_s / 1e12}
    for coarse in ("bfloat16", "int8"):
        engine = CudaEngine(shard, coarse=coarse)
        products: list[Product] = [*map(TiledProduct, _TILES), *_resident_products(engine.launches.items)]
        for product in products:
            fault = fault_of(engine.launches.items, product)
            if fault:
                yield {"what": "coarse kernel", "coarse": coarse, "product": product.name, "fault": fault}
                continue
            for mode, launch in _passes(engine.launches, product).items():
                taken_s = device_seconds(launch, _ROUNDS, _LAUNCHES)
                problem = KernelProblem(num_items, _KERNEL_QUERIES, DIMENSION, K, coarse)
                beside = _beside_prediction("product", taken_s, problem, product)
                row = {"what": "coarse kernel", "coarse": coarse, "product": product.name, "mode": mode, **size}
                yield {**row, "tflop_per_s": operations / taken_s / 1e12, **beside}
        taken = engine.launches.products
        names = {"one_tile": taken.of_one_tile.name, "more": taken.of_more.name, "counts": taken.of_counts.name}
        yield {"what": "products that the engine takes", "coarse": coarse, "items": num_items, **names}


def _resident_products(items: DeviceShard) -> list[ResidentProduct]:
    return resident_products(items.form, items.padded, shared_bytes_of(items.device))


def _finish_rates() -> Iterator[Row]:
    """The canonical scores of as many candidates as generated users have, and their ranks."""
    num, num_items = _KERNEL_QUERIES, MOVIELENS[0]
    problem = KernelProblem(num_items, num, DIMENSION, K)
    rng = np.random.default_rng(0)
    engine = CudaEngine(ItemShard.from_vectors(rng.standard_normal((num_items, DIMENSION), dtype=np.float32)))
    count = int(problem.candidates)
    on_gpu = partial(torch.tensor, dtype=torch.int32, device="cuda")
    pairs = Pairs(
        on_gpu(np.full(num, count)),
        on_gpu(np.arange(num) * count),
        on_gpu(rng.integers(0, num_items, num * count)),
        on_gpu(np.repeat(np.arange(num), count)),
        torch.tensor([num * count], device="cuda"),
    )
    vectors = torch.randn(num, DIMENSION, device="cuda")
    keys = engine.launches.score(pairs, vectors, num)
    row = {"queries": num, "items": num_items, "dimension": DIMENSION, "candidates": count, "k": K}
    for what, launch in (
        ("finish", partial(engine.launches.score, pairs, vectors, num)),
        ("rank", partial(engine.launches.rank, pairs, keys, K)),
    ):
        yield {"what": what, **row, **_beside_prediction(what, device_seconds(launch, _ROUNDS, _LAUNCHES), problem)}


def _beside_prediction(what: str, taken_s: float, problem: KernelProblem, product: Product | None = None) -> Row:
    """The milliseconds of a pass, those that the model predicts for it on this GPU, and how much of them was reached."""
    gpu = gpu_of(torch.cuda.get_device_name())
    is_known = product is None or (problem.coarse, product) in WARP_INSTRUCTIONS
    if gpu is None or problem.coarse not in formats_of(gpu) or not is_known:
        return {"ms": taken_s * 1e3}
    predicted = next(each for each in predict_passes(gpu, problem) if each.what == what)
    if product is not None:
        predicted = predict_product(gpu, problem, what, product=product)
    reached = {
        "predicted_ms": predicted.seconds * 1e3,
        "limit": predicted.limit,
        "reached": predicted.seconds / taken_s,
    }
    return {"ms": taken_s * 1e3, **reached}


def _passes(of_engine: Launches, product: Product) -> dict[str, Callable[[], object]]:
    """A launch over all items in each mode; COLLECT gives the maxima, too, as the engine asks for."""
    launches = of_engine.multiplying(product)
    vectors = np.random.default_rng(1).standard_normal((_KERNEL_QUERIES, DIMENSION), dtype=np.float32)
    block = launches.prepare(launches.send(Queries.unfiltered(vectors)))
    block.threshold_Q.fill_(60.0)  # one pair in 800 reaches it
    whole, device = launches.items.sampled(1), launches.items.device
    visible = torch.full((block.padded, whole.num_words), -1, dtype=torch.int32, device=device)
    keys = torch.zeros((1, block.padded), dtype=torch.int64, device=device)
    targets = BlockTargets(block.threshold_Q[None], keys, torch.zeros_like(keys, dtype=torch.int32))
    return {
        PassMode.MAXIMA.name: partial(launches.find_maxima, block, whole, visible),
        PassMode.COLLECT.name: partial(launches.find_candidates, block, visible, with_maxima=True),
        PassMode.COUNT.name: partial(launches.count_certain, block, visible, targets),
    }


def _whole_runs(problem: ScoringProblem, all_users: int | None) -> Iterator[Row]:
    """From vectors in host memory to lists in host memory, beside torch.mm and torch.topk, which promise no exact lists."""
    num_users = problem.num_users
    size = {"items": problem.items.num_items, "users": num_users, "dimension": DIMENSION, "k": K}
    ways: list[tuple[Variant, str]] = [("plain", "bfloat16"), ("seen", "bfloat16"), ("filters", "bfloat16")]
    for variant, coarse in [*ways, ("seen", "int8")]:
        engine, queries = CudaEngine(problem.shard(variant), coarse=coarse), problem.queries(variant)
        found = engine.top_k(queries, K)
        rate = num_users / _host_seconds(partial(engine.top_k, queries, K))
        at = {"variant": variant, "coarse": coarse, **size}
        kernel_problem = KernelProblem(problem.items.num_items, num_users, DIMENSION, K, coarse)
        beside = _beside_prediction("device", num_users / rate, kernel_problem)
        yield {"what": "whole run", **at, "users_per_s": rate, **beside, **_effort(found)}
        if all_users:
            yield {"what": f"PROJECTED from {num_users:,} users to {all_users:,}", **at, "seconds": all_users / rate}
        del engine  # its memory is the next one's
    rate = num_users / _host_seconds(_torch_search(problem))
    yield {"what": "torch.mm and topk, not exact", "coarse": "bfloat16", **size, "users_per_s": rate}


def _torch_search(problem: ScoringProblem) -> Callable[[], None]:
    """The same users and items through bfloat16 products and torch's topk, without anything excluded."""
    items = torch.from_numpy(problem.items.vectors()).cuda().bfloat16()
    out = torch.empty(_PEER_BLOCK, len(items), device="cuda", dtype=torch.bfloat16)

    def search() -> None:
        for start in range(0, problem.num_users, _PEER_BLOCK):
            block = torch.from_numpy(problem.users_UD[start : start + _PEER_BLOCK]).cuda().bfloat16()
            best = torch.topk(torch.mm(block, items.T, out=out[: len(block)]), K, dim=1)
            best.indices.cpu(), best.values.cpu()

    return search


def _latencies(problem: ScoringProblem) -> Iterator[Row]:
    """One call at a time, each with other users."""
    engine, queries = CudaEngine(problem.shard("seen")), problem.queries("seen")
    for num in (1, 100):
        taken_ms = []
        for call in range(_CALLS + 10):
            start = call * num % (problem.num_users - num)
            part = queries.between(start, start + num)
            started_s = time.perf_counter()
            engine.top_k(part, K)
            taken_ms.append((time.perf_counter() - started_s) * 1e3)
        p50, p99 = np.percentile(taken_ms[10:], [50, 99])
        row = {"what": "latency", "coarse": "bfloat16", "items": problem.items.num_items, "queries": num, "k": K}
        yield {**row, "p50_ms": float(p50), "p99_ms": float(p99)}


def _targets(lists: TopK) -> Targets:
    """Each query's first, middle and last result."""
    chosen = np.stack(
        [lists.offsets[:-1], (lists.offsets[:-1] + lists.offsets[1:]) // 2, lists.offsets[1:] - 1], axis=1
    )
    at = chosen[lists.lengths > 0].reshape(-1)
    offsets = np.concatenate([[0], np.cumsum(np.where(lists.lengths > 0, 3, 0))]).astype(np.int64)
    return Targets(offsets, lists.rows[at], lists.scores[at])


def _same(found: TopK, expected: TopK) -> bool:
    same = np.array_equal(found.offsets, expected.offsets) and np.array_equal(found.rows, expected.rows)
    return bool(same) and found.scores.tobytes() == expected.scores.tobytes()


def _effort(found: TopK) -> Row:
    return {"candidates_per_user": found.num_candidates / found.num_queries, "exhaustive": found.num_exhaustive}


def _host_seconds(run: Callable[[], object]) -> float:
    run()
    taken_s = []
    for _ in range(_ROUNDS):
        torch.cuda.synchronize()
        started_s = time.perf_counter()
        run()
        torch.cuda.synchronize()
        taken_s.append(time.perf_counter() - started_s)
    return median(taken_s)


def main(arguments: list[str] | None = None) -> int:
    """Prints each row as it comes; writes all of them, with what was measured on, as JSON."""
    parser = argparse.ArgumentParser(prog="python -m semrec.bench.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--json", required=True, type=Path, help="File for the rows.")
    target, rows = parser.parse_args(arguments).json, []
    try:
        for row in measure():
            rows.append(row)
            print(json.dumps(row), flush=True)
            target.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    except SemrecError as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if all(row.get("equal", True) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
