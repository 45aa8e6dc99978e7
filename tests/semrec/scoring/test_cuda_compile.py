"""What the CUDA engine launches becomes the machine code that it is meant to be, for GPUs that are not here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from semrec.scoring.cuda.block import PassMode
from semrec.scoring.cuda.products import ResidentProduct, TiledProduct
from semrec.scoring.cuda.roofline import WARP_INSTRUCTIONS
from semrec.scoring.formats import FORMATS

#: Compute capabilities (A100, H100's family first, A10, L4, B200, RTX 50) and the shared memory that a program may take there.
SHARED_BYTES = {90: 227 << 10, 80: 163 << 10, 86: 99 << 10, 89: 99 << 10, 100: 227 << 10, 120: 99 << 10}
TENSOR_INSTRUCTIONS = {
    80: "HMMA IMMA",
    86: "HMMA IMMA",
    89: "HMMA IMMA",
    90: "HGMMA IGMMA",
    100: "UTCHMMA IMMA",
    120: "HMMA IMMA",
}


@pytest.fixture(scope="module")
def launches() -> list[dict[str, Any]]:
    pytest.importorskip("triton", reason="TRITON IS MISSING: what it compiles is not looked at")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    script = Path(__file__).parents[2] / "helpers/compile_kernels.py"
    capabilities = map(str, SHARED_BYTES)
    done = subprocess.run([sys.executable, script, *capabilities], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def products(launches: list[dict[str, Any]], *, join_halves: bool) -> list[dict[str, Any]]:
    found = [launch for launch in launches if launch["constants"].get("JOIN_HALVES") is join_halves]
    assert {launch["capability"] for launch in found} == set(SHARED_BYTES)
    return found


def test_every_kernel_is_compiled(launches: list[dict[str, Any]]) -> None:
    assert {launch["kernel"] for launch in launches} == {
        "prepare_queries", "eligible_words", "hide_seen", "coarse_pass", "raise_thresholds", "collect_candidates",
        "score_pairs", "rank_candidates", "resident_pass",
    }  # fmt: skip
    modes = {
        (*launch["constants"].values(),)
        for launch in products(launches, join_halves=False)
        if launch["capability"] == 90
    }
    assert len(modes) == 10  # two formats: largest of groups and fine ones, candidates with and without maxima, counts


def test_products_run_on_tensor_cores_and_stay_in_registers(launches: list[dict[str, Any]]) -> None:
    for launch in products(launches, join_halves=False):
        expected = TENSOR_INSTRUCTIONS[launch["capability"]].split()[launch["constants"]["INTEGER"]]
        assert launch["tensor"] == [expected], launch
        assert (launch["spills"], launch["stack"]) == (0, 0), launch


def test_float32_stays_in_registers_without_tensor_cores(launches: list[dict[str, Any]]) -> None:
    for launch in products(launches, join_halves=True):
        if not launch["tf32"]:
            assert (launch["tensor"], launch["spills"], launch["stack"]) == ([], 0, 0), launch


def test_resident_queries_are_multiplied_with_items_that_the_copy_unit_brings(launches: list[dict[str, Any]]) -> None:
    found = [launch for launch in launches if launch["kernel"] == "resident_pass"]
    assert {launch["capability"] for launch in found} == {90, 100}
    assert len(found) == 12 + 3  # three sizes of tiles; of the second capability only the largest launch
    for launch in found:
        expected = TENSOR_INSTRUCTIONS[launch["capability"]].split()[launch["constants"]["INTEGER"]]
        assert launch["tensor"] == [expected], launch
        assert launch["copies_tensors"], launch
        assert (launch["spills"], launch["stack"]) == (0, 0), launch
        # Two tiles of items are there at a time: one is multiplied, the other comes. (B200 keeps int8 queries in registers.)
        queries, items = (
            launch["constants"][size] * 384 * (2 - launch["constants"]["INTEGER"]) for size in ("BQ", "BI")
        )
        least = 2 * items + (0 if launch["capability"] == 100 and launch["constants"]["INTEGER"] else queries)
        assert launch["shared"] >= least, launch


def test_the_model_counts_the_instructions_of_a_tile(launches: list[dict[str, Any]]) -> None:
    for launch in launches:
        constants = launch["constants"]
        if (launch["capability"], constants.get("MODE"), constants.get("WITH_MAXIMA")) != (90, PassMode.COLLECT, True):
            continue
        if not constants.get("JOIN_HALVES"):
            product = TiledProduct if launch["kernel"] == "coarse_pass" else ResidentProduct
            key = "int8" if constants["INTEGER"] else "bfloat16", product((constants["BQ"], constants["BI"]))
            assert WARP_INSTRUCTIONS[key] == pytest.approx(launch["instructions"], rel=0.1), launch


def test_what_follows_the_products_stays_in_registers(launches: list[dict[str, Any]]) -> None:
    for launch in launches:
        if not launch["kernel"].endswith("_pass"):
            assert (launch["spills"], launch["stack"]) == (0, 0), launch


def test_programs_fit_the_shared_memory(launches: list[dict[str, Any]]) -> None:
    for launch in launches:
        assert launch["shared"] <= SHARED_BYTES[launch["capability"]], launch


def test_float32_is_refused_on_gpus_whose_triton_takes_it_for_tf32(launches: list[dict[str, Any]]) -> None:
    for launch in products(launches, join_halves=True):
        fault = FORMATS["float32"].gpu_fault(*divmod(launch["capability"], 10))
        assert launch["tf32"] == bool(fault), launch
