"""bfloat16: the high halves of the stored matrix, read where they lie.

r is what rounding to the nearest bfloat16 leaves, at most 2^-9 of each value; |r_i| is stored. A product of two bfloat16 values
is exact in float32 and sums are float32, which gamma_D covers. On the CPU the sum is returned rounded to bfloat16, so
eta = 2^-8; the GPU's kernel keeps it in float32, so eta = 0 there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from semrec.compiled import compiled
from semrec.scoring.formats import panels
from semrec.scoring.formats.base import CoarseFormat, GpuForm, ItemTiles, QueryEncoding, as_tensor, upper_norm
from semrec.scoring.formats.panels import PanelKind
from semrec.scoring.halves import high_halves

if TYPE_CHECKING:
    import torch

    from semrec.scoring.types import ItemShard

__all__ = ["BFloat16"]


class BFloat16(CoarseFormat):
    """Half the bytes of float32 at no cost in memory, and the fastest product of a GPU and of most servers."""

    name = "bfloat16"
    residual_column = "residual_bfloat16"
    score_kind = "bfloat16"
    output_unit = 2.0**-8
    gpu = GpuForm(
        tile=(128, 128), query_encoding=QueryEncoding.HIGH_HALF, query_storage="int16", query_dtype="bfloat16"
    )

    @property
    def panels(self) -> PanelKind | None:
        return panels.BFLOAT16 if panels.has_products(panels.BFLOAT16) else None

    def row_columns(self, vectors_ND: np.ndarray, norm_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        residual_N = np.empty(len(vectors_ND), np.float32)
        _fill_residuals(vectors_ND, norm_N, residual_N)
        return np.ones(len(vectors_ND), np.float32), residual_N

    def item_bytes(self, dimension: int) -> int:
        return 2 * dimension

    def encode(self, vectors_ND: np.ndarray, scale_N: np.ndarray) -> torch.Tensor:
        return _as_bfloat16(high_halves(vectors_ND))

    def item_tiles(self, shard: ItemShard, scale_I: np.ndarray) -> ItemTiles:
        """Tiles are views of the stored high halves, memory-mapped or not."""
        items_ID = _as_bfloat16(np.ascontiguousarray(shard.high_ID).view(np.ndarray))
        return lambda start, stop: items_ID[start:stop]

    def device_items(
        self, high_ID: torch.Tensor, low_ID: torch.Tensor, scale_I: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        import torch

        return high_ID.view(torch.bfloat16), None


def _as_bfloat16(high_ND: np.ndarray) -> torch.Tensor:
    import torch

    return as_tensor(high_ND).view(torch.bfloat16)


@compiled
def _fill_residuals(vectors_ND, norm_N, residual_N):  # type: ignore[no-untyped-def]
    for n in range(len(vectors_ND)):
        squares = 0.0
        for d in range(vectors_ND.shape[1]):
            # Half a unit added to the bits, then cut off: the rounding of `high_halves`.
            bits = np.uint32(np.float32(vectors_ND[n, d]).view(np.uint32) + np.uint32(0x8000))
            rounded = np.float64(np.uint32(bits & np.uint32(0xFFFF0000)).view(np.float32))
            rest = np.float64(vectors_ND[n, d]) - rounded
            squares += rest * rest
        residual_N[n] = upper_norm(squares) if norm_N[n] < np.inf else np.inf
