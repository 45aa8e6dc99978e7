"""What the CUDA engine could reach, from data sheets: held against sums made by hand, and shown by `semrec plan --kernel`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from semrec.errors import InputError
from semrec.scoring.cuda.roofline import GPUS, Gpu, KernelProblem, formats_of, gpu_of, predict_passes, predict_product

# A tensor operation takes 1e-12 s, and so does a byte of either kind of memory; the rest takes nothing.
EVEN = Gpu("even", 10**9, 1.0, 1.0, 1.0, 1e9, 1.0, 1.0, 1.0)
SMALL = KernelProblem(128, 256, dimension=64, k=10, block_queries=128)


def test_a_product_takes_the_time_of_its_slowest_resource() -> None:
    product = predict_product(EVEN, SMALL)
    assert (product.limit, product.seconds) == ("tensor cores", 2 * 128 * 256 * 64 / 1e12)
    # Two tiles of 128 x 128 read 256 rows of 64 bfloat16 each.
    slow_cache = Gpu("slow cache", 10**9, 1.0, 1e6, 1.0, 1e9, 1e6, 1.0, 1.0)
    product = predict_product(slow_cache, SMALL)
    assert (product.limit, product.seconds) == ("cache", 2 * 256 * 64 * 2 / 1e12)
    # Two blocks read the items; words and maxima of 1,024 words per query block are moved three times.
    slow_memory = Gpu("slow memory", 10**9, 1.0, 1e6, 1.0, 1e9, 1.0, 1e6, 1.0)
    product = predict_product(slow_memory, SMALL)
    assert (product.limit, product.seconds) == ("memory", (2 * 128 * 64 * 2 + 1024 * 3 * 4) / 1e12)


def test_resident_queries_are_read_once_for_a_run_of_tiles() -> None:
    slow_cache = Gpu("slow cache", 10**9, 1.0, 1e6, 1.0, 1e9, 1e6, 1.0, 1.0, resident_kib=227)
    resident = predict_product(slow_cache, KernelProblem(2048, 256, dimension=384))
    assert (resident.kernel, resident.limit) == ("resident tiles of 128 x 64", "cache")
    assert resident.seconds == 2 * 2 * (128 + 1024) * 384 * 2 / 1e12  # two tiles of queries, two runs of 16 tiles each
    tiled = predict_product(GPUS["A100"], KernelProblem(2048, 256, dimension=384))
    assert tiled.kernel == "tiles of 128 x 128"


def test_a_run_is_the_sum_of_its_passes_on_every_gpu() -> None:
    for gpu in GPUS.values():
        for coarse in formats_of(gpu):
            *passes, device, link = predict_passes(gpu, KernelProblem(62_423, 162_541, coarse=coarse))
            assert [each.what for each in passes] == [
                "sample product", "product", "masks and thresholds", "finish", "rank"
            ]  # fmt: skip
            assert device.seconds == pytest.approx(sum(each.seconds for each in passes))
            assert 0.01 < device.seconds < 0.4
            assert link.seconds < device.seconds


def test_few_items_are_multiplied_twice() -> None:
    sample, product, *_ = predict_passes(EVEN, SMALL)
    assert (sample.what, product.what, sample.seconds) == ("sample product", "product", product.seconds)


def test_a_format_without_a_rate_is_refused() -> None:
    with pytest.raises(InputError, match="int8 on B200"):
        predict_product(GPUS["B200"], KernelProblem(100, 100, coarse="int8"))


@pytest.mark.parametrize(
    ("device", "name"), [("NVIDIA H200", "H200"), ("NVIDIA A100-SXM4-80GB", "A100"), ("NVIDIA L4", "L4")]
)
def test_gpus_are_known_by_the_drivers_name(device: str, name: str) -> None:
    assert gpu_of(device) is GPUS[name]


def test_other_gpus_are_not_known() -> None:
    assert gpu_of("Tesla T4") is None
    assert gpu_of("NVIDIA L40S") is None


def test_it_is_shown_for_a_workload(tmp_path: Path) -> None:
    options = ["--kernel", "--items", "62423", "--users", "162541", "--json", str(tmp_path / "kernel.json")]
    done = CliRunner().invoke(app, ["plan", *options])
    assert done.exit_code == 0, done.output
    assert all(name in done.output for name in GPUS)
    rows = json.loads((tmp_path / "kernel.json").read_text())
    (product,) = (r for r in rows if (r["gpu"], r["coarse"], r["what"]) == ("H200", "bfloat16", "product"))
    assert product["seconds"] == predict_product(GPUS["H200"], KernelProblem(62_423, 162_541)).seconds
    refused = CliRunner().invoke(app, ["plan", *options, "--plot", str(tmp_path / "plan.svg")])
    assert (refused.exit_code, "a workload and --json alone" in refused.output) == (2, True)
