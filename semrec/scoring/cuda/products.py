"""The kernels that multiply, with the sizes of their programs: one may be faster than another, and all give the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

import torch

from semrec.scoring.cuda.items import DeviceShard, SampledItems
from semrec.scoring.formats.base import GpuForm

__all__ = [
    "DEPTH",
    "Kernels",
    "Product",
    "Products",
    "ResidentProduct",
    "TiledProduct",
    "resident_products",
    "shared_bytes_of",
    "tiled_product",
]

DEPTH: Final = 64  # dimensions that one turn of the product's loop takes
_DEPTH_OF_FLOAT32: Final = 16  # multiplied without tensor cores: values of more dimensions do not fit the registers
_RESIDENT_QUERIES: Final = 128
_RESIDENT_ITEMS: Final = (128, 64)
_RUN: Final = 16  # tiles of items, beside which one of queries is read in no time
_STAGES: Final = 2  # tiles of items in shared memory at a time
_RESERVED_BYTES: Final = 10 << 10  # of shared memory, for what is not a factor: barriers, words, norms
_WARPS: Final = 8
_TILE_INTERPRETED: Final = (4, 256)  # few programs, because each takes milliseconds


@dataclass(frozen=True)
class Kernels:
    """The modules `coarse_kernels`, `candidate_kernels` and `resident_kernel`, or what stands for them; whether they are
    interpreted.
    """

    coarse: Any
    lists: Any
    resident: Any
    interpreted: bool = False


class Product(Protocol):
    """A kernel of the coarse pass: `tile` queries and items are multiplied at a time, `run_items` items by a program."""

    @property
    def name(self) -> str: ...

    @property
    def tile(self) -> tuple[int, int]: ...

    @property
    def run_items(self) -> int: ...

    def launch(
        self,
        kernels: Kernels,
        queries_QD: torch.Tensor,
        items: DeviceShard,
        sample: SampledItems,
        arguments: tuple[Any, ...],
        constants: dict[str, Any],
    ) -> None:
        """Multiplies encoded queries of whole tiles and sampled items; what follows them is the same for all kernels."""


@dataclass(frozen=True)
class TiledProduct:
    """Reads both factors of each tile from the second-level cache (`coarse_pass`)."""

    tile: tuple[int, int]

    @property
    def name(self) -> str:
        return f"tiles of {self.tile[0]} x {self.tile[1]}"

    @property
    def run_items(self) -> int:
        return self.tile[1]

    def launch(
        self,
        kernels: Kernels,
        queries_QD: torch.Tensor,
        items: DeviceShard,
        sample: SampledItems,
        arguments: tuple[Any, ...],
        constants: dict[str, Any],
    ) -> None:
        joins = items.form.join_halves
        kernels.coarse.coarse_pass[_grid(self, queries_QD, sample)](
            queries_QD, items.coarse_ID, items.low_ID, *arguments, JOIN_HALVES=joins, BQ=self.tile[0], BI=self.tile[1],
            BD=_DEPTH_OF_FLOAT32 if joins else DEPTH, num_warps=_WARPS, num_stages=3, **constants,
        )  # fmt: skip


@dataclass(frozen=True)
class ResidentProduct:
    """Keeps a tile of queries in shared memory while items stream past (`resident_pass`)."""

    tile: tuple[int, int]
    run: int = _RUN

    @property
    def name(self) -> str:
        return f"resident tiles of {self.tile[0]} x {self.tile[1]}"

    @property
    def run_items(self) -> int:
        return self.tile[1] * self.run

    def launch(
        self,
        kernels: Kernels,
        queries_QD: torch.Tensor,
        items: DeviceShard,
        sample: SampledItems,
        arguments: tuple[Any, ...],
        constants: dict[str, Any],
    ) -> None:
        from triton.tools.tensor_descriptor import TensorDescriptor

        depth = 2 * DEPTH if items.padded % (2 * DEPTH) == 0 else DEPTH
        of_queries = TensorDescriptor.from_tensor(queries_QD, [self.tile[0], depth])
        of_items = TensorDescriptor.from_tensor(items.coarse_ID[:: sample.stride], [self.tile[1], depth])
        kernels.resident.resident_pass[_grid(self, queries_QD, sample)](
            of_queries, of_items, *arguments, BQ=self.tile[0], BI=self.tile[1], BD=depth, RUN=self.run, num_warps=_WARPS,
            **constants,
        )  # fmt: skip


@dataclass(frozen=True)
class Products:
    """What multiplies for the lists of one tile of queries, of more, and for counts."""

    of_one_tile: Product
    of_more: Product
    of_counts: Product

    @classmethod
    def always(cls, product: Product) -> Products:
        return cls(product, product, product)


def tiled_product(form: GpuForm, kernels: Kernels) -> TiledProduct:
    """The product of a format that every GPU has."""
    return TiledProduct(_TILE_INTERPRETED if kernels.interpreted else form.tile)


def shared_bytes_of(device: torch.device) -> int:
    """The shared memory that a program may take on a GPU."""
    properties: Any = torch.cuda.get_device_properties(device)  # torch's stubs lack this one
    return int(properties.shared_memory_per_block_optin)


def resident_products(form: GpuForm, padded: int, shared_bytes: int) -> list[ResidentProduct]:
    """Those that fit the shared memory of a program, by their largest tiles first: `padded` dimensions."""
    row_bytes = padded * (1 if form.integer else 2)
    room = shared_bytes - _RESERVED_BYTES
    tiles = [] if form.join_halves else [(_RESIDENT_QUERIES, num_items) for num_items in _RESIDENT_ITEMS]
    return [ResidentProduct(tile) for tile in tiles if (tile[0] + _STAGES * tile[1]) * row_bytes <= room]


def _grid(product: Product, queries_QD: torch.Tensor, sample: SampledItems) -> tuple[int]:
    return (len(queries_QD) // product.tile[0] * -(-sample.num_words * 32 // product.run_items),)
