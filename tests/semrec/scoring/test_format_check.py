"""A format whose products are wrong on this machine is noticed before it is used, whatever makes them wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from helpers.scoring_problems import assert_same, catalogue, filtered_problem
from helpers.wrong_products import saturated
from semrec.errors import DeviceError
from semrec.scoring.cpu.engine import CpuEngine
from semrec.scoring.engine import make_engine
from semrec.scoring.formats import FORMATS, check, panels
from semrec.scoring.formats.check import measured_fault, usable_format, usable_formats
from semrec.scoring.reference import ReferenceEngine
from semrec.scoring.types import ItemShard, Targets

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
        fault = measured_fault(FORMATS[coarse], dimension, lambda left, right, out: out.copy_(wrong(left, right.T)))
        assert f"a product of {dimension} values is" in fault


@pytest.mark.parametrize("coarse", FORMATS)
@pytest.mark.parametrize("dimension", [1, 3, 8, 13, 384])
def test_a_right_product_is_not_blamed(coarse: str, dimension: int) -> None:
    def right(left: torch.Tensor, right_MD: torch.Tensor, out: torch.Tensor) -> None:
        out.copy_((left.double() @ right_MD.double().T).to(out.dtype))

    assert measured_fault(FORMATS[coarse], dimension, right) == ""


def test_the_formats_of_this_machine_are_right() -> None:
    """Otherwise the tests of those formats would be left out without a word."""
    assert {"float32", "bfloat16"} <= set(usable_formats("cpu", 384))
    assert measured_fault(FORMATS["bfloat16"], 384, FORMATS["bfloat16"].multiply) == ""


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


def test_panels_that_multiply_wrongly_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panels, "has_products", lambda kind: True)
    monkeypatch.setattr(panels, "multiply", lambda kind, left, right, out: saturated(left, right.T, out=out))
    check._cpu_fault.cache_clear()
    with pytest.raises(DeviceError, match="int8 on this machine: a product of 24 values is"):
        CpuEngine(ItemShard.from_vectors(catalogue(1, 100, 24, "plain")), coarse="int8")
    check._cpu_fault.cache_clear()


@pytest.fixture
def precision() -> Iterator[None]:
    """torch's switches as a process finds them, and again afterwards: the narrow ones, once set, outrank the wide ones."""
    yield
    torch.set_float32_matmul_precision("highest")
    for backend in (torch.backends, torch.backends.mkldnn, torch.backends.mkldnn.matmul, torch.backends.cuda.matmul):
        backend.fp32_precision = "none"


@pytest.mark.usefixtures("precision")
@pytest.mark.parametrize(
    "lower",
    [
        lambda: torch.set_float32_matmul_precision("medium"),
        lambda: torch.set_float32_matmul_precision("high"),
        lambda: setattr(torch.backends.mkldnn.matmul, "fp32_precision", "bf16"),
        lambda: setattr(torch.backends.mkldnn, "fp32_precision", "tf32"),
        lambda: setattr(torch.backends, "fp32_precision", "tf32"),
    ],
)
def test_float32_is_refused_where_torch_may_multiply_it_in_fewer_bits(lower: Callable[[], None]) -> None:
    shard, queries = filtered_problem("plain", num_items=300, num_queries=20)
    engine = make_engine("cpu", shard, coarse="float32")
    targets = Targets(np.arange(21), np.zeros(20, np.int64), np.zeros(20, np.float32))
    lower()
    for use in (
        lambda: make_engine("cpu", shard, coarse="float32"),
        lambda: engine.top_k(queries, 1),
        lambda: engine.count_before(queries, targets),
    ):
        with pytest.raises(DeviceError, match="torch is set to multiply float32 as"):
            use()
    assert "float32" not in usable_formats("cpu", 24)
    assert usable_format("cpu", "float32", 24) == "bfloat16"


@pytest.mark.parametrize(("capability", "unusable"), [((9, 0), set()), ((10, 3), {"float32"}), ((7, 5), set(FORMATS))])
def test_the_formats_of_a_gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], unusable: set[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(check, "_gpu_fault", lambda coarse, dimension, device: "")
    with_kernel = [name for name, coarse in FORMATS.items() if coarse.gpu is not None]
    assert usable_formats("cuda", 384) == tuple(name for name in with_kernel if name not in unusable)


def test_nothing_is_scored_where_every_product_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "_cpu_fault", lambda coarse, dimension: "broken")
    shard, _ = filtered_problem("plain", num_items=30, num_queries=1)
    with pytest.raises(DeviceError, match="bfloat16 on this machine: broken"):
        make_engine("cpu", shard)
