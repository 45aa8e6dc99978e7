"""A format whose products are wrong on this machine is noticed before it is used, whatever makes them wrong."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from scoring_problems import assert_same, filtered_problem
from wrong_products import saturated

from semrec.errors import DeviceError
from semrec.scoring import make_engine, products
from semrec.scoring.coarse import COARSE_FORMATS, CoarseFormat
from semrec.scoring.cpu import CpuEngine
from semrec.scoring.products import SCORE_KIND, measured_fault, multiply, usable_format, usable_formats
from semrec.scoring.reference import ReferenceEngine

DIMENSIONS = (2, 16, 24, 64, 128, 384)


def as_tf32(values: torch.Tensor) -> torch.Tensor:
    """float32 values rounded to the ten explicit bits that TF32 keeps."""
    return ((values.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def in_bfloat16_sums(left_ND: torch.Tensor, right_MD: torch.Tensor) -> torch.Tensor:
    """A product whose partial sums are rounded to bfloat16."""
    total_NM = torch.zeros((len(left_ND), len(right_MD)), dtype=torch.bfloat16)
    for d in range(left_ND.shape[1]):
        total_NM = total_NM + left_ND[:, d, None] * right_MD[:, d]
    return total_NM


WRONG = {
    "int8 pairs saturate in 16 bits": ("int8", saturated, DIMENSIONS),
    "float32 is multiplied as TF32": ("float32", lambda a, b: as_tf32(a) @ as_tf32(b), DIMENSIONS),
    "float32 is multiplied as bfloat16": ("float32", lambda a, b: (a.bfloat16() @ b.bfloat16()).float(), DIMENSIONS),
    "bfloat16 is added up in bfloat16": ("bfloat16", lambda a, b: in_bfloat16_sums(a, b.T), DIMENSIONS[1:]),
    "zeros come back": ("bfloat16", lambda a, b: torch.zeros(a.shape[0], b.shape[1]), DIMENSIONS),
    "NaN comes back": ("float32", lambda a, b: torch.full((a.shape[0], b.shape[1]), np.nan), DIMENSIONS),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_product_is_noticed(name: str) -> None:
    coarse, wrong, dimensions = WRONG[name]
    for dimension in dimensions:
        fault = measured_fault(coarse, dimension, lambda _, left, right, out: out.copy_(wrong(left, right.T)))
        assert f"a product of {dimension} values is" in fault


@pytest.mark.parametrize("coarse", COARSE_FORMATS)
@pytest.mark.parametrize("dimension", [1, 3, 8, 13, 384])
def test_a_right_product_is_not_blamed(coarse: CoarseFormat, dimension: int) -> None:
    def right(_: CoarseFormat, left: torch.Tensor, right_MD: torch.Tensor, out: torch.Tensor) -> None:
        out.copy_((left.double() @ right_MD.double().T).to(SCORE_KIND[coarse]))

    assert measured_fault(coarse, dimension, right) == ""


def test_the_formats_of_this_machine_are_right() -> None:
    """Otherwise the tests of those formats would be left out without a word."""
    assert {"float32", "bfloat16"} <= set(usable_formats("cpu", 384))
    assert measured_fault("bfloat16", 384, multiply) == ""


@pytest.mark.usefixtures("saturating_int8")
def test_int8_is_refused_where_it_saturates(caplog: pytest.LogCaptureFixture) -> None:
    shard, queries = filtered_problem("plain", num_items=300, num_queries=20)
    for make in (lambda: CpuEngine(shard, coarse="int8"), lambda: make_engine("cpu", shard, coarse="int8")):
        with pytest.raises(DeviceError, match="int8 on this machine: a product of 24 values is"):
            make()
    assert usable_formats("cpu", 24) == ("float32", "bfloat16")
    with caplog.at_level(logging.WARNING):
        assert usable_format("cpu", "int8", 24) == "bfloat16"
    assert "engine cpu scores in bfloat16 instead of int8: a product of 24 values is" in caplog.text
    assert_same(make_engine("cpu", shard).top_k(queries, 10), ReferenceEngine(shard).top_k(queries, 10))


def test_nothing_is_scored_where_every_product_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_cpu_fault", lambda coarse, dimension: "broken")
    shard, _ = filtered_problem("plain", num_items=30, num_queries=1)
    with pytest.raises(DeviceError, match="bfloat16 on this machine: broken"):
        make_engine("cpu", shard)
