"""Try the kernels' products on a GPU before a format is used, as `formats.check` does with those of the CPU.

The very kernels that a run launches multiply values on which wrong instructions show. No score leaves them but the largest of
a group's visible rows; so one row of each group is made visible, and its score comes back alone.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch

from semrec.scoring.cuda.items import WORD, DeviceShard, gpu_form, padded_dimension
from semrec.scoring.cuda.launches import Launches, load_kernels
from semrec.scoring.cuda.products import DEPTH, Kernels, Product, Products, tiled_product
from semrec.scoring.cuda.transfers import Transfers
from semrec.scoring.formats.base import CoarseFormat, accumulation_error
from semrec.scoring.formats.check import describe_fault, hard_rows
from semrec.scoring.types import ItemShard, Queries

__all__ = ["kernel_fault"]

_NUM_GROUPS: Final = 16
_RUNS: Final = 2  # of tiles of items
_MORE_THAN_A_TILE: Final = 2  # queries, so that one tile is nearly empty
_ROUNDINGS: Final = 4 * 2.0**-24  # of an int32 sum to float32, and of the products with both scales


def kernel_fault(
    coarse: CoarseFormat,
    dimension: int,
    device: torch.device,
    kernels: Kernels | None = None,
    product: Product | None = None,
) -> str:
    """How products of `dimension` values err beyond the format's bound on this device, or an empty string.

    `kernels` by default are those of the device, `product` the one that every GPU has. Raises DeviceError without a device.
    """
    kernels, transfers = kernels or load_kernels(device.type == "cuda"), Transfers(device)
    product = product or tiled_product(gpu_form(coarse), kernels)
    num_words = max(_NUM_GROUPS, _RUNS * product.run_items // WORD)
    rows_ID = np.random.default_rng(3).standard_normal((num_words * WORD, dimension)).astype(np.float32)
    shown_words = np.arange(_NUM_GROUPS) * (num_words // _NUM_GROUPS)
    shown_G = shown_words * WORD + np.arange(_NUM_GROUPS) * 7 % WORD  # at many places of a group
    rows_ID[shown_G] = hard_rows(_NUM_GROUPS, dimension, seed=2)
    items = DeviceShard(ItemShard.from_vectors(rows_ID), coarse, device, padded_dimension(dimension, DEPTH))
    launches = Launches(kernels, items, transfers, Products.always(product))
    num_queries = launches.tile_queries + _MORE_THAN_A_TILE
    block = launches.prepare(launches.send(Queries.unfiltered(hard_rows(num_queries, dimension, seed=1))))
    left_QD = transfers.fetch_now(block.coarse_QD[:num_queries].double())
    right_GD = transfers.fetch_now(items.coarse_ID[torch.from_numpy(shown_G).to(device)].double())
    if items.form.join_halves:
        right_GD = np.zeros((_NUM_GROUPS, items.padded))
        right_GD[:, :dimension] = rows_ID[shown_G]
    exact_QG = np.einsum("qd,gd->qg", left_QD, right_GD)  # no library's product judges another's
    allowed_QG = np.zeros(exact_QG.shape)
    if not coarse.is_exact:
        norms_QG = np.linalg.norm(left_QD, axis=1)[:, None] * np.linalg.norm(right_GD, axis=1)
        allowed_QG = accumulation_error(dimension) * norms_QG
    if items.form.integer:
        scale_Q, scale_W = transfers.fetch_now(block.scale_Q[:num_queries]), transfers.fetch_now(items.scale_W)
        scale_QG = scale_Q[:, None].astype(np.float64) * scale_W[shown_words]
        exact_QG, allowed_QG = exact_QG * scale_QG, allowed_QG * scale_QG + _ROUNDINGS * np.abs(exact_QG * scale_QG)
    whole = items.sampled(1)
    visible_QW = np.zeros((block.padded, whole.num_words), np.uint32)
    visible_QW[:, shown_words] = np.uint32(1) << (shown_G % WORD).astype(np.uint32)
    words_QW = transfers.send(visible_QW.view(np.int32))
    for maxima_QG in (
        launches.find_maxima(block, whole, words_QW),
        launches.find_candidates(block, words_QW, with_maxima=True)[1],
    ):
        assert maxima_QG is not None
        group = whole.num_words * WORD // maxima_QG.shape[1]
        scores_QG = transfers.fetch_now(maxima_QG)[:num_queries, shown_G // group].astype(np.float64)
        fault = describe_fault(scores_QG, exact_QG, allowed_QG, dimension)
        if fault:
            return fault
    return ""
