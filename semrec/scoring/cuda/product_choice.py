"""Choose the kernel that multiplies the fastest on this GPU, among those whose products are right on it.

What is faster depends on the GPU, on its driver and on the sizes, so both kernels are timed when an engine starts, on its own
items and blocks. A kernel that this Triton does not compile, or whose products are wrong here, is no kernel of this machine.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Final

import numpy as np
import torch

from semrec.scoring.cuda.items import DeviceShard
from semrec.scoring.cuda.launches import Launches
from semrec.scoring.cuda.product_check import kernel_fault
from semrec.scoring.cuda.products import Product, Products, resident_products, shared_bytes_of
from semrec.scoring.types import Queries

__all__ = ["device_seconds", "fastest_of", "fastest_products", "fault_of"]

_log = logging.getLogger(__name__)

_LEAST_CAPABILITY: Final = (9, 0)  # of the copy unit for tensors
_RUNS: Final = (3, 5)  # rounds of as many launches each


def fastest_products(launches: Launches, most_queries: int) -> Products:
    """What multiplies a block of `most_queries` and a single tile the fastest, on the current GPU."""
    items, tiled = launches.items, launches.products.of_more
    if torch.cuda.get_device_capability() < _LEAST_CAPABILITY:
        return Products.always(tiled)
    others = resident_products(items.form, items.padded, shared_bytes_of(items.device))
    return fastest_of(tiled, others, partial(fault_of, items), partial(_seconds, launches), most_queries)


def fastest_of(
    tiled: Product,
    others: Sequence[Product],
    fault: Callable[[Product], str],
    seconds: Callable[[int, Product], float],
    most_queries: int,
) -> Products:
    """The fastest by `seconds` of a product with so many queries, without those that `fault` says something of.

    Counts stay with `tiled`: their loop over targets keeps Triton from copying items while it multiplies.
    """
    usable: list[Product] = [tiled]
    for product in others:
        found = fault(product)
        if found:
            _log.warning("engine cuda does not use %s: %s", product.name, found)
        else:
            usable.append(product)
    if len(usable) == 1:
        return Products.always(tiled)
    of_one_tile, of_more = (min(usable, key=partial(seconds, n)) for n in (1, most_queries))
    _log.info("engine cuda multiplies one tile of queries in %s, more in %s", of_one_tile.name, of_more.name)
    return Products(of_one_tile, of_more, tiled)


def device_seconds(launch: Callable[[], object], rounds: int, launches: int) -> float:
    """Seconds of one launch on the current GPU: the median of rounds, by events around some, so that the host is left out."""
    launch()
    taken_s = []
    for _ in range(rounds):
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        first.record()
        for _ in range(launches):
            launch()
        last.record()
        last.synchronize()
        taken_s.append(first.elapsed_time(last) / 1e3 / launches)
    return median(taken_s)


def fault_of(items: DeviceShard, product: Product) -> str:
    """Why a product is none of this GPU, or an empty string."""
    try:
        return kernel_fault(items.coarse, items.shard.dimension, items.device, product=product)
    except Exception as error:  # whatever a compiler or a driver raises
        return f"{type(error).__name__}: {error}"


def _seconds(of_engine: Launches, num_queries: int, product: Product) -> float:
    """Of a pass over all items, every one of which every query may be shown."""
    launches = of_engine.multiplying(product)
    items = launches.items
    vectors_QD = np.random.default_rng(0).standard_normal((num_queries, items.shard.dimension)).astype(np.float32)
    block = launches.prepare(launches.send(Queries.unfiltered(vectors_QD)))
    shape = block.padded, items.sampled(1).num_words
    visible_QW = torch.full(shape, -1, dtype=torch.int32, device=items.device)
    return device_seconds(partial(launches.find_candidates, block, visible_QW, with_maxima=True), *_RUNS)
