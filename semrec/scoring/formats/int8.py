"""int8: one scale per row and codes from -127 to 127.

The scale is the row's largest magnitude / 127, so r is at most half a scale in each value; |r_i| and the scale are stored. The
product of codes is exact in int32 for D < 133,144 (127^2 D < 2^31), provided that the instruction does not saturate: x86
without VNNI adds pairs of products in 16 bits, which `check` notices in a library. In panels queries have codes up to 64 there
(`panel_products`), and twice the residual. The int32 sum becomes float32 and is multiplied by both scales: four roundings of
2^-24, which the 8 that `base` grants cover; on a GPU the bound is divided by them instead (`cuda.comparisons`). eta = 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from semrec.compiled import compiled
from semrec.scoring.formats import panels
from semrec.scoring.formats.base import (
    LARGEST_BOUNDED,
    ROUNDED_UP,
    TINY,
    CoarseFormat,
    GpuForm,
    ItemPanels,
    ItemTiles,
    QueryEncoding,
    upper_norm,
)
from semrec.scoring.formats.panel_products import PANEL, largest_query_code
from semrec.scoring.formats.panels import PanelKind

if TYPE_CHECKING:
    import torch

    from semrec.scoring.types import ItemShard

__all__ = ["Int8"]

_LARGEST_CODE: Final = 127
_CODED_ROWS: Final = 512
_CODED_ROWS_ON_GPU: Final = 65_536


class Int8(CoarseFormat):
    """A quarter of the bytes of float32, kept beside the matrix; the fastest on most processors."""

    name = "int8"
    scale_column = "scale_int8"
    residual_column = "residual_int8"
    score_kind = "int32"
    is_exact = True
    only_panels = True
    gpu: ClassVar[GpuForm | None] = GpuForm(
        tile=(128, 128),
        query_encoding=QueryEncoding.CODES,
        query_storage="int8",
        query_dtype="int8",
        extra_bytes=1,
        integer=True,
    )

    def row_columns(self, vectors_ND: np.ndarray, norm_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.coded_columns(vectors_ND, norm_N, _LARGEST_CODE)

    def query_columns(self, vectors_QD: np.ndarray, norm_Q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.coded_columns(vectors_QD, norm_Q, largest_query_code() if self.panels else _LARGEST_CODE)

    def coded_columns(
        self, vectors_ND: np.ndarray, norm_N: np.ndarray, largest_code: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """`row_columns` of rows whose largest value has this code."""
        scale_N, residual_N = np.empty((2, len(vectors_ND)), np.float32)
        _fill_columns(self.coded_rows(vectors_ND), norm_N, largest_code, scale_N, residual_N)
        return scale_N, residual_N

    def code_width(self, dimension: int) -> int:
        """The columns of the codes: a multiple of eight, because torch (2.13) multiplies int8 of one column wrongly."""
        return -(-dimension // 8) * 8

    def coded_rows(self, vectors_ND: np.ndarray) -> np.ndarray:
        """What the codes stand for: the rows themselves, or others with the same inner products. [N, at most the width]."""
        return np.ascontiguousarray(vectors_ND, dtype=np.float32)

    def item_bytes(self, dimension: int) -> int:
        return self.code_width(dimension)

    def encode(self, vectors_ND: np.ndarray, scale_N: np.ndarray) -> torch.Tensor:
        import torch

        return torch.from_numpy(self._codes(vectors_ND, scale_N))

    def item_tiles(self, shard: ItemShard, scale_I: np.ndarray) -> ItemTiles:
        """Keeps the codes of all items, made of a few rows at a time."""
        import torch

        codes_ID = np.empty((shard.num_items, self.code_width(shard.dimension)), np.int8)
        for start in range(0, shard.num_items, _CODED_ROWS):
            rows = slice(start, start + _CODED_ROWS)
            codes_ID[rows] = self._codes(shard.vectors(rows), scale_I[rows])
        return lambda start, stop: torch.from_numpy(codes_ID[start:stop])

    @property
    def panels(self) -> PanelKind | None:
        return panels.INT8 if panels.has_products(panels.INT8) else None

    def item_panels(self, shard: ItemShard, scale_I: np.ndarray) -> ItemPanels:
        """Keeps the panels of all items, as many bytes as the codes."""
        width = self.code_width(shard.dimension)
        all_panels = np.empty((-(-shard.num_items // PANEL), PANEL * width), np.uint8)
        for start in range(0, shard.num_items, _CODED_ROWS):
            rows = slice(start, start + _CODED_ROWS)
            room = all_panels[start // PANEL :].reshape(-1)
            panels.pack_panels(panels.INT8, self.encode(shard.vectors(rows), scale_I[rows]), room)
        return lambda start, stop, room: all_panels[start // PANEL : -(-stop // PANEL)]

    def multiply(self, left_ND: torch.Tensor, right_MD: torch.Tensor, out_NM: torch.Tensor) -> None:
        import torch

        torch._int_mm(left_ND, right_MD.T, out=out_NM)

    def _codes(self, vectors_ND: np.ndarray, scale_N: np.ndarray) -> np.ndarray:
        """The multiples of each row's scale nearest to its values, padded with zeros: int8 [N, width]."""
        codes_ND = np.zeros((len(vectors_ND), self.code_width(vectors_ND.shape[1])), np.int8)
        _fill_codes(self.coded_rows(vectors_ND), np.ascontiguousarray(scale_N), codes_ND)
        return codes_ND

    def device_items(
        self, high_ID: torch.Tensor, low_ID: torch.Tensor, scale_I: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        import torch

        codes_ID = torch.zeros(high_ID.shape, dtype=torch.int8, device=high_ID.device)
        residual_I = torch.zeros(len(high_ID), device=high_ID.device)
        for start in range(0, len(codes_ID), _CODED_ROWS_ON_GPU):
            rows = slice(start, start + _CODED_ROWS_ON_GPU)
            bits = (high_ID[rows].int() << 16) + low_ID[rows]
            scale = scale_I[rows, None].double()
            exact = bits.view(torch.float32).double()
            rounded = (exact / torch.where(scale > 0, scale, 1.0)).round_().clamp_(-_LARGEST_CODE, _LARGEST_CODE)
            codes = torch.where(scale > 0, rounded, 0.0)
            codes_ID[rows] = codes.to(torch.int8)
            norm = (exact - codes * scale).norm(dim=1)
            residual_I[rows] = torch.where(norm > 0, (norm * ROUNDED_UP).clamp_(min=TINY), 0.0).float()
        return codes_ID, residual_I


@compiled
def _code(value, scale):  # type: ignore[no-untyped-def]
    return max(-_LARGEST_CODE, min(_LARGEST_CODE, np.rint(np.float64(value) / scale))) if scale > 0 else 0.0


@compiled
def _fill_codes(vectors_ND, scale_N, codes_ND):  # type: ignore[no-untyped-def]
    for n in range(len(vectors_ND)):
        scale = np.float64(scale_N[n])
        for d in range(vectors_ND.shape[1]):
            codes_ND[n, d] = _code(vectors_ND[n, d], scale)


@compiled
def _fill_columns(vectors_ND, norm_N, largest_code, scale_N, residual_N):  # type: ignore[no-untyped-def]
    for n in range(len(vectors_ND)):
        if not norm_N[n] < np.inf:
            scale_N[n], residual_N[n] = 0, np.inf
            continue
        largest = np.float32(0)
        for d in range(vectors_ND.shape[1]):
            largest = max(largest, abs(vectors_ND[n, d]))
        scale = np.float32(largest / np.float32(largest_code))
        # A subnormal scale may be flushed to zero by the product's scaling: such a row is all residual instead.
        if not (scale >= TINY and scale <= LARGEST_BOUNDED):
            scale = np.float32(0)
        squares, exact_scale = 0.0, np.float64(scale)
        for d in range(vectors_ND.shape[1]):
            rest = np.float64(vectors_ND[n, d]) - _code(vectors_ND[n, d], exact_scale) * exact_scale
            squares += rest * rest
        scale_N[n], residual_N[n] = scale, upper_norm(squares)
