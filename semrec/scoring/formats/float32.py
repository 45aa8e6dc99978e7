"""float32: the vectors as they are. No residual; only the order of the sums differs from the canonical score.

r = 0 and eta = 0, so the bound is gamma_D |u| |i| and what underflow may lose. It holds as long as the product really
multiplies float32 values: not where torch is told to multiply them as bfloat16 or TF32, nor on GPUs whose compiler does so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from semrec.scoring.formats import panels
from semrec.scoring.formats.base import CoarseFormat, GpuForm, ItemTiles, QueryEncoding, as_tensor
from semrec.scoring.formats.panels import PanelKind

if TYPE_CHECKING:
    import torch

    from semrec.scoring.types import ItemShard

__all__ = ["Float32"]

_FULL_PRECISION: Final = ("none", "ieee")  # what torch calls a float32 product of float32 values


class Float32(CoarseFormat):
    """Nothing is lost before the product, which is the slowest."""

    name = "float32"
    score_kind = "float32"
    gpu = GpuForm(
        tile=(64, 64),  # larger ones do not fit the registers without tensor cores
        query_encoding=QueryEncoding.FLOAT32,
        query_storage="float32",
        query_dtype="float32",
        join_halves=True,
    )

    @property
    def panels(self) -> PanelKind | None:
        return panels.FLOAT32 if panels.has_products(panels.FLOAT32) else None

    def row_columns(self, vectors_ND: np.ndarray, norm_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.ones(len(vectors_ND), np.float32), np.zeros(len(vectors_ND), np.float32)

    def item_bytes(self, dimension: int) -> int:
        return 4 * dimension

    def encode(self, vectors_ND: np.ndarray, scale_N: np.ndarray) -> torch.Tensor:
        return as_tensor(np.ascontiguousarray(vectors_ND, dtype=np.float32))

    def item_tiles(self, shard: ItemShard, scale_I: np.ndarray) -> ItemTiles:
        """Joins the halves of each tile anew: no float32 copy of the items is kept."""
        return lambda start, stop: as_tensor(shard.vectors(slice(start, stop)))

    def device_items(
        self, high_ID: torch.Tensor, low_ID: torch.Tensor, scale_I: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        return high_ID, None  # the kernel joins it with the low halves

    def cpu_fault(self) -> str:
        """torch may be told at any time to multiply float32 values in fewer bits, so this is asked before each use."""
        import torch

        precision = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
        if precision in _FULL_PRECISION:
            return ""
        return f"torch is set to multiply float32 as {precision} (see torch.set_float32_matmul_precision)"

    def gpu_fault(self, major: int, minor: int) -> str:
        """Triton 3.6 compiles an "ieee" product for capability 10.x to tcgen05.mma.kind::tf32; a test compiles it anew."""
        if major != 10:
            return super().gpu_fault(major, minor)
        return f"on a GPU of compute capability {major}.{minor} Triton multiplies float32 as TF32, whatever it is told"
