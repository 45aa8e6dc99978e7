"""The halves give every float32 back, and no coarse product strays further from the canonical score than its bound says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semrec.errors import InputError
from semrec.scoring.canonical import canonical_scores
from semrec.scoring.coarse import (
    NORM,
    RESIDUAL_BFLOAT16,
    RESIDUAL_INT8,
    SCALE_INT8,
    CoarseFormat,
    check_format,
    int8_codes,
    join_halves,
    query_bounds,
    row_norms,
    split_halves,
)

DIMENSIONS = (1, 2, 7, 8, 33, 100, 384, 1024, 4096)


def hard_vectors(kind: str, num_rows: int, dimension: int, seed: int) -> np.ndarray:
    """float32 [num_rows, dimension] of a kind that rounds or sums badly."""
    rng = np.random.default_rng(seed)
    plain = rng.standard_normal((num_rows, dimension))
    if kind == "spread norms":
        plain *= np.exp(rng.normal(0, 4, (num_rows, 1)))
    elif kind == "halfway between bfloat16":
        plain = (1 + (2 * rng.integers(0, 64, plain.shape) + 1) * 2.0**-8) * rng.choice([-1, 1], plain.shape)
    elif kind == "one sign, worst rounding":
        plain = np.full(plain.shape, 1 + 2.0**-8 - 2.0**-20)
    elif kind == "one large coordinate":
        plain[:, 0] = 1e4 * rng.choice([-1, 1], num_rows)
    elif kind == "cancelling":
        plain = np.where(np.arange(dimension) % 2, 1e3, -1e3) + plain
    elif kind == "denormal":
        plain *= 1e-40
    elif kind == "tiny":
        plain *= 1e-21
    elif kind == "huge":
        plain *= 1e17
    elif kind == "zeros":
        plain[rng.random(num_rows) < 0.5] = 0
    elif kind == "powers of ten":
        plain *= 10.0 ** rng.integers(-18, 18, plain.shape)
    return np.ascontiguousarray(plain, dtype=np.float32)


KINDS = (
    "plain", "spread norms", "halfway between bfloat16", "one sign, worst rounding", "one large coordinate", "cancelling",
    "denormal", "tiny", "huge", "zeros", "powers of ten",
)  # fmt: skip


def coarse_scores(queries_QD: np.ndarray, items_ID: np.ndarray, coarse: CoarseFormat, *, rounded: bool) -> np.ndarray:
    """The coarse product as the engines make it: float32 [Q, I]."""
    if coarse == "int8":
        scales = [row_norms(side)[:, SCALE_INT8] for side in (queries_QD, items_ID)]
        codes = [torch.from_numpy(int8_codes(v, s)) for v, s in zip((queries_QD, items_ID), scales, strict=True)]
        sums = torch._int_mm(codes[0], codes[1].T).numpy()
        return sums.astype(np.float32) * scales[1] * scales[0][:, None]
    left, right = torch.from_numpy(queries_QD), torch.from_numpy(items_ID)
    if coarse == "bfloat16":
        left, right = left.bfloat16(), right.bfloat16()
        if not rounded:
            left, right = left.float(), right.float()
    return (left @ right.T).float().numpy()


@pytest.mark.parametrize(
    ("coarse", "rounded"), [("float32", False), ("bfloat16", False), ("bfloat16", True), ("int8", False)]
)
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_no_score_leaves_its_bound(dimension: int, coarse: CoarseFormat, rounded: bool) -> None:
    for seed, kind in enumerate(KINDS):
        queries, items = hard_vectors(kind, 20, dimension, seed), hard_vectors(kind, 30, dimension, seed + 100)
        norms = row_norms(items)
        limits = query_bounds(row_norms(queries), dimension, coarse, rounded_output=rounded)
        column = {"bfloat16": RESIDUAL_BFLOAT16, "int8": RESIDUAL_INT8}.get(coarse)
        residual = norms[:, column] if column is not None else np.zeros(len(items))
        found = coarse_scores(queries, items, coarse, rounded=rounded).astype(np.float64)
        exact = np.stack([canonical_scores(row[None], items) for row in queries]).astype(np.float64)
        error = limits.a_Q[:, None].astype(np.float64) * norms[:, NORM] + limits.c_Q[:, None]
        with np.errstate(invalid="ignore"):
            error += limits.b_Q[:, None].astype(np.float64) * residual + limits.eta * np.abs(found)
        assert not (np.abs(found - exact) > error).any(), kind  # NaN: no bound, as for huge norms


def test_the_bound_is_not_idle() -> None:
    """On unit vectors bfloat16 is known to a hundredth; a bound that says more than that would prove nothing."""
    vectors = hard_vectors("plain", 200, 384, 0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    norms = row_norms(vectors)
    limits = query_bounds(norms, 384, "bfloat16", rounded_output=True)
    assert (limits.a_Q + limits.b_Q * norms[:, RESIDUAL_BFLOAT16]).max() < 0.006
    assert limits.eta == 2.0**-8


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40))
@settings(max_examples=300, deadline=None)
def test_halves_give_every_float32_back(values: list[float]) -> None:
    vectors = np.array([values], np.float32)
    assert join_halves(*split_halves(vectors)).tobytes() == vectors.tobytes()


@pytest.mark.parametrize(
    "value", [0.0, -0.0, 1e-45, -1e-45, 3.4028235e38, -3.4028235e38, 3.39e38, 1.0039062, 2.0**-126]
)
def test_halves_of_edges(value: float) -> None:
    vectors = np.array([[value]], np.float32)
    high, low = split_halves(vectors)
    assert (high.dtype, low.dtype) == (np.uint16, np.int16)
    assert join_halves(high, low).tobytes() == vectors.tobytes()


def test_the_high_half_is_torchs_bfloat16() -> None:
    vectors = hard_vectors("powers of ten", 100, 64, 1)
    ours = torch.from_numpy(split_halves(vectors)[0]).view(torch.bfloat16).float().numpy()
    theirs = torch.from_numpy(vectors).bfloat16().float().numpy()
    halfway = split_halves(vectors)[1] == -0x8000  # ours go away from zero, torch's to even
    assert (ours == theirs)[~halfway].all()


def test_norms_are_never_below_the_true_ones() -> None:
    for kind in KINDS:
        vectors = hard_vectors(kind, 50, 100, 3)
        exact, norms = vectors.astype(np.float64), row_norms(vectors).astype(np.float64)
        high = split_halves(vectors)[0]
        rounded = (high.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        coded = int8_codes(vectors, norms[:, SCALE_INT8])[:, :100] * norms[:, SCALE_INT8, None]
        for column, residual in ((NORM, exact), (RESIDUAL_BFLOAT16, exact - rounded), (RESIDUAL_INT8, exact - coded)):
            assert (norms[:, column] >= np.sqrt((residual**2).sum(axis=1))).all(), kind


def test_rows_beyond_float32_products_have_no_bound() -> None:
    norms = row_norms(np.array([[3e38, 3e38], [1.0, 0.0]], np.float32))
    assert norms[0].tolist() == [np.inf, np.inf, 0, np.inf]
    assert np.isfinite(norms[1]).all()
    limits = query_bounds(norms, 2, "bfloat16", rounded_output=True)
    assert np.isinf(limits.b_Q[0])
    assert np.isfinite(limits.b_Q[1])


def test_unknown_formats_are_refused() -> None:
    with pytest.raises(InputError, match="coarse format 'fp8'"):
        check_format("fp8")
