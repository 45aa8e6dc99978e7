"""No coarse product strays further from the canonical score than its bound says, and one more format is one class."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from helpers.engine_contract import engine_contract
from helpers.hard_vectors import DIMENSIONS, KINDS, hard_vectors
from helpers.scoring_problems import KINDS as CATALOGUES
from helpers.scoring_problems import assert_same, catalogue, filtered_problem
from semrec.errors import DeviceError, InputError
from semrec.scoring.canonical import canonical_scores
from semrec.scoring.cpu.engine import CpuEngine
from semrec.scoring.cuda.items import gpu_form
from semrec.scoring.engine import Engine, make_engine
from semrec.scoring.formats import COMPRESSED_FORMATS, FORMATS, STORED_NORMS, CoarseFormat, get_format, row_norms
from semrec.scoring.formats.base import ItemTiles, vector_norms
from semrec.scoring.formats.check import measured_fault, product_fault
from semrec.scoring.formats.int8 import Int8
from semrec.scoring.formats.rotated import RotatedInt8, _paley
from semrec.scoring.reference import ReferenceEngine
from semrec.scoring.types import ItemShard, Queries


class Float16(CoarseFormat):
    """A format that exists in this file alone: float16, added up in float32. What it cannot hold has no bound."""

    name = "float16"
    residual_column = "residual_float16"
    score_kind = "float32"

    def row_columns(self, vectors_ND: np.ndarray, norm_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with np.errstate(over="ignore"):
            rest_ND = vectors_ND.astype(np.float64) - vectors_ND.astype(np.float16)
        residual_N = (np.sqrt((rest_ND**2).sum(axis=1)) * (1 + 2.0**-20) + 2.0**-126).astype(np.float32)
        return np.ones(len(vectors_ND), np.float32), np.where(norm_N < np.inf, residual_N, np.float32(np.inf))

    def item_bytes(self, dimension: int) -> int:
        return 2 * dimension

    def encode(self, vectors_ND: np.ndarray, scale_N: np.ndarray) -> torch.Tensor:
        with np.errstate(over="ignore"):
            return torch.from_numpy(vectors_ND.astype(np.float16))

    def item_tiles(self, shard: ItemShard, scale_I: np.ndarray) -> ItemTiles:
        codes_ID = self.encode(shard.vectors(), scale_I)
        return lambda start, stop: codes_ID[start:stop]

    def multiply(self, left_ND: torch.Tensor, right_MD: torch.Tensor, out_NM: torch.Tensor) -> None:
        torch.mm(left_ND.float(), right_MD.float().T, out=out_NM)


ALL_FORMATS = [*FORMATS.values(), *COMPRESSED_FORMATS.values(), Float16()]


class TestCpuFloat16(engine_contract()):
    """The whole contract of an engine, in a format that no file of the package knows."""

    thread_counts = (1, 2, 9)

    def make(self, shard: ItemShard, **sizes: int) -> Engine:
        return CpuEngine(shard, coarse=Float16(), **{"num_threads": 2, **sizes})


@pytest.mark.parametrize("kind", CATALOGUES)
def test_a_new_format_is_exact_on_every_kind_of_catalogue(kind: str) -> None:
    shard, queries = filtered_problem(kind, num_items=4000, num_queries=70)
    engine = make_engine("cpu", shard, coarse=Float16(), num_threads=2)
    assert_same(engine.top_k(queries, 20), ReferenceEngine(shard).top_k(queries, 20))


def test_a_new_format_proves_few_candidates() -> None:
    """Otherwise the tests above would pass without its bound."""
    shard, queries = filtered_problem("plain", num_items=4000, num_queries=70)
    lists = CpuEngine(shard, coarse=Float16(), num_threads=1).top_k(queries, 20)
    assert lists.num_candidates < 70 * 30


def test_a_format_without_a_kernel_is_refused_on_a_gpu() -> None:
    assert product_fault("cuda", Float16(), 8) == "engine cuda has no kernel for it"
    with pytest.raises(DeviceError, match="coarse format float16 on a GPU"):
        gpu_form(Float16())


def test_a_wrong_product_of_a_new_format_is_noticed() -> None:
    def in_bfloat16(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> None:
        out.copy_((left.bfloat16() @ right.bfloat16().T).float())

    assert measured_fault(Float16(), 384, Float16().multiply) == ""
    assert "a product of 384 values is" in measured_fault(Float16(), 384, in_bfloat16)


@pytest.mark.parametrize("coarse", ALL_FORMATS, ids=lambda coarse: coarse.name)
@pytest.mark.parametrize("rounded", [True, False])
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_no_score_leaves_its_bound(dimension: int, rounded: bool, coarse: CoarseFormat) -> None:
    for seed, kind in enumerate(KINDS):
        queries, items = hard_vectors(kind, 20, dimension, seed), hard_vectors(kind, 30, dimension, seed + 100)
        norm_Q, norm_I = vector_norms(queries), vector_norms(items)
        scale_Q, residual_Q = coarse.query_columns(queries, norm_Q)
        scale_I, residual_I = coarse.row_columns(items, norm_I)
        bounds = coarse.query_bounds(norm_Q, residual_Q, dimension, rounded_output=rounded)
        sums_QI = products(coarse, coarse.encode_queries(queries, scale_Q), coarse.encode(items, scale_I), rounded)
        scores_QI = (sums_QI * scale_I * scale_Q[:, None]).astype(np.float64)
        exact_QI = np.stack([canonical_scores(row[None], items) for row in queries]).astype(np.float64)
        with np.errstate(invalid="ignore"):
            error_QI = bounds.a_Q[:, None].astype(np.float64) * norm_I + bounds.c_Q[:, None]
            error_QI += bounds.b_Q[:, None].astype(np.float64) * residual_I + bounds.eta * np.abs(scores_QI)
            assert not (np.abs(scores_QI - exact_QI) > error_QI).any(), kind  # NaN: no bound, as for huge norms


def products(coarse: CoarseFormat, left: torch.Tensor, right: torch.Tensor, rounded: bool) -> np.ndarray:
    """The products of an engine, float32 [N, M]: in the numbers of the CPU's, or added up in float32 as on a GPU."""
    if coarse.is_exact:
        return (left.double() @ right.double().T).float().numpy()  # this machine's may be wrong; `check` looks at that
    if not rounded:
        return (left.float() @ right.float().T).numpy()
    out = torch.empty((len(left), len(right)), dtype=getattr(torch, coarse.score_kind))
    coarse.multiply(left, right, out)
    return out.float().numpy()


