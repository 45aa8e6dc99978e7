"""The bench of the GPU starts on a machine that has torch, triton, numba, numpy and pyarrow, and nothing else of ours; that of
the host's work needs no GPU.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from jobs.cli import app
from semrec.bench import gpu
from semrec.bench.gpu_host import engine_without_device
from semrec.scoring.cuda import product_choice
from semrec.scoring.cuda.block import PassMode
from semrec.scoring.cuda.products import Products, ResidentProduct, TiledProduct
from semrec.scoring.types import ItemShard

ROOT = Path(__file__).parents[3]
_BARE = {"numba", "numpy", "pyarrow", "torch"}
_MODULES = {"grpcio": "grpc", "protobuf": "google.protobuf"}  # where the name differs from the distribution's
_PROGRAM = """
import sys
for name in sys.argv[1:]:
    sys.modules[name] = None  # as if it were not installed
from semrec.bench import gpu
from semrec.bench.workloads import DATA, VARIANTS
problem = gpu.generated_problem(DATA[0], 200, 5, dimension=16)
for variant in VARIANTS:
    lists = gpu.ReferenceEngine(problem.shard(variant)).top_k(problem.queries(variant), 3)
    print(lists.num_queries, len(gpu._targets(lists).rows))
sys.exit(gpu.main(["--json", "/dev/null"]))
"""


def test_the_hosts_work_is_measured_without_a_gpu(tmp_path: Path) -> None:
    options = ["--items", "5000", "--users", "300", "--k", "10", "--rounds", "1", "--json", str(tmp_path / "host.json")]
    done = CliRunner().invoke(app, ["bench", "gpu-host", *options])
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "host.json").read_text())["rows"]
    # Encode, eligible rows of a sample and of all, both passes, thresholds of both, list, score, rank; and seen rows of each.
    assert [(row["variant"], row["users"], row["launches"]) for row in rows] == [
        ("plain", 300, 10), ("seen", 300, 12), ("seen", 1, 12), ("filters", 300, 12)
    ]  # fmt: skip
    assert all(row["cpu_ms"] > 0 and row["ratio_to_copy"] > 0 for row in rows)


def test_both_kernels_are_launched_in_every_mode_and_timed_before_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[tuple[str, int]] = []
    shard = ItemShard.from_vectors(np.random.default_rng(0).standard_normal((300, gpu.DIMENSION)).astype(np.float32))
    note = lambda name, _, named: launched.append((name, named["MODE"])) if "MODE" in named else None  # noqa: E731
    launches = engine_without_device(shard, 1, note).launches
    resident = ResidentProduct((128, 64))
    for product, kernel in ((TiledProduct((128, 256)), "coarse_pass"), (resident, "resident_pass")):
        launched.clear()
        for launch in gpu._passes(launches, product).values():
            launch()
        assert launched == [(kernel, int(mode)) for mode in PassMode]

    def seconds(launch: Callable[[], object], *_: int) -> float:
        launch()
        return float(launched[-1][0] == "coarse_pass")

    monkeypatch.setattr(product_choice, "device_seconds", seconds)
    monkeypatch.setattr(product_choice, "fault_of", lambda *_: "")
    monkeypatch.setattr(product_choice, "shared_bytes_of", lambda _: 227 << 10)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    tiled = launches.products.of_counts
    assert product_choice.fastest_products(launches, 999) == Products(resident, resident, tiled)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 9))
    assert product_choice.fastest_products(launches, 999) == Products.always(tiled)


def _absent() -> list[str]:
    """The modules of everything else that the package depends on."""
    lines = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {line.split("[")[0].split(">")[0].split("=")[0] for line in lines} - _BARE
    return sorted(_MODULES.get(name, name.replace("-", "_")) for name in names)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device, on which the whole bench would run")
def test_it_starts_on_a_bare_machine_and_misses_only_the_gpu() -> None:
    assert {"pydantic", "ray", "fsspec"} <= set(_absent())
    done = subprocess.run([sys.executable, "-c", _PROGRAM, *_absent()], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["5", "15"] * 3, done.stderr
    assert done.returncode == 1
    assert "no CUDA device" in done.stderr
