"""The interface of a coarse format, and the bound by which its fast products prove an exact top K.

A coarse format says what item and user vectors become for the fast product, which product that is, and how far its scores may
stray from the canonical ones. The engines collect every item whose coarse score plus its bound reaches the K-th best and
score those canonically, so a format changes the speed and nothing else. One file of this package is one format.

The bound. Let x^ be the coarse form of x and r = x - x^. For a user u and an item i

    |u.i - u^.i^| <= |r_u| |i| + |u^| |r_i|                              (Cauchy-Schwarz, twice)
    |fl(u^.i^) - u^.i^| <= gamma_D |u^| |i^|                             (Higham, Accuracy and Stability of Numerical
                                                                          Algorithms, 2nd ed., eq. 3.5, and Cauchy-Schwarz)
    |c - fl(u^.i^)| <= eta |c|                                           (ibid., eq. 2.5: rounding of the output)

where gamma_n = n w / (1 - n w) for any order of summation, fused or not, with unit roundoff w. Tensor cores add in float32
with truncation and align a few products before they add (Fasi, Higham, Mikaitis, Pranesh: Numerical behavior of NVIDIA tensor
cores, PeerJ Computer Science 2021), so w = 2^-22 is taken for every format: small beside what bfloat16 loses. `check` tries
on each processor and each GPU whether its products keep to this. The canonical score
itself errs by a float64 sum and one rounding to float32. Each product, sum or input that underflows loses at most the smallest
normal number, also where denormals are flushed. All of it is

    |c - score(u, i)| <= eta |c| + a_u |i| + b_u |r_i| + c_u

with |i| and |r_i| stored beside the items and a_u, b_u, c_u computed here, rounded up. Each format's file says what its r and
eta are.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, Final, Literal

import numpy as np

from semrec.compiled import compiled
from semrec.scoring.formats.panels import PanelKind, pack_panels

if TYPE_CHECKING:  # whoever only reads or writes a matrix needs no torch
    import torch

    from semrec.scoring.types import ItemShard

__all__ = [
    "LARGEST_BOUNDED",
    "ROUNDED_UP",
    "TINY",
    "CoarseFormat",
    "GpuForm",
    "ItemPanels",
    "ItemTiles",
    "QueryBounds",
    "QueryEncoding",
    "ScoreKind",
    "accumulation_error",
    "as_tensor",
    "upper_norm",
    "vector_norms",
]

TINY: Final = 2.0**-126  # smallest normal number of float32 and bfloat16
LARGEST_BOUNDED: Final = 2.0**62  # beyond it products may leave float32: the bound of such a row is infinite
_LEAST_CAPABILITY: Final = 8  # before it Triton has no tensor instructions for bfloat16, and does not compile int8
_UNIT_SUM: Final = 2.0**-22  # unit roundoff granted to the accumulation of a coarse product
_UNIT_32: Final = 2.0**-24
_UNIT_64: Final = 2.0**-53
ROUNDED_UP: Final = 1 + 2.0**-20  # makes up for the rounding of a norm to float32

#: The numbers in which a product on the CPU comes back. `cpu.llvm` has the comparisons of each.
ScoreKind = Literal["float32", "bfloat16", "int32"]
#: Gives the rows start:stop of a shard in the coarse form: [stop - start, D'].
ItemTiles = Callable[[int, int], "torch.Tensor"]
#: Gives the same rows in panels (`panels.pack_panels`), where `start` is a multiple of a panel's items; they may lie in the
#: given room, uint8, until the next call with it.
ItemPanels = Callable[[int, int, np.ndarray], np.ndarray]


class QueryEncoding(IntEnum):
    """What `prepare_queries` of the CUDA engine makes of a query."""

    FLOAT32 = 0  # the vector itself
    HIGH_HALF = 1  # the nearest bfloat16
    CODES = 2  # int8 multiples of a scale


@dataclass(frozen=True)
class GpuForm:
    """How the kernels of the CUDA engine multiply in a format; they know these steps, not the formats."""

    tile: tuple[int, int]  # queries and items of one program
    query_encoding: QueryEncoding
    query_storage: str  # torch's name of the type that the queries are written as,
    query_dtype: str  # and of the same bits as the product reads them
    extra_bytes: int = 0  # for each value of an item, beside the two halves, which are always on the device
    join_halves: bool = False  # items are read as float32, made of both halves
    integer: bool = False  # sums of codes are int32; a score is the sum times the scales of query and item


@dataclass(frozen=True)
class QueryBounds:
    """How far coarse products of these queries may stray: eta |c| + a |i| + b |r_i| + c. float32 [Q] each, not negative."""

    a_Q: np.ndarray
    b_Q: np.ndarray
    c_Q: np.ndarray
    eta: float


class CoarseFormat(ABC):
    """One coarse format. Objects hold no state; the engines ask them and never look at their names.

    Rows of items and of queries are encoded alike unless a format says otherwise. A format that reduces its values by a scale
    per row returns sums of codes: an engine multiplies them by the scales of query and item.
    """

    #: Stands in manifests and on command lines.
    name: ClassVar[str]
    #: Columns stored beside the items: names of the scale and the residual norm, "" for one that the format does not need.
    scale_column: ClassVar[str] = ""
    residual_column: ClassVar[str] = ""
    #: The numbers in which `multiply` returns scores, and their unit roundoff beyond float32: the eta of the bound.
    score_kind: ClassVar[ScoreKind]
    output_unit: ClassVar[float] = 0.0
    #: Whether `multiply` makes no error at all on codes; otherwise gamma_D and `output_unit` are granted to it.
    is_exact: ClassVar[bool] = False
    #: Whether few queries, too, are multiplied in panels where the format has them; otherwise with `multiply`.
    only_panels: ClassVar[bool] = False
    #: Whether a coarse score is a score of its own, by which rows are fetched for approximate lists (`scoring.approximate`):
    #: the CPU engine returns the first K by it, exactly, and scores nothing canonically.
    is_score: ClassVar[bool] = False
    #: None: the CUDA engine does not have this format.
    gpu: ClassVar[GpuForm | None] = None

    @property
    def panels(self) -> PanelKind | None:
        """How the CPU engine multiplies blocks of queries itself on this processor; None: as all else, with `multiply`."""
        return None

    @property
    def code_scores(self) -> CoarseFormat | None:
        """The format whose scores fetch the rows of approximate lists; None: lists in this format are always exact."""
        return None

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the stored columns that this format needs beside the norm."""
        return tuple(column for column in (self.scale_column, self.residual_column) if column)

    @abstractmethod
    def row_columns(self, vectors_ND: np.ndarray, norm_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scale and norm of the residual of each row: float32 [N] each; ones and zeros where the format has none.

        `vectors_ND` float32, C order. The residual is rounded up (`upper_norm`), and infinite where `norm_N` is: such a row
        has no bound. For a row whose scale is 0, codes are 0 and the residual is the row itself.
        """

    def query_columns(self, vectors_QD: np.ndarray, norm_Q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`row_columns` of queries, for a format that encodes them otherwise than items."""
        return self.row_columns(vectors_QD, norm_Q)

    @abstractmethod
    def item_bytes(self, dimension: int) -> int:
        """The bytes of an item that are read for a product."""

    @abstractmethod
    def encode(self, vectors_ND: np.ndarray, scale_N: np.ndarray) -> torch.Tensor:
        """Rows in the coarse form, as `multiply` takes them: [N, D']. `scale_N` is that of `row_columns`."""

    def item_panels(self, shard: ItemShard, scale_I: np.ndarray) -> ItemPanels:
        """`item_tiles` for a format with `panels`: packed anew for each tile, which costs little beside a block of queries."""
        kind, tiles = self.panels, self.item_tiles(shard, scale_I)
        assert kind is not None
        return lambda start, stop, room: pack_panels(kind, tiles(start, stop), room)

    @abstractmethod
    def item_tiles(self, shard: ItemShard, scale_I: np.ndarray) -> ItemTiles:
        """Prepares a shard for tiles of rows; what the result keeps in memory lives as long as the engine."""

    def encode_queries(self, vectors_QD: np.ndarray, scale_Q: np.ndarray) -> torch.Tensor:
        """Queries in the coarse form: [Q, D']."""
        return self.encode(vectors_QD, scale_Q)

    def multiply(self, left_ND: torch.Tensor, right_MD: torch.Tensor, out_NM: torch.Tensor) -> None:
        """Writes the inner products of all rows of two encoded matrices, in the numbers of `score_kind`.

        This very call is what the engine runs and what `check` tries, beside `panels.multiply` of a format with `panels`.
        """
        import torch

        torch.mm(left_ND, right_MD.T, out=out_NM)

    def device_items(
        self, high_ID: torch.Tensor, low_ID: torch.Tensor, scale_I: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What the CUDA kernels read of the items, from the halves, int16 [I, D], on the device: [I, D].

        A format with integer sums encodes each row by `scale_I`, not below the row's own scale, and adds the residual norms,
        float32 [I], not below the true ones; others have those of `row_columns`: None.
        """
        raise NotImplementedError(f"{self.name} has no form for the GPU")

    def query_bounds(
        self, norm_Q: np.ndarray, residual_Q: np.ndarray, dimension: int, *, rounded_output: bool
    ) -> QueryBounds:
        """The bounds of queries with these norms, from the derivation above.

        `rounded_output`: scores come back in `score_kind`, and not in float32, as from panels and within a kernel on the GPU.
        """
        norm, residual = norm_Q.astype(np.float64), residual_Q.astype(np.float64)
        gamma = accumulation_error(dimension)
        # The canonical score's own error, and the roundings of whoever scales a product and adds a bound to it in float32.
        rest = dimension * _UNIT_64 / (1 - dimension * _UNIT_64) + 8 * _UNIT_32
        with np.errstate(invalid="ignore"):
            coarse_norm = norm + residual  # |u^| <= |u| + |r_u|
            a = residual + (gamma + rest) * coarse_norm + np.sqrt(dimension) * TINY
            b = (1 + gamma + rest) * coarse_norm
            c = (2 * dimension + 8) * TINY + np.sqrt(dimension) * TINY * coarse_norm
        up = 1 + 2.0**-16  # so that rounding to float32 lowers none of them
        a_Q, b_Q, c_Q = ((x * up).astype(np.float32) for x in (a, b, c))
        return QueryBounds(a_Q, b_Q, c_Q, self.output_unit if rounded_output else 0.0)

    def cpu_fault(self) -> str:
        """Why this format may not be used in this process, or "". For what can change at any time; `check` tries products."""
        return ""

    def gpu_fault(self, major: int, minor: int) -> str:
        """What is wrong with this format's kernels on GPUs of this compute capability, or ""."""
        if major >= _LEAST_CAPABILITY:
            return ""
        return (
            f"the kernels need a GPU of compute capability {_LEAST_CAPABILITY}.0 or more, not {major}.{minor} (as a T4)"
        )


def accumulation_error(dimension: int) -> float:
    """gamma_D: the error granted to a coarse product of D values, as a share of |u^| |i^|."""
    return dimension * _UNIT_SUM / (1 - dimension * _UNIT_SUM)


def as_tensor(array: np.ndarray) -> torch.Tensor:
    """A tensor over the array's own memory, to which nothing here writes."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch warns of arrays that are read-only
        return torch.from_numpy(array)


def vector_norms(vectors_ND: np.ndarray) -> np.ndarray:
    """The norm of each row, rounded up, float32 [N]; infinite for a row that is too large for float32 products."""
    norm_N = np.empty(len(vectors_ND), np.float32)
    _fill_norms(np.ascontiguousarray(vectors_ND, dtype=np.float32), norm_N)
    return norm_N


@compiled
def _fill_norms(vectors_ND, norm_N):  # type: ignore[no-untyped-def]
    for n in range(len(vectors_ND)):
        squares = 0.0
        for d in range(vectors_ND.shape[1]):
            value = np.float64(vectors_ND[n, d])
            squares += value * value
        norm = upper_norm(squares)
        norm_N[n] = norm if np.float32(norm) <= LARGEST_BOUNDED else np.inf  # NaN becomes infinite, too


@compiled
def upper_norm(squares):  # type: ignore[no-untyped-def]
    """A norm from its float64 sum of squares, not below the true one; the smallest normal number at least, or 0."""
    return max(np.sqrt(squares) * ROUNDED_UP, TINY) if squares > 0 else squares