def test_the_bound_is_not_idle() -> None:
    """On unit vectors bfloat16 is known to a hundredth; a bound that says more than that would prove nothing."""
    vectors = hard_vectors("plain", 200, 384, 0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    coarse, norm_N = get_format("bfloat16"), vector_norms(vectors)
    _, residual_N = coarse.row_columns(vectors, norm_N)
    bounds = coarse.query_bounds(norm_N, residual_N, 384, rounded_output=True)
    assert (bounds.a_Q + bounds.b_Q * residual_N).max() < 0.006
    assert bounds.eta == 2.0**-8


@pytest.mark.parametrize("coarse", ALL_FORMATS, ids=lambda coarse: coarse.name)
def test_norms_are_never_below_the_true_ones(coarse: CoarseFormat) -> None:
    for kind in KINDS:
        vectors = hard_vectors(kind, 50, 100, 3)
        norm_N = vector_norms(vectors)
        scale_N, residual_N = coarse.row_columns(vectors, norm_N)
        rows_ND = coarse.coded_rows(vectors) if isinstance(coarse, Int8) else vectors
        codes_ND = coarse.encode(vectors, scale_N).double().numpy()[:, : rows_ND.shape[1]]
        rest_ND = rows_ND.astype(np.float64) - codes_ND * scale_N[:, None].astype(np.float64)
        for bound_N, exact_ND in ((norm_N, vectors.astype(np.float64)), (residual_N, rest_ND)):
            assert (bound_N >= np.sqrt((exact_ND**2).sum(axis=1))).all(), kind


def test_the_stored_columns_are_those_of_all_formats_by_name() -> None:
    # The order of older releases, which further columns stand behind.
    assert STORED_NORMS[:4] == ("norm", "residual_bfloat16", "scale_int8", "residual_int8")
    vectors = hard_vectors("spread norms", 5000, 7, 0)
    norms = row_norms(vectors)
    shard = ItemShard.from_vectors(vectors)
    for coarse in FORMATS.values():
        norm_I, scale_I, residual_I = shard.norms_of(coarse)
        expected = (vector_norms(vectors), *coarse.row_columns(vectors, norm_I))
        for column, computed in zip((norm_I, scale_I, residual_I), expected, strict=True):
            assert column.tobytes() == computed.tobytes()
        for name in coarse.columns:
            assert norms[:, STORED_NORMS.index(name)].tobytes() in (scale_I.tobytes(), residual_I.tobytes())


def test_rows_beyond_float32_products_have_no_bound() -> None:
    norms = row_norms(np.array([[3e38, 3e38], [1.0, 0.0]], np.float32))
    assert norms[0].tolist() == [np.inf, np.inf, 0, np.inf, 0, np.inf]
    assert np.isfinite(norms[1]).all()
    bounds = get_format("bfloat16").query_bounds(norms[:, 0], norms[:, 1], 2, rounded_output=True)
    assert np.isinf(bounds.b_Q[0])
    assert np.isfinite(bounds.b_Q[1])


def test_unknown_formats_are_refused() -> None:
    with pytest.raises(InputError, match="coarse format 'fp8'"):
        get_format("fp8")


@pytest.mark.parametrize("dimension", [1, 8, 65, 96, 160, 161, 384, 706])
def test_a_rotation_keeps_inner_products(dimension: int) -> None:
    left_ND, right_MD = (catalogue(seed, 13, dimension, "plain") for seed in (1, 2))
    rotated = [RotatedInt8().coded_rows(rows).astype(np.longdouble) for rows in (left_ND, right_MD)]
    exact_NM = left_ND.astype(np.longdouble) @ right_MD.astype(np.longdouble).T
    norms_NM = np.linalg.norm(left_ND, axis=1)[:, None] * np.linalg.norm(right_MD, axis=1)
    assert (np.abs(rotated[0] @ rotated[1].T - exact_NM) <= 2.0**-40 * norms_NM).all()
    assert rotated[0].shape[1] <= max(24, dimension * 1.5)


@pytest.mark.parametrize(("prime", "num_rows"), [(11, 12), (19, 20)])
def test_the_rows_of_paleys_matrices_are_orthogonal(prime: int, num_rows: int) -> None:
    matrix = _paley(prime)
    assert (np.abs(matrix) == 1).all()
    assert (matrix @ matrix.T == num_rows * np.eye(num_rows)).all()


def test_the_rotation_is_the_one_by_which_releases_were_stored() -> None:
    """Whoever changes a sign, the order of the sums or the size gives the format another name."""
    rotated = RotatedInt8().coded_rows(np.arange(1, 66, dtype=np.float32)[None])
    assert hashlib.sha256(rotated.tobytes()).hexdigest()[:16] == "de836d9e18b22380"


def test_large_dimensions_leave_fewer_pairs_in_doubt_once_rotated() -> None:
    vectors = catalogue(3, 4_100, 64, "plain")
    vectors[:, 5] *= 30
    shard, queries = ItemShard.from_vectors(vectors[:4_000]), Queries.unfiltered(vectors[4_000:])
    found = {name: CpuEngine(shard, coarse=name, num_threads=1).top_k(queries, 10) for name in ("int8", "int8_rotated")}
    assert_same(found["int8_rotated"], ReferenceEngine(shard).top_k(queries, 10))
    in_doubt = {name: lists.num_candidates - 1_000 for name, lists in found.items()}  # beyond the first ten of each
    assert in_doubt["int8_rotated"] * 3 < in_doubt["int8"]
